"""The twin of the index in NumPy alone: the same questions, answered by comparing with every vector in float64."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from medalist.errors import SearchError
from medalist.search.answers import Hits, Metric, Refine
from medalist.search.ids import parse_ids
from medalist.search.index import MOST_ANSWERS, MOST_THREADS, check_aim, check_k, check_options
from medalist.search.vectors import as_queries, as_vectors, check_float16, whole


class TwinIndex:
    """An index without a graph, to check the other by, and for where its extension cannot be built.

    Takes and refuses what `Index` does. Every search is exact: `ef` and `recall` are checked and have no effect.
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
        """As `Index`; `degree`, `effort` and `seed` are checked and have no effect."""
        check_options(dim, metric, refine, degree, effort, seed)
        self.dim, self.metric, self.refine = int(dim), metric, refine
        self._vectors: NDArray[np.float64] = np.empty((0, self.dim))
        self._ids: list[int] | list[str] = []

    def __len__(self) -> int:
        """Vectors stored."""
        return len(self._vectors)

    def add(
        self,
        ids: ArrayLike | None,
        vectors: ArrayLike,
        *,
        threads: int | None = None,
        progress: Callable[[int, int], object] | None = None,
    ) -> None:
        """Add vectors [n, dim] under `ids` [n], all or none; as `Index.add`."""
        if threads is not None:
            whole(threads, "threads", 1, MOST_THREADS)
        rows = as_vectors(vectors, self.dim, self.metric)
        if self.refine == "float16" and self.metric != "cosine":
            check_float16(rows)
        batch = parse_ids(ids, len(rows))
        start = len(self)
        new: list[Any] = list(range(start, start + len(rows))) if batch is None else list(batch)
        everything = [*self._ids, *new]
        if len({isinstance(value, str) for value in everything}) > 1:
            raise SearchError("ids: integers and strings in one index")
        if len(set(everything)) < len(everything):
            raise SearchError("ids: an id that is there already")
        if progress is not None and len(rows):
            progress(len(rows), len(rows))
        self._ids = everything
        self._vectors = np.concatenate([self._vectors, self._kept(rows)])

    def _kept(self, rows: NDArray[np.float32]) -> NDArray[np.float64]:
        """Vectors as they are compared: of unit length under cosine, rounded where refine is float16."""
        kept = rows.astype(np.float64)
        if self.metric == "cosine":
            kept /= np.sqrt((kept * kept).sum(axis=1, keepdims=True))
        return kept.astype(np.float16).astype(np.float64) if self.refine == "float16" else kept

    def search(
        self,
        queries: ArrayLike,
        k: int = 10,
        *,
        ef: int | None = None,
        recall: float | None = None,
        threads: int = 1,
    ) -> Hits:
        """The nearest `k`, exactly; as `Index.search`."""
        check_aim(ef, recall)
        return self.exact(queries, k, threads=threads)

    def exact(self, queries: ArrayLike, k: int = 10, *, threads: int = 1) -> Hits:
        """The nearest `k`, ties by the order of adding; as `Index.exact`."""
        matrix, single = as_queries(queries, self.dim, self.metric)
        k = check_k(k)
        if k * len(matrix) > MOST_ANSWERS:
            raise SearchError(f"k={k} for {len(matrix)} queries: more than {MOST_ANSWERS} answers")
        whole(threads, "threads", 1, MOST_THREADS)
        count = min(k, len(self))
        strings = bool(self._ids) and isinstance(self._ids[0], str)
        ids: list[list[Any]] = []
        scores = np.full((len(matrix), k), -np.inf, np.float32)
        for at, row in enumerate(matrix):
            measured = self.scores(row)
            best = np.argsort(-measured, kind="stable")[:count]
            scores[at, :count] = measured[best]
            ids.append([self._ids[place] for place in best.tolist()] + ["" if strings else -1] * (k - count))
        named = np.array(ids, np.str_ if strings else np.int64).reshape(len(matrix), k)
        counts = np.full(len(matrix), count, np.int64)
        if single:
            return Hits(named[0], scores[0], counts.reshape(()), self.metric)
        return Hits(named, scores, counts, self.metric)

    def scores(self, query: NDArray[np.float32]) -> NDArray[np.float64]:
        """Score of each stored vector for one query [dim]: float64[n], higher = closer.

        Summed row by row, not by BLAS, so that equal vectors have equal scores.
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
