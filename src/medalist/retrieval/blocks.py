"""Exact search of the nearest rows for many queries, by blocks of products. Its memory does not grow with the gallery.

BLAS computes a block of scores, which is used at once and not stored. Only scores that are higher than the present k-th
best score of their query are kept. The k-th best score rises soon, so later blocks have almost no such scores, and
sorting takes little time.
"""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

Indices = NDArray[np.int64]
Vectors = NDArray[np.float32]
Found = tuple[NDArray[np.uint16], Indices, Vectors]
"""Scores that may be among the k best. Three arrays of equal length: query within its group, gallery row, score."""
Answer = tuple[Indices, Vectors]
"""Gallery rows int64[Q, k] of each query, the best first, and their scores float32[Q, k]; padded with -1 and -inf."""

GROUP, CHUNK = 512, 1024
"""The queries and gallery rows of a block of scores in `exact`: two megabytes, which fit in the processor's cache."""
MOST_QUERIES = 1 << 16
"""The most queries of one Best, so that 16 bits hold their numbers: NumPy sorts 16-bit numbers by radix sort."""
WAITING = 1 << 18
"""The most found scores that wait to be merged (and those of one block more); each needs 14 bytes."""
MERGED = 1 << 17
"""The most scores that a thread merges at once (or those of one query); each needs about 40 bytes."""


@dataclass(frozen=True, eq=False)
class Forbidden:
    """Rules that say which rows a query must not get as answers.

    own: int64[Q], the gallery row of the query itself, which is forbidden; -1 where the query is not in the gallery.
    codes: rules. Each rule has a code for every query, int64[Q], and for every row, int64[N]; a row with the query's
        code is forbidden. A rule has no effect on a query whose code no row has.
    """

    own: Indices | None = None
    codes: tuple[tuple[Indices, Indices], ...] = ()

    def of(self, queries: slice | Indices) -> Forbidden:
        """Return the rules for some of the queries."""
        own = None if self.own is None else self.own[queries]
        return Forbidden(own, tuple((asked[queries], rows) for asked, rows in self.codes))

    def met(self, asked: NDArray[Any], rows: Indices) -> NDArray[np.bool_]:
        """Return whether rows are forbidden for queries, bool; the two arrays are broadcast."""
        bad = np.zeros(np.broadcast_shapes(asked.shape, rows.shape), bool)
        if self.own is not None:
            bad |= self.own[asked] == rows
        for of_query, of_row in self.codes:
            bad |= of_query[asked] == of_row[rows]
        return bad


FREE = Forbidden()


