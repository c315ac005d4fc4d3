"""How an image lies in a frame of one size, and how it is drawn there; torch-free, because services use it too."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

Pixels = NDArray[np.uint8]
Size = tuple[int, int]
"""(height, width)."""

SEARCHED = 64
"""Pixels of a large image among which the end of the part that is scaled is chosen."""


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

    def back(self, xyxy: NDArray[np.float32], native: Size | None = None) -> NDArray[np.float32]:
        """Return boxes float32[N, 4] of the frame in pixels of the image, cut to its (height, width) `native`.

        None cuts no box.
        """
        there = (xyxy - np.array([self.left, self.top] * 2, np.float32)) / self._factors
        if native is not None:
            there = np.clip(there, 0, np.array([*native[::-1], *native[::-1]], np.float32))
        return np.asarray(there, np.float32)

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


def unit_factor(native: Size, frame: Size) -> float:
    """Return the factor of `fitted` at which an image of (height, width) `native` keeps its pixels as they are."""
    return max(own / side for own, side in zip(native, frame, strict=True))


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
