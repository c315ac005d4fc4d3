"""The similarity threshold of new identities: it is tuned on OOF candidates, and scored on folds it was not tuned on.

The threshold decides only the place of `new` in an answer. Therefore the metric is computed once for each place that
`new` can have. Then every threshold is tried exactly, by sums over sorted scores.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from medalist.errors import SearchError
from medalist.records import Ranking, Score
from medalist.retrieval.rank import Candidates, with_new
from medalist.search.embeddings import shown

Found = Mapping[str, Candidates]
Truths = Mapping[str, Ranking]
Metric = Callable[[Mapping[str, Ranking], Mapping[str, Ranking]], Score]

_EQUAL = 1e-9
"""Scores that differ by less count as equal, because sums over queries in another order may differ so much."""


@dataclass(frozen=True)
class NestedThreshold:
    """A threshold and the scores with and without it.

    by_fold: for each fold, the threshold that was tuned on the other folds. final: the threshold tuned on all folds,
    for the test part. honest: the score where each fold uses its threshold of `by_fold`. naive: the score where all
    folds use `final`, which was tuned on them. without: the score where `new` is never answered. Scores are means over
    queries with the same weights.
    """

    by_fold: Mapping[int, float]
    final: float
    honest: float
    naive: float
    without: float

    @property
    def gain(self) -> float:
        """The expected change of the score by the threshold; below 0 where the threshold lowers the score."""
        return self.honest - self.without


def tune(found: Found, truths: Truths, score: Metric, *, new: str, depth: int, share: float | None = None) -> float:
    """Return the threshold with the best mean score; of equally good thresholds, the middle of their widest range.

    found: candidates by query. truths: the right names of at least these queries; (new,) for a new identity. score:
    a metric that is a mean over queries (MAP@k). share: the share of queries with a new identity that is expected in
    the test part; queries are weighted to have this share; None gives all queries the same weight. Raises SearchError
    where there are no queries, for a metric that is no mean over queries, and, with a share, where no queries or all
    queries have a new identity.
    """
    return _Table.of(found, truths, score, new, depth).best(_weights(found, truths, new, share))


def nested(
    by_fold: Mapping[int, Found],
    truths: Truths,
    score: Metric,
    *,
    new: str,
    depth: int,
    share: float | None = None,
) -> NestedThreshold:
    """Tune a threshold for each fold on the other folds, and score the fold with it. Arguments: those of `tune`.

    Raises SearchError as `tune` does, and where fewer than two folds have queries.
    """
    folds = {fold: found for fold, found in by_fold.items() if found}
    if len(folds) < 2:
        raise SearchError(
            f"a threshold is tuned on other folds, and {len(folds)} of {len(by_fold)} folds have answers; "
            "train more folds, or give decide.new a number"
        )
    found = _joined(folds)
    table = _Table.of(found, truths, score, new, depth)
    weights = _weights(found, truths, new, share)
    home = np.concatenate([np.full(len(part), fold) for fold, part in folds.items()])
    tuned, honest = {}, 0.0
    for fold in folds:
        inside = home == fold
        try:
            others = _weights(_joined({other: folds[other] for other in folds if other != fold}), truths, new, share)
        except SearchError as error:
            raise SearchError(f"without fold {fold}: {error}") from error
        tuned[fold] = table.part(~inside).best(others)
        honest += float(weights[inside] @ table.part(inside).at(tuned[fold]))
    final = table.best(weights)
    never = float(weights @ table.values[:, -1])
    return NestedThreshold(tuned, final, honest, float(weights @ table.at(final)), never)


def share_threshold(bests: Iterable[float], share: float) -> float:
    """Return the threshold below which `share` of the queries have their best score, so that these are called new.

    bests: `Candidates.best` of each test query. The threshold is halfway between two scores. A few more or fewer
    queries may be below it, where these scores are equal, and because the share is rounded to whole queries. It is for
    contests in which the share of new identities is known or can be measured
    (https://www.kaggle.com/c/happy-whale-and-dolphin). Raises SearchError for no queries, or a share outside 0..1.
    """
    values = np.sort(np.maximum(np.fromiter(bests, np.float64), -1.0))
    if not len(values):
        raise SearchError("no queries, so no threshold for a share of them")
    _check_share(share)
    below = round(share * len(values))
    edges = np.concatenate([[min(-1.0, values[0] - _EQUAL)], values, [max(1.0, values[-1]) + _EQUAL]])
    return float(edges[below] + edges[below + 1]) / 2


@dataclass(frozen=True, eq=False)
class _Table:
    """The scores of queries by the place of `new`.

    values: float64[Q, depth + 2]: the score with `new` at place 0..depth (at `depth` it is cut off), and in the last
    column without `new`. steps: float64[Q, depth], falling: `new` is before candidate j where the threshold is above
    steps[:, j]. It is -inf where there is no candidate j; `new` then comes after the last candidate.
    """

    values: NDArray[np.float64]
    steps: NDArray[np.float64]

    @classmethod
    def of(cls, found: Found, truths: Truths, score: Metric, new: str, depth: int) -> _Table:
        if not found:
            raise SearchError("no queries to tune the threshold of new identities on")
        missing = [query for query in found if query not in truths]
        if missing:
            raise SearchError(f"{len(missing)} queries have no truth: {shown(missing)}")
        right = {query: truths[query] for query in found}
        values = np.empty((len(found), depth + 2))
        for place in range(depth + 1):
            placed = {query: Ranking(with_new(one.names, place, new, depth)) for query, one in found.items()}
            values[:, place] = _by_query(score(right, placed), right)
        plain = {query: Ranking(one.names[:depth]) for query, one in found.items()}
        values[:, -1] = _by_query(score(right, plain), right)
        steps = np.full((len(found), depth), -np.inf)
        for row, one in enumerate(found.values()):
            lowest = np.minimum.accumulate(one.scores[:depth].astype(np.float64))
            steps[row, : len(lowest)] = lowest
        return cls(values, steps)

    def part(self, rows: NDArray[np.bool_]) -> _Table:
        """Return the table of only these queries."""
        return _Table(self.values[rows], self.steps[rows])

    def at(self, threshold: float) -> NDArray[np.float64]:
        """Return the score of each query at a threshold: float64[Q]."""
        places = (self.steps >= threshold).sum(axis=1)
        values: NDArray[np.float64] = self.values[np.arange(len(places)), places]
        return values

    def best(self, weights: NDArray[np.float64]) -> float:
        """Return the middle of the widest range of best thresholds by weighted score; of equal ranges the lowest."""
        query, place = np.nonzero(np.isfinite(self.steps))
        if not len(query):
            return 0.0  # no query has a candidate, so `new` comes first at any threshold
        change = weights[query] * (self.values[query, place] - self.values[query, place + 1])
        levels, level = np.unique(self.steps[query, place], return_inverse=True)
        lowest = float(weights @ self.at(np.nextafter(levels[0], -np.inf)))
        scores = lowest + np.concatenate([[0.0], np.cumsum(np.bincount(level, change))])
        # Range i is between edges i and i + 1. Cosines are within -1..1, but blends of votes may be outside.
        edges = np.concatenate([[min(-1.0, levels[0] - _EQUAL)], levels, [max(1.0, levels[-1]) + _EQUAL]])
        good = np.flatnonzero(np.diff(np.concatenate([[False], scores >= scores.max() - _EQUAL, [False]])))
        first, last = good[::2], good[1::2]
        widest = int(np.argmax(edges[last] - edges[first]))
        return float(edges[first[widest]] + edges[last[widest]]) / 2


def _by_query(score: Score, right: Truths) -> NDArray[np.float64]:
    """The score of each query. Raises SearchError where the metric is not the mean of these scores."""
    if score.by_sample.keys() == right.keys():
        values = np.fromiter((score.by_sample[query] for query in right), np.float64, len(right))
        if abs(float(values.mean()) - score.value) < 1e-6:
            return values
    raise SearchError(
        "decide.new=tuned needs a metric that is a mean over all queries, as MAP@k is, and this one is not; "
        "give decide.new a number"
    )


def _weights(found: Found, truths: Truths, new: str, share: float | None) -> NDArray[np.float64]:
    """The weight of each query, float64[Q] with the sum 1. Weights of queries whose truth is `new` sum to `share`."""
    is_new = np.array([new in truths[query].names for query in found if query in truths], bool)
    count, known = int(is_new.sum()), int((~is_new).sum())
    if share is None:
        return np.full(len(is_new), 1 / max(1, len(is_new)))
    _check_share(share)
    for what, queries, due in (("a", count, share), ("no", known, 1 - share)):
        if due and not queries:
            raise SearchError(
                f"decide.new_share={share:g}, but out of fold no query has {what} new identity, so no threshold can be "
                "tuned for it; give decide.new a number, or leave decide.new_share out"
            )
    return np.where(is_new, share / max(1, count), (1 - share) / max(1, known))


def _check_share(share: float) -> None:
    if not 0 <= share <= 1:
        raise SearchError(f"share={share}: expected 0 to 1")


def _joined(folds: Mapping[int, Found]) -> dict[str, Candidates]:
    """The candidates of all folds' queries. Raises SearchError where a query is in two folds."""
    joined: dict[str, Candidates] = {}
    for fold, found in folds.items():
        twice = [query for query in found if query in joined]
        if twice:
            raise SearchError(f"fold {fold}: {len(twice)} queries are in another fold too: {shown(twice)}")
        joined.update(found)
    return joined
