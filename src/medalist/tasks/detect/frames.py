"""Images in a frame of one size, and boxes on their way into the frame and back."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from medalist.data.targets import BoxTarget

SEARCHED = 64
"""Pixels of a large image among which the end of the part that is scaled is chosen."""

Pixels = NDArray[np.uint8]
Size = tuple[int, int]
"""(height, width)."""


@dataclass(frozen=True)
class Placed:
    """How an image lies in a frame: it is scaled to `size` = (height, width), and moved by `left` and `top` pixels.

    down, right: the factors of both sides, from pixels of the image to pixels of the frame. Offsets are negative where
    the image is cut at its upper or left side.
    """

    size: Size
    down: float
    right: float
    top: int = 0
    left: int = 0

    def into(self, xyxy: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return boxes float32[N, 4] of the image in pixels of the frame; they may reach out of it."""
        moved = xyxy * self._factors + np.array([self.left, self.top] * 2, np.float32)
        return np.asarray(moved, np.float32)

    def back(self, xyxy: NDArray[np.float32], native: Size) -> NDArray[np.float32]:
        """Return boxes float32[N, 4] of the frame in pixels of the image, cut to its (height, width) `native`."""
        there = (xyxy - np.array([self.left, self.top] * 2, np.float32)) / self._factors
        return np.asarray(np.clip(there, 0, np.array([*native[::-1], *native[::-1]], np.float32)), np.float32)

    @property
    def _factors(self) -> NDArray[np.float32]:
        return np.array([self.right, self.down] * 2, np.float32)


def fitted(native: Size, frame: Size, factor: float = 1.0, top: int = 0, left: int = 0) -> Placed:
    """Return how an image of (height, width) `native` lies in a frame where it just fits, scaled further by `factor`.

    Its sides are rounded to pixels, at least to one.
    """
    scale = min(frame[0] / native[0], frame[1] / native[1]) * factor
    height, width = max(1, round(native[0] * scale)), max(1, round(native[1] * scale))
    return Placed((height, width), height / native[0], width / native[1], top, left)


def zoomed(scale: tuple[float, float], random: np.random.Generator) -> float:
    """Return a random factor between `scale`, uniform in its logarithm."""
    return float(np.exp(random.uniform(*np.log(scale))))


def drawn(
    native: Size, frame: Size, factor: float, random: np.random.Generator, point: tuple[float, float] | None = None
) -> Placed:
    """Return a random place of an image in a frame; it is scaled by `factor`, where 1 lets it just fit.

    A smaller image lies anywhere inside, and of a larger one any part is seen; with `point`, (y, x) in pixels of the
    image, any part that this point lies in.
    """
    there = fitted(native, frame, factor)
    starts = []
    for axis, (side, own) in enumerate(zip(frame, there.size, strict=True)):
        low, high = min(0.0, side - own), max(0.0, side - own)
        if point is not None and own > side:
            at = point[axis] * own / native[axis]
            low, high = max(low, -at), min(high, side - at)
        starts.append(round(low + random.random() * (high - low)))
    return fitted(native, frame, factor, *starts)


def put(canvas: Pixels, image: Pixels, placed: Placed, region: tuple[slice, slice] | None = None) -> None:
    """Draw an image uint8[H, W, C] into a canvas uint8[h, w, C] where `placed` says, inside `region` alone.

    A side that shrinks is averaged over areas, a side that grows is interpolated linearly. Of an image that is much
    larger than the region only the part is scaled that is seen.
    """
    rows, columns = region or (slice(0, canvas.shape[0]), slice(0, canvas.shape[1]))
    top, bottom = max(rows.start, placed.top), min(rows.stop, placed.top + placed.size[0])
    left, right = max(columns.start, placed.left), min(columns.stop, placed.left + placed.size[1])
    if top < bottom and left < right:
        down, first, height = _seen(top - placed.top, bottom - placed.top, image.shape[0], placed.size[0])
        across, before, width = _seen(left - placed.left, right - placed.left, image.shape[1], placed.size[1])
        scaled = _scaled(image[down, across], (height, width))
        canvas[top:bottom, left:right] = scaled[first : first + bottom - top, before : before + right - left]


def _seen(start: int, stop: int, native: int, scaled: int) -> tuple[slice, int, int]:
    """Return which pixels along one side of an image are needed for the pixels start..stop - 1 of the scaled image.

    native, scaled: the lengths of this side. Also returns at which pixel of the scaled part the wanted ones begin, and
    the length of the scaled part. The ends of the part are chosen among some places so that they lie nearly at whole
    pixels of both: so the part lies within a few hundredths of a pixel where it would lie in the whole image.
    """
    factor = scaled / native
    margin = 2 * max(1.0, 1 / factor)  # what is interpolated at an end lies outside of what is wanted
    low, high = int(start / factor - margin), int(np.ceil(stop / factor + margin))
    first = _whole_pixel(range(max(0, low - SEARCHED), max(0, low) + 1), factor)
    last = _whole_pixel(range(min(native, high), min(native, high + SEARCHED) + 1), factor)
    return slice(first, last), start - round(first * factor), round(last * factor) - round(first * factor)


def _whole_pixel(places: range, factor: float) -> int:
    """Return the place whose product with the factor is nearest to a whole number."""
    products = np.arange(places.start, places.stop) * factor
    return int(places[int(np.abs(products - np.rint(products)).argmin())])


def _scaled(image: Pixels, size: Size) -> Pixels:
    """Scale uint8[H, W, C] to (height, width)."""
    scaled = image
    for smaller, how in (
        ((min(image.shape[0], size[0]), min(image.shape[1], size[1])), cv2.INTER_AREA),
        (size, cv2.INTER_LINEAR),
    ):
        if scaled.shape[:2] != smaller:
            scaled = np.asarray(cv2.resize(scaled, smaller[::-1], interpolation=how), np.uint8).reshape(*smaller, -1)
    return scaled


def framed(image: Pixels, frame: Size, fill: int, factor: float = 1.0) -> tuple[Pixels, Placed]:
    """Return an image in its frame uint8[h, w, C], as prediction sees it, and how it lies there.

    factor: at most 1, where 1 lets the image just fit.
    """
    placed = fitted((image.shape[0], image.shape[1]), frame, factor)
    if placed.size == frame == image.shape[:2]:
        return image, placed
    canvas = np.full((*frame, image.shape[2]), fill, np.uint8)
    put(canvas, image, placed)
    return canvas, placed


def cut(target: BoxTarget, rows: slice, columns: slice, visible: float) -> BoxTarget:
    """Cut boxes to a region of the frame; drop those of which less than the share `visible` of the area is left.

    Boxes that are thinner than a pixel after the cut are dropped too.
    """
    low = np.array([columns.start, rows.start] * 2, np.float32)
    high = np.array([columns.stop, rows.stop] * 2, np.float32)
    inside = np.clip(target.xyxy, low, high).astype(np.float32)
    before, after = _areas(target.xyxy), _areas(inside)
    kept = (after >= visible * before) & ((inside[:, 2:] - inside[:, :2]).min(axis=1, initial=np.inf) >= 1)
    return BoxTarget(inside[kept], target.labels[kept])


def joined(targets: list[BoxTarget]) -> BoxTarget:
    """Return all boxes of several targets as one."""
    return BoxTarget(np.concatenate([one.xyxy for one in targets]), np.concatenate([one.labels for one in targets]))


def _areas(xyxy: NDArray[np.float32]) -> NDArray[np.float32]:
    return np.asarray((xyxy[:, 2] - xyxy[:, 0]) * (xyxy[:, 3] - xyxy[:, 1]), np.float32)
