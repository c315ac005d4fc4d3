"""The index: vectors with ids go in; the k nearest of a query come out, exactly or by the graph."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from typing import Literal, NoReturn, get_args

import numpy as np
from numpy.typing import ArrayLike

from medalist.errors import SearchError
from medalist.search._ann import Core, FileError
from medalist.search.answers import Hits, Metric, Recall, Refine, Stats
from medalist.search.ids import KINDS, Ids
from medalist.search.vectors import as_queries, as_vectors, check_float16, refuse_query, shaped_queries, share, whole

Mode = Literal["mapped", "memory"]

RECALL = 0.95
"""The recall that `search` aims at where neither `recall=` nor `ef=` is given."""
MOST_ANSWERS = 2**31
"""Answers (queries times k) of one call; more would be tens of gigabytes."""
MOST_VECTORS = 2**31 - 1
MOST_THREADS = 1024


class Index:
    """Vectors with ids, searched by a graph over short codes and refined on the vectors themselves.

    Searching and adding from several threads at once is safe; adds wait for one another.
    """

    def __init__(
        self,
        dim: int,
        metric: Metric = "cosine",
        *,
        refine: Refine = "float32",
        degree: int | None = None,
        effort: int | None = None,
        seed: int = 0,
    ) -> None:
        """An empty index of vectors of `dim` components (1 to 65536).

        `metric`: "cosine", "ip" (inner product) or "l2". `refine`: how vectors are kept, "float16" takes half the
        memory and rounds them. `degree`: most links of a vector (4 to 512); `effort`: width of the walk that finds them
        (8 to 65536); None leaves both to the core. Equal vectors, parameters and seed make equal indexes, on any
        number of threads. Raises SearchError for any other argument.
        """
        self._set(_core(dim, metric, refine, degree, effort, seed), Ids(), int(dim), metric, refine)

    def _set(self, core: Core, ids: Ids, dim: int, metric: Metric, refine: Refine) -> None:
        self._core, self._ids, self._adding = core, ids, threading.Lock()
        self._dim, self._metric, self._refine = dim, metric, refine

    @property
    def dim(self) -> int:
        """Components of a vector."""
        return self._dim

    @property
    def metric(self) -> Metric:
        """How closeness is measured: "cosine", "ip" or "l2"."""
        return self._metric

    def __len__(self) -> int:
        """Vectors stored."""
        return len(self._core)

    def __repr__(self) -> str:
        return f"<medalist.search.Index: {len(self)} vectors of {self._dim}, {self._metric}>"

    def __reduce__(self) -> NoReturn:
        raise TypeError("an Index cannot be copied or pickled; write it with save() and read it with Index.open()")

    def add(
        self,
        ids: ArrayLike | None,
        vectors: ArrayLike,
        *,
        threads: int | None = None,
        progress: Callable[[int, int], object] | None = None,
    ) -> None:
        """Add vectors [n, dim] under `ids` [n]: all of them, or after any exception none.

        `ids`: integers of 64 bits with a sign, or strings, or None for row numbers, which go on from `len(self)`.
        They are unique and of one kind within an index. `threads`: None for all processors. `progress(done, total)` is
        called in this thread while vectors are linked to the graph (a few are not at once, and later ones then with
        them), must leave the index alone, and what it raises ends the add, as Ctrl-C does. Vectors are NumPy arrays,
        tensors or nested lists, checked as `vectors.as_vectors` says. Raises SearchError.
        """
        workers = processors() if threads is None else whole(threads, "threads", 1, MOST_THREADS)
        rows = as_vectors(vectors, self._dim, self._metric)
        if self._refine == "float16" and self._metric != "cosine":
            check_float16(rows)
        with self._adding:
            before = self._ids
            after = before.extended(ids, len(rows))
            if not len(rows):
                return
            if len(after) > MOST_VECTORS:
                raise SearchError(f"vectors: {len(after)} in all, but an index holds at most {MOST_VECTORS}")
            self._ids = after  # first: whoever searches meanwhile may meet new rows
            try:
                self._core.add(rows, workers, None if progress is None else _going_on(progress))
            except BaseException:
                self._ids = before
                raise

    def search(
        self,
        queries: ArrayLike,
        k: int = 10,
        *,
        ef: int | None = None,
        recall: float | None = None,
        threads: int = 1,
    ) -> Hits:
        """The nearest `k` of each query [n, dim], or of one query [dim], by a walk over the graph.

        `recall`: the share of the true nearest to aim at, above 0 and up to 1 (0.95 where neither is given); a table
        measured at build turns it into `ef`. `ef`: how many candidates the walk keeps; more is slower and finds more;
        below `k` it counts as `k`. `threads` share a batch of queries. Fewer than `k` vectors, or none, is no error:
        see Hits. Raises SearchError.
        """
        stored = len(self._core)
        k, workers = check_k(k), whole(threads, "threads", 1, MOST_THREADS)
        ef, recall = check_aim(ef, recall)
        asked = min(k, stored)
        if recall is not None:
            ef = self._core.ef_for(recall, asked)
        assert ef is not None
        return self._answers(self._core.search, (min(ef, stored), workers), queries, k, asked)

    def exact(self, queries: ArrayLike, k: int = 10, *, threads: int = 1) -> Hits:
        """The nearest `k` as in `search`, by comparing each query with every vector."""
        k, workers = check_k(k), whole(threads, "threads", 1, MOST_THREADS)
        return self._answers(self._core.exact, (workers,), queries, k, min(k, len(self._core)))

    def _answers(self, ask: Callable[..., int], how: tuple[int, ...], queries: ArrayLike, k: int, asked: int) -> Hits:
        """Let the core rank `asked` rows for each query, name them, and widen the answers to k."""
        given, matrix, single = shaped_queries(queries, self._dim)
        n = len(matrix)
        if k * n > MOST_ANSWERS:
            raise SearchError(f"k={k} for {n} queries: more than {MOST_ANSWERS} answers; ask for fewer at once")
        rows, scores = np.empty((n, asked), np.int64), np.empty((n, asked), np.float32)
        counts = np.empty(n, np.int64)
        if asked:
            unfit = ask(matrix, *how, rows, scores, counts)
            if unfit >= 0:
                refuse_query(given, matrix, unfit)
        else:  # nothing to ask for, but queries that are none are refused all the same
            as_queries(given, self._dim, self._metric)
            counts[:] = 0
        if asked < k:
            room = ((0, 0), (0, k - asked))
            rows = np.pad(rows, room, constant_values=-1)
            scores = np.pad(scores, room, constant_values=-np.inf)
        if single:
            return Hits(self._ids.take(rows[0]), scores[0], counts.reshape(()), self._metric)
        return Hits(self._ids.take(rows), scores, counts, self._metric)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the index to one file, whole or not at all; raises SearchError where that cannot be done."""
        name = _file_name(path)
        with self._adding:
            try:
                self._core.save(name, self._ids.encode())
            except FileError as error:
                raise _file_error(name, error) from error

    @classmethod
    def open(cls, path: str | os.PathLike[str], mode: Mode = "mapped") -> Index:
        """Read an index back; it answers as it did when it was saved, and can be added to.

        `mode`: "mapped" leaves the vectors in the file, which must stay there unchanged, and reads those that are
        needed; "memory" reads all. Raises SearchError where the file is missing, damaged, or no index.
        """
        if mode not in get_args(Mode):
            raise SearchError(f"mode={mode!r}: expected 'mapped' or 'memory'")
        name = _file_name(path)
        try:
            core, labels = Core.open(name, mode == "mapped")
        except FileError as error:
            raise _file_error(name, error) from error
        try:
            ids = Ids.decode(labels, len(core))
        except SearchError as error:
            raise SearchError(f"{name}: labels: {error}") from error
        index = cls.__new__(cls)
        index._set(core, ids, *core.options())
        return index

    def stats(self) -> Stats:
        """What the index holds, its memory by part, its graph, and the recall measured at build."""
        told, ids = self._core.stats(), self._ids
        return Stats(
            count=told["n"],
            linked=told["linked"],
            bits=told["bits"],
            dim=told["dim"],
            metric=told["metric"],
            refine=told["refine"],
            degree=told["degree"],
            effort=told["effort"],
            seed=told["seed"],
            kernels=told["kernels"],
            ids=KINDS[ids.kind],
            memory={**told["memory"], "ids": ids.nbytes},
            degree_mean=told["degree_mean"],
            degree_max=told["degree_max"],
            reachable=told["reachable"],
            duplicates=told["duplicates"],
            clipped=told["clipped"],
            recall=tuple(Recall(*row) for row in told["recall_table"]),
        )


