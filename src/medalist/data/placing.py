"""How an image lies in a frame of one size, and how it is drawn there; torch-free, because services use it too."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

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


def put(canvas: Pixels, image: Pixels, placed: Placed, region: tuple[slice, slice] | None = None) -> None:
    """Draw an image uint8[H, W, C] into a canvas uint8[h, w, C] where `placed` says, inside `region` alone.

    A side that shrinks is averaged over areas, a side that grows is interpolated linearly.
    """
    rows, columns = region or (slice(0, canvas.shape[0]), slice(0, canvas.shape[1]))
    scaled = image
    for size, how in (
        ((min(image.shape[0], placed.size[0]), min(image.shape[1], placed.size[1])), cv2.INTER_AREA),
        (placed.size, cv2.INTER_LINEAR),
    ):
        if scaled.shape[:2] != size:
            scaled = np.asarray(cv2.resize(scaled, size[::-1], interpolation=how), np.uint8).reshape(*size, -1)
    top, bottom = max(rows.start, placed.top), min(rows.stop, placed.top + placed.size[0])
    left, right = max(columns.start, placed.left), min(columns.stop, placed.left + placed.size[1])
    if top < bottom and left < right:
        part = scaled[top - placed.top : bottom - placed.top, left - placed.left : right - placed.left]
        canvas[top:bottom, left:right] = part


def framed(image: Pixels, frame: Size, fill: int) -> tuple[Pixels, Placed]:
    """Return an image in its frame uint8[h, w, C], as prediction sees it, and how it lies there."""
    placed = fitted((image.shape[0], image.shape[1]), frame)
    if placed.size == frame == image.shape[:2]:
        return image, placed
    canvas = np.full((*frame, image.shape[2]), fill, np.uint8)
    put(canvas, image, placed)
    return canvas, placed
