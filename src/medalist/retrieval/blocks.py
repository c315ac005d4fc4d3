"""The nearest rows of many queries by blocks of products: exact, in memory that does not grow with the gallery.

A block of scores is made by BLAS and thrown away at once; of it only what beats the k-th best so far of its query is
kept. The k-th best soon is so high that a block leaves almost nothing, so there is no sorting to speak of.
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
"""Scores that are good enough to look at: query within its group, gallery row, score; one of each."""
Answer = tuple[Indices, Vectors]
"""Gallery rows int64[Q, k] of each query, the best first, and their scores float32[Q, k]; -1 and -inf where none."""

GROUP, CHUNK = 512, 1024
"""Queries and gallery rows of a block of scores in `exact`: two megabytes, near the processor."""
MOST_QUERIES = 1 << 16
"""Queries that one Best can hold: NumPy sorts 16-bit numbers by radix."""
WAITING = 1 << 18
"""Found scores that wait to be merged, at most (and those of one block more); 14 bytes each."""
MERGED = 1 << 17
"""Scores that a thread merges at once, at most (or those of one query); some 40 bytes each."""


@dataclass(frozen=True, eq=False)
class Forbidden:
    """Rows that are no answers to a query, by rule and not by list.

    own: int64[Q], the row that the query itself is, -1 where it is none.
    codes: rules, each a code of every query, int64[Q], and of every row, int64[N]: where they are equal the row is no
        answer. A query with a code that no row has is free of the rule.
    """

    own: Indices | None = None
    codes: tuple[tuple[Indices, Indices], ...] = ()

    def of(self, queries: slice | Indices) -> Forbidden:
        """The rules for some of the queries."""
        own = None if self.own is None else self.own[queries]
        return Forbidden(own, tuple((asked[queries], rows) for asked, rows in self.codes))

    def met(self, asked: NDArray[Any], rows: Indices) -> NDArray[np.bool_]:
        """Whether the row is forbidden to the query, for arrays of both that broadcast."""
        bad = np.zeros(np.broadcast_shapes(asked.shape, rows.shape), bool)
        if self.own is not None:
            bad |= self.own[asked] == rows
        for of_query, of_row in self.codes:
            bad |= of_query[asked] == of_row[rows]
        return bad


FREE = Forbidden()


class Best:
    """The k best scores so far of each query of a group, in no order until they are ranked."""

    def __init__(self, into: Answer):
        """Nothing yet: rows -1 and scores -inf. They are kept in `into`, at most MOST_QUERIES queries."""
        self.rows, self.scores = into
        assert len(self.rows) <= MOST_QUERIES and self.rows.shape[1] > 0
        self.rows[:], self.scores[:] = -1, -np.inf
        self.floor = np.full(len(self.rows), -np.inf, np.float32)
        self._waiting: list[Found] = []
        self._count = 0

    def offer(self, found: Found, pool: ThreadPoolExecutor | None = None) -> None:
        """Take some scores in; they are merged when many wait."""
        self._waiting.append(found)
        self._count += len(found[0])
        if self._count > WAITING:
            self.merge(pool)

    def merge(self, pool: ThreadPoolExecutor | None = None) -> None:
        """Keep the k best of what was kept and what waits, and raise the floor to the k-th."""
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
        """Put the best first, equal scores by row."""
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
    """Room for the answers of some queries, with none in it."""
    return np.full((queries, k), -1, np.int64), np.full((queries, k), -np.inf, np.float32)


def above(scores: Vectors, best: Best, who: Indices, rows: Indices, forbidden: Forbidden) -> Found:
    """What of the scores [g, m] of queries `who` [g] and `rows` [m] beats the floor; of a crowd the k best of each."""
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
    """Threads that each do their own products: BLAS keeps to one thread meanwhile."""
    with threadpool_limits(1, user_api="blas"), ThreadPoolExecutor(threads) as pool:
        yield pool


def exact(
    queries: Vectors, gallery: Vectors, into: Answer, pool: ThreadPoolExecutor, forbidden: Forbidden = FREE
) -> Answer:
    """The k rows of the gallery with the largest inner products, written into `into`, whose width is k.

    Of rows that tie for the last place any may be named, the same each time. Takes some ten megabytes a thread.
    """
    rows, scores = into
    # Small batches are split too, by their size alone, so that the number of threads changes nothing.
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
        if first >= merge_at:  # at first the floor is low; later it hardly rises
            best.merge()
            merge_at = 2 * first
    best.rank()
