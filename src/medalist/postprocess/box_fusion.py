"""Weighted boxes fusion: boxes of several networks that mean the same object become one box.

Source: Solovyev, Wang, Gabruseva: Weighted boxes fusion, https://arxiv.org/abs/1910.13302

Boxes are taken in the order of their scores times the weights of their sources. Each joins the fused box that it
overlaps most, or begins a new one; a fused box is the mean of its boxes, weighted by their scores. Unlike the published
code, no fused score exceeds 1, and the result depends on the values of the boxes alone: neither on the order of the
sources nor on that of the boxes.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

import numpy as np

from medalist.postprocess.box_grid import Cell, Search, cell_of, keys_of, levels_above, searched
from medalist.postprocess.box_overlaps import Corners, Floats, Places, by_value

Box = tuple[float, float, float, float, float]
"""The corners of a box, and its area."""


@dataclass(eq=False)
class _Fused:
    """Fused boxes while they grow, by number.

    corners: the corners and the area of each. sums: over its boxes, of the weighted corners (4) and of the weights; a
    weight is the score times the weight of the source. places: the cell of each. cells: their numbers by key.
    """

    above: int
    corners: list[Box] = field(default_factory=list)
    sums: list[tuple[float, float, float, float, float]] = field(default_factory=list)
    groups: list[int] = field(default_factory=list)
    places: list[Cell] = field(default_factory=list)
    cells: dict[int, list[int]] = field(default_factory=dict)

    def add(self, number: int, box: tuple[float, float, float, float], weight: float) -> None:
        """Let a box join the fused box of this number."""
        a, b, c, d, whole = self.sums[number]
        whole += weight
        a, b, c, d = a + weight * box[0], b + weight * box[1], c + weight * box[2], d + weight * box[3]
        self.sums[number] = (a, b, c, d, whole)
        x1, y1, x2, y2 = a / whole, b / whole, c / whole, d / whole
        self.corners[number] = (x1, y1, x2, y2, (x2 - x1) * (y2 - y1))
        cell, before = cell_of(x1, y1, x2, y2), self.places[number]
        if cell != before:
            for key in keys_of(before, self.groups[number], self.above):
                self.cells[key].remove(number)
            self._put(number, cell)

    def begin(self, box: tuple[float, float, float, float], weight: float, group: int) -> int:
        """Begin a fused box with one box, and return its number."""
        x1, y1, x2, y2 = box
        number = len(self.corners)
        self.corners.append((x1, y1, x2, y2, (x2 - x1) * (y2 - y1)))
        self.sums.append((weight * x1, weight * y1, weight * x2, weight * y2, weight))
        self.groups.append(group)
        cell = cell_of(x1, y1, x2, y2)
        self.places.append(cell)
        self._put(number, cell)
        return number

    def _put(self, number: int, cell: Cell) -> None:
        self.places[number] = cell
        for key in keys_of(cell, self.groups[number], self.above):
            self.cells.setdefault(key, []).append(number)


def clusters_of(xyxy: Corners, weights: Floats, groups: Places, iou: float) -> tuple[Places, Corners]:
    """Return the number of the fused box of each box, int64[N], and the corners of the fused boxes, float64[n, 4].

    Args:
        xyxy: float64[N, 4], corners in pixels, each with an area, in the order in which they are taken.
        weights: float64[N], scores times the weights of their sources; above 0.
        groups: int64[N], numbers from 0; only boxes of one group are fused.
        iou: 0..1, without the ends; a box joins the fused box with the largest IoU above it. Of equal ones it joins the
            one that began first.
    """
    search = searched(xyxy, groups, iou)
    fused = _Fused(levels_above(iou))
    numbers = []
    rows = zip(map(tuple, xyxy.tolist()), weights.tolist(), groups.tolist(), strict=True)
    for place, (box, weight, group) in enumerate(rows):
        number = _best(box, group, search, place, fused, iou)
        if number < 0:
            number = fused.begin(box, weight, group)
        else:
            fused.add(number, box, weight)
        numbers.append(number)
    return np.array(numbers, np.int64), np.array([box[:4] for box in fused.corners], np.float64).reshape(-1, 4)


def _best(
    box: tuple[float, float, float, float], group: int, search: Search, place: int, fused: _Fused, iou: float
) -> int:
    """Return the number of the fused box that a box joins; -1 where there is none."""
    x1, y1, x2, y2 = box
    area, best, found = (x2 - x1) * (y2 - y1), iou, -1
    cells, corners, groups = fused.cells, fused.corners, fused.groups
    for key in search.of(place):
        for number in cells.get(key, ()):
            left, top, right, bottom, other = corners[number]
            width = (x2 if x2 < right else right) - (x1 if x1 > left else left)
            height = (y2 if y2 < bottom else bottom) - (y1 if y1 > top else top)
            if width > 0 and height > 0:
                share = width * height / (area + other - width * height)
                if (share > best or (share == best and number < found)) and groups[number] == group:
                    best, found = share, number
    return found


@dataclass(frozen=True, eq=False)
class FusedBoxes:
    """Fused boxes, the highest score first: corners float64[n, 4], scores float64[n] in 0..1, labels int64[n]."""

    xyxy: Corners
    scores: Floats
    labels: Places


def wbf(
    xyxy: Corners,
    scores: Floats,
    labels: Places,
    source_weights: Floats,
    whole: float,
    iou: float,
    *,
    by_class: bool = True,
    confidence: Literal["mean", "max"] = "mean",
) -> FusedBoxes:
    """Fuse the boxes of several sources.

    Args:
        xyxy: float64[N, 4], corners in pixels; each has an area.
        scores: float64[N] in 0..1, above 0.
        labels: int64[N], numbers of classes from 0.
        source_weights: float64[N], the weight of the source of each box; above 0.
        whole: the sum of the weights of all sources, also of those that say no box.
        iou: see `clusters_of`.
        by_class: whether boxes of different classes stay apart. Otherwise a fused box has the class whose boxes weigh
            most; of equal ones the first class.
        confidence: `mean`: the weighted mean of the scores, times the weight of the boxes divided by `whole` where this
            is below 1. With equal weights that is the published score: the mean times min(boxes, sources) / sources.
            `max`: the highest score times weight, divided by the highest weight.

    33,000 boxes take about half a second, and memory grows with N.
    """
    weights = scores * source_weights
    order = by_value(weights, xyxy, labels, source_weights)
    xyxy, labels, weights, source_weights = xyxy[order], labels[order], weights[order], source_weights[order]
    numbers, corners = clusters_of(xyxy, weights, labels if by_class else np.zeros_like(labels), iou)
    count = len(corners)
    of_sources = np.bincount(numbers, source_weights, count)
    if confidence == "mean":
        values = np.bincount(numbers, weights, count) / np.maximum(of_sources, whole)
    else:
        values, heaviest = np.zeros(count), np.zeros(count)
        np.maximum.at(values, numbers, weights)
        np.maximum.at(heaviest, numbers, source_weights)
        values /= heaviest
    values = np.clip(values, 0.0, 1.0)  # a mean of ones may be rounded to a little more
    said = _heaviest_labels(numbers, labels, weights, count)
    best = by_value(values, corners, said)
    return FusedBoxes(corners[best], values[best], said[best])


def _heaviest_labels(numbers: Places, labels: Places, weights: Floats, count: int) -> Places:
    """Return int64[count], the label with the largest sum of weights in each fused box."""
    classes = int(labels.max(initial=0)) + 1
    pairs, place = np.unique(numbers * classes + labels, return_inverse=True)
    sums = np.bincount(place, weights, len(pairs))
    found, said = np.divmod(pairs, classes)
    order = np.lexsort((said, -sums, found))
    heaviest = np.empty(count, np.int64)
    heaviest[found[order][::-1]] = said[order][::-1]  # the first of each fused box is written last
    return heaviest
