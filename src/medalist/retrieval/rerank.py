"""Query expansion, gallery augmentation and re-ranking as a config asks for them, over one pool."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, assert_never

import numpy as np

from medalist.retrieval.pool import Indices, Pool, Scores, Vectors
from medalist.retrieval.settings import DiffusionConfig, NoRerank, RankConfig, ReciprocalConfig
from medalist.search.rerank import affinities, augment_gallery, diffusion, expand_queries, k_reciprocal


def expanded(queries: Vectors, codes: Indices, pool: Pool, config: RankConfig) -> tuple[Vectors, Pool]:
    """Queries and pool after augmentation of the gallery, then expansion of the queries over what they may see."""
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
    """What re-ranking needs of a gallery, found once.

    asks int64[Q]: the point of each query among `points`, the gallery's vectors and then those of queries that are
    not in it. rows int64[P, k]: neighbours of the points. graph: of a diffusion.
    """

    config: ReciprocalConfig | DiffusionConfig
    points: Vectors
    asks: Indices
    rows: Indices
    graph: Any = None

    @classmethod
    def made(cls, pool: Pool, queries: Vectors, own: Indices, config: RankConfig) -> SecondLook | None:
        """Look up the neighbours of all points; own int64[Q]: the gallery row of each query, -1 where it has none."""
        match config.rerank:
            case NoRerank():
                return None
            case ReciprocalConfig() as reciprocal:
                # Queries help one another here, as they do in the paper's code: the union is one set of points.
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
        """Rank the gallery rows int64[q, C] of the queries `asking` anew; scores stay on the scale of cosines.

        k-reciprocal: 1 - its distance. Diffusion has no such scale: it gives the order alone, in which each query's
        own cosines are dealt out again, the highest first.
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
