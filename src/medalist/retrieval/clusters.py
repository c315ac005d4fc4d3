"""Search the nearest rows of many queries without an index that was built before: by clusters of the gallery.

The gallery is divided into clusters by k-means, and each query searches only the clusters that may have near rows. A
query searches a cluster where the score of the cluster's mean is close enough to the k-th best score that the query has
so far, measured in units of the cluster's spread. This limit, the reach, is measured on a sample of the queries, whose
true neighbours are found by an exact search. So the recall is measured on these queries and this gallery before the
search.
The clusters are searched one after the other, each for all its queries in one product. Only the rows of that cluster
are copied, so there is never a second copy of the gallery. (Clusters of k-means: inverted files, Sivic and Zisserman
2003; Jegou et al. 2011, IEEE TPAMI 33.)
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array

from medalist.retrieval.blocks import (
    FREE,
    MOST_QUERIES,
    Answer,
    Best,
    Forbidden,
    Found,
    Indices,
    Vectors,
    above,
    exact,
    room_for,
)

SAMPLE = (400, 1000)
"""The fewest and the most queries whose true neighbours are found; between them, enough for 40,000 neighbours."""
ROUNDS = 6
"""The number of iterations of k-means."""
PER_CLUSTER = 40
"""The number of gallery rows that k-means uses for each cluster."""
FIRST = (1, 8, 32)
"""How many of its nearest clusters a query may search up to the end of each round.

After each round the k-th best score is updated. A last round searches all other clusters in reach.
"""
NARROWEST = 0.02
"""The smallest spread of a cluster."""
TOO_MUCH = 0.4
"""Where a larger share of the gallery is in reach, comparing with the whole gallery is as fast."""
BLOCK = 1 << 18
"""The most scores of one product: a megabyte."""
TABLE = (1 << 22, 1 << 24)
"""The bounds of the largest product of a group's queries and clusters: 16 to 64 MB.

