"""Tune thresholds and cuts on OOF predictions. Each fold is answered with the numbers that were tuned on the others.

The score is the contest's own. In each of some rounds one number after the other is set to the best of its candidates,
which are taken from the predictions (coordinate ascent). A number is changed only where the score increases.
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
"""Number of values that are tried for each threshold or cut in a round."""

ROUNDS = 3
"""Rounds at most; the search ends earlier where a round has changed nothing."""

LEAST_GAIN = 1e-9
"""A candidate is better only where the score increases by more than this."""

Metric = Callable[[Mapping[str, Labels], Mapping[str, Labels]], Score]


@dataclass(frozen=True, eq=False)
class Tuned:
    """The result of tuning.

    by_fold: the numbers with which each fold is answered, tuned on the other folds. final: the numbers tuned on all
    folds, for the test part. honest: the score of all folds, each answered with its numbers in `by_fold`. naive: the
    score of all folds with `final`, which was tuned on these same folds. untuned: the score with the default numbers.
    """

    by_fold: Mapping[int, Values]
    final: Values
    honest: float
    naive: float
    untuned: float


@dataclass(frozen=True, eq=False)
class OofPredictions:
    """OOF predictions of some samples with their truths.

    values: float64[N, C] (C = 1 for grades). ids, and folds int64[N], are in the order of the rows of values.
    """

    ids: tuple[str, ...]
    truths: Mapping[str, Labels]
    values: Values
    folds: NDArray[np.int64]

    def rows(self, chosen: NDArray[np.bool_]) -> OofPredictions:
        """Return the rows where `chosen`, bool[N], is true."""
        ids = tuple(name for name, take in zip(self.ids, chosen.tolist(), strict=True) if take)
        return OofPredictions(ids, {name: self.truths[name] for name in ids}, self.values[chosen], self.folds[chosen])


def tune(
    answered: OofPredictions,
    config: DecideConfig,
    classes: Sequence[str],
    metric: Metric,
    advance: Callable[[], None] = lambda: None,
) -> Tuned:
    """Tune the numbers for each fold on the other folds, and the final numbers on all folds.

    `advance` is called once for each fold and once for the final numbers. Raises RunError for fewer than two folds.
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
    """Return the thresholds or cuts with the best score on these samples; the search starts from the defaults."""
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
    """Return the candidates for number `at`, ascending: values between the predictions, and evenly spaced values.

    Candidates of a cut lie between the two neighbouring cuts.
    """
    if isinstance(config, RegressionConfig):
        column = grades(values)
        low = numbers[at - 1] if at else -np.inf
        high = numbers[at + 1] if at + 1 < len(numbers) else np.inf
        column = column[(column > low) & (column < high)]
        # Evenly spaced values are tried too, because few predictions may lie between two cuts that are far apart.
        inner = np.linspace(max(low, numbers[at] - 0.75), min(high, numbers[at] + 0.75), CANDIDATES // 2 + 2)[1:-1]
        found = [*_between(column, CANDIDATES // 2), *inner.tolist()]
        return sorted({value for value in found if low < value < high})
    column = values.ravel() if isinstance(config, ThresholdConfig) else values[:, at]
    even = np.linspace(0, 1, CANDIDATES // 2 + 2)[1:-1].tolist()
    return sorted({*_between(column, CANDIDATES // 2), *even})


def _between(column: Values, count: int) -> list[float]:
    """Return up to `count` evenly spread values, each half-way between two neighbouring values of a column."""
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
