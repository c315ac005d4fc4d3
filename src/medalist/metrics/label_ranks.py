"""Figures that depend on the order of scores: ROC AUC, average precision, and curves of few points. Torch-free.

Only the order of scores matters, and equal scores are one threshold. All counts are whole numbers, so no figure depends
on the order of rows.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medalist.errors import DataError

Flags = NDArray[np.bool_]
Floats = NDArray[np.floating[Any]]
Keys = NDArray[np.unsignedinteger[Any]]
"""uint[N], ascending: numbers in the order of the scores; the last bit says whether the truth is positive."""

BLOCK = 1 << 20
"""How many keys are counted at a time, so that many millions of keys need little memory."""


def roc_auc(truth: Flags, scores: Floats) -> NDArray[np.float64]:
    """Return the area under the ROC curve of each column: float64[C], 0..1; NaN for a column of only one truth value.

    It is the share of pairs of a positive and a negative in which the positive has the higher score; equal scores count
    one half (midranks; Mann and Whitney 1947).

    truth: bool[N, C] or bool[N]; scores: float of the same shape. The extra memory is that of one column. Raises
    DataError where shapes differ or a score is NaN.
    """
    return _by_column(truth, scores, _area)


def roc_auc_micro(truth: Flags, scores: Floats) -> float:
    """Return the ROC AUC of all columns as if they were one column. Errors and NaN are those of `roc_auc`."""
    return float(roc_auc(truth.reshape(-1), scores.reshape(-1))[0])


def average_precision(truth: Flags, scores: Floats) -> NDArray[np.float64]:
    """Return the average precision of each column: float64[C], 0..1; NaN where a column has no positives.

    It is the sum over distinct scores, from the highest, of precision times the increase of recall; the curve is not
    interpolated. Shapes and errors are those of `roc_auc`.
    """
    return _by_column(truth, scores, _precision)


def average_precision_micro(truth: Flags, scores: Floats) -> float:
    """Return the average precision of all columns as if they were one column; NaN where there are no positives."""
    return float(average_precision(truth.reshape(-1), scores.reshape(-1))[0])


def _by_column(truth: Flags, scores: Floats, figure: Callable[[Keys, int], float]) -> NDArray[np.float64]:
    if truth.shape != scores.shape or truth.ndim not in (1, 2):
        raise DataError(f"truth has shape {truth.shape} and scores {scores.shape}; expected one shape, [N, C] or [N]")
    if truth.ndim == 1:
        truth, scores = truth[:, np.newaxis], scores[:, np.newaxis]
    figures = np.empty(truth.shape[1])
    for column in range(truth.shape[1]):
        there = np.ascontiguousarray(truth[:, column], np.bool_)
        try:
            keys = _sorted_keys(there, np.ascontiguousarray(scores[:, column]))
        except DataError as error:
            raise DataError(f"column {column}: {error}") from error
        figures[column] = figure(keys, int(np.count_nonzero(there)))
    return figures


def _area(keys: Keys, positives: int) -> float:
    negatives = len(keys) - positives
    if not positives or not negatives:
        return np.nan
    twice_won = below = 0
    for there, others in _ties(keys):
        lower = below + np.cumsum(others) - others
        twice_won += int((there * (2 * lower + others)).sum())
        below += int(others.sum())
    return twice_won / (2 * positives * negatives)


def _precision(keys: Keys, positives: int) -> float:
    if not positives:
        return np.nan
    summed = 0.0
    right, rest = positives, len(keys)  # positives and samples whose scores are not yet counted
    for there, others in _ties(keys):
        size = there + others
        hits = right - (np.cumsum(there) - there)
        summed += float((there * (hits / (rest - (np.cumsum(size) - size)))).sum())
        right -= int(there.sum())
        rest -= int(size.sum())
    return summed / positives


def _sorted_keys(truth: Flags, scores: Floats) -> Keys:
    """Sort scores [N] together with their truth.

    The bits of non-negative floats, read as integers, have the order of the floats. Their first bit is 0, so there is
    room for the truth in one bit. Sorting these integers takes a fraction of the time of an argsort. Other scores are
    replaced by the rank of their value.
    """
    if scores.dtype not in (np.float32, np.float64):
        scores = scores.astype(np.float32 if scores.dtype == np.float16 else np.float64)
    if len(scores) and scores.min() >= 0:  # False where a score is NaN
        bits: Keys = scores.view(np.uint32) if scores.dtype == np.float32 else scores.view(np.uint64)
        keys: Keys = np.left_shift(bits, 1)  # this makes -0.0 the same as 0
        keys |= truth
        keys.sort()
        return keys
    order = np.argsort(scores)
    ordered = scores[order]
    if len(ordered) and np.isnan(ordered[-1]):
        raise DataError(f"the score in row {int(np.isnan(scores).argmax())} is NaN; leave no NaN in what is ranked")
    numbers = np.zeros(len(ordered), np.uint64)
    np.cumsum(ordered[1:] != ordered[:-1], out=numbers[1:])
    numbers <<= np.uint64(1)
    numbers |= truth[order]
    return numbers


def _ties(keys: Keys) -> Iterator[tuple[NDArray[np.int64], NDArray[np.int64]]]:
    """Yield the numbers of positives and negatives of each distinct score, from the lowest, in blocks of int64[G]."""
    start = 0
    while start < len(keys):
        stop = start + BLOCK
        if stop < len(keys):  # move the end, so that equal scores are in one block
            stop = int(np.searchsorted(keys, keys[stop] | keys.dtype.type(1), side="right"))
        block = keys[start:stop]
        there = (block & 1).astype(np.bool_)
        number = block >> 1
        last = np.append(np.flatnonzero(number[1:] != number[:-1]), len(block) - 1)
        positives = np.diff(np.cumsum(there, dtype=np.int64)[last], prepend=0)
        yield positives, np.diff(last, prepend=-1) - positives
        start += len(block)


# ---------------------------------------------------------------------------------------------------------- curves


@dataclass(frozen=True, eq=False)
class Curve:
    """Points of a curve, float64[P] each, from the highest threshold to the lowest.

    x, y: both in 0..1. thresholds: at a point, samples with at least this score count as positive; inf for no sample.
    """

    x: NDArray[np.float64]
    y: NDArray[np.float64]
    thresholds: NDArray[np.float64]


def roc_curve(truth: Flags, scores: Floats, points: int = 200) -> Curve:
    """Return the ROC curve of one class: x is the false positive rate, y the true positive rate.

    truth: bool[N]; scores: float[N]. At most `points` points of the full curve are kept (at least 2). The first point
    is (0, 0) and the last (1, 1). Raises DataError where shapes differ, a score is NaN, or there are no positives or no
    negatives.
    """
    hits, taken, thresholds = _steps(truth, scores)
    if hits[-1] in (0, taken[-1]):
        raise DataError(f"a ROC curve needs positives and negatives; there are {hits[-1]} positives of {taken[-1]}")
    false = taken - hits
    return _thinned(Curve(false / false[-1], hits / hits[-1], thresholds), points)


def precision_recall_curve(truth: Flags, scores: Floats, points: int = 200) -> Curve:
    """Return the curve of precision (y) over recall (x) of one class.

    truth: bool[N]; scores: float[N]. At most `points` points of the full curve are kept (at least 2). At the first
    point, (0, 1), no sample counts as positive; at the last, all do. Raises DataError where shapes differ, a score is
    NaN, or there are no positives.
    """
    hits, taken, thresholds = _steps(truth, scores)
    if not hits[-1]:
        raise DataError(f"a precision-recall curve needs positives; there are none in {taken[-1]} samples")
    precision = np.append(1.0, hits[1:] / taken[1:])
    return _thinned(Curve(hits / hits[-1], precision, thresholds), points)


def _steps(truth: Flags, scores: Floats) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float64]]:
    """The numbers of positives and samples at or above each distinct score, from the highest; the first step has 0."""
    if truth.shape != scores.shape or truth.ndim != 1:
        raise DataError(f"truth has shape {truth.shape} and scores {scores.shape}; expected [N] for a curve")
    order = np.argsort(-scores.astype(np.float64))
    ordered = scores[order].astype(np.float64)
    if np.isnan(ordered).any():
        raise DataError(f"the score in row {int(np.isnan(scores).argmax())} is NaN; leave no NaN in what is ranked")
    last = np.append(np.flatnonzero(ordered[1:] != ordered[:-1]), len(ordered) - 1)[: len(ordered)]
    hits = np.append(0, np.cumsum(truth[order], dtype=np.int64)[last])
    return hits, np.append(0, last + 1), np.append(np.inf, ordered[last])


def _thinned(curve: Curve, points: int) -> Curve:
    """Keep points that are spaced about evenly along the curve, and both its ends."""
    if len(curve.x) <= points:
        return curve
    along = np.append(0, np.cumsum(np.abs(np.diff(curve.x)) + np.abs(np.diff(curve.y))))
    kept = np.unique(np.searchsorted(along, np.linspace(0, along[-1], max(points, 2))))
    kept[-1] = len(along) - 1
    return Curve(curve.x[kept], curve.y[kept], curve.thresholds[kept])
