"""The recall of walks for sample queries, which need not be like the stored vectors: see `Index.calibrate`."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from medalist.search.answers import Recall

if TYPE_CHECKING:
    from medalist.search.reader import Reader

MOST_SAMPLED = 500
"""The most sample queries that are measured."""
_SHARE = 0.99
_EF = 64
"""The width of the walks that tell how far out the sample lies."""


@dataclass(frozen=True)
class Calibration:
    """What was measured with sample queries.

    table: the recall by the width of the walk, in rising order. farthest: the farness (see `Hits`) that 99 of 100
    sample queries have at most, and at least 1.
    """

    table: tuple[Recall, ...]
    farthest: float

    def ef_for(self, recall: float, k: int, stored: int) -> int:
        """Return the width that finds this share of the k nearest; `stored` (all vectors) where no width did."""
        for row in self.table:
            reached = row.at_1 if k <= 1 else row.at_10 if k <= 10 else row.at_100
            if reached >= recall:
                return min(math.ceil(max(row.ef * max(k / 100, 1), k)), stored)
        return stored


def calibrate(index: Reader, queries: NDArray[np.float32], threads: int) -> Calibration:
    """Compare walks of rising width with the exact answers to queries [n, dim], n > 0."""
    rows = queries[np.linspace(0, len(queries) - 1, min(len(queries), MOST_SAMPLED)).astype(np.int64)]
    stored = len(index)
    truth = index.exact(rows, min(100, stored), threads=threads).scores
    widest, table, ef = max(stored // 32, 20), [], 10
    while ef <= widest:
        few = index.search(rows, min(10, stored), ef=ef, threads=threads).scores
        many = index.search(rows, min(100, stored), ef=ef, threads=threads).scores if ef >= 100 else truth[:, :0]
        table.append(Recall(ef, _share(few, truth, 1), _share(few, truth, 10), _share(many, truth, 100)))
        if table[-1].at_10 >= 0.999 and table[-1].at_100 >= 0.99:
            break
        ef += 2 if ef < 20 else ef // 3
    farness = index.search(rows, min(10, stored), ef=_EF, threads=threads).farness
    assert farness is not None
    return Calibration(tuple(table), max(1.0, float(np.quantile(farness, _SHARE))))


def _share(found: NDArray[np.float32], truth: NDArray[np.float32], k: int) -> float:
    """Return the share of the k nearest that were found; an answer that is as near as the k-th is as good."""
    if not found.shape[1]:
        return 0.0
    size = min(k, truth.shape[1])
    good = np.minimum((found >= truth[:, size - 1 : size]).sum(axis=1), size)
    return float(good.sum() / (len(truth) * size)) if size else 1.0
