"""Tune the score thresholds of boxes and objects on OOF predictions, each fold with thresholds of the other folds.

The score is the contest's own. First one threshold of all classes is set to the best of its candidates; then, in each
of some rounds, that of one class after the other (coordinate ascent). A threshold is changed only where the score
increases.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medalist.errors import RunError
from medalist.postprocess.box_instances import ScoredInstances
from medalist.postprocess.box_overlaps import Floats
from medalist.records import Answer, Boxes, Instances, Score

CANDIDATES = 24
"""Number of values that are tried for each threshold in a round."""

ROUNDS = 2
"""Rounds over the classes at most; the search ends earlier where a round has changed nothing."""

LEAST_GAIN = 1e-9
"""A candidate is better only where the score increases by more than this."""

Metric = Callable[[Mapping[str, Any], Mapping[str, Any]], Score]
"""A metric of the contest's answers: truths and answers by sample id give a score, higher is better."""

Scored = Boxes | ScoredInstances
"""An answer whose parts have scores."""


@dataclass(frozen=True, eq=False)
class OofBoxes:
    """OOF boxes of some samples with their truths.

    answers: what `decide` says with the score threshold 0 and without a largest number of boxes. folds: int64[N], the
    fold of each sample in the order of `ids`.
    """

    ids: tuple[str, ...]
    truths: Mapping[str, Answer]
    answers: Mapping[str, Scored]
    folds: NDArray[np.int64]

    def of(self, chosen: NDArray[np.bool_]) -> OofBoxes:
        """Return the samples where `chosen`, bool[N], is true."""
        ids = tuple(name for name, take in zip(self.ids, chosen.tolist(), strict=True) if take)
        truths, answers = {name: self.truths[name] for name in ids}, {name: self.answers[name] for name in ids}
        return OofBoxes(ids, truths, answers, self.folds[chosen])


@dataclass(frozen=True, eq=False)
class TunedCuts:
    """The result of tuning. Thresholds are float64[C], one for each class.

    by_fold: the thresholds with which each fold is answered, tuned on the other folds. final: tuned on all folds, for
    the test part. honest: the score of all folds, each answered with its thresholds in `by_fold`. naive: the score of
    all folds with `final`, which was tuned on these same folds. untuned: the score with the thresholds at the start.
    """

    by_fold: Mapping[int, Floats]
    final: Floats
    honest: float
    naive: float
    untuned: float


def tune_cuts(
    oof: OofBoxes,
    start: Floats,
    metric: Metric,
    *,
    max_boxes: int | None = None,
    each_class: bool = True,
    advance: Callable[[], None] = lambda: None,
) -> TunedCuts:
    """Tune the thresholds of each fold on the other folds, and the final thresholds on all folds.

    Args:
        oof: boxes with all scores, and truths.
        start: float64[C], the thresholds without tuning.
        metric: of the contest.
        max_boxes: the most boxes of an image that are answered; None for all.
        each_class: whether each class has a threshold of its own; otherwise all have the same.
        advance: called once for each fold and once for the final thresholds.

    Raises RunError for fewer than two folds.
    """
    folds = np.unique(oof.folds).tolist()
    if len(folds) < 2:
        raise RunError(
            "decide.score: tuned thresholds of each fold come from the other folds; train at least two, or give numbers"
        )
    by_fold = {}
    for fold in folds:
        by_fold[fold] = best_cuts(oof.of(oof.folds != fold), start, metric, max_boxes, each_class)
        advance()
    final = best_cuts(oof, start, metric, max_boxes, each_class)
    advance()
    honest: dict[str, Boxes | Instances] = {}
    for name, fold in zip(oof.ids, oof.folds.tolist(), strict=True):
        honest[name] = cut(oof.answers[name], by_fold[fold], max_boxes)
    value = metric(oof.truths, honest).value
    return TunedCuts(
        by_fold, final, value, _value(oof, final, metric, max_boxes), _value(oof, start, metric, max_boxes)
    )


def best_cuts(
    oof: OofBoxes, start: Floats, metric: Metric, max_boxes: int | None = None, each_class: bool = True
) -> Floats:
    """Return the thresholds float64[C] with the best score on these samples; the arguments are those of `tune_cuts`."""
    cuts, best = start, _value(oof, start, metric, max_boxes)

    def tried(candidate: Floats) -> None:
        nonlocal cuts, best
        found = _value(oof, candidate, metric, max_boxes)
        if found > best + LEAST_GAIN:
            cuts, best = candidate, found

    labels = np.concatenate([boxes.labels for boxes in oof.answers.values()] or [np.empty(0, np.int32)])
    scores = np.concatenate([boxes.scores for boxes in oof.answers.values()] or [np.empty(0, np.float32)])
    for value in _candidates(scores):
        tried(np.full_like(start, value))
    for _ in range(ROUNDS if each_class and len(start) > 1 else 0):
        before = best
        for label in range(len(start)):
            for value in _candidates(scores[labels == label]):
                candidate = cuts.copy()
                candidate[label] = value
                tried(candidate)
        if best <= before:
            break
    return cuts


def cut(answer: Scored, cuts: Floats, most: int | None = None) -> Boxes | Instances:
    """Return the boxes as `cut_boxes` does, or the objects whose scores are above the threshold of class 0."""
    if isinstance(answer, ScoredInstances):
        return answer.above(float(cuts[0]), most)
    return cut_boxes(answer, cuts, most)


def cut_boxes(boxes: Boxes, cuts: Floats, max_boxes: int | None = None) -> Boxes:
    """Return the boxes whose scores are above the thresholds of their classes, in their order, the first `max_boxes`.

    boxes: the highest score first. cuts: float64[C].
    """
    kept = np.flatnonzero(boxes.scores.astype(np.float64) > cuts[boxes.labels])[:max_boxes]
    return Boxes(boxes.xyxy[kept], boxes.labels[kept], boxes.scores[kept])


def _value(oof: OofBoxes, cuts: Floats, metric: Metric, max_boxes: int | None) -> float:
    return metric(oof.truths, {name: cut(oof.answers[name], cuts, max_boxes) for name in oof.ids}).value


def _candidates(scores: NDArray[np.float32]) -> list[float]:
    """Return the values that are tried, ascending: between the scores, and evenly spaced; nothing without scores."""
    if not len(scores):
        return []
    ordered = np.unique(scores.astype(np.float64))
    middles = (ordered[:-1] + ordered[1:]) / 2
    places = np.unique(np.linspace(0, len(middles) - 1, min(CANDIDATES // 2, len(middles))).round().astype(int))
    even = np.linspace(0, 1, CANDIDATES // 2 + 2)[1:-1]
    return sorted({*middles[places].tolist(), *even.tolist()})
