"""Turn scores of samples into scores of names. Scores stay on the scale of cosines, so that queries can be compared."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from medalist.errors import SearchError
from medalist.retrieval.pool import Indices, Pool, Scores, Vectors
from medalist.search.embeddings import check_unit

_BLOCK = 2**22
"""The most numbers that one step has in memory: 16 MB of float32."""

_NO_DIRECTION = 1e-6
"""A sum of unit vectors that is shorter than this has no direction."""


@dataclass(frozen=True, eq=False)
class ClassPrototypes:
    """The class prototypes of a training: names, and vectors float32[M, D] of length 1.

    A name may have several rows (sub-centres); the nearest of them counts. Raises SearchError where vectors do not have
    length 1.
    """

    names: tuple[str, ...]
    vectors: Vectors

    def __post_init__(self) -> None:
        """Check the vectors, because they come from a file."""
        check_unit(self.vectors, "prototypes")
        assert len(self.names) == len(self.vectors)


def vote(labels: Indices, scores: Scores, *, k: int = 0, temperature: float = 1.0) -> tuple[Indices, Scores]:
    """Turn ranked samples into ranked labels; each label is returned once.

    labels int64[Q, n]: the label of each sample, -1 where there is none; scores float32[Q, n], the best first.
    k = 0: the score of a label is that of its best sample. k > 0: it is temperature * log(sum of exp(score /
    temperature)) over the label's samples among the first k; this has the order of the sum, and the scale of a cosine.
    A label without a sample among the first k has the score of its best sample, which is below all others. Returns
    labels int64[Q, n] padded with -1, and scores float32[Q, n] padded with -inf; equal scores are in the order of their
    first samples.
    """
    order = np.argsort(labels, axis=1, kind="stable")
    ranked = np.take_along_axis(labels, order, axis=1)
    first = np.ones(labels.shape, bool)
    first[:, 1:] = ranked[:, 1:] != ranked[:, :-1]
    value = np.take_along_axis(scores, order, axis=1)
    if k:
        best = np.maximum(scores[:, :1], np.float32(-2))  # finite also for a query without any sample
        votes = np.where((order < k) & (ranked >= 0), np.exp((value.astype(np.float64) - best) / temperature), 0)
        group = np.cumsum(first.ravel()).reshape(first.shape) - 1
        sums = np.bincount(group.ravel(), votes.ravel())[group]
        soft = best + temperature * np.log(np.where(sums > 0, sums, 1))
        value = np.where(sums > 0, soft, value).astype(np.float32)
    one = np.full(labels.shape, -1, np.int64)
    score = np.full(labels.shape, -np.inf, np.float32)
    keep = first & (ranked >= 0)
    query = np.nonzero(keep)[0]
    one[query, order[keep]] = ranked[keep]
    score[query, order[keep]] = value[keep]
    front = np.argsort(-score, axis=1, kind="stable")
    return np.take_along_axis(one, front, axis=1), np.take_along_axis(score, front, axis=1)


@dataclass(frozen=True, eq=False)
class MeanVectors:
    """The mean vector of each label, scaled to length 1. A label whose vectors cancel out has no mean.

    samples: the gallery. labels: int64[N], the label 0..count - 1 of each row. sums: the sum of each label's vectors.
    sizes: the number of its samples. pool: the means. of: the label of each mean.
    """

    samples: Pool
    labels: Indices
    sums: NDArray[np.float64]
    sizes: Indices
    pool: Pool
    of: Indices

    @classmethod
    def made(cls, samples: Pool, labels: Indices, count: int) -> MeanVectors:
        """Compute the mean of each label's samples. Raises SearchError where no label has a mean."""
        sums = np.zeros((count, samples.vectors.shape[1]))
        np.add.at(sums, labels, samples.vectors)
        means, real = _units(sums)
        of = np.flatnonzero(real)
        if not len(of):
            raise SearchError("the vectors of each identity cancel out, so none has a mean; set decide.head=nearest")
        pool = Pool(means[of], np.full(len(of), -1), samples.recall, samples.threads)
        return cls(samples, labels, sums, np.bincount(labels, minlength=count), pool, of)

    def near(self, queries: Vectors, codes: Indices, k: int) -> tuple[Indices, Scores]:
        """Return the k labels with the nearest means for each query, with their scores, padded as in Pool.near.

        A mean is computed without the rows that are hidden from the query. Labels with hidden rows are left out of the
        search of means; the query is compared with the mean of their other samples.
        """
        changed = {int(code): self._without(int(code)) for code in np.unique(codes)}
        widest = max((len(labels) for labels, _, _ in changed.values()), default=0)
        width = min(len(self.pool), k + widest)
        labels_out = np.full((len(queries), k), -1, np.int64)
        scores_out = np.full((len(queries), k), -np.inf, np.float32)
        step = max(1, _BLOCK // width)
        for start in range(0, len(queries), step):
            part = slice(start, start + step)
            rows, scores = self.pool.near(queries[part], np.full(len(queries[part]), -1), width)
            labels = self.of[rows]
            for at, code in enumerate(codes[part].tolist(), start):
                out, left, means = changed[code]
                keep = (rows[at - start] >= 0) & ~np.isin(labels[at - start], out)
                names = np.concatenate([labels[at - start][keep], left])
                values = np.concatenate([scores[at - start][keep], means @ queries[at]])
                front = np.lexsort([names, -values])[:k]
                labels_out[at, : len(front)], scores_out[at, : len(front)] = names[front], values[front]
        return labels_out, scores_out

    def _without(self, code: int) -> tuple[Indices, Indices, Vectors]:
        """Labels of the rows of a code; those of them that have other samples too; the means of these other samples."""
        rows = self.samples.rows_of(code)
        touched, inverse, hidden = np.unique(self.labels[rows], return_inverse=True, return_counts=True)
        sums = self.sums[touched]
        np.subtract.at(sums, inverse, self.samples.vectors[rows])
        means, real = _units(sums)
        real &= hidden < self.sizes[touched]  # the sum of no samples is not always exactly 0, because of rounding
        return touched, touched[real], means[real]


def _units(sums: NDArray[np.float64]) -> tuple[Vectors, NDArray[np.bool_]]:
    """The rows scaled to length 1, and which of them have a direction."""
    lengths = np.linalg.norm(sums, axis=1, keepdims=True)
    real = lengths[:, 0] > _NO_DIRECTION
    return (sums / np.where(lengths > _NO_DIRECTION, lengths, 1)).astype(np.float32), real


def blend_prototypes(
    queries: Vectors,
    labels: Indices,
    scores: Scores,
    names: Sequence[str],
    prototypes: ClassPrototypes,
    share: float,
    joining: int,
    never: Sequence[Indices],
) -> tuple[Indices, Scores]:
    """Return new scores: (1 - share) * score + share * cosine with the nearest prototype of the name.

    Both parts are on the scale of cosines. labels int64[Q, n], scores float32[Q, n]: those of `vote`. names[label] is
    the name of a label; a name without a prototype keeps its score. The `joining` best names by prototype are added
    where the samples did not find them, except names in `never` of the query. An added name has the score of the last
    name that was found, because none of its samples is nearer. Returns labels int64[Q, m] and scores float32[Q, m], m
    at most n + joining, the best first, padded as in `vote`.
    """
    place = {name: label for label, name in enumerate(names)}
    known = np.array([place.get(name, -1) for name in prototypes.names], np.int64)
    order = np.argsort(known, kind="stable")[np.count_nonzero(known < 0) :]
    if not len(order):
        return labels, scores
    with_prototype, starts = np.unique(known[order], return_index=True)
    column = np.full(len(names), -1)
    column[with_prototype] = np.arange(len(with_prototype))
    more = min(joining, len(with_prototype))
    labels_out = np.full((len(labels), labels.shape[1] + more), -1, np.int64)
    scores_out = np.full(labels_out.shape, -np.inf, np.float32)
    for part, cosines in _by_prototype(queries, prototypes.vectors[order], starts):
        top = np.argpartition(-cosines, more - 1, axis=1)[:, :more]
        for at, by_centre, best in zip(range(part, part + len(cosines)), cosines, top, strict=True):
            found = labels[at] >= 0
            mine, own = labels[at][found], scores[at][found]
            if not len(mine):
                continue
            joined = np.setdiff1d(with_prototype[best], np.concatenate([mine, never[at]]))
            mine, own = np.concatenate([mine, joined]), np.concatenate([own, np.full(len(joined), own[-1])])
            towards = np.where(column[mine] >= 0, by_centre[column[mine]], own)
            mixed = (1 - share) * own + share * towards
            front = np.argsort(-mixed, kind="stable")
            labels_out[at, : len(front)], scores_out[at, : len(front)] = mine[front], mixed[front]
    return labels_out, scores_out


def _by_prototype(queries: Vectors, prototypes: Vectors, starts: Indices) -> Iterator[tuple[int, Scores]]:
    """Yield blocks of queries: the block's first row, and the cosines with each name's nearest prototype.

    The cosines are float32[q, names].
    """
    step = max(1, _BLOCK // len(prototypes))
    for start in range(0, len(queries), step):
        yield start, np.maximum.reduceat(queries[start : start + step] @ prototypes.T, starts, axis=1)
