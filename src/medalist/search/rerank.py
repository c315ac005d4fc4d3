"""Re-ranking of answers: query expansion, database-side augmentation, k-reciprocal encoding, diffusion.

These are pure functions on unit vectors and on lists of neighbours that a search has found: rows int64[n, k] padded
with -1, and similarities float32[n, k] (cosines, the closest first). All matrices are sparse: time and memory grow with
the lists, never with the square of the number of rows. The module needs SciPy.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import sparse
from scipy.sparse.linalg import cg

Vectors = NDArray[np.float32]
Rows = NDArray[np.int64]
Scores = NDArray[np.float32]

_BLOCK = 2**24
"""The most numbers that one step has in memory: 64 MB of float32."""

_OVERLAP = 2 / 3
"""The share of a member's half set that must be in the set, so that the half set joins it.

Source: Zhong et al. 2017, equation 4.
"""

_RESIDUAL = 1e-6
"""The largest residual of a diffusion's solution, relative to the right-hand side."""


def expand_queries(queries: Vectors, gallery: Vectors, rows: Rows, scores: Scores, alpha: float) -> Vectors:
    """Return queries after alpha query expansion: weighted means of each query and its neighbours, of length 1.

    queries float32[Q, D] and gallery float32[N, D]: unit vectors. rows int64[Q, k], scores float32[Q, k]: the
    neighbours of each query in the gallery. The weight of a neighbour is similarity ** alpha, or 0 where the similarity
    is 0 or less. The weight of the query is 1. With alpha 0 it is the plain mean. Source: Radenovic et al. 2018, arXiv
    1711.02512.
    """
    expanded = np.empty_like(queries)
    close = (rows >= 0) & (scores > 0)
    weights = np.where(close, np.where(close, scores, 1) ** np.float32(alpha), 0).astype(np.float32)
    step = max(1, _BLOCK // max(1, rows.shape[1] * queries.shape[1]))
    for start in range(0, len(queries), step):
        part = slice(start, start + step)
        mixed = queries[part] + np.einsum("qk,qkd->qd", weights[part], gallery[rows[part]])
        # Every neighbour with a weight has a positive cosine with the query, so the sum is never zero.
        expanded[part] = mixed / np.linalg.norm(mixed, axis=1, keepdims=True)
    return expanded


def augment_gallery(gallery: Vectors, rows: Rows, scores: Scores, alpha: float) -> Vectors:
    """Return gallery vectors after database-side augmentation: each is expanded by its neighbours in the gallery.

    rows int64[N, k], scores float32[N, k]: neighbours of each gallery row, without the row itself. All new vectors are
    computed from the old ones. Source: Turcot and Lowe 2009; weights as in Radenovic et al. 2018.
    """
    return expand_queries(gallery, gallery, rows, scores, alpha)


def k_reciprocal(
    points: Vectors,
    rows: Rows,
    asks: Rows,
    candidates: Rows,
    scores: Scores,
    *,
    k1: int,
    k2: int,
    weight: float,
) -> Scores:
    """Return scores of k-reciprocal re-ranking, which compares the mutual neighbours of a query and its candidates.

    points float32[P, D]: unit vectors of gallery and queries together. rows int64[P, k], k >= k1: the neighbours of
    each point among all points, without the point itself. asks int64[Q]: the points that are queries. candidates
    int64[Q, C]: the points to re-rank for each query; scores float32[Q, C]: their cosines.

    Returns float32[Q, C], one score for each candidate, higher = closer, -inf where padded. A score is 1 minus the
    final distance (1 - weight) * Jaccard + weight * (1 - cosine), so weight 1 returns the cosines. As in the authors'
    code, a point is a member of its own set, and is one of the k2 points that are averaged, so k2 = 1 averages nothing.
    Unlike that code, distances are not divided by the largest one of the data set. Source: Zhong et al. 2017, arXiv
    1701.08398.
    """
    encoded = _encoded(points, rows, k1)
    mean = _average(rows, k2)
    final = np.full(candidates.shape, -np.inf, np.float32)
    here = np.zeros(len(points), np.float32)
    # Averaged sets of many points are large, so they are made only for a block of queries and their candidates.
    step = max(1, _BLOCK // (max(1, candidates.shape[1]) * 8 * k1 * k2))
    for start in range(0, len(asks), step):
        part = slice(start, start + step)
        wanted, places = np.unique(np.concatenate([asks[part, None], candidates[part]], axis=1), return_inverse=True)
        if wanted[0] < 0:
            wanted, places = wanted[1:], places - 1
        sets = sparse.csr_array(mean[wanted] @ encoded)
        for query, at in enumerate(places, start):
            own = slice(*sets.indptr[at[0] : at[0] + 2])
            here[sets.indices[own]] = sets.data[own]
            real = np.flatnonzero(at[1:] >= 0)
            if len(real):
                others = sets[at[1:][real]]
                shared = np.add.reduceat(np.minimum(others.data, here[others.indices]), others.indptr[:-1])
                # Each set sums to 1, so the sum of the larger of two values at each point is 2 - shared.
                likeness = shared / (2 - shared)
                final[query, real] = (1 - weight) * likeness + weight * scores[query, real]
            here[sets.indices[own]] = 0
    return final


def _encoded(points: Vectors, rows: Rows, k1: int) -> Any:
    """The set of each point as a row of csr float32[P, P]: exp(-distance) of each member, scaled to a sum of 1."""
    wide, half = _mutual(rows, k1), _mutual(rows, round(k1 / 2))
    half_size = np.diff(half.indptr)
    blocks = []
    step = max(1, _BLOCK // (k1 + 1) ** 2)
    for start in range(0, len(points), step):
        sets = wide[start : start + step]
        overlap = sparse.csr_array(sets.multiply(sets @ half))  # half is symmetric, so this counts shared members
        overlap.data = (overlap.data > _OVERLAP * half_size[overlap.indices]).astype(np.float32)
        overlap.eliminate_zeros()
        blocks.append(_weighted(points, sparse.csr_array(sets + overlap @ half), start))
    return sparse.csr_array(sparse.vstack(blocks, format="csr"))


def _mutual(rows: Rows, k: int) -> Any:
    """Csr float32[P, P]: 1 where two points are among each other's k nearest, and on the diagonal."""
    near = rows[:, :k]
    count = len(rows)
    found = near >= 0
    at = np.repeat(np.arange(count), found.sum(axis=1))
    ones = np.ones(len(at), np.float32)
    links = sparse.csr_array((ones, (at, near[found])), shape=(count, count))
    return sparse.csr_array(links.multiply(links.T) + sparse.eye_array(count, dtype=np.float32, format="csr"))


def _weighted(points: Vectors, members: Any, start: int) -> Any:
    """Weigh the members of the sets of points from `start` on by exp(cosine - 1), scaled so that each set sums to 1."""
    at = np.repeat(np.arange(members.shape[0]), np.diff(members.indptr))
    weights = np.empty(len(at), np.float32)
    step = max(1, _BLOCK // points.shape[1])
    for first in range(0, len(at), step):
        part = slice(first, first + step)
        cosines = np.einsum("nd,nd->n", points[start + at[part]], points[members.indices[part]])
        weights[part] = np.exp(np.minimum(cosines, 1) - 1)
    sums = np.bincount(at, weights, members.shape[0])
    scaled = (weights / sums[at]).astype(np.float32)
    return sparse.csr_array((scaled, members.indices, members.indptr), shape=members.shape)


def _average(rows: Rows, k: int) -> Any:
    """The csr matrix float32[P, P] that averages over a point and its k - 1 nearest points."""
    count = len(rows)
    near = np.concatenate([np.arange(count)[:, None], rows[:, : k - 1]], axis=1)
    found = near >= 0
    at = np.repeat(np.arange(count), found.sum(axis=1))
    shares = (1 / found.sum(axis=1))[at].astype(np.float32)
    return sparse.csr_array((shares, (at, near[found])), shape=(count, count))


def affinities(rows: Rows, scores: Scores, power: float) -> Any:
    """Return the graph for diffusion: csr float64[N, N], symmetric, with eigenvalues within -1..1.

    rows int64[N, k], scores float32[N, k]: the neighbours of each gallery row, without the row itself. Two rows are
    linked with the weight max(cosine, 0) ** power where each is a neighbour of the other. Each weight is divided by the
    square roots of the sums of both rows: S = D^-1/2 W D^-1/2 of Iscen et al. 2017, arXiv 1611.05113.
    """
    count = len(rows)
    close = (rows >= 0) & (scores > 0)
    at = np.repeat(np.arange(count), close.sum(axis=1))
    joins = sparse.csr_array((scores[close].astype(np.float64) ** power, (at, rows[close])), shape=(count, count))
    joins = sparse.csr_array(joins.minimum(joins.T))
    sums: NDArray[np.float64] = np.asarray(joins.sum(axis=1)).ravel()
    scale = np.where(sums > 0, 1 / np.sqrt(np.where(sums > 0, sums, 1)), 0)
    into = np.repeat(np.arange(count), np.diff(joins.indptr))
    joins.data = joins.data * scale[into] * scale[joins.indices]
    return joins


def diffusion(
    graph: Any, candidates: Rows, scores: Scores, *, entries: int, alpha: float, power: float
) -> NDArray[np.float64]:
    """Return scores of diffusion: similarity starts at the query's nearest rows and spreads along the graph.

    graph: `affinities` of the gallery. candidates int64[Q, C], scores float32[Q, C]: the nearest gallery rows of each
    query, closest first. The first `entries` candidates start with max(cosine, 0) ** power, the others with 0. alpha in
    0..1: the share that is passed on to neighbours; with 0 all similarity stays where it starts.

    Solves (I - alpha S) f = y by conjugate gradients. S has only the rows and columns of the query's candidates (the
    paper's truncation; exact where the candidates are the whole gallery). Returns f as float64[Q, C], higher = closer,
    0 where no similarity arrives, -inf where padded. Source: Iscen et al. 2017, arXiv 1611.05113.
    """
    flow = np.full(candidates.shape, -np.inf)
    for query, found in enumerate(candidates):
        real = np.flatnonzero(found >= 0)
        members = found[real]
        start = np.zeros(len(members))
        start[:entries] = np.maximum(scores[query, real[:entries]], 0).astype(np.float64) ** power
        if not start.any():
            flow[query, real] = 0
            continue
        passed = graph[members][:, members]
        solved, _ = cg(sparse.eye_array(len(members), format="csr") - alpha * passed, start, rtol=_RESIDUAL)
        flow[query, real] = np.maximum(solved, 0)
    return flow
