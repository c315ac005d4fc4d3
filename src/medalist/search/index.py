"""The index: add, change, delete and search vectors with ids and fields, in memory or in a folder."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from numpy.typing import ArrayLike

from medalist.errors import SearchError
from medalist.search import asking, kept
from medalist.search._ann import Core
from medalist.search.answers import Metric, Refine
from medalist.search.asking import Where
from medalist.search.checks import MOST_VECTORS, Fsync, check_threads
from medalist.search.ids import encode_ids, parse_ids
from medalist.search.kept import Mode, Progress, Reported
from medalist.search.reader import Reader
from medalist.search.schema import Schema, encode_fields
from medalist.search.vectors import as_vectors, check_float16

Fields = Mapping[str, Any] | Sequence[Mapping[str, Any]]
"""Values of fields: columns [n] by field name, or a dictionary for each row."""
_ADD, _PUT, _DROP, _SET = range(4)


class Index(Reader):
    """Vectors with ids and fields. A graph over short codes finds candidates, which are then ranked by their vectors.

    The index is in memory, or in a folder (`create`, `open`), which keeps all acknowledged changes after a crash. Any
    number of threads may read while one thread writes. Writers wait for one another, and a reader sees a change as a
    whole or not at all.
    """

    _syncs = False

    def __init__(
        self,
        dim: int,
        metric: Metric = "cosine",
        *,
        fields: Schema | None = None,
        refine: Refine = "float32",
        degree: int | None = None,
        effort: int | None = None,
        seed: int = 0,
    ) -> None:
        """Make an empty index for vectors of `dim` components (1 to 65536).

        `metric`: "cosine", "ip" (inner product) or "l2". `fields`: the kind of each field, by name: "tag" (any number
        of keywords), "bool", "int", "float", "datetime", "geo" (latitude, longitude), "id" (one keyword, for fields
        with many different ones). `refine`: how vectors are kept; "float16" needs half the memory and rounds them.
        `degree`: the most links of a vector (4 to 512). `effort`: the width of the walk that finds these links (8 to
        65536). None lets the core choose both. Equal vectors, parameters and seed make equal indexes, on any number of
        threads. Raises SearchError for any other argument.
        """
        self._set(kept.new_core(dim, metric, refine, degree, effort, seed, fields))

    def _set(self, core: Core) -> None:
        super()._set(core)
        self._writing = threading.Lock()

    def add(
        self,
        ids: ArrayLike | None,
        vectors: ArrayLike,
        fields: Fields | None = None,
        *,
        threads: int | None = None,
        progress: Progress | None = None,
    ) -> None:
        """Add vectors [n, dim] under `ids` [n]: all of them, or none where any exception is raised.

        `ids`: signed 64-bit integers, or strings, or None for row numbers, which continue after the last ones. Ids are
        unique, and all ids of an index have one kind. `fields`: columns [n] by name, or a dictionary for each vector;
        None, NaN and NaT are missing values. `threads`: None for all processors.
        `progress(done, total)` is called in this thread while vectors are linked to the graph. (A few new vectors are
        not linked at once; they are linked together with later ones.) It must not use the index. An exception that it
        raises ends the add, as Ctrl-C does.
        Vectors are NumPy arrays, tensors or nested lists, checked as `vectors.as_vectors` says. Raises SearchError.
        """
        self._write(_ADD, ids, vectors, fields, threads, progress)

    def upsert(
        self,
        ids: ArrayLike,
        vectors: ArrayLike,
        fields: Fields | None = None,
        *,
        threads: int | None = None,
        progress: Progress | None = None,
    ) -> None:
        """Add vectors as `add` does; a vector whose id is in the index replaces the old vector and its fields."""
        if ids is None:
            raise SearchError("ids: None; upsert needs the ids of what it replaces")
        self._write(_PUT, ids, vectors, fields, threads, progress)

    def _write(
        self,
        what: int,
        ids: object,
        vectors: ArrayLike,
        fields: Fields | None,
        threads: int | None,
        progress: Progress | None,
    ) -> None:
        workers = check_threads(threads)
        rows = as_vectors(vectors, self._dim, self._metric)
        if self._refine == "float16" and self._metric != "cosine":
            check_float16(rows)
        batch = parse_ids(ids, len(rows))
        told = encode_fields(self._schema, fields, len(rows)) if fields is not None else b""
        if not len(rows):
            return
        if len(self) + len(rows) > MOST_VECTORS:
            raise SearchError(f"vectors: {len(self) + len(rows)} in all, but an index holds at most {MOST_VECTORS}")
        reported = _reported(progress)
        with self._changing(reported):
            asking.refuse_ids(self._core, batch, new=what == _ADD)
            self._core.write(what, encode_ids(batch, len(rows)), told, rows, workers, reported)

    @contextmanager
    def _changing(self, reported: Reported | None = None) -> Iterator[None]:
        """Hold the lock of the one thread that writes. Raises SearchError in a process that was forked from the writer.

        That is checked before the lock is taken, because a lock that was held at the fork is never released.
        """
        with kept.faults(self._path, reported):
            self._core.refuse_forked()
            with self._writing:
                yield

    def delete(self, ids: object = None, *, where: Where | None = None, threads: int | None = None) -> int:
        """Delete the vectors of `ids`, or those that match a filter; return how many were deleted.

        Ids that are not in the index are no error. The space of deleted vectors is reclaimed when there are enough of
        them, or by `optimize()`. Raises SearchError unless exactly one of `ids` and `where` is given.
        """
        workers = check_threads(threads)
        if (ids is None) == (where is None):
            raise SearchError("delete: give ids, or where=; to remove everything make a new index")
        with self._changing():
            if where is not None:
                made = asking.program(where, self._schema, self._core.id_kind())
                assert made is not None
                return self._core.drop(made, workers)
            batch, encoded = asking.batch_of(ids, self._core.id_kind())
            asking.refuse_twice(batch)
            return self._core.write(_DROP, encoded, b"", None, workers)

    def set_fields(self, values: Fields, *, ids: object = None, where: Where | None = None) -> int:
        """Change fields without changing the vectors; return how many vectors were changed.

        With `ids` [n]: `values` are columns [n] by name, or a dictionary for each id; SearchError where an id is not in
        the index. With `where`: `values` has one value by name, for all vectors that match the filter. Fields that are
        not named are not changed; None deletes a value.
        """
        if (ids is None) == (where is None):
            raise SearchError("set_fields: give ids=, or where=")
        if values is None:
            raise SearchError("set_fields: no values; give {name: [value, ...]}, with where= {name: value}")
        with self._changing():
            if where is not None:
                if not isinstance(values, Mapping):
                    raise SearchError("set_fields: with where= give one value by name, as in {'seen': True}")
                made = asking.program(where, self._schema, self._core.id_kind())
                assert made is not None
                return self._core.set(made, encode_fields(self._schema, [values], 1))
            batch, encoded = asking.batch_of(ids, self._core.id_kind())
            asking.refuse_twice(batch)
            self._refuse_unknown(batch, encoded)
            return self._core.write(_SET, encoded, encode_fields(self._schema, values, len(batch)), None, 1)

    def optimize(self, *, threads: int | None = None, progress: Progress | None = None) -> None:
        """Reclaim the space of deleted vectors, link late vectors to the graph, and sort in late field values."""
        workers, reported = check_threads(threads), _reported(progress)
        with self._changing(reported):
            self._core.compact(workers, reported)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the index to one file, whole or not at all. Raises SearchError where it cannot be written."""
        name = kept.file_name(path)
        with self._changing(), kept.faults(name):
            self._core.save(name)

    @classmethod
    def create(
        cls,
        folder: str | os.PathLike[str],
        dim: int,
        metric: Metric = "cosine",
        *,
        fields: Schema | None = None,
        refine: Refine = "float32",
        degree: int | None = None,
        effort: int | None = None,
        seed: int = 0,
        fsync: Fsync = "interval",
        fsync_seconds: float = 0.1,
    ) -> Index:
        """Make a new index in a missing or empty folder. Each change is written to a log before readers see it.

        `fsync`: "always" waits for the disk after every change, so that the change survives a loss of power; "interval"
        syncs in the background every `fsync_seconds` (0.001 to 3600); "os" leaves it to the operating system. With each
        of them, a killed process loses no acknowledged change. The other arguments are those of `Index`. Raises
        SearchError.
        """
        name = kept.file_name(folder)
        plain = kept.new_core(dim, metric, refine, degree, effort, seed, fields)
        with kept.faults(name):
            return cls._of(plain.in_folder(name, *kept.syncing(fsync, fsync_seconds)), name, fsync != "os")

    @classmethod
    def open(
        cls,
        path: str | os.PathLike[str],
        mode: Mode = "auto",
        *,
        read_only: bool = False,
        fsync: Fsync = "interval",
        fsync_seconds: float = 0.1,
        threads: int | None = None,
    ) -> Index:
        """Open an index: a file that `save` wrote, or the folder of `create`. It gives the same answers as before.

        `mode`: "memory" reads all vectors. "mapped" leaves them in the file and reads only those that are needed, until
        the first addition copies all of them. No program may overwrite the file meanwhile: the next call raises
        SearchError, and a call during which the file becomes shorter ends the process. (A file that is replaced, as
        `save` does, or removed does no harm.) "auto" reads up to 256 MiB, and maps larger files. For a folder,
        `read_only` opens its present state, also while another process writes to it; without `read_only` this process
        is the only one that may write, and processes that are forked from it may only read, in the state at the fork.
        Changes to an index that was opened from a file are only in memory. Raises SearchError where the index is
        missing, damaged, in use, or no index.
        """
        name = kept.file_name(path)
        how = kept.syncing(fsync, fsync_seconds)
        with kept.faults(name):
            core = kept.opened(name, mode, read_only, how, check_threads(threads))
            return cls._of(core, name, Path(name).is_dir() and not read_only and fsync != "os")

    @classmethod
    def _of(cls, core: Core, path: str, syncs: bool) -> Index:
        index = cls.__new__(cls)
        index._set(core)
        index._path, index._syncs = path, syncs
        return index

    def flush(self) -> None:
        """For an index in a folder: sync its log; all changes are on the disk when this returns."""
        with self._changing():
            self._core.sync()

    def checkpoint(self) -> None:
        """For an index in a folder: write its log into a new segment, so that the folder opens faster.

        It is done automatically when the log has grown.
        """
        with self._changing():
            self._core.checkpoint()

    def snapshot(self, folder: str | os.PathLike[str]) -> None:
        """For an index in a folder: copy its present state to a missing or empty folder. Writers wait meanwhile."""
        name = kept.file_name(folder)
        with kept.faults(self._path):
            self._core.refuse_forked()
        with kept.faults(name):
            self._core.snapshot(name)

    def close(self) -> None:
        """Close the index. Changes in a folder are synced to the disk first, unless fsync is "os".

        A closed index raises SearchError in every call. A process that was forked from the one that opened a folder for
        writing only lets go of it.
        """
        if self._open is not None and self._open.forked:
            self._open = None
            return
        with self._writing, kept.faults(self._path):
            core, self._open = self._open, None
            if core is not None and self._syncs:
                core.sync()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @staticmethod
    def verify(folder: str | os.PathLike[str]) -> list[str]:
        """Check an index folder: return one line for each fault, none where it is whole.

        It reads every byte and changes none.
        """
        name = kept.file_name(folder)
        with kept.faults(name):
            return Core.verify(name)

    @staticmethod
    def repair(folder: str | os.PathLike[str], *, threads: int | None = None) -> list[str]:
        """Repair a damaged index folder as far as possible; return a line for each thing that was done or is lost.

        Damaged records are left out, and a damaged graph is built again. Raises SearchError where the vectors, ids or
        fields themselves are damaged: then only a snapshot helps.
        """
        name = kept.file_name(folder)
        with kept.faults(name):
            return Core.repair(name, check_threads(threads))


def _reported(progress: Progress | None) -> Reported | None:
    return None if progress is None else Reported(progress)
