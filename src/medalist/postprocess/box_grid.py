"""Find the boxes that may overlap a box strongly, without comparing it with all others.

A box lies in the cell of its centre, in the grid whose cells are just longer than its longer side; the cells of each
grid are twice as long as those of the grid before. Where two boxes have an IoU above `least`, their longer sides differ
by less than the factor 1 / least, and so their grids by at most `levels_above(least)`. A box is found in two ways:

- in its own grid and in the grids above, by boxes that are as large or larger;
- in its own grid alone, by smaller boxes.

A key is a number that stands for a cell. Two cells may share a key, so what is found has to be compared.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil, floor, frexp, log2
from typing import TypeVar

import numpy as np

from medalist.postprocess.box_overlaps import Corners, Places

Number = TypeVar("Number", int, Places)
Cell = tuple[int, int, int]

SMALLEST = -8
"""The finest grid: its cells have sides of 2**-8 pixels; smaller boxes are in it too."""
SLACK = 1e-6
"""The share by which a search reaches farther than it has to, because numbers are rounded."""
ACROSS, DOWN, LEVEL, GROUP = 73_856_093, 19_349_663, 83_492_791, 49_979_687
"""Primes that spread the cells over the keys (Teschner et al. 2003, Optimized spatial hashing)."""


@dataclass(frozen=True)
class Search:
    """Where each of N boxes has to look for boxes that overlap it by more than some IoU.

    keys: the keys of the cells, those of a box after those of the box before it. starts: N + 1 places in `keys`.
    """

    keys: list[int]
    starts: list[int]

    def of(self, number: int) -> list[int]:
        """Return the keys of the cells in which boxes may be that overlap the box of this number."""
        return self.keys[self.starts[number] : self.starts[number + 1]]


def levels_above(least: float) -> int:
    """Return by how many grids two boxes differ at most where their IoU is above `least`, in 0..1."""
    return ceil(-log2(least))


def cell_of(x1: float, y1: float, x2: float, y2: float) -> Cell:
    """Return the cell of a box: its grid, its column and its row."""
    level = max(frexp(max(x2 - x1, y2 - y1))[1], SMALLEST)
    size = 2.0**level
    return level, floor((x1 + x2) / 2 / size), floor((y1 + y2) / 2 / size)


def keys_of(cell: Cell, group: int, above: int) -> list[int]:
    """Return the keys under which a box is put, so that each search of its group with `levels_above` = above finds it.

    cell: of the box. Boxes in one cell have the same keys.
    """
    level, column, row = cell
    keys = [_key(column, row, level, group, 1)]
    for step in range(above + 1):
        keys.append(_key(column >> step, row >> step, level + step, group, 0))
    return keys


def searched(xyxy: Corners, groups: Places, least: float) -> Search:
    """Return where boxes look for boxes of the same group with an IoU above `least`.

    xyxy: float64[N, 4]. groups: int64[N], numbers from 0. Memory grows with N, and not with the number of overlaps.
    """
    if not len(xyxy):
        return Search([], [0])
    centre = (xyxy[:, :2] + xyxy[:, 2:]) / 2
    sides = xyxy[:, 2:] - xyxy[:, :2]
    longer = sides.max(axis=1)
    level = np.maximum(np.frexp(longer)[1], SMALLEST).astype(np.int64)
    owners, found = [], []
    for step in range(levels_above(least) + 1):
        here = level + step
        size = np.ldexp(1.0, here)[:, np.newaxis]
        # The intersection is wider than least x the wider box: so far apart can the centres be, along each side.
        reach = np.maximum(sides * (1 - least), sides / 2 + np.minimum(sides / least, size) * (0.5 - least))
        reach = reach + SLACK * (sides + np.abs(centre))
        first = np.floor((centre - reach) / size).astype(np.int64)
        count = np.floor((centre + reach) / size).astype(np.int64) - first + 1
        if step:
            count[size[:, 0] / 2 > longer / least] = 0  # boxes of that grid are all too large
        cells = count[:, 0] * count[:, 1]
        owner = np.repeat(np.arange(len(xyxy)), cells)
        place = np.arange(len(owner)) - np.repeat(np.cumsum(cells) - cells, cells)
        down, across = np.divmod(place, count[owner, 0])
        column, row = first[owner, 0] + across, first[owner, 1] + down
        found.append(_key(column, row, here[owner], groups[owner], int(step > 0)))
        owners.append(owner)
    owner = np.concatenate(owners)
    order = np.argsort(owner, kind="stable")
    starts = np.searchsorted(owner[order], np.arange(len(xyxy) + 1))
    return Search(np.concatenate(found)[order].tolist(), starts.tolist())


def _key(column: Number, row: Number, level: Number, group: Number, own: int) -> Number:
    """Return the key of a cell. own: 1 for what is in its own grid there, 0 for that and all that is smaller."""
    return ((column * ACROSS) ^ (row * DOWN) ^ (level * LEVEL) ^ (group * GROUP)) << 1 | own
