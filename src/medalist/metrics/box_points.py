"""A metric of the middles of boxes: an object is found where an answer lies within its class's radius."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial

import numpy as np
from numpy.typing import NDArray

from medalist.errors import ConfigError
from medalist.metrics.masks import require_pairs
from medalist.records import Boxes, Score

Metric = Callable[[Mapping[str, Boxes], Mapping[str, Boxes]], Score]


def point_jaccard(classes: Sequence[str], radii: Sequence[float], empty: float = 1.0) -> Metric:
    """Return the metric TP / (TP + FP + FN) over the middles of all boxes of all images and classes together.

    radii: how far in pixels an answer of a class may lie from its truth. The nearest pairs are joined first, each truth
    and answer once; scores are not looked at. Ignored truths need not be found, and finding them is no fault.
    empty: the score where there is neither a truth nor an answer, of all images, or in by_sample of one.

    parts: `tp`, `fp`, `fn`; `jaccard c` for each class c that is there. by_sample: the image's own value. Raises
    DataError where ids differ, or there are no images, and ConfigError for radii that do not fit the classes.
    Source: Dstl, Safe Passage: https://www.datasciencechallenge.org/challenges/1/safe-passage
    """
    if len(classes) != len(radii) or not all(radius > 0 for radius in radii):
        raise ConfigError(f"point_jaccard: {len(radii)} radii for {len(classes)} classes; give one above 0 for each")
    return partial(_score, classes=tuple(classes), radii=tuple(map(float, radii)), empty=float(empty))


def _score(
    truths: Mapping[str, Boxes],
    answers: Mapping[str, Boxes],
    classes: tuple[str, ...],
    radii: tuple[float, ...],
    empty: float,
) -> Score:
    require_pairs(dict.fromkeys(truths, ()), dict.fromkeys(answers, ()))
    counts = np.array([
        [_counts(truth, answers[name], place, radius) for place, radius in enumerate(radii)]
        for name, truth in truths.items()
    ])  # int64[images, classes, 3]  # fmt: skip

    def shares(table: NDArray[np.int64]) -> NDArray[np.float64]:
        total = table.sum(axis=-1)
        found: NDArray[np.float64] = np.where(total > 0, table[..., 0] / np.maximum(total, 1), empty)
        return found

    by_class = counts.sum(axis=0)
    whole = by_class.sum(axis=0)
    parts = {name: float(count) for name, count in zip(("tp", "fp", "fn"), whole, strict=True)}
    there = by_class.sum(axis=1) > 0
    named = zip(classes, shares(by_class).tolist(), there.tolist(), strict=True)
    parts |= {f"jaccard {name}": share for name, share, seen in named if seen}
    return Score(float(shares(whole)), parts, dict(zip(truths, shares(counts.sum(axis=1)).tolist(), strict=True)))


def _counts(truth: Boxes, answer: Boxes, place: int, radius: float) -> tuple[int, int, int]:
    """Right, wrong and missed points of one image and class."""
    of_truth, of_answer = truth.labels == place, answer.labels == place
    ignored = np.zeros(truth.count, np.bool_) if truth.ignored is None else truth.ignored
    passed = ignored[of_truth]
    there, said = _middles(truth)[of_truth], _middles(answer)[of_answer]
    away = np.hypot(*(there[:, None] - said[None]).transpose(2, 0, 1))
    rows, columns = np.nonzero(away <= radius)
    order = np.lexsort((away[rows, columns], passed[rows]))  # judged truths first, then the nearest pairs
    found: dict[int, int] = {}
    taken: set[int] = set()
    for row, column in zip(rows[order].tolist(), columns[order].tolist(), strict=True):
        if row not in found and column not in taken:
            found[row] = column
            taken.add(column)
    right = sum(not passed[row] for row in found)
    return right, len(said) - len(taken), int((~passed).sum()) - right


def _middles(boxes: Boxes) -> NDArray[np.float64]:
    middles: NDArray[np.float64] = (boxes.xyxy[:, :2].astype(np.float64) + boxes.xyxy[:, 2:]) / 2
    return middles
