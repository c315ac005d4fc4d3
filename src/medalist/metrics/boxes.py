"""Mean average precision of boxes, as COCO, Pascal VOC and the contests that follow them compute it.

Truths and answers are `Boxes` by sample id. Metrics without a ranking of answers are in
`medalist.metrics.box_counts`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from medalist.errors import ConfigError
from medalist.metrics.box_matching import Facing, facing, matches
from medalist.metrics.box_precision import Points, average_precision
from medalist.records import Boxes, Score

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]
Metric = Callable[[Mapping[str, Boxes], Mapping[str, Boxes]], Score]

COCO_THRESHOLDS = tuple(np.linspace(0.5, 0.95, 10).tolist())
"""The IoU thresholds 0.50, 0.55 ... 0.95 with the roundings of pycocotools."""

SIZES = {"small": (0.0, 32.0**2), "medium": (32.0**2, 96.0**2), "large": (96.0**2, 1e10)}
"""COCO's ranges of areas in square pixels; both ends belong to a range."""


@dataclass(frozen=True)
class Rules:
    """The rules of a mean average precision. Every edge that contests treat differently is a switch.

    thresholds: of the IoU; the score is the mean over them. strict: whether an IoU must be above a threshold; else it
    may be equal to it.
    points: where the precision is read. most: the answers of an image and class that are judged; None for all.
    assign: whether an answer that loses its best truth may take another one ("free"), or not ("best").
    ignored: what an ignored truth is: a "crowd", which an answer may be a small part of, or a "difficult" object.
    absent: the average precision of a class without a judged truth and without an answer; None leaves the class out.
    false: the same of a class without a judged truth and with answers.
    nothing: a class that says that an image shows nothing: an image without boxes has one box of it, in truths and in
    answers, (0, 0, 1, 1) with the score 1; None where there is no such class.
    sizes: whether parts by size are computed.
    """

    classes: tuple[str, ...]
    thresholds: tuple[float, ...] = COCO_THRESHOLDS
    strict: bool = False
    points: Points = "coco"
    most: int | None = 100
    assign: Literal["free", "best"] = "free"
    ignored: Literal["crowd", "difficult"] = "crowd"
    absent: float | None = None
    false: float | None = None
    nothing: str | None = None
    sizes: bool = True

    def __post_init__(self) -> None:
        """Raise ConfigError for rules that are not possible."""
        if not self.classes or len(set(self.classes)) < len(self.classes):
            raise ConfigError(f"boxes: the classes must be there, each once; they are {', '.join(self.classes[:5])}")
        if not self.thresholds or not all(0 < one <= 1 for one in self.thresholds):
            raise ConfigError(f"boxes: the IoU thresholds are {self.thresholds}; give numbers above 0, 1 at most")
        if self.nothing is not None and self.nothing not in self.classes:
            raise ConfigError(f"boxes: nothing = '{self.nothing}' is not in the classes")


def coco_map(classes: Sequence[str], most: int = 100) -> Metric:
    """Return COCO's metric: the mean of the average precision over classes and over the IoU 0.50, 0.55 ... 0.95.

    The precision is read at 101 recalls; at most `most` answers of an image and class are judged; ignored truths are
    crowds; classes without a truth are left out, so answers of them cost nothing. COCO sorts truths into sizes by the
    area of their outlines; boxes have only their own area, which is used here.

    parts: `ap50`, `ap75`, `ap small`, `ap medium`, `ap large` where there are such truths, `recall`, the mean of the
    largest recalls, and `ap c` for each class c. by_sample: see `box_map`. The metric raises DataError where ids
    differ, or where there are no images. Source: https://cocodataset.org/#detection-eval, pycocotools 2.0.11.
    """
    return box_map(classes, most=most)


def voc_map(classes: Sequence[str], iou: float = 0.5, points: Literal["all", "eleven"] = "all") -> Metric:
    """Return Pascal VOC's metric: the mean of the average precision over classes at one IoU.

    points: "all" as from 2010 on, "eleven" as before. An answer asks for the truth of largest overlap alone; a second
    answer to it is wrong. Ignored truths are difficult objects. The development kit accepts an IoU that is equal to the
    threshold. parts, by_sample: as of `box_map`. Source: Everingham et al., IJCV 2010; VOCdevkit 2012.
    """
    return box_map(classes, thresholds=(iou,), points=points, most=None, assign="best", ignored="difficult")


def box_map(
    classes: Sequence[str],
    *,
    thresholds: Sequence[float] = COCO_THRESHOLDS,
    strict: bool = False,
    points: Points = "coco",
    most: int | None = 100,
    assign: Literal["free", "best"] = "free",
    ignored: Literal["crowd", "difficult"] = "crowd",
    absent: float | None = None,
    false: float | None = None,
    nothing: str | None = None,
    sizes: bool = True,
) -> Metric:
    """Return a mean average precision by the rules that `Rules` names. It can be pickled.

    Where no class is judged, because no image has a truth, the score is 1 without answers and 0 with them.

    parts: `ap50` and `ap75` where these are thresholds, `ap small`, `ap medium`, `ap large`, `recall`, and `ap c` for
    each class c that is judged, all of them means over the thresholds and over classes.
    by_sample: the average precision of the image alone, with the boxes of all its classes in one ranking, the mean over
    the thresholds. It is 1 where all truths are found before the first wrong answer; wrong answers below all right ones
    cost nothing. For an image without judged truths it is 1 minus the highest score of its answers.
    """
    return partial(
        _score,
        rules=Rules(
            tuple(classes), tuple(map(float, thresholds)), strict, points, most, assign, ignored, absent, false,
            nothing, sizes,
        ),
    )  # fmt: skip


