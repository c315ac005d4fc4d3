"""The retrieval core in C++ (src/ann): see medalist.search.Index, which checks what this takes for granted.

Bytes are batches of ids (ids.hpp), values of fields (payload.hpp) and programs of filters (filter.hpp). Arrays that
come in are C-contiguous; answers are written into arrays of the caller. Wrong bytes and numbers are a ValueError. Work
is done without the GIL; any number of readers may run beside a writer, and writers wait for one another.
"""

from collections.abc import Callable
from os import PathLike
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medalist.search.answers import Metric, Refine

Path = str | bytes | PathLike[str]
Progress = Callable[[int, int], bool]

class FileError(Exception):
    """A file that cannot be read or written, or that is damaged or hostile: its section, a colon, and the reason."""

class Interrupted(Exception):  # noqa: N818  as in C++
    """The progress function asked to stop; nothing was changed."""

class Core:
    """Rows with ids and fields, in memory or in a folder."""

    def __init__(
        self,
        dim: int,
        metric: str,
        refine: str,
        degree: int,
        effort: int,
        seed: int,
        fields: list[tuple[str, int]],
    ) -> None:
        """`fields`: names, and kinds by their place in `schema.KINDS`. Degree and effort of 0 are left to the core."""
    # ------------------------------------------------------------------------------------------------------- changing
    def write(
        self,
        what: int,
        ids: bytes,
        fields: bytes,
        vectors: NDArray[np.float32] | None,
        threads: int,
        progress: Progress | None = None,
    ) -> int:
        """Add (0), put (1), drop (2) or set fields of (3) the rows of a batch, all or none; how many it concerned."""
    def drop(self, filter: bytes, threads: int, progress: Progress | None = None) -> int: ...
    def set(self, filter: bytes, fields: bytes) -> int: ...
    def compact(self, threads: int, progress: Progress | None = None) -> None: ...
    # --------------------------------------------------------------------------------------------------------- asking
    def search(
        self,
        queries: NDArray[np.float32],
        ef: int,
        threads: int,
        plan: int,
        filters: list[bytes],
        filter_of: NDArray[np.int64],
        least: float,
        group: int,
        per: int,
        rows: NDArray[np.int64],
        scores: NDArray[np.float32],
        counts: NDArray[np.int64],
        plans: NDArray[np.uint8],
        cost: NDArray[np.int64],
    ) -> tuple[int, bytes]:
        """Rank rows for queries [n, dim] into rows int64[n, k] and scores float32[n, k], padded with -1 and -inf.

        `filter_of` int64[n]: which filter each query has, -1 for none; of length 0 all have the first, if there is one.
        `plan`: 255 leaves it to the core. `group`: a field, or -1. Numbers that are ids stand in `rows` at once; texts
        come as a batch of all that are no padding. The first value is -1, or the first query that is NaN, infinite, too
        long, or without direction under cosine: then nothing was written.
        """
    def within(self, query: NDArray[np.float32], least: float, filter: bytes | None) -> tuple[bytes, bytes] | None:
        """A batch of ids and their scores as float32, for one query [1, dim]; None where the query is unfit."""
    def count(self, filter: bytes | None) -> int: ...
    def facet(self, field: int, filter: bytes | None) -> list[tuple[str | int | float, int]]: ...
    def scroll(
        self,
        filter: bytes | None,
        field: int,
        descending: bool,
        limit: int,
        after: bytes | None,
        after_key: int | None,
    ) -> tuple[bytes, bytes, bool, int | None]:
        """A page: ids, fields, whether there is more behind it, and the key of its last row in `field` (-1: ids)."""
    def fields(self, ids: bytes) -> tuple[int, bytes]:
        """The place of the first id that is not there, or -1 and the fields of all."""
    def vectors(self, ids: bytes, out: NDArray[np.float32]) -> int:
        """The place of the first id that is not there, or -1: then their vectors stand in out [n, dim]."""
    def known(self, ids: bytes) -> list[bool]: ...
    def ids(self) -> bytes: ...
    # -------------------------------------------------------------------------------------------------------- keeping
    def save(self, path: Path) -> None: ...
    @staticmethod
    def open(path: Path, mapped: bool) -> Core: ...
    def in_folder(self, path: Path, sync: int, seconds: float) -> Core:
        """An empty index of the same options and fields, kept in a folder."""
    @staticmethod
    def open_folder(path: Path, mapped: bool, read_only: bool, sync: int, seconds: float, threads: int) -> Core: ...
    def snapshot(self, path: Path) -> None: ...
    def checkpoint(self) -> None: ...
    def sync(self) -> None: ...
    @property
    def read_only(self) -> bool: ...
    @property
    def trouble(self) -> str:
        """Of a folder: what went wrong in the background, or nothing."""
    @staticmethod
    def verify(path: Path) -> list[str]: ...
    @staticmethod
    def repair(path: Path, threads: int) -> list[str]: ...
    # -------------------------------------------------------------------------------------------------------- telling
    def ef_for(self, recall: float, k: int) -> int: ...
    def stats(self) -> dict[str, Any]: ...
    def options(self) -> tuple[int, Metric, Refine, list[tuple[str, int]]]: ...
    def links(self, out: NDArray[np.int64]) -> None: ...
    def id_kind(self) -> int: ...
    def __len__(self) -> int: ...

def kernel_sets() -> list[str]: ...
