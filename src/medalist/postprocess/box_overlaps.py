"""Areas, overlaps and the order of boxes, as arrays. N and M are numbers of boxes.

Boxes are (x1, y1, x2, y2) with x1 < x2 and y1 < y2, in pixels, as those of `records.Boxes`.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

Corners = NDArray[np.float64]
Floats = NDArray[np.float64]
Places = NDArray[np.int64]

FARTHEST = float(1 << 23)
"""Corners are at most this far from 0, in pixels: float32 has no half pixels beyond."""

MOST_PAIRS = 1 << 20
"""Pairs of boxes that are compared at a time, to limit memory."""


def areas_of(xyxy: Corners) -> Floats:
    """Return float64[N], the areas of boxes."""
    areas: Floats = (xyxy[:, 2] - xyxy[:, 0]) * (xyxy[:, 3] - xyxy[:, 1])
    return areas


def overlaps(first: Corners, second: Corners, over: Literal["union", "smaller", "first"] = "union") -> Floats:
    """Return float64[N, M] in 0..1, the intersection of each two boxes divided by an area.

    over: `union` gives the IoU, `smaller` divides by the area of the smaller box (IoS), `first` by that of the box of
    `first`.
    """
    low = np.maximum(first[:, np.newaxis, :2], second[:, :2])
    high = np.minimum(first[:, np.newaxis, 2:], second[:, 2:])
    common = np.clip(high - low, 0, None).prod(axis=2)
    areas, others = areas_of(first)[:, np.newaxis], areas_of(second)
    whole = {"union": areas + others - common, "smaller": np.minimum(areas, others), "first": areas}[over]
    shares: Floats = common / whole
    return shares


def are_boxes(xyxy: NDArray[np.floating[Any]]) -> NDArray[np.bool_]:
    """Return bool[N]: which rows are boxes with an area, whose corners are finite and at most `FARTHEST` from 0."""
    near = (np.abs(xyxy) <= FARTHEST).all(axis=1)  # false for NaN
    found: NDArray[np.bool_] = near & (xyxy[:, 0] < xyxy[:, 2]) & (xyxy[:, 1] < xyxy[:, 3])
    return found


def by_value(scores: NDArray[np.floating[Any]], xyxy: NDArray[np.floating[Any]], *others: NDArray[Any]) -> Places:
    """Return int64[N], the places of the boxes in the order of their values, the highest score first.

    Boxes with equal scores are ordered by their corners, then by `others`. So the order depends on the values alone,
    and not on the places at which the boxes were.
    """
    keys = (*others[::-1], xyxy[:, 3], xyxy[:, 2], xyxy[:, 1], xyxy[:, 0], -scores)
    return np.lexsort(keys).astype(np.int64)


def meeting(first: Corners, second: Corners) -> Iterator[tuple[Places, Places]]:
    """Yield the places (int64[n], int64[n]) of all pairs of boxes that share an area, some pairs at a time.

    first: float64[N, 4]. second: float64[M, 4]. Boxes are compared where their sides along one axis meet, which is the
    axis along which the boxes are spread most. At most `MOST_PAIRS` pairs, or the pairs of one box, are in memory.
    """
    if not len(first) or not len(second):
        return
    axis = int(np.ptp(second[:, :2], axis=0).argmax())
    order = np.argsort(second[:, axis], kind="stable")
    starts = second[order, axis]
    longest = float((second[:, axis + 2] - second[:, axis]).max())
    low = np.searchsorted(starts, first[:, axis] - longest)
    counts = np.searchsorted(starts, first[:, axis + 2]) - low
    ends = np.cumsum(counts)
    at = 0
    while at < len(first):
        to = max(at + 1, int(np.searchsorted(ends, ends[at] - counts[at] + MOST_PAIRS, "right")))
        some = counts[at:to]
        one = np.repeat(np.arange(at, to), some)
        two = order[np.arange(len(one)) - np.repeat(np.cumsum(some) - some, some) + low[one]]
        least = np.maximum(first[one, :2], second[two, :2])
        meet = (least < np.minimum(first[one, 2:], second[two, 2:])).all(axis=1)
        yield one[meet], two[meet]
        at = to
