"""The index: vectors with ids and fields come, change and go, in memory or in a folder."""

from __future__ import annotations

import os
import threading
from collections.abc import Mapping, Sequence
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
"""Values of fields: columns [n] by name, or a dictionary for each row."""
_ADD, _PUT, _DROP, _SET = range(4)


class Index(Reader):
    """Vectors with ids and fields, searched by a graph over short codes and refined on the vectors themselves.

    In memory, or in a folder that keeps what was acknowledged through a crash (`create`, `open`). Any number of threads
    may read beside one that writes; writers wait for one another, and readers see whole changes.
    """

    _path = ""
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
        """An empty index of vectors of `dim` components (1 to 65536).

        `metric`: "cosine", "ip" (inner product) or "l2". `fields`: what vectors carry, a kind by name: "tag" (any
        number of keywords), "bool", "int", "float", "datetime", "geo" (latitude, longitude), "id" (one keyword of
        many). `refine`: how vectors are kept, "float16" takes half the memory and rounds them. `degree`: most links of
        a vector (4 to 512); `effort`: width of the walk that finds them (8 to 65536); None leaves both to the core.
        Equal vectors, parameters and seed make equal indexes, on any number of threads. Raises SearchError for any
        other argument.
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
        """Add vectors [n, dim] under `ids` [n]: all of them, or after any exception none.

        `ids`: integers of 64 bits with a sign, or strings, or None for row numbers, which go on from those that were
        given before. They are unique and of one kind within an index. `fields`: columns [n] by name, or a dictionary
        for each vector; None, NaN and NaT are missing values. `threads`: None for all processors.
        `progress(done, total)` is called in this thread while vectors are linked to the graph (a few are not at once,
        and later ones then with them), must leave the index alone, and what it raises ends the add, as Ctrl-C does.
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
        """As `add`, but a vector whose id is there replaces that one, its fields too."""
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
        with self._writing:
            asking.refuse_ids(self._core, batch, new=what == _ADD)
            with kept.faults(self._path, reported):
                self._core.write(what, encode_ids(batch, len(rows)), told, rows, workers, reported)

    def delete(self, ids: object = None, *, where: Where | None = None, threads: int | None = None) -> int:
        """Remove the vectors of `ids` (those that are not there are no error), or what a filter means; how many went.

        Their place is reclaimed when enough of them are gone, or by `optimize()`.
        """
        workers = check_threads(threads)
        if (ids is None) == (where is None):
            raise SearchError("delete: give ids, or where=; to remove everything make a new index")
        with self._writing, kept.faults(self._path):
            if where is not None:
                made = asking.program(where, self._schema, self._core.id_kind())
                assert made is not None
                return self._core.drop(made, workers)
            batch, encoded = asking.batch_of(ids, self._core.id_kind())
            asking.refuse_twice(batch)
            return self._core.write(_DROP, encoded, b"", None, workers)

    def set_fields(self, values: Fields, *, ids: object = None, where: Where | None = None) -> int:
        """Change fields and leave the vectors alone; how many vectors it concerned.

        With `ids` [n]: columns [n] by name, or a dictionary for each; SearchError where one is not there. With `where`:
        one value by name, for all that it means. Fields that are not named stay; None makes one missing.
        """
        if (ids is None) == (where is None):
            raise SearchError("set_fields: give ids=, or where=")
        if values is None:
            raise SearchError("set_fields: no values; give {name: [value, ...]}, with where= {name: value}")
        with self._writing, kept.faults(self._path):
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
        """Reclaim the place of vectors that are gone, and link and sort what came late."""
        workers, reported = check_threads(threads), _reported(progress)
        with self._writing, kept.faults(self._path, reported):
            self._core.compact(workers, reported)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the index to one file, whole or not at all; raises SearchError where that cannot be done."""
        name = kept.file_name(path)
        with self._writing, kept.faults(name):
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
        """A new index in a folder that is missing or empty; whatever is changed is in its log before it is seen.

        `fsync`: "always" waits for the disk with every change, so that it survives a loss of power; "interval" does so
        in the background every `fsync_seconds`; "os" leaves it to the system. A process that is killed loses nothing
        that was acknowledged under any of them. The other arguments are those of `Index`. Raises SearchError.
        """
        name = kept.file_name(folder)
        plain = kept.new_core(dim, metric, refine, degree, effort, seed, fields)
        with kept.faults(name):
            return cls._of(plain.in_folder(name, *kept.syncing(fsync, fsync_seconds)), name, fsync != "os")

    @classmethod
    def open(
        cls,
        path: str | os.PathLike[str],
        mode: Mode = "mapped",
        *,
        read_only: bool = False,
        fsync: Fsync = "interval",
        fsync_seconds: float = 0.1,
        threads: int | None = None,
    ) -> Index:
        """Read an index back: a file that `save` wrote, or the folder of `create`. It answers as it did.

        `mode`: "mapped" leaves the vectors in the file, which must stay there unchanged, and reads those that are
        needed, until the first addition copies them; "memory" reads all. Of a folder, `read_only` opens what is there
        now beside a process that writes; else this process is the only one that may write it. Changes to what was read
        from a file stay in memory. Raises SearchError where it is missing, damaged, in use, or no index.
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
        """Of a folder: everything on the disk when this returns."""
        with self._writing, kept.faults(self._path):
            self._core.sync()

    def checkpoint(self) -> None:
        """Of a folder: write its log into a new segment, so that it opens faster; done by itself as the log grows."""
        with self._writing, kept.faults(self._path):
            self._core.checkpoint()

    def snapshot(self, folder: str | os.PathLike[str]) -> None:
        """Of a folder: the index as it is now, as a folder of its own, missing or empty before. Writers wait."""
        name = kept.file_name(folder)
        with kept.faults(name):
            self._core.snapshot(name)

    def close(self) -> None:
        """Let a folder go, all of it on the disk unless fsync is "os". Nothing can be asked afterwards."""
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
        """What is wrong with a folder, a line each, none where it is whole: reads every byte and changes none."""
        name = kept.file_name(folder)
        with kept.faults(name):
            return Core.verify(name)

    @staticmethod
    def repair(folder: str | os.PathLike[str], *, threads: int | None = None) -> list[str]:
        """Bring a damaged folder back as far as its bytes go; what was done and what is lost, a line each.

        Damaged records are left out, a damaged graph is built anew. SearchError where the vectors, ids or fields
        themselves are damaged: then only a snapshot helps.
        """
        name = kept.file_name(folder)
        with kept.faults(name):
            return Core.repair(name, check_threads(threads))


def _reported(progress: Progress | None) -> Reported | None:
    return None if progress is None else Reported(progress)
