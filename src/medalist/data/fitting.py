"""Fit images of any shape to one size."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, assert_never

import cv2
import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from medalist.data.settings import FitConfig

Pixels = NDArray[np.uint8]
Size = tuple[int, int]
"""(height, width)."""

DIFFERS = 64
"""A pixel belongs to a sign where its value differs from the background by more than this, because noise and JPEG
artefacts differ by less."""


def kept_size(config: FitConfig) -> Size:
    """Return the (height, width) of every image after reading: `size` times `margin`, rounded."""
    height, width = config.size
    return round(height * config.margin), round(width * config.margin)


def fit_image(image: Pixels, size: Size, fit: Literal["squash", "pad", "crop"], fill: int = 0) -> Pixels:
    """Fit uint8[H, W, C] to `size` = (height, width) and return uint8[height, width, C].

    `squash` scales each side independently. `pad` scales both sides by one factor, so that the image fits into `size`,
    and centres it on a background of the value `fill` (0..255); an odd row or column of padding is below or right.
    `crop` takes the largest middle part with the aspect ratio of `size`, to the nearest pixel, and scales this part. A
    side that shrinks is averaged over areas, a side that grows is interpolated linearly. An image that already has the
    size is returned itself, not a copy.
    """
    height, width = image.shape[:2]
    if (height, width) == size:
        return image
    if fit == "squash":
        return _resized(image, size)
    if fit == "crop":
        if height * size[1] <= width * size[0]:
            shape = height, _near(height * size[1] / size[0], width)
        else:
            shape = _near(width * size[0] / size[1], height), width
        # The part is cut out before scaling, because otherwise a hostile image of 1x60000 would need gigabytes.
        part = middle_crop(image, shape)
        return _resized(part, size)
    if fit == "pad":
        scale = min(size[0] / height, size[1] / width)
        inner = _resized(image, (_near(height * scale, size[0]), _near(width * scale, size[1])))
        top, left = (size[0] - inner.shape[0]) // 2, (size[1] - inner.shape[1]) // 2
        out = np.full((*size, image.shape[2]), fill, np.uint8)
        out[top : top + inner.shape[0], left : left + inner.shape[1]] = inner
        return out
    assert_never(fit)


def trimmed(image: Pixels, share: float, fill: int = 0) -> Pixels:
    """Cut out the box of all pixels that differ from `fill` and frame it with `fill`; return uint8[H', W', C].

    A pixel differs where one of its values is more than `DIFFERS` away from `fill`. The longer side of the box is
    `share` of the framed image's longer side, and all four margins are equal. An image in which no pixel differs is
    returned itself.
    """
    far = np.asarray(cv2.absdiff(image, np.full_like(image, fill)), np.uint8)
    differs: NDArray[np.bool_] = far.reshape(image.shape) > DIFFERS
    # The axes are reduced in this order, because reducing the channels first takes eight times as long.
    rows, columns = np.flatnonzero(np.any(differs, axis=(1, 2))), np.flatnonzero(np.any(differs, axis=0).any(axis=1))
    if not len(rows):
        return image
    box = image[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    longer = max(box.shape[:2])
    margin = round((longer / share - longer) / 2)
    framed = np.full((box.shape[0] + 2 * margin, box.shape[1] + 2 * margin, box.shape[2]), fill, np.uint8)
    framed[margin : margin + box.shape[0], margin : margin + box.shape[1]] = box
    return framed


def middle_crop(image: Pixels, size: Size) -> Pixels:
    """Return the middle (height, width) of an image that is at least as large.

    The result is a copy, so that the whole image is not kept in memory. Where an exact middle does not exist, the crop
    is half a pixel nearer to the upper left. An image that already has this size is returned itself.
    """
    height, width = image.shape[:2]
    assert height >= size[0] and width >= size[1], (image.shape, size)
    if (height, width) == size:
        return image
    top, left = (height - size[0]) // 2, (width - size[1]) // 2
    return image[top : top + size[0], left : left + size[1]].copy()


def _near(side: float, most: int) -> int:
    """Return the nearest number of pixels in 1..most."""
    return min(most, max(1, round(side)))


def _resized(image: Pixels, size: Size) -> Pixels:
    """Scale each side independently; return the image itself where both sides have the size already."""
    # In two steps where one side shrinks and the other grows: in one step OpenCV would average over areas on neither.
    smaller = (min(image.shape[0], size[0]), min(image.shape[1], size[1]))
    for step, interpolation in ((smaller, cv2.INTER_AREA), (size, cv2.INTER_LINEAR)):
        if image.shape[:2] != step:
            channels = image.shape[2]  # kept, because OpenCV removes the axis of a single channel
            scaled = cv2.resize(image, step[::-1], interpolation=interpolation)
            image = np.asarray(scaled, np.uint8).reshape(*step, channels)
    return image
