"""The retrieval core in C++ (src/ann): see medalist.search.Index, which checks what this takes for granted.

Arrays that come in are C-contiguous. Answers are written into rows int64[n, k], padded with -1, scores float32[n, k],
padded with -inf, higher = closer, and counts int64[n]; what comes back is -1, or the first query that is NaN, infinite,
too long, or without direction under cosine. Work is done without the GIL; search and exact may run beside add.
"""

from collections.abc import Callable
from os import PathLike
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medalist.search.answers import Metric, Refine

class FileError(Exception):
    """A file that cannot be read or written, or that is damaged or hostile: its section, a colon, and the reason."""

class Interrupted(Exception):  # noqa: N818  as in C++
    """The progress function asked add to stop; nothing was added."""

class Core:
    """An index whose rows are numbered from 0 in the order in which they were added."""

    def __init__(self, dim: int, metric: str, refine: str, degree: int, effort: int, seed: int) -> None: ...
    def add(
        self, vectors: NDArray[np.float32], threads: int, progress: Callable[[int, int], bool] | None = None
    ) -> None: ...
    def search(
        self,
        queries: NDArray[np.float32],
        ef: int,
        threads: int,
        rows: NDArray[np.int64],
        scores: NDArray[np.float32],
        counts: NDArray[np.int64],
    ) -> int: ...
    def exact(
        self,
        queries: NDArray[np.float32],
        threads: int,
        rows: NDArray[np.int64],
        scores: NDArray[np.float32],
        counts: NDArray[np.int64],
    ) -> int: ...
    def ef_for(self, recall: float, k: int) -> int: ...
    def save(self, path: str | PathLike[str], labels: bytes) -> None: ...
    @staticmethod
    def open(path: str | PathLike[str], mapped: bool) -> tuple[Core, bytes]: ...
    def stats(self) -> dict[str, Any]: ...
    def options(self) -> tuple[int, Metric, Refine]: ...
    def links(self, out: NDArray[np.int64]) -> None: ...
    def vectors(self, rows: NDArray[np.int64], out: NDArray[np.float32]) -> None: ...
    def __len__(self) -> int: ...

def kernel_sets() -> list[str]: ...
