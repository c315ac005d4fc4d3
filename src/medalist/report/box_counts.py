"""Figures of all boxes of a run, as plain values: a threshold, curves and numbers by class, confusions, sizes.

C is the number of the contest's classes. Truths, answers and outcomes are by sample id.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from medalist.postprocess.box_overlaps import Floats, Places, areas_of, by_value
from medalist.records import Boxes
from medalist.report.box_errors import ABOUT, FOUND, IGNORED, Outcome, pairs_of

Counts = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class AllBoxes:
    """The boxes of all samples, one behind the other.

    labels, scores, kinds: of the n answered boxes that are not ignored; kinds are those of `Outcome.answers`.
    true_labels, true_kinds, areas: of the m truths that are judged; areas in square pixels.
    """

    labels: Places
    scores: Floats
    kinds: NDArray[np.str_]
    true_labels: Places
    true_kinds: NDArray[np.str_]
    areas: Floats


def all_boxes(truths: Mapping[str, Boxes], answers: Mapping[str, Boxes], outcomes: Mapping[str, Outcome]) -> AllBoxes:
    """Lay the boxes of all samples one behind the other."""
    there, said = [truths[name] for name in outcomes], [answers[name] for name in outcomes]
    kinds = np.array([kind for one in outcomes.values() for kind in one.answers], np.str_)
    true_kinds = np.array([kind for one in outcomes.values() for kind in one.truths], np.str_)
    own, judged = kinds != IGNORED, true_kinds != IGNORED
    none = Boxes(np.empty((0, 4), np.float32), np.empty(0, np.int32), np.empty(0, np.float32))
    areas = areas_of(np.concatenate([one.xyxy for one in [none, *there]]).astype(np.float64))
    return AllBoxes(
        np.concatenate([one.labels for one in [none, *said]]).astype(np.int64)[own],
        np.concatenate([one.scores for one in [none, *said]]).astype(np.float64)[own],
        kinds[own],
        np.concatenate([one.labels for one in [none, *there]]).astype(np.int64)[judged],
        true_kinds[judged],
        areas[judged],
    )


def best_cut(boxes: AllBoxes) -> float:
    """Return the score above which the answers of all classes together have the highest F1; 0 without a found truth.

    It is half-way between two scores. Where all answers are needed it is half of the lowest score.
    """
    order = np.argsort(-boxes.scores, kind="stable")
    scores, found = boxes.scores[order], np.cumsum(boxes.kinds[order] == FOUND)
    if not len(scores) or not found[-1]:
        return 0.0
    ends = np.flatnonzero(np.append(scores[:-1] > scores[1:], True))  # equal scores are above a threshold together
    f1 = 2 * found[ends] / (ends + 1 + len(boxes.true_labels))
    last = ends[int(f1.argmax())]
    below = scores[last + 1] if last + 1 < len(scores) else 0.0
    return float((scores[last] + below) / 2)


@dataclass(frozen=True, eq=False)
class ClassCurve:
    """The precision of one class over its recall at IoU 0.5.

    label: the number of the class. truths: how many there are. recall, precision: float64[n], after each answer from
    the highest score down. average: the area below the curve whose precision never increases; NaN without truths.
    """

    label: int
    truths: int
    recall: Floats
    precision: Floats
    average: float


def class_curves(boxes: AllBoxes, classes: int) -> list[ClassCurve]:
    """Return the curve of each class, in their order."""
    curves = []
    for label in range(classes):
        own, truths = boxes.labels == label, int((boxes.true_labels == label).sum())
        order = np.argsort(-boxes.scores[own], kind="stable")
        found = np.cumsum(boxes.kinds[own][order] == FOUND)
        precision = found / np.arange(1, len(found) + 1)
        recall = found / max(truths, 1)
        highest = np.maximum.accumulate(precision[::-1])[::-1]
        average = float((np.diff(recall, prepend=0.0) * highest).sum()) if truths else float("nan")
        curves.append(ClassCurve(label, truths, recall, precision, average))
    return curves


@dataclass(frozen=True)
class ClassRow:
    """What is found of a class above the threshold. average: of `ClassCurve`. Shares are None where nothing is."""

    name: str
    truths: int
    answers: int
    found: int
    average: float | None

    @property
    def precision(self) -> float | None:
        """The share of the answers that are right."""
        return self.found / self.answers if self.answers else None

    @property
    def recall(self) -> float | None:
        """The share of the truths that are found."""
        return self.found / self.truths if self.truths else None


def class_rows(above: AllBoxes, curves: Sequence[ClassCurve], classes: Sequence[str]) -> list[ClassRow]:
    """Return a row for each class that has a truth or an answer. above: the boxes above the threshold."""
    rows = []
    for curve, name in zip(curves, classes, strict=True):
        own = above.labels == curve.label
        found = int((above.kinds[own] == FOUND).sum())
        average = curve.average if curve.truths else None
        if curve.truths or own.any():
            rows.append(ClassRow(name, curve.truths, int(own.sum()), found, average))
    return rows


def above_cut(answers: Mapping[str, Boxes], cut: float) -> dict[str, Boxes]:
    """Return the answers whose scores are above the threshold."""
    kept = {name: one.scores.astype(np.float64) > cut for name, one in answers.items()}
    return {
        name: Boxes(one.xyxy[kept[name]], one.labels[kept[name]], one.scores[kept[name]])
        for name, one in answers.items()
    }


def confusion(truths: Mapping[str, Boxes], answers: Mapping[str, Boxes], classes: int) -> Counts:
    """Count truths and answers by class: int64[C + 1, C + 1], truths in rows, answers in columns.

    The last row has the answers where nothing is, the last column the missed truths. A truth and an answer are paired
    from an IoU of 0.5 on, each once: first those of one class, then those of the largest IoU. Answers that lie on
    truths that are not judged are left out.
    """
    counts = np.zeros((classes + 1, classes + 1), np.int64)
    for name, truth in truths.items():
        answer = answers[name]
        pairs = pairs_of(truth, answer)
        rank = np.empty(answer.count, np.int64)
        rank[by_value(answer.scores, answer.xyxy, answer.labels)] = np.arange(answer.count)
        rows = np.flatnonzero(pairs.judged & (pairs.iou >= ABOUT))
        order = np.lexsort((pairs.truth[rows], rank[pairs.answer[rows]], -pairs.iou[rows], ~pairs.same[rows]))
        there, said = truth.labels.tolist(), answer.labels.tolist()
        free = set(range(answer.count)) - set(pairs.answer[~pairs.judged & (pairs.inside > ABOUT)].tolist())
        missed = set(range(truth.count)) - set(
            np.flatnonzero(truth.ignored).tolist() if truth.ignored is not None else ()
        )
        paired: set[int] = set()
        for one, two in zip(pairs.answer[rows[order]].tolist(), pairs.truth[rows[order]].tolist(), strict=True):
            if one not in paired and two in missed:
                counts[there[two], said[one]] += 1
                paired.add(one)
                missed.remove(two)
        for one in free - paired:
            counts[classes, said[one]] += 1
        for two in missed:
            counts[there[two], classes] += 1
    return counts
