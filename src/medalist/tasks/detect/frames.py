"""Images in a frame of one size at random places, and boxes and objects on their way into it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, assert_never

import cv2
import numpy as np
from numpy.typing import NDArray

from medalist.data.object_targets import renumbered
from medalist.data.placing import Placed, Size, fitted
from medalist.data.targets import BoxTarget, InstanceTarget

Region = tuple[slice, slice]
"""Rows and columns of a frame."""

ObjectTarget = BoxTarget | InstanceTarget
"""What is known of the objects of an image: their boxes, or all their pixels."""


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


def _copied(canvas: NDArray[Any], scaled: NDArray[Any], placed: Placed, region: Region) -> None:
    """Copy what is scaled to `placed.size` to its place in a canvas, inside `region` alone."""
    rows, columns = region
    top, bottom = max(rows.start, placed.top), min(rows.stop, placed.top + placed.size[0])
    left, right = max(columns.start, placed.left), min(columns.stop, placed.left + placed.size[1])
    if top < bottom and left < right:
        part = scaled[top - placed.top : bottom - placed.top, left - placed.left : right - placed.left]
        canvas[top:bottom, left:right] = part


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