Between these bounds it is an eighth of the number of the gallery's components.
"""
BATCH = 32
"""How many clusters are searched before their answers are merged. It is fixed, so that the number of threads does not
change answers."""


@dataclass(frozen=True, eq=False)
class CoarseClusters:
    """The clusters of a gallery.

    means: float32[C, D], the mean of each cluster's rows. spread: float32[C], the root mean square distance of these
    rows from the mean. rows: int64[N], the gallery rows, cluster by cluster. starts: int64[C + 1], where each cluster
    begins in `rows`.
    """

    means: Vectors
    spread: Vectors
    rows: Indices
    starts: Indices

    @property
    def of_row(self) -> NDArray[np.int32]:
        """The cluster of each gallery row, int32[N]."""
        clusters = np.empty(len(self.rows), np.int32)
        clusters[self.rows] = np.repeat(np.arange(len(self.means), dtype=np.int32), np.diff(self.starts))
        return clusters


def cluster_count(gallery: int) -> int:
    """Return the number of clusters for a gallery of this many rows: about twice the square root, 4 to 16,384.

    It is a power of 2.
    """
    return int(2 ** np.clip(np.round(np.log2(2 * np.sqrt(gallery))), 2, 14))


def make_coarse_clusters(gallery: Vectors, count: int, pool: ThreadPoolExecutor, seed: int = 0) -> CoarseClusters:
    """Make clusters by spherical k-means on a sample of the gallery, then find the cluster of every row.

    gallery: unit vectors float32[N, D].
    """
    rng = np.random.default_rng(seed)
    seen = gallery[np.sort(rng.choice(len(gallery), min(len(gallery), PER_CLUSTER * count), replace=False))]
    centroids = seen[rng.choice(len(seen), count, replace=len(seen) < count)]
    for _ in range(ROUNDS):
        sums = _sums(seen, _nearest_centroid(seen, centroids, pool), count)
        lengths = np.linalg.norm(sums, axis=1, keepdims=True)
        centroids = np.where(lengths > 1e-6, sums / np.maximum(lengths, 1e-6), centroids)
    cluster = _nearest_centroid(gallery, centroids, pool)
    sizes = np.bincount(cluster, minlength=count)
    means: Vectors = (_sums(gallery, cluster, count) / np.maximum(sizes, 1)[:, np.newaxis]).astype(np.float32)
    # Rows have length 1, so their mean square distance from their mean is 1 - |mean|^2.
    spread: Vectors = np.sqrt(np.maximum(1 - np.square(means).sum(axis=1), NARROWEST**2))
    starts = np.concatenate([[0], np.cumsum(sizes)])
    return CoarseClusters(means, spread, np.argsort(cluster, kind="stable"), starts)


def _sums(vectors: Vectors, cluster: NDArray[np.uint16], count: int) -> Vectors:
    rows = np.arange(len(vectors))
    member = csr_array((np.ones(len(vectors), np.float32), (cluster, rows)), shape=(count, len(vectors)))
    sums: Vectors = np.asarray(member @ vectors, np.float32)
    return sums


def _nearest_centroid(vectors: Vectors, centroids: Vectors, pool: ThreadPoolExecutor) -> NDArray[np.uint16]:
    step = max(1, BLOCK // len(centroids))
    parts = pool.map(
        lambda first: (vectors[first : first + step] @ centroids.T).argmax(axis=1).astype(np.uint16),
        range(0, len(vectors), step),
    )
    return np.concatenate(list(parts))


def how_far(
    queries: Vectors,
    gallery: Vectors,
    clusters: CoarseClusters,
    k: int,
    recall: float,
    pool: ThreadPoolExecutor,
    forbidden: Forbidden = FREE,
    seed: int = 0,
) -> tuple[float, float]:
    """Return the reach that is needed for `recall` of the true k neighbours, and the share of the gallery it compares.

    A cluster is in reach where (query . mean - k-th best score) / spread is at least the reach. The reach is measured
    on a sample of the queries. Two standard errors are subtracted from the mean recall of the sample, so that the
    recall also holds for the other queries. During a search the k-th best score is lower than the true one, so a search
    looks at more clusters than were measured here, never at fewer.
    """
    rng = np.random.default_rng(seed)
    wanted = int(np.clip(40_000 // k, *SAMPLE))
    chosen_rows = np.sort(rng.choice(len(queries), min(len(queries), wanted), replace=False))
    sample = queries[chosen_rows]
    rules = FREE if forbidden is FREE else forbidden.of(chosen_rows)
    rows, scores = exact(sample, gallery, room_for(len(sample), k), pool, rules)
    full = rows[:, -1] >= 0
    if not full.all():  # queries with fewer than k answers search every cluster anyway
        rows, scores, sample = rows[full], scores[full], sample[full]
        if not len(rows):
            return -np.inf, 1.0
    reach = (sample @ clusters.means.T - scores[:, -1:]) / clusters.spread
    needed = np.take_along_axis(reach, clusters.of_row[rows], axis=1)
    chosen = float(needed.min())
    for part in np.linspace(1, 0, 20, endpoint=False).tolist():
        limit = float(np.quantile(needed, (1 - recall) * part))
        recalls = (needed >= limit).mean(axis=1)
        if recalls.mean() - 2 * recalls.std() / np.sqrt(len(sample)) >= recall:
            chosen = limit
            break
    asked = ((reach >= chosen) * np.diff(clusters.starts)).sum(axis=1)
    return chosen, float(asked.mean() / len(gallery))


def search_clusters(
    queries: Vectors,
    gallery: Vectors,
    clusters: CoarseClusters,
    reach: float,
    into: Answer,
    pool: ThreadPoolExecutor,
    forbidden: Forbidden = FREE,
) -> Answer:
    """Write the k nearest rows of each query, among the clusters in reach (see `how_far`), into `into`; return it.

    k is the width of `into`, as in `blocks.exact`.
    """
    rows, scores = into
    most = min(MOST_QUERIES, max(1, int(np.clip(gallery.size // 8, *TABLE)) // len(clusters.means)))
    groups = max(1, -(-len(queries) // most))
    size = max(1, -(-len(queries) // groups))  # all groups have about the same size
    for first in range(0, len(queries), size):
        group = slice(first, first + size)
        rules = FREE if forbidden is FREE else forbidden.of(group)
        _ask_group(queries[group], gallery, clusters, reach, (rows[group], scores[group]), pool, rules)
    return into


def _ask_group(
    queries: Vectors,
    gallery: Vectors,
    clusters: CoarseClusters,
    reach: float,
    into: Answer,
    pool: ThreadPoolExecutor,
    forbidden: Forbidden,
) -> None:
    best = Best(into)
    sizes = np.diff(clusters.starts)
    near = np.empty((len(sizes), len(queries)), np.float32)  # the score of each cluster's mean; -inf after its search
    gates = np.empty((len(FIRST), len(queries)), np.float32)  # the scores of the 1st, 8th, ... nearest cluster

    def measure(first: int) -> None:
        part = slice(first, first + 512)
        near[:, part] = clusters.means @ queries[part].T
        near[sizes == 0, part] = -np.inf
        last = [max(len(sizes) - count, 0) for count in FIRST]
        gates[:, part] = np.partition(near[:, part].T, last, axis=1)[:, last].T

    list(pool.map(measure, range(0, len(queries), 512)))
    for turn in range(len(FIRST) + 1):

        def ask(cluster: int, turn: int = turn) -> list[Found]:
            line = near[cluster]
            wanted = line >= best.floor + np.float32(reach) * clusters.spread[cluster]
            if turn < len(FIRST):
                wanted &= line >= gates[turn]
            wanted &= line > -np.inf
            who = np.flatnonzero(wanted)
            line[who] = -np.inf
            members = clusters.rows[clusters.starts[cluster] : clusters.starts[cluster + 1]]
            return _ask_cluster(queries, gallery, members, who, best, forbidden)

        for batch in range(0, len(sizes), BATCH):
            for found in list(pool.map(ask, range(batch, min(batch + BATCH, len(sizes))))):
                for part in found:
                    best.offer(part, pool)
        best.merge(pool)
    best.rank(pool)


def _ask_cluster(
    queries: Vectors, gallery: Vectors, members: Indices, who: Indices, best: Best, forbidden: Forbidden
) -> list[Found]:
    """The scores of the rows `members` that are higher than the present k-th best scores of the queries `who`."""
    found: list[Found] = []
    if not len(who):
        return found
    for low in range(0, len(members), 1 << 14):
        some = members[low : low + (1 << 14)]
        rows = gallery[some]
        step = max(1, BLOCK // len(some))
        for first in range(0, len(who), step):
            asking = who[first : first + step]
            scores = queries[asking] @ rows.T
            found.append(above(scores, best, asking, some, forbidden))
    return found
