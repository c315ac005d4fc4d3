"""Match answered boxes with true ones, image by image and class by class, as COCO or as Pascal VOC does.

All images are laid one behind the other, so that overlaps are computed in NumPy and only boxes that compete for one
another are walked through one by one.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from medalist.errors import DataError
from medalist.metrics.masks import require_pairs
from medalist.records import Boxes

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]

_PAIRS = 2**21
"""How many pairs of boxes are compared at once."""
_EDGE = 1e-10  # a threshold of 1 asks for slightly less, as in pycocotools


@dataclass(frozen=True, eq=False)
class Side:
    """The boxes of all images on one side, sorted by group, which is an image and a class.

    xyxy: float64[N, 4]. image, label, group: int64[N], with group = image * classes + label. scores: float64[N], of
    answers falling within a group. ignored: bool[N].
    """

    xyxy: Floats
    image: Ints
    label: Ints
    group: Ints
    scores: Floats
    ignored: Bools

    @property
    def areas(self) -> Floats:
        """The area of each box in square pixels."""
        sides = self.xyxy[:, 2:] - self.xyxy[:, :2]
        areas: Floats = sides[:, 0] * sides[:, 1]
        return areas


@dataclass(frozen=True, eq=False)
class Facing:
    """Truths and answers of all images, with the pairs of one group that overlap.

    ids: the images, sorted. pair_answer, pair_truth: int64[P], places in the sides, sorted by answer and then by truth.
    iou: float64[P], above 0.
    """

    ids: tuple[str, ...]
    truth: Side
    answer: Side
    pair_answer: Ints
    pair_truth: Ints
    iou: Floats


def facing(
    truths: Mapping[str, Boxes],
    answers: Mapping[str, Boxes],
    classes: int,
    most: int | None = None,
    crowd: bool = True,
) -> Facing:
    """Lay the boxes of all images opposite one another.

    most: how many answers of an image and class are judged, the surest ones; None for all. crowd: whether an ignored
    truth is a crowd, of which an answer may be a small part: its overlap is then the share of the answer's area. Images
    are sorted by id, so that the order of the mappings decides nothing where scores are equal. Raises DataError where
    ids differ, or where there are none.
    """
    require_pairs(dict.fromkeys(truths, ()), dict.fromkeys(answers, ()))
    ids = tuple(sorted(truths))
    truth = _side([truths[name] for name in ids], classes, None, by_score=False)
    answer = _side([answers[name] for name in ids], classes, most, by_score=True)
    return Facing(ids, truth, answer, *_pairs(truth, answer, crowd))


def matches(
    both: Facing,
    threshold: float,
    *,
    ignored: Bools | None = None,
    again: Bools | None = None,
    strict: bool = False,
    assign: Literal["free", "best"] = "free",
) -> Ints:
    """Return the truth that each answer finds, int64[answers]; -1 where it finds none.

    Surer answers choose first. assign: "free" gives an answer the truth of largest overlap that is not taken, as COCO;
    "best" asks for the truth of largest overlap alone, and finds none where that is taken, as Pascal VOC.
    ignored: bool[truths]; answers prefer other truths (under "free"). again: bool[truths], those that several answers
    may find. strict: whether the IoU must be above the threshold; else it may be equal to it.
    """
    ignored = both.truth.ignored if ignored is None else ignored
    again = ignored if again is None else again
    limit = min(threshold, 1 - _EDGE)
    near = both.iou > limit if strict else both.iou >= limit
    answer, truth, iou = both.pair_answer[near], both.pair_truth[near], both.iou[near]
    if assign == "best" and len(answer):
        answer, truth, iou = _best_only(both, answer, truth, iou)
    found = np.full(len(both.answer.group), -1, np.int64)
    alone = (np.bincount(answer, minlength=len(found))[answer] == 1) & (np.bincount(truth)[truth] == 1)
    found[answer[alone]] = truth[alone]
    _walk(found, answer[~alone], truth[~alone], iou[~alone], ignored, again)
    return found


def _walk(found: Ints, answers: Ints, truths: Ints, ious: Floats, ignored: Bools, again: Bools) -> None:
    """Let answers that have several truths, or compete for one, choose in their order; write what they find."""
    taken: set[int] = set()
    at, best, best_iou, best_ignored = -1, -1, 0.0, True
    rows = zip(
        answers.tolist(), truths.tolist(), ious.tolist(), ignored[truths].tolist(), again[truths].tolist(), strict=True
    )
    for answer, truth, iou, passed, more in rows:
        if answer != at:
            if best >= 0:
                found[at] = best
                taken.add(best)
            at, best, best_iou, best_ignored = answer, -1, 0.0, True
        if truth in taken and not more:
            continue
        # Of equal overlaps the later one counts, as in pycocotools.
        if best < 0 or (passed == best_ignored and iou >= best_iou) or (best_ignored and not passed):
            best, best_iou, best_ignored = truth, iou, passed
    if best >= 0:
        found[at] = best


def _best_only(both: Facing, answer: Ints, truth: Ints, iou: Floats) -> tuple[Ints, Ints, Floats]:
    """The pairs of each answer with its largest overlap, the first of equal ones."""
    order = np.lexsort((truth, -iou, answer))
    first = np.ones(len(order), np.bool_)
    first[1:] = answer[order][1:] != answer[order][:-1]
    kept = order[first]
    return answer[kept], truth[kept], iou[kept]


def _side(boxes: Sequence[Boxes], classes: int, most: int | None, by_score: bool) -> Side:
    counts = [one.count for one in boxes]
    xyxy = np.concatenate([one.xyxy for one in boxes]).astype(np.float64).reshape(-1, 4)
    label = np.concatenate([one.labels for one in boxes]).astype(np.int64)
    scores = np.concatenate([one.scores for one in boxes]).astype(np.float64)
    ignored = np.concatenate([np.zeros(one.count, np.bool_) if one.ignored is None else one.ignored for one in boxes])
    if label.size and not 0 <= label.min() <= label.max() < classes:
        raise DataError(
            f"a box has the class {label.max()} (counted from 0), and the metric knows {classes}; give the metric, the "
            "format and `truth` of the contest the same classes"
        )
    image = np.repeat(np.arange(len(boxes)), counts)
    group = image * classes + label
    order = np.lexsort((-scores, group)) if by_score else np.argsort(group, kind="stable")
    if most is not None:
        start = np.searchsorted(group[order], group[order])
        order = order[np.arange(len(order)) - start < most]
    return Side(xyxy[order], image[order], label[order], group[order], scores[order], ignored[order])


def _pairs(truth: Side, answer: Side, crowd: bool) -> tuple[Ints, Ints, Floats]:
    """The pairs of a group whose boxes overlap."""
    start = np.searchsorted(truth.group, answer.group)
    counts = np.searchsorted(truth.group, answer.group, side="right") - start
    ends = np.cumsum(counts)
    found: list[tuple[Ints, Ints, Floats]] = []
    first = 0
    while first < len(counts):
        done = ends[first - 1] if first else 0
        last = max(first + 1, int(np.searchsorted(ends, done + _PAIRS, side="right")))
        some = counts[first:last]
        one = np.repeat(np.arange(first, last), some)
        place = np.arange(len(one)) - np.repeat(np.cumsum(some) - some, some)
        other = start[one] + place
        iou = _overlaps(truth, answer, one, other, crowd)
        near = iou > 0
        found.append((one[near], other[near], iou[near]))
        first = last
    if not found:
        return np.zeros(0, np.int64), np.zeros(0, np.int64), np.zeros(0)
    one, other, iou = (np.concatenate(parts) for parts in zip(*found, strict=True))
    return one, other, iou


def _overlaps(truth: Side, answer: Side, one: Ints, other: Ints, crowd: bool) -> Floats:
    a, b = answer.xyxy[one], truth.xyxy[other]
    sides = np.minimum(a[:, 2:], b[:, 2:]) - np.maximum(a[:, :2], b[:, :2])
    inter = np.where((sides > 0).all(axis=1), sides[:, 0] * sides[:, 1], 0.0)
    union = answer.areas[one]
    whole = union + truth.areas[other] - inter
    shares: Floats = inter / (np.where(truth.ignored[other], union, whole) if crowd else whole)
    return shares
