"""Remove doubles among the boxes of an image: non-maximum suppression, hard and soft.

N is the number of boxes. The results are those of comparing each box with all others, and they depend on the values of
the boxes alone: of boxes with equal scores, the one with the smaller corners comes first.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from medalist.postprocess.box_grid import Search, cell_of, keys_of, levels_above, searched
from medalist.postprocess.box_overlaps import Corners, Floats, Places, areas_of, by_value, overlaps

if TYPE_CHECKING:
    from medalist.postprocess.box_settings import SoftNmsConfig

Box = tuple[float, float, float, float, float]
"""The corners of a box, and its area."""


def nms(xyxy: Corners, scores: Floats, groups: Places, iou: float) -> Places:
    """Return int64[n], the places of the boxes that no kept box with a higher score overlaps by more than `iou`.

    Args:
        xyxy: float64[N, 4], corners in pixels; each has an area.
        scores: float64[N].
        groups: int64[N], numbers from 0; only boxes of one group are compared.
        iou: 0..1, without the ends.

    Returns:
        The kept places, the highest score first. 33,000 boxes take a fraction of a second, and memory grows with N.
    """
    order = by_value(scores, xyxy, groups)
    search = searched(xyxy[order], groups[order], iou)
    corners, sizes = xyxy[order].tolist(), areas_of(xyxy[order]).tolist()
    above, kept = levels_above(iou), []
    cells: dict[int, list[tuple[Box, int]]] = {}
    for number, group in enumerate(groups[order].tolist()):
        x1, y1, x2, y2 = corners[number]
        box = (x1, y1, x2, y2, sizes[number])
        if not _is_double(box, group, search, number, cells, iou):
            kept.append(number)
            for key in keys_of(cell_of(x1, y1, x2, y2), group, above):
                cells.setdefault(key, []).append((box, group))
    return order[kept]


def _is_double(
    box: Box, group: int, search: Search, number: int, cells: dict[int, list[tuple[Box, int]]], iou: float
) -> bool:
    x1, y1, x2, y2, area = box
    for key in search.of(number):
        for (left, top, right, bottom, other), of_group in cells.get(key, ()):
            width = (x2 if x2 < right else right) - (x1 if x1 > left else left)
            height = (y2 if y2 < bottom else bottom) - (y1 if y1 > top else top)
            if width > 0 and height > 0 and of_group == group:
                common = width * height
                if common > iou * (area + other - common):
                    return True
    return False


@dataclass(frozen=True, eq=False)
class _Line:
    """Boxes by their left sides, so that those beside a box are one slice.

    ranks: int64[n], their places in the order of values. widest: the width of the widest box.
    """

    xyxy: Corners
    ranks: Places
    widest: float

    def beside(self, box: Floats) -> slice:
        """Return the slice in which all boxes are that overlap a box, and others."""
        first, last = np.searchsorted(self.xyxy[:, 0], (box[0] - self.widest, box[2]))
        return slice(int(first), int(last))


def soft_nms(
    xyxy: Corners, scores: Floats, groups: Places, config: SoftNmsConfig, least: Floats
) -> tuple[Places, Floats]:
    """Return the places int64[n] of the boxes whose lowered scores are above `least`, and these scores float64[n].

    The box with the highest score is taken, and lowers the scores of those that it overlaps; then the next is taken.
    The other arguments are those of `nms`. least: float64[N] in 0..1, for each box. The results have no special order.
    """
    places, lowered = [np.empty(0, np.int64)], [np.empty(0)]
    for group in np.unique(groups):
        own = np.flatnonzero((groups == group) & (scores > least))
        own = own[by_value(scores[own], xyxy[own])]
        left = np.argsort(xyxy[own, 0], kind="stable")
        line = _Line(xyxy[own][left], left, float(np.ptp(xyxy[own][:, 0::2], axis=1).max(initial=0)))
        taken, values = _taken(line, scores[own][left], least[own][left], config)
        places.append(own[left][taken])
        lowered.append(np.array(values))
    return np.concatenate(places), np.concatenate(lowered)


def _taken(line: _Line, scores: Floats, least: Floats, config: SoftNmsConfig) -> tuple[Sequence[int], Sequence[float]]:
    current = np.where(scores > least, scores, -1.0)
    taken: list[int] = []
    values: list[float] = []
    while True:
        highest = current.max(initial=-1.0)
        if highest < 0:
            return taken, values
        equal = np.flatnonzero(current == highest)
        place = int(equal[line.ranks[equal].argmin()])
        taken.append(place)
        values.append(float(highest))
        current[place] = -1.0
        near = line.beside(line.xyxy[place])
        shared = overlaps(line.xyxy[place : place + 1], line.xyxy[near])[0]
        if config.decay == "linear":
            factors = np.where(shared > config.iou, 1 - shared, 1.0)
        else:
            factors = np.exp(-(shared**2) / config.sigma)
        after = current[near] * factors  # taken and dropped boxes are below 0 and stay there
        current[near] = np.where(after > least[near], after, -1.0)