class Best:
    """Collects the k best scores of each query of a group. They are in no order until `rank` is called."""

    def __init__(self, into: Answer):
        """Fill `into` with rows -1 and scores -inf; the best are written there. At most MOST_QUERIES queries."""
        self.rows, self.scores = into
        assert len(self.rows) <= MOST_QUERIES and self.rows.shape[1] > 0
        self.rows[:], self.scores[:] = -1, -np.inf
        self.floor = np.full(len(self.rows), -np.inf, np.float32)
        self._waiting: list[Found] = []
        self._count = 0

    def offer(self, found: Found, pool: ThreadPoolExecutor | None = None) -> None:
        """Take found scores. They are merged when many of them wait."""
        self._waiting.append(found)
        self._count += len(found[0])
        if self._count > WAITING:
            self.merge(pool)

    def merge(self, pool: ThreadPoolExecutor | None = None) -> None:
        """Keep the k best of the kept and the waiting scores, and set the floor to the k-th best score."""
        if not self._count:
            return
        asked, rows, scores = (np.concatenate(parts) for parts in zip(*self._waiting, strict=True))
        self._waiting, self._count = [], 0
        order = np.argsort(asked, kind="stable")
        starts = np.concatenate([[0], np.cumsum(np.bincount(asked, minlength=len(self.floor)))])
        counts = np.diff(starts)
        k = self.scores.shape[1]
        step = int(np.clip(MERGED // (k + counts.max()), 1, 512))

        def merge_some(first: int) -> None:
            part = slice(first, min(first + step, len(self.floor)))
            width = int(counts[part].max())
            if not width:
                return
            new = order[starts[part.start] : starts[part.stop]]
            at = asked[new].astype(np.int64)
            place = (at - first, k + np.arange(len(new)) + starts[part.start] - starts[at])
            wide = np.full((part.stop - first, k + width), -np.inf, np.float32)
            names = np.full(wide.shape, -1, np.int64)
            wide[:, :k], names[:, :k] = self.scores[part], self.rows[part]
            wide[place], names[place] = scores[new], rows[new]
            best = np.argpartition(wide, width, axis=1)[:, width:]
            self.scores[part] = np.take_along_axis(wide, best, axis=1)
            self.rows[part] = np.take_along_axis(names, best, axis=1)
            self.floor[part] = self.scores[part].min(axis=1)

        firsts = range(0, len(self.floor), step)
        for _ in pool.map(merge_some, firsts) if pool else map(merge_some, firsts):
            pass

    def rank(self, pool: ThreadPoolExecutor | None = None) -> None:
        """Merge, and sort the answers: the best first, equal scores by row."""
        self.merge(pool)
        step = int(np.clip(MERGED // self.rows.shape[1], 1, 512))

        def rank_some(first: int) -> None:
            part = slice(first, first + step)
            order = np.lexsort((self.rows[part], -self.scores[part]), axis=1)
            self.rows[part] = np.take_along_axis(self.rows[part], order, axis=1)
            self.scores[part] = np.take_along_axis(self.scores[part], order, axis=1)

        firsts = range(0, len(self.floor), step)
        for _ in pool.map(rank_some, firsts) if pool else map(rank_some, firsts):
            pass


def room_for(queries: int, k: int) -> Answer:
    """Return empty answers for some queries: rows int64[Q, k] of -1 and scores float32[Q, k] of -inf."""
    return np.full((queries, k), -1, np.int64), np.full((queries, k), -np.inf, np.float32)


def above(scores: Vectors, best: Best, who: Indices, rows: Indices, forbidden: Forbidden) -> Found:
    """Return the scores above the floor, of the scores [g, m] of queries `who` [g] and `rows` [m].

    Forbidden rows are left out. Where very many scores are above the floor, only the k best of each query are returned.
    """
    k, columns = best.scores.shape[1], len(rows)
    floor = best.floor[who][:, np.newaxis]
    passing = scores > floor
    if columns > k and np.count_nonzero(passing) > 2 * k * len(who):
        if forbidden is not FREE:
            scores = np.where(forbidden.met(who[:, np.newaxis], rows), np.float32(-np.inf), scores)
        top = np.argpartition(scores, columns - k, axis=1)[:, columns - k :]
        kept = np.take_along_axis(scores, top, axis=1) > floor
        at, column = np.nonzero(kept)[0], top[kept]
    else:
        at, column = np.divmod(np.flatnonzero(passing), columns)
        if forbidden is not FREE:
            allowed = ~forbidden.met(who[at], rows[column])
            at, column = at[allowed], column[allowed]
    return who[at].astype(np.uint16), rows[column], scores[at, column]


@contextmanager
def workers(threads: int) -> Iterator[ThreadPoolExecutor]:
    """Yield threads that each compute their own products. BLAS itself uses only one thread until the block ends."""
    with threadpool_limits(1, user_api="blas"), ThreadPoolExecutor(threads) as pool:
        yield pool


def exact(
    queries: Vectors, gallery: Vectors, into: Answer, pool: ThreadPoolExecutor, forbidden: Forbidden = FREE
) -> Answer:
    """Write the k gallery rows with the largest inner products of each query into `into`, and return it.

    k is the width of `into`. Where several rows have the k-th best score, one of them is chosen, always the same one.
    It needs about ten megabytes for each thread.
    """
    rows, scores = into
    # The size of a part depends only on the number of queries, so that the number of threads does not change answers.
    size = int(np.clip(len(queries) // 8, 64, GROUP))

    def answer(first: int) -> None:
        part = slice(first, first + size)
        rules = forbidden if forbidden is FREE else forbidden.of(part)
        _exact_group(queries[part], gallery, (rows[part], scores[part]), rules)

    for _ in pool.map(answer, range(0, len(queries), size)):
        pass
    return into


def _exact_group(group: Vectors, gallery: Vectors, into: Answer, forbidden: Forbidden) -> None:
    best, who = Best(into), np.arange(len(group))
    buffer = np.empty((len(group), CHUNK), np.float32)
    merge_at = 0
    for first in range(0, len(gallery), CHUNK):
        chunk = gallery[first : first + CHUNK]
        products = np.matmul(group, chunk.T, out=buffer[:, : len(chunk)])
        best.offer(above(products, best, who, np.arange(first, first + len(chunk)), forbidden))
        if first >= merge_at:  # merge often at first, while the floor is low and rises fast; seldom later
            best.merge()
            merge_at = 2 * first
    best.rank()
