"""Find the nearest gallery rows of many queries, by the search that is fastest for them, at a measured recall."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from medalist.errors import SearchError
from medalist.retrieval.blocks import FREE, Answer, Forbidden, Indices, Vectors, exact, room_for, workers
from medalist.retrieval.clusters import (
    TOO_MUCH,
    CoarseClusters,
    cluster_count,
    how_far,
    make_coarse_clusters,
    search_clusters,
)
from medalist.search import Index
from medalist.search.checks import processors
from medalist.search.vectors import as_array, as_vectors, share, whole

FEW_QUERIES, FEW_ROWS, FEW_PRODUCTS = 2_000, 20_000, 10**11
"""Numbers of queries, of gallery rows, and of multiplications for all pairs; below any of them the search is exact."""
UNIT = 1e-3
"""How far the length of an embedding may be from 1."""
SAMPLE = 400
"""The number of queries that are used to choose the width of walks through a given index."""
MOST_FETCHED = 1 << 19
"""The most rows fetched at once from an index: six megabytes, and three times as much where rules forbid rows."""


@dataclass(frozen=True, eq=False)
class Search:
    """A prepared search, which can answer any part of the queries: see `searching`. k: at most the gallery's rows."""

    queries: Vectors
    gallery: Vectors
    k: int
    recall: float
    forbidden: Forbidden
    pool: ThreadPoolExecutor
    threads: int
    clusters: CoarseClusters | None = None
    reach: float = 0.0
    index: Index | None = None
    extra: Indices | None = None
    _widths: dict[int, int | None] = field(default_factory=dict)

    @property
    def how(self) -> str:
        """How queries are answered: "exact", "clusters at recall ..." or "graph at recall ..."."""
        way = "graph" if self.index is not None else "clusters" if self.clusters is not None else ""
        return f"{way} at recall {self.recall:g}" if way else "exact"

    def answer(self, part: slice, into: Answer | None = None) -> Answer:
        """Return the k nearest allowed rows of the queries in `part`, written into `into` if it is given."""
        into = room_for(len(self.queries[part]), self.k) if into is None else into
        rules = self.forbidden if self.forbidden is FREE else self.forbidden.of(part)
        queries = self.queries[part]
        if self.index is not None:
            return self._by_graph(self.index, part, rules, into)
        if self.clusters is not None:
            return search_clusters(queries, self.gallery, self.clusters, self.reach, into, self.pool, rules)
        return exact(queries, self.gallery, into, self.pool, rules)

    def _by_graph(self, index: Index, part: slice, rules: Forbidden, into: Answer) -> Answer:
        """Answer by the index: fetch k rows and as many more as the rules may forbid, then drop the forbidden ones."""
        rows, scores = into
        queries = self.queries[part]
        extra = np.zeros(len(queries), np.int64) if self.extra is None else self.extra[part]
        for more in np.unique(extra).tolist():
            who = np.flatnonzero(extra == more)
            fetched = min(self.k + more, len(self.gallery))
            if fetched not in self._widths:
                self._widths[fetched] = self._width(index, queries[who], rules.of(who), fetched)
            width = self._widths[fetched]
            step = max(1, MOST_FETCHED // fetched)
            for some in (who[first : first + step] for first in range(0, len(who), step)):
                if width is None:
                    room = room_for(len(some), self.k)
                    rows[some], scores[some] = exact(queries[some], self.gallery, room, self.pool, rules.of(some))
                else:
                    rows[some], scores[some] = self._walk(index, queries[some], rules.of(some), fetched, width)
        return into

    def _walk(self, index: Index, queries: Vectors, rules: Forbidden, fetched: int, width: int) -> Answer:
        hits = index.search(queries, fetched, ef=width, threads=self.threads)
        rows, scores = hits.ids, hits.scores
        if rules is not FREE:
            bad = (rows < 0) | rules.met(np.arange(len(rows))[:, np.newaxis], rows)
            rows, scores = np.where(bad, -1, rows), np.where(bad, np.float32(-np.inf), scores)
            order = np.argsort(bad, axis=1, kind="stable")
            rows, scores = np.take_along_axis(rows, order, axis=1), np.take_along_axis(scores, order, axis=1)
        room = ((0, 0), (0, max(self.k - fetched, 0)))  # the gallery may have fewer than k rows
        rows, scores = rows[:, : self.k], scores[:, : self.k]
        return np.pad(rows, room, constant_values=-1), np.pad(scores, room, constant_values=-np.inf)

    def _width(self, index: Index, queries: Vectors, rules: Forbidden, fetched: int) -> int | None:
        """The width of walks that reaches the recall on a sample of the queries; None where an exact search is better.

        Two standard errors are subtracted from the mean recall of the sample.
        """
        rng = np.random.default_rng(0)
        some = np.sort(rng.choice(len(queries), min(len(queries), SAMPLE), replace=False))
        sample, rules = queries[some], rules.of(some)
        rows, scores = exact(sample, self.gallery, room_for(len(sample), self.k), self.pool, rules)
        there = np.maximum((rows >= 0).sum(axis=1), 1)
        last = np.where(rows >= 0, scores, np.inf).min(axis=1)
        width = max(fetched, 16)
        while width <= max(len(self.gallery) // 32, 2 * fetched):
            found, near = self._walk(index, sample, rules, fetched, width)
            # A row with the same score as the k-th true neighbour counts as found, because it may be an equal vector.
            equal = (near >= last[:, np.newaxis] - 2e-6) & (found >= 0)
            named = [np.isin(line, known) for line, known in zip(found, rows, strict=True)]
            recalls = np.minimum((equal | (np.array(named) & (found >= 0))).sum(axis=1) / there, 1)
            recalls[rows[:, 0] < 0] = 1
            if recalls.mean() - 2 * recalls.std() / np.sqrt(len(some)) >= self.recall:
                return width
            width += max(width // 4, 1)
        return None


@contextmanager
def searching(
    queries: ArrayLike,
    gallery: ArrayLike,
    k: int,
    *,
    recall: float = 0.999,
    index: Index | None = None,
    threads: int | None = None,
    forbidden: Forbidden | None = None,
) -> Iterator[Search]:
    """Check the arguments of `nearest`, choose the search, and yield it. It works only within the block.

    Raises SearchError for vectors, codes or an index that do not fit.
    """
    found, rows = _embeddings(queries, gallery)
    k, recall = whole(k, "k", 1, 2**31 - 1), share(recall, "recall")
    count = processors() if threads is None else whole(threads, "threads", 1, 1024)
    rules = _checked_rules(forbidden, len(found), len(rows))
    k = min(k, max(len(rows), 1))
    with workers(count) as pool:
        search = Search(found, rows, k, recall, rules, pool, count)
        if index is not None and recall < 1 and len(found):
            _check_index(index, found, rows, count)
            extra = _most_forbidden(rules, len(found))
            yield Search(found, rows, k, recall, rules, pool, count, index=index, extra=extra)
            return
        products = len(found) * rows.size
        if recall < 1 and len(found) >= FEW_QUERIES and len(rows) >= FEW_ROWS and products >= FEW_PRODUCTS:
            clusters = make_coarse_clusters(rows, cluster_count(len(rows)), pool)
            reach, asked = how_far(found, rows, clusters, k, recall, pool, rules)
            if asked <= TOO_MUCH:
                search = Search(found, rows, k, recall, rules, pool, count, clusters, reach)
        yield search


def _embeddings(queries: ArrayLike, gallery: ArrayLike) -> tuple[Vectors, Vectors]:
    """Queries and gallery as float32 unit vectors of one dimension. SearchError names what does not fit."""
    both = []
    shape = as_array(gallery, "gallery").shape
    if len(shape) != 2 or not shape[1]:
        raise SearchError(f"gallery: shape {list(shape)}, expected [n, dim]")
    for name, given in (("queries", queries), ("gallery", gallery)):
        try:
            vectors = as_vectors(given, shape[1], "cosine")
        except SearchError as error:
            raise SearchError(str(error).replace("vectors", name, 1)) from error
        lengths = np.sqrt(np.einsum("ij,ij->i", vectors, vectors))
        wrong = np.flatnonzero(np.abs(lengths - 1) > UNIT)
        if len(wrong):
            at = int(wrong[0])
            raise SearchError(
                f"{name}, row {at}: length {lengths[at]:.4g}, expected unit vectors; divide each by its length"
            )
        both.append(vectors)
    return both[0], both[1]


def _checked_rules(forbidden: Forbidden | None, queries: int, rows: int) -> Forbidden:
    if forbidden is None or (forbidden.own is None and not forbidden.codes):
        return FREE

    def checked(values: NDArray[Any], n: int, what: str) -> Indices:
        array = np.asarray(values)
        if array.shape != (n,) or array.dtype.kind not in "iu":
            raise SearchError(f"forbidden, {what}: {array.dtype}{list(array.shape)}, expected integers [{n}]")
        return array.astype(np.int64)

    own = None if forbidden.own is None else checked(forbidden.own, queries, "own")
    if own is not None and queries and not (own.min() >= -1 and own.max() < rows):
        at = int(np.flatnonzero((own < -1) | (own >= rows))[0])
        raise SearchError(f"forbidden, own, query {at}: row {own[at]} of a gallery of {rows}; -1 says that it has none")
    codes = tuple(
        (checked(a, queries, "codes of queries"), checked(b, rows, "codes of rows")) for a, b in forbidden.codes
    )
    return Forbidden(own, codes)


def _most_forbidden(rules: Forbidden, queries: int) -> Indices:
    """The largest number of rows that may be forbidden for each query: int64[Q], 0 or rounded up to a power of 2."""
    most = np.zeros(queries, np.int64)
    if rules.own is not None:
        most += rules.own >= 0
    for asked, rows in rules.codes:
        values, counts = np.unique(rows, return_counts=True)
        at = np.minimum(np.searchsorted(values, asked), len(values) - 1)
        most += np.where(values[at] == asked, counts[at], 0) if len(values) else 0
    most[most > 0] = 2 ** np.ceil(np.log2(most[most > 0])).astype(np.int64)
    return most


def _check_index(index: Index, queries: Vectors, gallery: Vectors, threads: int) -> None:
    """Raise SearchError where an index has other vectors than the gallery, or other ids than the gallery's rows."""
    if index.metric != "cosine" or index.dim != gallery.shape[1] or len(index) != len(gallery):
        raise SearchError(f"index: {index!r}, expected {len(gallery)} vectors of {gallery.shape[1]}, cosine")
    few = queries[:16]
    hits = index.search(few, min(8, len(gallery)), threads=threads)
    if hits.ids.dtype.kind != "i" or (hits.ids.size and not 0 <= hits.ids.min() <= hits.ids.max() < len(gallery)):
        raise SearchError("index: its ids are not the rows of the gallery; add the vectors with ids None")
    if hits.ids.size and np.abs(np.einsum("qd,qkd->qk", few, gallery[hits.ids]) - hits.scores).max() > 0.01:
        raise SearchError("index: it holds other vectors than the gallery; build it again")
