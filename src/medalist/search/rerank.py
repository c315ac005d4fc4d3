"""A second look at answers: query expansion, database-side augmentation, k-reciprocal encoding, diffusion.

Pure functions on unit vectors and on lists of neighbours that a search has found: rows int64[n, k] padded with -1, and
similarities float32[n, k] (cosines, the closest first). All is sparse: work and memory grow with the lists, never with
rows times rows. Needs SciPy.
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
"""Numbers that one step holds at once: 64 MB of float32."""

_OVERLAP = 2 / 3
"""The share of a member's half set that must lie in the set before it joins (Zhong et al. 2017, equation 4)."""

_RESIDUAL = 1e-6
"""How far the solution of a diffusion may be from exact, relative to what it started with."""


def expand_queries(queries: Vectors, gallery: Vectors, rows: Rows, scores: Scores, alpha: float) -> Vectors:
    """Alpha query expansion: each query becomes the weighted mean of itself and its neighbours, of length 1 again.

    queries float32[Q, D] and gallery float32[N, D]: unit vectors. rows int64[Q, k], scores float32[Q, k]: the
    neighbours of each query in the gallery. A neighbour weighs similarity ** alpha, one that is not similar at all
    (0 or less) nothing, the query itself 1; alpha 0 is the plain mean. Source: Radenovic et al. 2018, arXiv 1711.02512.
    """
    expanded = np.empty_like(queries)
    close = (rows >= 0) & (scores > 0)
    weights = np.where(close, np.where(close, scores, 1) ** np.float32(alpha), 0).astype(np.float32)
    step = max(1, _BLOCK // max(1, rows.shape[1] * queries.shape[1]))
    for start in range(0, len(queries), step):
        part = slice(start, start + step)
        mixed = queries[part] + np.einsum("qk,qkd->qd", weights[part], gallery[rows[part]])
        # Every neighbour that counts is on the query's side, so the sum is never zero.
        expanded[part] = mixed / np.linalg.norm(mixed, axis=1, keepdims=True)
    return expanded


def augment_gallery(gallery: Vectors, rows: Rows, scores: Scores, alpha: float) -> Vectors:
    """Database-side augmentation: query expansion of each gallery vector over its neighbours in the gallery.

    rows int64[N, k], scores float32[N, k]: neighbours of each gallery row, itself left out. All rows are replaced at
    once, by the vectors as they were. Source: Turcot and Lowe 2009; weights as in Radenovic et al. 2018.
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
    """k-reciprocal re-ranking: how alike are the sets of mutual neighbours of a query and of its candidates.

    points float32[P, D]: unit vectors of gallery and queries together. rows int64[P, k], k >= k1: the neighbours of
    each point among all points, itself left out. asks int64[Q]: the queries' points. candidates int64[Q, C]: the points
    that are ranked anew for each; scores float32[Q, C]: their cosines.

    Gives float32[Q, C] for the candidates in their places, higher = closer, -inf where padded: 1 minus the final
    distance (1 - weight) * Jaccard + weight * (1 - cosine), so weight 1 gives the cosines back. As in the authors'
    code a point belongs to its own set, k2 counts it, and k2 = 1 averages nothing; unlike there, distances are not
    divided by the largest of the data set. Source: Zhong et al. 2017, arXiv 1701.08398.
    """
    encoded = _encoded(points, rows, k1)
    mean = _average(rows, k2)
    final = np.full(candidates.shape, -np.inf, np.float32)
    here = np.zeros(len(points), np.float32)
    # Averaged sets of many points are large, so only those of some queries and their candidates exist at once.
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
                # Each set sums to 1: the larger of two at each place sum to 2 - shared.
                likeness = shared / (2 - shared)
                final[query, real] = (1 - weight) * likeness + weight * scores[query, real]
            here[sets.indices[own]] = 0
    return final


def _encoded(points: Vectors, rows: Rows, k1: int) -> Any:
    """The set of each point as a row of csr float32[P, P]: exp(-distance) of its members, scaled to sum 1."""
    wide, half = _mutual(rows, k1), _mutual(rows, round(k1 / 2))
    half_size = np.diff(half.indptr)
    blocks = []
    step = max(1, _BLOCK // (k1 + 1) ** 2)
    for start in range(0, len(points), step):
        sets = wide[start : start + step]
        overlap = sparse.csr_array(sets.multiply(sets @ half))  # half is symmetric, so this counts what both hold
        overlap.data = (overlap.data > _OVERLAP * half_size[overlap.indices]).astype(np.float32)
        overlap.eliminate_zeros()
        blocks.append(_weighted(points, sparse.csr_array(sets + overlap @ half), start))
    return sparse.csr_array(sparse.vstack(blocks, format="csr"))


def _mutual(rows: Rows, k: int) -> Any:
    """Csr float32[P, P] of ones where two points are among each other's k nearest, and on the diagonal."""
    near = rows[:, :k]
    count = len(rows)
    found = near >= 0
    at = np.repeat(np.arange(count), found.sum(axis=1))
    ones = np.ones(len(at), np.float32)
    links = sparse.csr_array((ones, (at, near[found])), shape=(count, count))
    return sparse.csr_array(links.multiply(links.T) + sparse.eye_array(count, dtype=np.float32, format="csr"))


def _weighted(points: Vectors, members: Any, start: int) -> Any:
    """Put exp(cosine - 1) in the place of each member of the sets of points from `start` on, scaled to sum 1."""
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
    """Csr float32[P, P] that averages over a point and its k - 1 nearest."""
    count = len(rows)
    near = np.concatenate([np.arange(count)[:, None], rows[:, : k - 1]], axis=1)
    found = near >= 0
    at = np.repeat(np.arange(count), found.sum(axis=1))
    shares = (1 / found.sum(axis=1))[at].astype(np.float32)
    return sparse.csr_array((shares, (at, near[found])), shape=(count, count))


def affinities(rows: Rows, scores: Scores, power: float) -> Any:
    """The graph that similarity spreads on: csr float64[N, N], symmetric, its eigenvalues within -1..1.

    rows int64[N, k], scores float32[N, k]: the neighbours of each gallery row, itself left out. Two rows are joined
    by max(cosine, 0) ** power where each is a neighbour of the other, and joins are divided by the square roots of
    both rows' sums: S = D^-1/2 W D^-1/2 of Iscen et al. 2017, arXiv 1611.05113.
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
    """Diffusion: similarity flows from the query's neighbours along the graph, and each row gets what arrives.

    graph: `affinities` of the gallery. candidates int64[Q, C], scores float32[Q, C]: the nearest gallery rows of each
    query, closest first; the first `entries` of them are where it enters, by max(cosine, 0) ** power. alpha in 0..1:
    how much is passed on, 0 leaves all at the entries.

    Solves (I - alpha S) f = y by conjugate gradients, S cut to the query's candidates (the paper's truncation; exact
    where they are the whole gallery). Gives f as float64[Q, C], higher = closer, 0 where nothing arrives, -inf where
    padded. Source: Iscen et al. 2017, arXiv 1611.05113.
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
