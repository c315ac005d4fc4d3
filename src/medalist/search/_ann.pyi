"""The retrieval core in C++ (src/ann). `medalist.search.Index` checks the arguments before it calls the core.

Arguments of type bytes are batches of ids (ids.hpp), values of fields (payload.hpp) or programs of filters
(filter.hpp). Arrays that are passed in are C-contiguous; answers are written into arrays of the caller. Wrong bytes and
numbers raise ValueError. The core works without the GIL. Any number of readers may run beside one writer, and writers
wait for one another.
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
    """A file cannot be read or written, or is damaged or hostile. The message is its section, a colon, the reason."""

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
        """`fields`: names, and kinds as positions in `schema.KINDS`. A degree or effort of 0: the core chooses."""
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
        """Add (0), put (1), drop (2) or set fields of (3) the rows of a batch, all or none; return how many rows."""
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
        farthest: float,
        rows: NDArray[np.int64],
        scores: NDArray[np.float32],
        counts: NDArray[np.int64],
        plans: NDArray[np.uint8],
        cost: NDArray[np.int64],
        farness: NDArray[np.float32],
    ) -> tuple[int, bytes]:
        """Rank rows for queries [n, dim] into rows int64[n, k] and scores float32[n, k], padded with -1 and -inf.

        `filter_of` int64[n]: the number of each query's filter, -1 for none. With length 0, all queries have the first
        filter, if there is one. `plan`: 255 lets the core choose. `group`: the number of a field, or -1. Queries
        whose farness (see `Hits`) is above `farthest` are searched wider, until two searches agree. Ids that are
        numbers are written into `rows`; ids that are texts are returned as one batch, without the padded places. The
        first value returned is -1, or the number of the first query that is NaN, infinite, too long, or without a
        direction under cosine; then nothing was written.
        """
    def within(self, query: NDArray[np.float32], least: float, filter: bytes | None) -> tuple[bytes, bytes] | None:
        """Return a batch of ids and their scores as float32 for one query [1, dim]; None where the query is unfit."""
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
        """Return a page: ids, fields, whether another page follows, and the last row's key in `field` (-1: by ids)."""
    def fields(self, ids: bytes) -> tuple[int, bytes]:
        """Return the position of the first id that is not in the index; or -1 and the fields of all ids."""
    def vectors(self, ids: bytes, out: NDArray[np.float32]) -> int:
        """Return the position of the first id that is not in the index; or -1: then `out` [n, dim] has the vectors."""
    def known(self, ids: bytes) -> list[bool]: ...
    def ids(self) -> bytes: ...
    # -------------------------------------------------------------------------------------------------------- keeping
    def save(self, path: Path) -> None: ...
    @staticmethod
    def open(path: Path, mode: int) -> Core:
        """`mode`: the position in `kept.Mode`."""
    def in_folder(self, path: Path, sync: int, seconds: float) -> Core:
        """Return an empty index with the same options and fields, kept in a folder."""
    @staticmethod
    def open_folder(path: Path, mode: int, read_only: bool, sync: int, seconds: float, threads: int) -> Core: ...
    def snapshot(self, path: Path) -> None: ...
    def checkpoint(self) -> None: ...
    def sync(self) -> None: ...
    @property
    def read_only(self) -> bool: ...
    @property
    def trouble(self) -> str:
        """For an index in a folder: the error of its background work, or an empty text."""
    @property
    def forked(self) -> bool:
        """Whether the folder was opened for writing by another process, from which this one was forked."""
    def refuse_forked(self) -> None:
        """Raise FileError where the core is `forked`. It never waits for a lock."""
    @property
    def file_changed(self) -> bool:
        """Whether vectors are mapped from a file that was overwritten since it was opened."""
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
