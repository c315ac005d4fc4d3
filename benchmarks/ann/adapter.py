"""The one face that every measured library is given; the classes are in graphs.py, partitions.py and services.py."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

K = 10
BEAMS = (10, 14, 20, 28, 40, 56, 80, 112, 160, 224, 320, 450, 640, 900)
"""Widths of a graph's beam (ef)."""
MODES = ("single", "batch")
"""Ways to ask: `one` query after another, `many` in one call."""

Rows = NDArray[np.float32]
Found = Any
"""Row numbers, in whatever the library returns: converting them is not what is measured."""


class Peer:
    """One index over vectors; the constructor builds it.

    It is given float32 vectors under a metric, "l2" or "cosine" (the benchmark's cosine vectors have length 1, so a
    peer may take them as inner products). `settings` are the points of the curve, from fast to thorough; `tune`
    chooses one, `one` answers a query, `many` a batch, all on one thread. Answers are rows of the base. A class whose
    library has no batch call leaves `many` out.
    """

    settings: Sequence[Any] = BEAMS
    parameters = ""
    many: Any = None

    def __init__(self, vectors: Rows, metric: str, folder: Path) -> None:
        raise NotImplementedError

    def tune(self, setting: Any) -> None:
        raise NotImplementedError

    def one(self, query: Rows) -> Found:
        raise NotImplementedError
