"""Which boxes an answer has found, what is wrong with the others, and what the score would gain without each error.

The kinds of errors are those of TIDE, with its two thresholds: an answer is about a truth from an IoU of 0.5 on, and
near it from 0.1 on. N is the number of answered boxes of an image, M that of true ones.

Source: Bolya et al.: TIDE: A general toolbox for identifying object detection errors, https://arxiv.org/abs/2008.08115
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from medalist.postprocess.box_overlaps import Floats, Places, areas_of, by_value, meeting
from medalist.records import Boxes, Score

Bools = NDArray[np.bool_]
Error = Literal["class", "place", "both", "double", "background", "missed"]

ABOUT, NEAR = 0.5, 0.1
"""The IoU from which on an answer is about a truth, and that from which on it is near one."""
ERRORS: dict[Error, str] = {
    "class": "wrong class",
    "place": "badly placed",
    "both": "wrong class and badly placed",
    "double": "second box of an object",
    "background": "nothing there",
    "missed": "missed",
}
"""The kinds of errors in words. All but the last are of answers."""
FOUND, IGNORED = "found", "ignored"
"""What boxes are that are no error: ignored answers lie on truths that the contest does not judge."""
PLACED = "placed"
"""What a truth is that is not found, but that an answer of the kind `class` or `place` is about."""


@dataclass(frozen=True, eq=False)
class Pairs:
    """The pairs of boxes of one image that share an area, sorted by answer, then truth.

    answer, truth: int64[n], their places. iou: float64[n]. inside: float64[n], the share of the answer in the truth.
    same: bool[n], whether both have one class. judged: bool[n], whether the contest judges the truth.
    """

    answer: Places
    truth: Places
    iou: Floats
    inside: Floats
    same: Bools
    judged: Bools

    def best(self, chosen: Bools, count: int) -> tuple[Floats, Places]:
        """Return for each of `count` answers the largest IoU of the chosen pairs, and its truth; 0 and -1 for none."""
        rows = np.flatnonzero(chosen)
        rows = rows[np.lexsort((self.truth[rows], -self.iou[rows], self.answer[rows]))]
        answers, first = np.unique(self.answer[rows], return_index=True)
        ious, truths = np.zeros(count), np.full(count, -1, np.int64)
        ious[answers], truths[answers] = self.iou[rows[first]], self.truth[rows[first]]
        return ious, truths


@dataclass(frozen=True, eq=False)
class Outcome:
    """What has become of the boxes of one image.

    answers: for each answered box `found`, `ignored` or an error. truths: for each true box `found`, `placed`, `missed`
    or `ignored`. targets: int64[N], the place of the truth that an answer is about, or nearest to; -1 for none.
    """

    answers: tuple[str, ...]
    truths: tuple[str, ...]
    targets: Places

    def counts(self) -> Counter[str]:
        """Return the number of boxes by kind; truths that are found are not counted again."""
        return Counter(self.answers) + Counter(kind for kind in self.truths if kind == "missed")

    def in_words(self) -> str:
        """Return the numbers of boxes and errors as text."""
        judged, counts = sum(kind != IGNORED for kind in self.truths), self.counts()
        wrong = [f"{counts[kind]:,} {words}" for kind, words in ERRORS.items() if counts[kind]]
        return "; ".join([f"{self.truths.count(FOUND):,} of {judged:,} found", *wrong])


def pairs_of(truth: Boxes, answer: Boxes) -> Pairs:
    """Return the pairs of true and answered boxes of one image that share an area."""
    ours, theirs = answer.xyxy.astype(np.float64), truth.xyxy.astype(np.float64)
    parts = list(meeting(ours, theirs)) or [(np.empty(0, np.int64), np.empty(0, np.int64))]
    one, two = (np.concatenate(side) for side in zip(*parts, strict=True))
    order = np.lexsort((two, one))
    one, two = one[order], two[order]
    low, high = np.maximum(ours[one, :2], theirs[two, :2]), np.minimum(ours[one, 2:], theirs[two, 2:])
    common, area = (high - low).prod(axis=1), areas_of(ours)[one]
    judged = np.ones(len(two), np.bool_) if truth.ignored is None else ~truth.ignored[two]
    iou = common / (area + areas_of(theirs)[two] - common)
    return Pairs(one, two, iou, common / area, answer.labels[one] == truth.labels[two], judged)


def outcome_of(truth: Boxes, answer: Boxes) -> Outcome:
    """Return what has become of the boxes of one image.

    Answers are matched with truths of their class from the highest score down, each with the truth of largest IoU that
    no other has, if this IoU is 0.5 or more. The other answers are, in this order: `ignored`, `place`, `class`,
    `double`, `background`, `both`, as TIDE has them.
    """
    pairs, count = pairs_of(truth, answer), answer.count
    targets = _matched(pairs, answer)
    found = targets >= 0
    same, same_at = pairs.best(pairs.same & pairs.judged, count)
    other, other_at = pairs.best(~pairs.same & pairs.judged, count)
    nearest, nearest_at = pairs.best(pairs.judged, count)
    inside = np.zeros(count)
    crowds = pairs.same & ~pairs.judged
    np.maximum.at(inside, pairs.answer[crowds], pairs.inside[crowds])
    rules: list[tuple[str, Bools, Places]] = [
        (FOUND, found, targets),
        (IGNORED, inside > ABOUT, np.full(count, -1, np.int64)),
        ("place", (same >= NEAR) & (same < ABOUT), same_at),
        ("class", other >= ABOUT, other_at),
        ("double", same >= ABOUT, same_at),
        ("background", nearest <= NEAR, np.full(count, -1, np.int64)),
        ("both", np.ones(count, np.bool_), nearest_at),
    ]
    which = np.argmax([holds for _, holds, _ in rules], axis=0) if count else np.empty(0, np.int64)
    about = np.choose(which, [at for _, _, at in rules])
    kinds = tuple(rules[at][0] for at in which.tolist())
    return Outcome(kinds, _truth_kinds(truth, kinds, about), about)


def _matched(pairs: Pairs, answer: Boxes) -> Places:
    """Return int64[N], the truth that each answer finds; -1 for none."""
    rank = np.empty(answer.count, np.int64)
    rank[by_value(answer.scores, answer.xyxy, answer.labels)] = np.arange(answer.count)
    rows = np.flatnonzero(pairs.same & pairs.judged & (pairs.iou >= ABOUT))
    rows = rows[np.lexsort((pairs.truth[rows], -pairs.iou[rows], rank[pairs.answer[rows]]))]
    targets, taken = np.full(answer.count, -1, np.int64), set[int]()
    for one, two in zip(pairs.answer[rows].tolist(), pairs.truth[rows].tolist(), strict=True):
        if targets[one] < 0 and two not in taken:
            targets[one] = two
            taken.add(two)
    return targets


def _truth_kinds(truth: Boxes, kinds: tuple[str, ...], about: Places) -> tuple[str, ...]:
    found = ["missed"] * truth.count
    for kind, at in zip(kinds, about.tolist(), strict=True):
        if kind in ("class", "place") and found[at] == "missed":
            found[at] = PLACED
        elif kind == FOUND:
            found[at] = FOUND
    passed = [False] * truth.count if truth.ignored is None else truth.ignored.tolist()
    return tuple(IGNORED if skip else kind for kind, skip in zip(found, passed, strict=True))


# ----------------------------------------------------------------------------------------------- what an error costs


def corrected(truth: Boxes, answer: Boxes, outcome: Outcome, error: Error) -> tuple[Boxes, Boxes]:
    """Return truth and answer of one image without the errors of one kind.

    Missed truths are taken away. An answer of a wrong class gets the class of the truth that it is about, and a badly
    placed one its corners, where no other answer has found this truth; of several the one with the highest score. The
    other answers of the kind are taken away.
    """
    if error == "missed":
        return _rows(truth, [at for at, kind in enumerate(outcome.truths) if kind != "missed"]), answer
    kept = [at for at, kind in enumerate(outcome.answers) if kind != error]
    labels, xyxy = answer.labels.copy(), answer.xyxy.copy()
    if error in ("class", "place"):
        done = {at for at, kind in zip(outcome.targets.tolist(), outcome.answers, strict=True) if kind == FOUND}
        for at in by_value(answer.scores, answer.xyxy, answer.labels).tolist():
            target = int(outcome.targets[at])
            if outcome.answers[at] == error and target not in done:
                done.add(target)
                kept.append(at)
                labels[at], xyxy[at] = truth.labels[target], truth.xyxy[target] if error == "place" else xyxy[at]
    return truth, _rows(replace(answer, labels=labels, xyxy=xyxy), sorted(kept))


def _rows(boxes: Boxes, kept: list[int]) -> Boxes:
    ignored = None if boxes.ignored is None else boxes.ignored[kept]
    return Boxes(boxes.xyxy[kept], boxes.labels[kept], boxes.scores[kept], ignored)


@dataclass(frozen=True, eq=False)
class BoxErrors:
    """The errors of all answers of a run.

    outcomes: by sample id. value: the score. gains: by kind, how much higher the score is without these errors.
    """

    outcomes: Mapping[str, Outcome]
    value: float
    gains: Mapping[Error, float]


def counted(outcomes: Mapping[str, Outcome]) -> Counter[str]:
    """Return the number of boxes of all samples by kind."""
    return sum((one.counts() for one in outcomes.values()), Counter[str]())


def box_errors(
    truths: Mapping[str, Boxes],
    answers: Mapping[str, Boxes],
    metric: Callable[[Mapping[str, Boxes], Mapping[str, Boxes]], Score],
) -> BoxErrors:
    """Return the errors of all samples, and what the score gains where each kind of them is corrected alone.

    metric: the score of truths and answers by sample id, such as COCO's mean average precision; asked seven times.
    """
    outcomes = {name: outcome_of(truth, answers[name]) for name, truth in truths.items()}
    value = metric(truths, answers).value
    gains: dict[Error, float] = {}
    for error in ERRORS:
        both = {name: corrected(truth, answers[name], outcomes[name], error) for name, truth in truths.items()}
        there, said = ({name: pair[side] for name, pair in both.items()} for side in (0, 1))
        gains[error] = metric(there, said).value - value
    return BoxErrors(outcomes, value, gains)