def processors() -> int:
    """How many processors this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def check_options(dim: int, metric: str, refine: str, degree: int | None, effort: int | None, seed: int) -> None:
    """Raise SearchError for what no index can be made with."""
    whole(dim, "dim", 1, 2**16)
    for name, value, choices in (("metric", metric, get_args(Metric)), ("refine", refine, get_args(Refine))):
        if not isinstance(value, str) or value not in choices:
            raise SearchError(f"{name}={value!r}: expected one of {', '.join(map(repr, choices))}")
    if degree is not None:
        whole(degree, "degree", 4, 512)
    if effort is not None:
        whole(effort, "effort", 8, 2**16)
    whole(seed, "seed", 0, 2**64 - 1)


def _core(dim: int, metric: str, refine: str, degree: int | None, effort: int | None, seed: int) -> Core:
    check_options(dim, metric, refine, degree, effort, seed)
    try:
        return Core(int(dim), metric, refine, int(degree or 0), int(effort or 0), int(seed))
    except ValueError as error:
        raise SearchError(str(error)) from error


def check_k(k: int) -> int:
    """The number of answers for each query, 0 or more."""
    return whole(k, "k", 0, MOST_ANSWERS)


def check_aim(ef: int | None, recall: float | None) -> tuple[int | None, float | None]:
    """Either ef or a recall, the default where neither is given."""
    if ef is None:
        return None, RECALL if recall is None else share(recall, "recall")
    if recall is not None:
        raise SearchError("ef and recall: give one of them; recall is turned into ef")
    return whole(ef, "ef", 1, 2**63 - 1), None


def _going_on(progress: Callable[[int, int], object]) -> Callable[[int, int], bool]:
    def report(done: int, total: int) -> bool:
        progress(done, total)
        return True

    return report


def _file_name(path: str | os.PathLike[str]) -> str:
    try:
        name = os.fsdecode(path)
    except TypeError as error:
        raise SearchError(f"{path!r}: expected the name of a file") from error
    if "\0" in name or not name:
        raise SearchError(f"{name!r}: not a file name")
    return name


def _file_error(name: str, error: FileError) -> SearchError:
    return SearchError(f"{name}: {str(error).removeprefix('file: ')}")