def _score(truths: Mapping[str, Boxes], answers: Mapping[str, Boxes], rules: Rules) -> Score:
    if rules.nothing is not None:
        place = rules.classes.index(rules.nothing)
        truths = {name: _filled(one, place) for name, one in truths.items()}
        answers = {name: _filled(one, place) for name, one in answers.items()}
    both = facing(truths, answers, len(rules.classes), rules.most, rules.ignored == "crowd")
    hit, counted = _judged(both, rules, both.truth.ignored, None)
    table = _by_class(both, rules, hit, counted, both.truth.ignored)
    judged = ~np.isnan(table[:, 0])
    parts = {"recall": _recall(both, hit, counted, rules)}
    for name, threshold in (("ap50", 0.5), ("ap75", 0.75)):
        for at, one in enumerate(rules.thresholds):
            if abs(one - threshold) < 1e-9 and judged.any():
                parts[name] = float(table[judged, at].mean())
    if rules.sizes:
        parts |= dict(_by_size(both, rules))
    means = table.mean(axis=1)
    parts |= {f"ap {name}": float(mean) for name, mean, one in zip(rules.classes, means, judged, strict=True) if one}
    value = float(means[judged].mean()) if judged.any() else float(not len(both.answer.group))
    alone = _by_sample(both, rules, hit, counted)
    return Score(value, parts, {name: alone[name] for name in truths})


def _filled(boxes: Boxes, place: int) -> Boxes:
    """The boxes; where there are none, the box that says so."""
    if boxes.count:
        return boxes
    return Boxes(np.array([[0, 0, 1, 1]], np.float32), np.array([place], np.int32), np.ones(1, np.float32))


def _judged(both: Facing, rules: Rules, ignored: Bools, area: tuple[float, float] | None) -> tuple[Bools, Bools]:
    """Whether each answer finds a truth, and whether it counts, at each threshold: bool[T, answers] each.

    area: answers of another area that find nothing do not count.
    """
    hit = np.zeros((len(rules.thresholds), len(both.answer.group)), np.bool_)
    counted = np.ones_like(hit)
    outside = np.zeros(hit.shape[1], np.bool_)
    if area is not None:
        outside = (both.answer.areas < area[0]) | (both.answer.areas > area[1])
    for at, threshold in enumerate(rules.thresholds):
        found = matches(
            both,
            threshold,
            ignored=ignored,
            again=both.truth.ignored,
            strict=rules.strict,
            assign=rules.assign,
        )
        hit[at] = found >= 0
        passed = np.zeros(hit.shape[1], np.bool_)
        passed[hit[at]] = ignored[found[hit[at]]]
        counted[at] = ~(passed | (~hit[at] & outside))
    return hit, counted


def _by_class(both: Facing, rules: Rules, hit: Bools, counted: Bools, ignored: Bools) -> Floats:
    """The average precision float64[classes, T]; NaN for classes that are left out."""
    table = np.full((len(rules.classes), len(rules.thresholds)), np.nan)
    positives = np.bincount(both.truth.label[~ignored], minlength=len(rules.classes)).tolist()
    for place, count in enumerate(positives):
        of_class = np.flatnonzero(both.answer.label == place)
        if count:
            # Images are in the order of their ids, and a stable sort keeps it for equal scores.
            order = of_class[np.argsort(-both.answer.scores[of_class], kind="stable")]
            table[place] = average_precision(hit[:, order], counted[:, order], count, rules.points)
        else:
            edge = rules.false if counted[:, of_class].any() else rules.absent
            table[place] = np.nan if edge is None else edge
    return table


def _recall(both: Facing, hit: Bools, counted: Bools, rules: Rules) -> float:
    """The largest recall, mean over the thresholds and the classes with truths; 1 without truths."""
    positives = np.bincount(both.truth.label[~both.truth.ignored], minlength=len(rules.classes))
    there = positives > 0
    if not there.any():
        return 1.0
    rows = [np.bincount(both.answer.label[one], minlength=len(rules.classes)) for one in hit & counted]
    return float((np.stack(rows)[:, there] / positives[there]).mean())


def _by_size(both: Facing, rules: Rules) -> Iterator[tuple[str, float]]:
    """The parts by the size of truths, of sizes that some truth has."""
    areas = both.truth.areas
    plain = replace(rules, absent=None, false=None)
    for name, (low, high) in SIZES.items():
        ignored = both.truth.ignored | (areas < low) | (areas > high)
        if not ignored.all():
            hit, counted = _judged(both, rules, ignored, (low, high))
            yield f"ap {name}", float(np.nanmean(_by_class(both, plain, hit, counted, ignored)))


def _by_sample(both: Facing, rules: Rules, hit: Bools, counted: Bools) -> dict[str, float]:
    positives = np.bincount(both.truth.image[~both.truth.ignored], minlength=len(both.ids)).tolist()
    order = np.lexsort((-both.answer.scores, both.answer.image))
    ends = np.searchsorted(both.answer.image[order], np.arange(len(both.ids) + 1))
    found = {}
    for at, name in enumerate(both.ids):
        own = order[ends[at] : ends[at + 1]]
        if positives[at]:
            alone = average_precision(hit[:, own], counted[:, own], positives[at], rules.points)
            found[name] = float(alone.mean())
        else:
            false = own[counted[:, own].any(axis=0)]
            found[name] = 1.0 - float(both.answer.scores[false].max(initial=0.0))
    return found
