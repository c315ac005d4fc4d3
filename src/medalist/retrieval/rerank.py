"""Query expansion, gallery augmentation and re-ranking of one pool, as the config says."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, assert_never

import numpy as np

from medalist.retrieval.pool import Indices, Pool, Scores, Vectors
from medalist.retrieval.settings import DiffusionConfig, NoRerank, RankConfig, ReciprocalConfig
from medalist.search.rerank import affinities, augment_gallery, diffusion, expand_queries, k_reciprocal


def expanded(queries: Vectors, codes: Indices, pool: Pool, config: RankConfig) -> tuple[Vectors, Pool]:
    """Return queries and pool after gallery augmentation and then query expansion, by rows not hidden from a query."""
    if config.augment_gallery and len(pool) > 1:
        rows, scores = pool.neighbours(config.augment_gallery)
        vectors = augment_gallery(pool.vectors, rows, scores, config.alpha)
        pool = Pool(vectors, pool.codes, pool.recall, pool.threads)
    if config.expand:
        rows, scores = pool.near(queries, codes, config.expand)
        queries = expand_queries(queries, pool.vectors, rows, scores, config.alpha)
    return queries, pool


@dataclass(frozen=True, eq=False)
class SecondLook:
    """The data that re-ranking needs of a gallery; it is computed once.

    points: the gallery's vectors, and then those of queries that are not in the gallery (only for k-reciprocal).
    asks int64[Q]: the point of each query. rows int64[P, k]: the neighbours of the points. graph: for diffusion.
    """

    config: ReciprocalConfig | DiffusionConfig
    points: Vectors
    asks: Indices
    rows: Indices
    graph: Any = None

    @classmethod
    def made(cls, pool: Pool, queries: Vectors, own: Indices, config: RankConfig) -> SecondLook | None:
        """Find the neighbours of all points; None where the config has no re-ranking.

        own int64[Q]: the gallery row of each query, -1 where the query is not in the gallery.
        """
        match config.rerank:
            case NoRerank():
                return None
            case ReciprocalConfig() as reciprocal:
                # Queries are neighbours of one another here, as in the paper's code: gallery and queries are one set.
                outside = np.flatnonzero(own < 0)
                asks = own.copy()
                asks[outside] = len(pool) + np.arange(len(outside))
                union = pool
                if len(outside):
                    points = np.concatenate([pool.vectors, queries[outside]])
                    union = Pool(points, np.full(len(points), -1), pool.recall, pool.threads)
                reach = max(reciprocal.k1, reciprocal.k2)
                return cls(reciprocal, union.vectors, asks, union.neighbours(reach)[0])
            case DiffusionConfig() as spread:
                rows, scores = pool.neighbours(spread.k)
                return cls(spread, pool.vectors, own, rows, affinities(rows, scores, spread.power))
            case _:
                assert_never(config.rerank)

    def ranked(self, asking: Indices, rows: Indices, scores: Scores) -> tuple[Indices, Scores]:
        """Return the gallery rows int64[q, C] of the queries `asking` in a new order, with scores on the cosine scale.

        k-reciprocal: a score is 1 - its distance. Diffusion has no such scale, so it gives only the order of the rows;
        the query's own cosines are then assigned to them, the highest to the first row.
        """
        if isinstance(self.config, ReciprocalConfig):
            config = self.config
            new = k_reciprocal(
                self.points,
                self.rows,
                self.asks[asking],
                rows,
                scores,
                k1=config.k1,
                k2=config.k2,
                weight=config.weight,
            )
            order = np.lexsort((-scores, -new), axis=-1)
            return np.take_along_axis(rows, order, axis=1), np.take_along_axis(new, order, axis=1)
        spread = self.config
        flow = diffusion(self.graph, rows, scores, entries=spread.queries, alpha=spread.alpha, power=spread.power)
        order = np.lexsort((-scores, -flow), axis=-1)
        return np.take_along_axis(rows, order, axis=1), scores
