"""From a decoded image to the numbers that a network gets: NumPy and OpenCV alone, so that a service can use it.

Training, prediction and exported networks (`medalist.deploy`) all come through here.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import cv2
import numpy as np
from numpy.typing import NDArray

from medalist.data.fitting import fit_image, trimmed

STRETCH_SHARE = 1e-3
"""Share of an image's values that a stretch may clip at each end."""


@dataclass(frozen=True)
class Preparation:
    """What is done to each decoded image, in this order.

    invert: each value v becomes 255 - v. stretch: see `stretch_contrast`. trim, fill: see `fitting.trimmed`; None trims
    nothing. fit, size: see `fitting.fit_image`; size is (height, width), and None keeps each image at its own size.
    """

    invert: bool = False
    stretch: bool = False
    trim: float | None = None
    fill: int = 0
    fit: Literal["squash", "pad", "crop"] = "squash"
    size: tuple[int, int] | None = None


def made_ready(image: NDArray[np.uint8], how: Preparation) -> NDArray[np.uint8]:
    """Invert a decoded image uint8[H, W, 3], stretch its contrast, trim it and fit it to a size, as `how` says."""
    if how.invert:
        image = ~image
    if how.stretch:
        image = stretch_contrast(image)
    if how.size is not None:
        if how.trim is not None:
            image = trimmed(image, how.trim, how.fill)
        image = fit_image(image, how.size, how.fit, how.fill)
    return image


def gray(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return uint8[H, W, 1] of uint8[H, W, 3], by OpenCV's weights (0.299, 0.587, 0.114)."""
    return np.asarray(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY), np.uint8)[..., np.newaxis]


def stretch_contrast(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Stretch the values of uint8[H, W, 3] linearly to 0..255; a thousandth of the values at each end is clipped.

    All channels get the same map, so that hues stay. An image with only one value is returned unchanged.
    """
    table = stretch_table(np.bincount(image.ravel(), minlength=256))
    return image if table is None else np.asarray(cv2.LUT(image, table), np.uint8)


def stretch_table(counts: NDArray[np.int64]) -> NDArray[np.uint8] | None:
    """Return the new value uint8[256] of each value of an image, see `stretch_contrast`; None where nothing changes.

    counts: int64[256], how often the image has each value.
    """
    sums = counts.cumsum()
    low = int(np.searchsorted(sums, STRETCH_SHARE * sums[-1], side="right"))
    high = int(np.searchsorted(sums, (1 - STRETCH_SHARE) * sums[-1]))
    if high <= low:
        return None
    levels = (np.arange(256) - low) * (255 / (high - low))
    table: NDArray[np.uint8] = np.clip(np.rint(levels), 0, 255).astype(np.uint8)
    return table


def normalise(image: NDArray[np.uint8], mean: Sequence[float], std: Sequence[float]) -> NDArray[np.float32]:
    """Normalise uint8[H, W, C] to float32[C, H, W] by the encoder's mean and std, both given for values in 0..1."""
    assert image.shape[2] == len(mean) == len(std), (image.shape, mean, std)
    scale = 1 / (255 * np.asarray(std, np.float32))
    shift = -np.asarray(mean, np.float32) / np.asarray(std, np.float32)
    out = np.empty((len(scale), *image.shape[:2]), np.float32)
    for channel, plane in enumerate(out):
        # A table of all 256 values is 7 times as fast as arithmetic on the interleaved image.
        table = np.arange(256, dtype=np.float32) * scale[channel] + shift[channel]
        cv2.LUT(cv2.extractChannel(image, channel), table, dst=plane)
    return out
