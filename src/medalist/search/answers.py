"""What the search gives back: ranked answers, and what an index tells of itself."""

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
    are int64, or strings where the index was given strings. Where fewer than k vectors exist the rest is padded: id -1
    or "", score -inf; `counts` tells how many are real. Scores are higher = closer: cosine similarity, inner product,
    or minus the Euclidean distance.

    `plans` [n] or [] says how each query was answered, and `cost` (int64, same shape) how many rows were compared with
    it, by code or by vector. "exact": all rows that may be answered, by their vectors; "scan": the same by codes;
    "walk": through the graph; "bridge": through the rows that may be answered alone; "walk+scan" and "bridge+scan":
    a walk or a bridge that became dearer than a scan. Both are None where several searches were joined to one answer.
    """

    ids: NDArray[Any]
    scores: NDArray[np.float32]
    counts: NDArray[np.int64]
    metric: Metric
    plans: NDArray[np.str_] | None = None
    cost: NDArray[np.int64] | None = None

    @property
    def distances(self) -> NDArray[np.float32]:
        """Lower = closer, float32: Euclidean distance, 1 - cosine, or minus the inner product; inf where padded."""
        # Rounding makes some cosines a little larger than 1; no distance is below 0.
        return np.maximum(1 - self.scores, 0) if self.metric == "cosine" else -self.scores


class Page(NamedTuple):
    """Some rows in order: their ids [m], their fields, and where the next page begins (None: there is none)."""

    ids: NDArray[Any]
    fields: list[dict[str, Any]]
    cursor: str | None


@dataclass(frozen=True)
class Recall:
    """The share of the k true neighbours that a walk with `ef` found, measured at build on held-out members.

    `at_100` is 0 where `ef` is below 100, as no walk for 100 answers is so narrow.
    """

    ef: int
    at_1: float
    at_10: float
    at_100: float


@dataclass(frozen=True)
class Stats:
    """What an index holds and how good it is.

    `dead` counts vectors that were deleted or replaced and whose place is not reclaimed yet, `loose` those whose fields
    filters look at one by one.
    `memory` is in bytes by part (vectors, codes, links, ..., ids). `linked` counts the vectors that the graph knows,
    later ones are looked at one by one; `bits` are those of a component in its codes, 0 where there is no graph yet.
    `reachable` counts the vectors that a search can find, `duplicates` those folded into an equal one; `clipped` is
    the share of components outside the range of the codes, `kernels` the instruction set in use.
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
        """All memory over the vectors held, dead ones not counted; 0 for an empty index."""
        return sum(self.memory.values()) / self.count if self.count else 0.0
