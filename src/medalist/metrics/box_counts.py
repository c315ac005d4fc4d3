"""Metrics that count right, wrong and missed boxes: F-beta, and the share TP / (TP + FP + FN).

Scores of answers only say which answer chooses first, and, with a lowest score, which are judged at all.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from medalist.errors import ConfigError
from medalist.metrics.box_matching import Facing, facing, matches
from medalist.metrics.boxes import SIZES
from medalist.records import Boxes, Score

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Metric = Callable[[Mapping[str, Boxes], Mapping[str, Boxes]], Score]


@dataclass(frozen=True)
class CountRules:
    """The rules of a metric of counts; see `box_f_beta` and `box_precision_over_iou`."""

    classes: tuple[str, ...]
    thresholds: tuple[float, ...]
    strict: bool
    over: Literal["images", "dataset"]
    empty: float
    lowest: float
    beta: float | None
    """None for TP / (TP + FP + FN)."""

    def __post_init__(self) -> None:
        """Raise ConfigError for rules that are not possible."""
        if not self.classes or len(set(self.classes)) < len(self.classes):
            raise ConfigError(f"boxes: the classes must be there, each once; they are {', '.join(self.classes[:5])}")
        if not self.thresholds or not all(0 < one <= 1 for one in self.thresholds):
            raise ConfigError(f"boxes: the IoU thresholds are {self.thresholds}; give numbers above 0, 1 at most")
        if not (0 <= self.empty <= 1 and 0 <= self.lowest <= 1) or (self.beta is not None and not 0 < self.beta < 100):
            raise ConfigError(
                f"boxes: beta = {self.beta}, empty = {self.empty}, lowest = {self.lowest}; give beta above 0, and the "
                "others within 0..1"
            )

    @property
    def word(self) -> str:
        """What the parts are called."""
        return "precision" if self.beta is None else "f"

    def shares(self, right: Ints, wrong: Ints, missed: Ints) -> Floats:
        """The metric of counts of any shape; `empty` where there is neither a truth nor an answer."""
        if self.beta is None:
            above, below = right * 1.0, (right + wrong + missed) * 1.0
        else:
            square = self.beta**2
            above = (1 + square) * right
            below = above + square * missed + wrong
        found: Floats = np.where(below > 0, above / np.maximum(below, 1e-9), self.empty)
        return found


def box_precision_over_iou(
    classes: Sequence[str],
    thresholds: Sequence[float] = (0.5, 0.55, 0.6, 0.65, 0.7, 0.75),
    *,
    strict: bool = True,
    empty: float = 1.0,
    lowest: float = 0.0,
) -> Metric:
    """Return the metric TP / (TP + FP + FN), the mean over IoU thresholds and over images, as in Global Wheat 2020.

    Surer answers choose first, each the best truth that is not taken. strict: whether the IoU must be above the
    threshold. empty: the score of an image without boxes in truth and answer, which the contest's text leaves open;
    where only one side has boxes, the formula gives 0. lowest: answers with a lower score are not judged.

    parts: `precision@0.50` ... for each threshold; `tp`, `fp`, `fn`, the counts over all images at the first threshold;
    `precision c` for each class c, and `recall small`, `recall medium`, `recall large`, the truths of COCO's sizes that
    are found, over all images at the first threshold. by_sample: the image's own mean over the thresholds. Raises
    DataError where ids differ, or there are no images.
    Source: https://www.kaggle.com/competitions/global-wheat-detection/overview/evaluation
    """
    return partial(_score, rules=CountRules(tuple(classes), tuple(thresholds), strict, "images", empty, lowest, None))


def box_f_beta(
    classes: Sequence[str],
    beta: float = 1.0,
    thresholds: Sequence[float] = (0.5,),
    *,
    over: Literal["images", "dataset"] = "dataset",
    strict: bool = False,
    empty: float = 1.0,
    lowest: float = 0.0,
) -> Metric:
    """Return F-beta = (1 + b²) TP / ((1 + b²) TP + b² FN + FP) of boxes with b = beta, the mean over IoU thresholds.

    F1 at one IoU has the defaults. F2 over the IoU 0.3, 0.35 ... 0.8 is the metric of the Great Barrier Reef contest of
    2021, with the counts of all images together. over: "dataset" counts all images and classes together; "images" is
    the mean over images. lowest: answers with a lower score are not judged. empty, strict: as of
    `box_precision_over_iou`; `empty` counts under "images", and for a dataset without any box.

    parts: as of `box_precision_over_iou`, with `f@0.50` and `f c`. by_sample: the image's own mean over the thresholds.
    Source: https://www.kaggle.com/competitions/tensorflow-great-barrier-reef/overview/evaluation
    """
    return partial(_score, rules=CountRules(tuple(classes), tuple(thresholds), strict, over, empty, lowest, beta))


def _score(truths: Mapping[str, Boxes], answers: Mapping[str, Boxes], rules: CountRules) -> Score:
    sure = {name: _sure(one, rules.lowest) for name, one in answers.items()}
    both = facing(truths, sure, len(rules.classes))
    images, classes = len(both.ids), len(rules.classes)
    found = [matches(both, threshold, strict=rules.strict) for threshold in rules.thresholds]
    by_image = [_counts(both, one, both.answer.image, both.truth.image, images) for one in found]
    table = np.stack([rules.shares(*one) for one in by_image], axis=1)  # float64[images, thresholds]
    if rules.over == "images":
        by_threshold = table.mean(axis=0)
    else:
        sums = [[counts.sum(keepdims=True) for counts in one] for one in by_image]
        by_threshold = np.array([rules.shares(*one)[0] for one in sums])
    parts = {f"{rules.word}@{one:.2f}": float(by_threshold[at]) for at, one in enumerate(rules.thresholds)}
    parts |= {name: float(counts.sum()) for name, counts in zip(("tp", "fp", "fn"), by_image[0], strict=True)}
    of_classes = _counts(both, found[0], both.answer.label, both.truth.label, classes)
    shares, there = rules.shares(*of_classes), np.sum(of_classes, axis=0) > 0
    named = zip(rules.classes, shares.tolist(), there.tolist(), strict=True)
    parts |= {f"{rules.word} {name}": share for name, share, seen in named if seen}
    parts |= dict(_recalls(both, found[0]))
    alone = dict(zip(both.ids, table.mean(axis=1).tolist(), strict=True))
    return Score(float(by_threshold.mean()), parts, {name: alone[name] for name in truths})


def _sure(boxes: Boxes, lowest: float) -> Boxes:
    if lowest <= 0:
        return boxes
    kept = boxes.scores >= lowest
    return Boxes(boxes.xyxy[kept], boxes.labels[kept], boxes.scores[kept])


def _counts(both: Facing, found: Ints, of_answer: Ints, of_truth: Ints, count: int) -> tuple[Ints, Ints, Ints]:
    """Right, wrong and missed boxes, int64[count] each, by a number of each answer and truth."""
    hit = found >= 0
    passed = np.zeros(len(found), np.bool_)
    passed[hit] = both.truth.ignored[found[hit]]
    right = np.bincount(of_answer[hit & ~passed], minlength=count)
    wrong = np.bincount(of_answer[~hit], minlength=count)
    there = np.bincount(of_truth[~both.truth.ignored], minlength=count)
    return right, wrong, there - right


def _recalls(both: Facing, found: Ints) -> Iterator[tuple[str, float]]:
    """The share of truths of each size that are found, of sizes that some truth has."""
    caught = np.zeros(len(both.truth.group), np.bool_)
    caught[found[found >= 0]] = True
    areas = both.truth.areas
    for name, (low, high) in SIZES.items():
        of_size = ~both.truth.ignored & (areas >= low) & (areas <= high)
        if of_size.any():
            yield f"recall {name}", float(caught[of_size].mean())
