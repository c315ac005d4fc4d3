"""The twin of the index, written only in Python and NumPy: the same calls, answered row by row in float64."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, get_args

import numpy as np
from numpy.typing import ArrayLike, NDArray

from medalist.errors import SearchError
from medalist.search.answers import Hits, Metric, Refine
from medalist.search.checks import (
    MOST_ANSWERS,
    MOST_THREADS,
    Plan,
    check_aim,
    check_choice,
    check_k,
    check_options,
    check_score,
)
from medalist.search.filters import All, HasId, Not
from medalist.search.ids import STRINGS
from medalist.search.schema import Schema, kind_of
from medalist.search.twin_rows import TwinRows, Where, as_filter
from medalist.search.vectors import as_queries, whole

Found = list[tuple[int, np.float32]]
"""Rows that were found and their scores, the closest first."""


class TwinIndex(TwinRows):
    """An index without a graph. Tests compare `Index` with it, and it works where the C++ extension cannot be built.

    It accepts and refuses the same arguments as `Index`. Every search is exact: `ef`, `recall` and `plan` are checked
    and have no effect.
    """

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
        """Make an empty index as `Index` does; `degree`, `effort` and `seed` are checked and have no effect."""
        check_options(dim, metric, refine, degree, effort, seed)
        super().__init__(dim, metric, refine, fields)

    def search(
        self,
        queries: ArrayLike,
        k: int = 10,
        *,
        where: Where | Sequence[Where] = None,
        ef: int | None = None,
        recall: float | None = None,
        plan: str | None = None,
        min_score: float | None = None,
        group_by: str | None = None,
        per: int = 1,
        threads: int = 1,
    ) -> Hits:
        """Return the exact `k` nearest vectors; the arguments are those of `Index.search`."""
        check_aim(ef, recall)
        if plan is not None:
            check_choice(plan, "plan", get_args(Plan))
        return self.exact(queries, k, where=where, min_score=min_score, group_by=group_by, per=per, threads=threads)

    def exact(
        self,
        queries: ArrayLike,
        k: int = 10,
        *,
        where: Where | Sequence[Where] = None,
        min_score: float | None = None,
        group_by: str | None = None,
        per: int = 1,
        threads: int = 1,
    ) -> Hits:
        """Return the `k` nearest vectors as `Index.exact` does; equal scores in the order of adding.

        `where`: a filter, or a list with one filter (or None) for each query. All answers have at least `min_score`. At
        most `per` answers have the same value in the field `group_by` (of several tags, the first in alphabetical
        order); each row without a value is its own group.
        """
        matrix, single = as_queries(queries, self.dim, self.metric)
        k = check_k(k)
        if k * len(matrix) > MOST_ANSWERS:
            raise SearchError(f"k={k} for {len(matrix)} queries: more than {MOST_ANSWERS} answers")
        whole(threads, "threads", 1, MOST_THREADS)
        least = -math.inf if min_score is None else check_score(min_score, "min_score")
        if group_by is not None and kind_of(self.fields, group_by) == "geo":
            raise SearchError(f"group_by: {group_by!r} is of the kind geo, whose values make no groups")
        whole(per, "per", 1, MOST_ANSWERS)
        wanted = self._wanted(where, len(matrix), single)
        found = []
        for query, rows in zip(matrix, wanted, strict=True):
            ranked = self._ranked(query, rows, least)
            found.append((ranked if group_by is None else self._grouped(ranked, group_by, per))[:k])
        return self._hits(found, k, single, [len(rows) for rows in wanted])

    def within(
        self,
        query: ArrayLike,
        *,
        min_score: float | None = None,
        max_distance: float | None = None,
        where: Where = None,
    ) -> Hits:
        """Return all rows with at least this score, or at most this distance, for one query [dim]: closest first."""
        matrix, single = as_queries(query, self.dim, self.metric)
        if not single:
            raise SearchError(f"within: one query of shape [{self.dim}], not {len(matrix)}")
        if (min_score is None) == (max_distance is None):
            raise SearchError("within: give min_score= or max_distance=")
        least = -math.inf if min_score is None else check_score(min_score, "min_score")
        rows = self._chosen(where)
        found = self._ranked(matrix[0], rows, least)
        hits = self._hits([found], len(found), single, [len(rows)])
        if max_distance is None:
            return hits
        with np.errstate(over="ignore"):
            near = hits.distances <= np.float32(check_score(max_distance, "max_distance"))
        return hits._replace(ids=hits.ids[near], scores=hits.scores[near], counts=np.array(near.sum(), np.int64))

    def recommend(
        self, positive: object, negative: object = (), k: int = 10, *, where: Where = None, **how: Any
    ) -> Hits:
        """Return the `k` vectors nearest to the mean of the vectors of some ids, without these: [k].

        With negative ids, the query is the mean of the positive vectors plus its difference from the mean of the
        negative ones (Qdrant calls it average_vector). `how`: other arguments of `search`. Raises SearchError where an
        id is not in the index.
        """
        good, bad = self._rows_there(positive), self._rows_there(negative)
        if not good:
            raise SearchError("recommend: give one positive id at least")
        target = self._vectors[good].mean(axis=0)
        if bad:
            target = target + target - self._vectors[bad].mean(axis=0)
        if self.metric == "cosine" and not np.linalg.norm(target) > 1e-12:
            raise SearchError("recommend: the examples cancel out")
        others = Not(HasId(tuple(self._ids[row] for row in {*good, *bad})))
        wanted = as_filter(where, self.fields, self._kind)
        both = others if wanted is None else All((wanted, others))
        return self.search(target.astype(np.float32), k, where=both, **how)

    def _wanted(self, where: Where | Sequence[Where], n: int, single: bool) -> list[list[int]]:
        """The rows that match the filter of each of n queries."""
        if not isinstance(where, list | tuple):
            return [self._chosen(where)] * n  # type: ignore[arg-type]
        if single or len(where) != n:
            told = "one query" if single else f"{n} queries"
            raise SearchError(f"where: {len(where)} filters for {told}; give one filter, or one for each query")
        return [self._chosen(one) for one in where]

    def _ranked(self, query: NDArray[np.float32], rows: list[int], least: float) -> Found:
        """The rows with at least this score, the closest first; equal scores in the order of adding."""
        measured = self.scores(query)
        scores = measured.astype(np.float32)
        with np.errstate(over="ignore"):
            bound = np.float32(least)
        best = sorted(rows, key=lambda row: (-measured[row], row))
        return [(row, scores[row]) for row in best if scores[row] >= bound]

    def _grouped(self, found: Found, field: str, per: int) -> Found:
        taken: dict[Any, int] = {}
        kept: Found = []
        for row, score in found:
            value = self._rows[row].get(field)
            group = ("alone", row) if value is None else ("of", min(value) if isinstance(value, list) else value)
            taken[group] = taken.get(group, 0) + 1
            if taken[group] <= per:
                kept.append((row, score))
        return kept

    def _hits(self, found: list[Found], k: int, single: bool, looked_at: list[int]) -> Hits:
        """Replace the rows found for each query by their ids, and pad the answers to k."""
        strings = self._kind == STRINGS
        ids = [[self._ids[row] for row, _ in one] + ["" if strings else -1] * (k - len(one)) for one in found]
        scores = np.full((len(found), k), -np.inf, np.float32)
        for at, one in enumerate(found):
            scores[at, : len(one)] = [score for _, score in one]
        named = np.array(ids, np.str_ if strings else np.int64).reshape(len(found), k)
        counts = np.array([len(one) for one in found], np.int64)
        plans, cost = np.full(len(found), "exact"), np.array(looked_at, np.int64)
        if single:
            shape: tuple[int, ...] = ()
            return Hits(
                named[0], scores[0], counts.reshape(shape), self.metric, plans.reshape(shape), cost.reshape(shape)
            )
        return Hits(named, scores, counts, self.metric, plans, cost)

    def scores(self, query: NDArray[np.float32]) -> NDArray[np.float64]:
        """Return the score of each stored vector for one query [dim]: float64[n], higher = closer.

        The sums are made row by row, not by BLAS, so that equal vectors have equal scores.
        """
        asked = query.astype(np.float64)
        if self.metric == "l2":
            apart = self._vectors - asked
            distances: NDArray[np.float64] = -np.sqrt((apart * apart).sum(axis=1))
            return distances
        if self.metric == "cosine":
            asked /= np.sqrt((asked * asked).sum())
        products: NDArray[np.float64] = (self._vectors * asked).sum(axis=1)
        return products
