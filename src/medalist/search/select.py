"""Choose answers among some of the rows: leave removed rows out, and return at most a number of rows of each group.

A search returns a number of rows, and rows that are not allowed are dropped. Where too few rows are left, the search is
asked for more rows; in the end it compares the query with every row. So no answer is lost.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from medalist.search.index import Index

MOST_HELD = 2**24
"""The most candidate rows that are looked at together, over all queries of a block."""

WIDER = 4
"""The factor by which the next search asks for more rows, where a search found too few."""


class Rows(NamedTuple):
    """Answers as rows, the closest first.

    rows: int64[Q, k], padded with -1. scores: float32[Q, k], padded with -inf. counts: int64[Q], the answers without
    padding.
    """

    rows: NDArray[np.int64]
    scores: NDArray[np.float32]
    counts: NDArray[np.int64]


Ask = Callable[[NDArray[np.float32], int, bool], tuple[NDArray[np.int64], NDArray[np.float32]]]
"""(queries [Q, dim], k, whether all rows are to be compared) -> (rows int64[Q, k] padded by -1, scores [Q, k])."""


def choose(
    ask: Ask, queries: NDArray[np.float32], k: int, group_of: NDArray[np.int64], most: int, exact: bool = False
) -> Rows:
    """Return the k nearest rows of each query, at most `most` of one group and none of group -1.

    `group_of` is int64[n], the group of each row; `most` is at least 1. There are always k answers, or all allowed rows
    where they are fewer. The answers are as exact as those of `ask`, which is called again for more rows until enough
    are left.
    """
    n = len(group_of)
    sizes = np.bincount(group_of[group_of >= 0])
    wanted = min(k, int(np.minimum(sizes, most).sum()))
    found = Rows(
        np.full((len(queries), k), -1, np.int64),
        np.full((len(queries), k), -np.inf, np.float32),
        np.full(len(queries), wanted, np.int64),
    )
    left = np.arange(len(queries) if wanted else 0)
    reach = min(n, _first_reach(k, sizes, n, most)) if wanted else 0
    while len(left):
        short: list[NDArray[np.int64]] = []
        step = max(1, MOST_HELD // reach)
        for start in range(0, len(left), step):
            block = left[start : start + step]
            rows, scores = ask(queries[block], reach, exact or reach == n)
            kept = _allowed(rows, group_of, most)
            enough = kept.sum(axis=1) >= wanted
            assert enough.all() or reach < n, "a search of all rows did not give them all"
            chosen = np.argsort(~kept[enough], axis=1, kind="stable")[:, :wanted]
            found.rows[block[enough], :wanted] = np.take_along_axis(rows[enough], chosen, axis=1)
            found.scores[block[enough], :wanted] = np.take_along_axis(scores[enough], chosen, axis=1)
            short.append(block[~enough])
        left, reach = np.concatenate(short), min(n, WIDER * reach)
    return found


def _first_reach(k: int, sizes: NDArray[np.int64], n: int, most: int) -> int:
    """How many rows to ask for first: probably enough, if the dropped rows are spread evenly among the others."""
    if sizes.max() > most:
        return WIDER * k
    live = int(sizes.sum())
    return k if live == n else k * n // live + 8


def _allowed(rows: NDArray[np.int64], group_of: NDArray[np.int64], most: int) -> NDArray[np.bool_]:
    """Which of ranked rows [Q, K] are allowed: rows of a group other than -1, and among the first `most` of it."""
    groups = np.where(rows >= 0, group_of[rows], -1)
    order = np.argsort(groups, axis=1, kind="stable")  # sorted by group, and within a group the closest first
    ranked = np.take_along_axis(groups, order, axis=1)
    begins = np.ones(ranked.shape, np.bool_)
    begins[:, 1:] = ranked[:, 1:] != ranked[:, :-1]
    places = np.arange(ranked.shape[1])
    first = np.maximum.accumulate(np.where(begins, places, 0), axis=1)
    allowed = np.empty(rows.shape, np.bool_)
    np.put_along_axis(allowed, order, (ranked >= 0) & (places - first < most), axis=1)
    return allowed


def by_index(index: Index, recall: float | None = None, threads: int = 1) -> Ask:
    """Return an Ask for an index whose ids are row numbers: it searches by the graph at `recall`, or exactly."""

    def ask(queries: NDArray[np.float32], k: int, exact: bool) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        if exact:
            hits = index.exact(queries, k, threads=threads)
        else:
            hits = index.search(queries, k, recall=recall, threads=threads)
        return hits.ids, hits.scores

    return ask
