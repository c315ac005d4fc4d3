"""Thresholds and cuts that score best on out-of-fold predictions, each fold answered with those of the other folds.

The score is the contest's own. One number at a time is moved over candidates among the predictions (coordinate ascent),
for some rounds; a change has to gain something, so equal candidates leave what was there.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from medalist.errors import RunError
from medalist.records import Labels, Score
from medalist.tasks.classify.decide import Values, decided_names, default_thresholds, grades
from medalist.tasks.classify.decide_settings import DecideConfig, RegressionConfig, ThresholdConfig

CANDIDATES = 24
"""Values that are tried for each number in a round."""

ROUNDS = 3
"""At most; it ends earlier where a round has changed nothing."""

LEAST_GAIN = 1e-9

Metric = Callable[[Mapping[str, Labels], Mapping[str, Labels]], Score]


@dataclass(frozen=True, eq=False)
class Tuned:
    """What tuning found.

    by_fold: the numbers with which each fold is answered, found on the others. final: found on all, for the test part.
    honest: the score of all folds, each by the numbers of the others; naive: of all by `final`, which have seen them;
    untuned: by the numbers of the config.
    """

    by_fold: Mapping[int, Values]
    final: Values
    honest: float
    naive: float
    untuned: float


@dataclass(frozen=True, eq=False)
class OofPredictions:
    """Predictions of some samples with their truth: ids and truths in the order of the rows of values float64[N, C]."""

    ids: tuple[str, ...]
    truths: Mapping[str, Labels]
    values: Values
    folds: NDArray[np.int64]

    def rows(self, chosen: NDArray[np.bool_]) -> OofPredictions:
        """Some of the rows."""
        ids = tuple(name for name, take in zip(self.ids, chosen.tolist(), strict=True) if take)
        return OofPredictions(ids, {name: self.truths[name] for name in ids}, self.values[chosen], self.folds[chosen])


def tune(
    answered: OofPredictions,
    config: DecideConfig,
    classes: Sequence[str],
    metric: Metric,
    advance: Callable[[], None] = lambda: None,
) -> Tuned:
    """Tune nested over folds; `advance` is called once for each fold and once for all.

    Raises RunError for fewer than two folds.
    """
    numbers = np.unique(answered.folds).tolist()
    if len(numbers) < 2:
        raise RunError(
            "decide: tuned numbers of each fold come from the other folds; train at least two, or give the numbers"
        )
    by_fold = {}
    for fold in numbers:
        by_fold[fold] = best_thresholds(answered.rows(answered.folds != fold), config, classes, metric)
        advance()
    final = best_thresholds(answered, config, classes, metric)
    advance()
    honest: dict[str, Labels] = {}
    for fold, found in by_fold.items():
        honest |= _answers(answered.rows(answered.folds == fold), config, found, classes)
    ordered = {name: honest[name] for name in answered.ids}
    plain = default_thresholds(config, classes)
    return Tuned(
        by_fold,
        final,
        metric(answered.truths, ordered).value,
        _value(answered, config, final, classes, metric),
        _value(answered, config, plain, classes, metric),
    )


def best_thresholds(answered: OofPredictions, config: DecideConfig, classes: Sequence[str], metric: Metric) -> Values:
    """The thresholds or cuts that score best on these samples, by coordinate ascent from the untuned ones."""
    numbers = default_thresholds(config, classes)
    best = _value(answered, config, numbers, classes, metric)
    shared = isinstance(config, ThresholdConfig)
    for _ in range(ROUNDS):
        before = best
        for at in range(1 if shared else len(numbers)):
            for candidate in _candidates(answered.values, config, numbers, at):
                tried = np.full_like(numbers, candidate) if shared else numbers.copy()
                tried[at] = candidate
                found = _value(answered, config, tried, classes, metric)
                if found > best + LEAST_GAIN:
                    numbers, best = tried, found
        if best <= before:
            break
    return numbers


def _candidates(values: Values, config: DecideConfig, numbers: Values, at: int) -> list[float]:
    """Values that part the predictions at even shares; cuts stay between their neighbours."""
    if isinstance(config, RegressionConfig):
        column = grades(values)
        low = numbers[at - 1] if at else -np.inf
        high = numbers[at + 1] if at + 1 < len(numbers) else np.inf
        column = column[(column > low) & (column < high)]
        # Few grades may lie between two cuts that are far apart: the space between them is tried as well.
        inner = np.linspace(max(low, numbers[at] - 0.75), min(high, numbers[at] + 0.75), CANDIDATES // 2 + 2)[1:-1]
        found = [*_between(column, CANDIDATES // 2), *inner.tolist()]
        return sorted({value for value in found if low < value < high})
    column = values.ravel() if isinstance(config, ThresholdConfig) else values[:, at]
    even = np.linspace(0, 1, CANDIDATES // 2 + 2)[1:-1].tolist()
    return sorted({*_between(column, CANDIDATES // 2), *even})


def _between(column: Values, count: int) -> list[float]:
    """Values half-way between neighbours, at even shares of a column."""
    ordered = np.unique(column)
    if len(ordered) < 2:
        return []
    middles = (ordered[:-1] + ordered[1:]) / 2
    places = np.unique(np.linspace(0, len(middles) - 1, min(count, len(middles))).round().astype(int))
    return [float(value) for value in middles[places]]


def _answers(
    answered: OofPredictions, config: DecideConfig, numbers: Values, classes: Sequence[str]
) -> dict[str, Labels]:
    names = decided_names(answered.values, config, numbers, classes)
    if answered.values.shape[1] == 1 and len(classes) > 1:
        return {name: Labels(one) for name, one in zip(answered.ids, names, strict=True)}
    rows = zip(answered.ids, names, answered.values, strict=True)
    return {name: Labels(one, row) for name, one, row in rows}


def _value(
    answered: OofPredictions, config: DecideConfig, numbers: Values, classes: Sequence[str], metric: Metric
) -> float:
    return metric(answered.truths, _answers(answered, config, numbers, classes)).value
