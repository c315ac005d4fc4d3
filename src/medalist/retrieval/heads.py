"""How samples vote for names. Scores stay on the scale of cosines, so that queries can be compared with one another."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from medalist.errors import SearchError
from medalist.retrieval.pool import Indices, Pool, Scores, Vectors
from medalist.search.embeddings import check_unit

_BLOCK = 2**22
"""Numbers that one step holds at once: 16 MB of float32."""

_NO_DIRECTION = 1e-6
"""A sum of unit vectors shorter than this has no direction."""


@dataclass(frozen=True, eq=False)
class ClassPrototypes:
    """Class prototypes of a training: names, several rows may share one, and vectors float32[M, D] of length 1.

    Of a name's rows (sub-centres) the nearest counts. Raises SearchError where vectors are not of length 1.
    """

    names: tuple[str, ...]
    vectors: Vectors

    def __post_init__(self) -> None:
        """Check what comes from a file."""
        check_unit(self.vectors, "prototypes")
        assert len(self.names) == len(self.vectors)


def vote(labels: Indices, scores: Scores, *, k: int = 0, temperature: float = 1.0) -> tuple[Indices, Scores]:
    """From ranked samples to ranked labels, each once.

    labels int64[Q, n]: the label of each sample, -1 where there is none; scores float32[Q, n], the best first.
    k = 0: a label scores as its best sample. Else temperature * log(sum of exp(score / temperature)) over its samples
    among the first k: the order of the sum, and on the scale of a cosine; a label without a sample there scores as
    its best sample, which is behind all others. Gives labels int64[Q, n] padded with -1, scores with -inf; equal
    scores in the order of their first samples.
    """
    order = np.argsort(labels, axis=1, kind="stable")
    ranked = np.take_along_axis(labels, order, axis=1)
    first = np.ones(labels.shape, bool)
    first[:, 1:] = ranked[:, 1:] != ranked[:, :-1]
    value = np.take_along_axis(scores, order, axis=1)
    if k:
        best = np.maximum(scores[:, :1], np.float32(-2))  # not -inf, where a query has no sample at all
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
    """The mean vector of each label, of length 1 again; those whose vectors cancel out have none.

    samples: the gallery; labels int64[N], 0..count - 1, of its rows. `pool` holds the prototypes, `of` their labels.
    """

    samples: Pool
    labels: Indices
    sums: NDArray[np.float64]
    sizes: Indices
    pool: Pool
    of: Indices

    @classmethod
    def made(cls, samples: Pool, labels: Indices, count: int) -> MeanVectors:
        """Average the samples of each label; SearchError where they all cancel out."""
        sums = np.zeros((count, samples.vectors.shape[1]))
        np.add.at(sums, labels, samples.vectors)
        means, real = _units(sums)
        of = np.flatnonzero(real)
        if not len(of):
            raise SearchError("the vectors of each identity cancel out, so none has a mean; say decide.head=nearest")
        pool = Pool(means[of], np.full(len(of), -1), samples.recall, samples.threads)
        return cls(samples, labels, sums, np.bincount(labels, minlength=count), pool, of)

    def near(self, queries: Vectors, codes: Indices, k: int) -> tuple[Indices, Scores]:
        """The k labels whose means are nearest, padded as Pool.near, means without the rows that a query must not see.

        Labels of hidden rows are left out of the search, and compared with the query by their other samples.
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
        """Labels that rows of a code touch; those of them that have other samples, and the means of these."""
        rows = self.samples.rows_of(code)
        touched, inverse, hidden = np.unique(self.labels[rows], return_inverse=True, return_counts=True)
        sums = self.sums[touched]
        np.subtract.at(sums, inverse, self.samples.vectors[rows])
        means, real = _units(sums)
        real &= hidden < self.sizes[touched]  # sums of nothing are not always 0 in floating point
        return touched, touched[real], means[real]


def _units(sums: NDArray[np.float64]) -> tuple[Vectors, NDArray[np.bool_]]:
    """Rows at length 1, and which of them have a direction."""
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
    """(1 - share) * score + share * cosine with the nearest prototype of the name; both are on the scale of cosines.

    labels int64[Q, n], scores float32[Q, n]: of `vote`. `names[label]` names labels; one without a centre keeps its
    score. The `joining` best names by centre join where the samples did not find them, but for those in `never` of
    the query, with the score of the last name that was found, as none of their samples is nearer. Gives int64[Q, m]
    and float32[Q, m], m at most n + joining, the best first, padded as `vote`.
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
    """Blocks of queries: the first one's row, and cosines float32[q, names] with the nearest prototype of each name."""
    step = max(1, _BLOCK // len(prototypes))
    for start in range(0, len(queries), step):
        yield start, np.maximum.reduceat(queries[start : start + step] @ prototypes.T, starts, axis=1)
