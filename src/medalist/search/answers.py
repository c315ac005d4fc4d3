"""What the search returns: ranked answers, pages of rows, and the statistics of an index."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

Metric = Literal["cosine", "ip", "l2"]
Refine = Literal["float32", "float16"]


class Hits(NamedTuple):
    """Answers, the closest first; equally close ones in the order in which they were added.

    For n queries: ids [n, k], scores float32 [n, k], counts int64 [n]. For one query of shape [dim]: [k], [k], []. Ids
    are int64, or strings where the index was given strings. Where fewer than k vectors exist, the remaining places are
    padded with id -1 or "" and score -inf; `counts` says how many answers are real. Higher scores are closer: cosine
    similarity, inner product, or minus the Euclidean distance.

    `plans` [n] or [] says how each query was answered. `cost` (int64, same shape) says how many rows were compared with
    the query, by code or by vector. The plans are: "exact": all rows that match the filter are compared by their
    vectors. "scan": the same rows are compared by their codes. "walk": the search walks through the graph. "bridge":
    the search walks only through rows that match the filter. "walk+scan" and "bridge+scan": the walk or the bridge had
    cost as much as a scan, so the scan answered.

    `farness` (float32, same shape) says how far out a query lies: the squared distance of its tenth nearest vector, by
    codes, alone and over that between its nearest vectors and their neighbours; the larger of the two, over what stored
    vectors have (hardly one has more). 0 where all rows were compared at once. Above 1 the query is unlike the stored
    vectors, on which recall was measured (`unlike`). With `recall=` such a query is walked wider, up to a comparison
    with every row, until two searches agree. The three are None where several searches were joined into one answer.

    `recall_estimate` says what share of their nearest vectors the unlike queries of this call have got, by a comparison
    of some of them with every vector (also of earlier calls; at most 16 of an opened index, and then one row for 20
    that searches compare). Where it was more than 0.03 below `recall=`, they were all compared with every vector, and
    it is 1. None without `recall=`, where few queries are unlike, and where none was compared.
    """

    ids: NDArray[Any]
    scores: NDArray[np.float32]
    counts: NDArray[np.int64]
    metric: Metric
    plans: NDArray[np.str_] | None = None
    cost: NDArray[np.int64] | None = None
    farness: NDArray[np.float32] | None = None
    recall_estimate: float | None = None

    @property
    def unlike(self) -> NDArray[np.bool_] | None:
        """Whether each query lies farther out than nearly all stored vectors: bool, of the shape of `farness`."""
        return None if self.farness is None else self.farness > 1

    @property
    def distances(self) -> NDArray[np.float32]:
        """Distances, float32, lower = closer: Euclidean, 1 - cosine, or minus the inner product; inf where padded."""
        # Rounding makes some cosines a little larger than 1, but no distance may be below 0.
        return np.maximum(1 - self.scores, 0) if self.metric == "cosine" else -self.scores


class Page(NamedTuple):
    """Some rows in order: their ids [m], their fields, and the cursor of the next page (None: this is the last)."""

    ids: NDArray[Any]
    fields: list[dict[str, Any]]
    cursor: str | None


@dataclass(frozen=True)
class Recall:
    """The share of the k true neighbours that a walk with `ef` found, measured at build on held-out members.

    `at_100` is 0 where `ef` is below 100, because a walk for 100 answers always has an `ef` of at least 100.
    """

    ef: int
    at_1: float
    at_10: float
    at_100: float


@dataclass(frozen=True)
class Stats:
    """What an index holds and how good it is.

    dead: vectors that were deleted or replaced, but still take space. loose: vectors whose fields are not sorted in
    yet, so filters look at each of them.
    linked: vectors that the graph links; a search looks at each later vector. bits: bits of a component in the codes;
    0 where there is no graph yet. memory: bytes by part (vectors, codes, links, ..., ids).
    reachable: vectors that a search can find. duplicates: vectors that share a graph node with an equal vector.
    clipped: the share of components outside the range of the codes. kernels: the instruction set in use.
    """

    count: int
    dead: int
    loose: int
    linked: int
    bits: int
    dim: int
    metric: Metric
    refine: Refine
    degree: int
    effort: int
    seed: int
    kernels: str
    ids: str
    memory: Mapping[str, int]
    degree_mean: float
    degree_max: int
    reachable: int
    duplicates: int
    clipped: float
    recall: tuple[Recall, ...]
    fields: Mapping[str, str]

    @property
    def bytes_per_vector(self) -> float:
        """All memory in bytes, divided by the number of vectors without dead ones; 0 for an empty index."""
        return sum(self.memory.values()) / self.count if self.count else 0.0
