"""Images in a frame of one size, and boxes and objects on their way into the frame and back."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, assert_never

import cv2
import numpy as np
from numpy.typing import NDArray

from medalist.data.object_targets import renumbered
from medalist.data.targets import BoxTarget, InstanceTarget

Pixels = NDArray[np.uint8]
Size = tuple[int, int]
"""(height, width)."""

Region = tuple[slice, slice]
"""Rows and columns of a frame."""

ObjectTarget = BoxTarget | InstanceTarget
"""What is known of the objects of an image: their boxes, or all their pixels."""


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


def drawn(native: Size, frame: Size, scale: tuple[float, float], random: np.random.Generator) -> Placed:
    """Return a random place of an image in a frame: scaled by a factor between `scale`, uniform in its logarithm.

    A smaller image lies anywhere inside, and of a larger one any part is seen.
    """
    factor = float(np.exp(random.uniform(*np.log(scale))))
    there = fitted(native, frame, factor)
    top, left = (round(random.random() * (side - own)) for side, own in zip(frame, there.size, strict=True))
    return fitted(native, frame, factor, top, left)


def put(canvas: Pixels, image: Pixels, placed: Placed, region: Region | None = None) -> None:
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
    _copied(canvas, scaled, placed, (rows, columns))


def _copied(canvas: NDArray[Any], scaled: NDArray[Any], placed: Placed, region: Region) -> None:
    """Copy what is scaled to `placed.size` to its place in a canvas, inside `region` alone."""
    rows, columns = region
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


def seen(target: ObjectTarget, placed: Placed, frame: Size, region: Region, visible: float) -> ObjectTarget:
    """Return the objects of an image in the frame of (height, width) `frame`, as far as they lie in a region of it.

    Those of which less than the share `visible` of the area is left are dropped.
    """
    match target:
        case BoxTarget():
            return cut(BoxTarget(placed.into(target.xyxy), target.labels), *region, visible)
        case InstanceTarget():
            # The nearest pixel by its centre, as the image has it: INTER_NEAREST would shift the map by half a pixel.
            scaled = cv2.resize(target.objects, placed.size[::-1], interpolation=cv2.INTER_NEAREST_EXACT)
            canvas = np.zeros(frame, np.uint16)
            _copied(canvas, scaled, placed, region)
            there, whole = InstanceTarget(canvas), target.areas() * (placed.down * placed.right)
            after = np.bincount(canvas.ravel(), minlength=len(whole))
            return there.only((after > 0) & (after >= visible * whole))
        case _:
            assert_never(target)


def joined(targets: Sequence[ObjectTarget]) -> ObjectTarget:
    """Return all objects of several targets as one. Where objects with pixels meet, those of the later target stay."""
    maps = [one.objects for one in targets if isinstance(one, InstanceTarget)]
    if not maps:
        boxes = [one for one in targets if isinstance(one, BoxTarget)]
        return BoxTarget(np.concatenate([one.xyxy for one in boxes]), np.concatenate([one.labels for one in boxes]))
    assert len(maps) == len(targets), "boxes alone and objects with pixels are not joined"
    whole = np.zeros_like(maps[0])
    for one in maps:
        more = renumbered(one, int(whole.max(initial=0)))
        whole = np.where(more > 0, more, whole)
    return InstanceTarget(whole)


def _areas(xyxy: NDArray[np.float32]) -> NDArray[np.float32]:
    return np.asarray((xyxy[:, 2] - xyxy[:, 0]) * (xyxy[:, 3] - xyxy[:, 1]), np.float32)
