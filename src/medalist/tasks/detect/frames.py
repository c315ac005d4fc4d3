"""Images in a frame of one size at random places, and boxes that are cut by it."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from medalist.data.placing import Placed, Size, fitted
from medalist.data.targets import BoxTarget


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


def joined(targets: list[BoxTarget]) -> BoxTarget:
    """Return all boxes of several targets as one."""
    return BoxTarget(np.concatenate([one.xyxy for one in targets]), np.concatenate([one.labels for one in targets]))


def _areas(xyxy: NDArray[np.float32]) -> NDArray[np.float32]:
    return np.asarray((xyxy[:, 2] - xyxy[:, 0]) * (xyxy[:, 3] - xyxy[:, 1]), np.float32)
