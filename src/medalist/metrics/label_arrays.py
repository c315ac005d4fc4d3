"""Labels as arrays, and figures computed from them: confusion, kappa, F-beta, log loss, calibration. Torch-free.

Rows are samples, in the order of `ids`; columns are the contest's classes, in its order. Figures that depend on the
order of scores (ROC AUC, average precision, curves) are in `label_ranks.py`; the metrics of contests are in
`labels.py`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from medalist.errors import ConfigError, DataError
from medalist.metrics.masks import require_pairs
from medalist.records import Labels

Flags = NDArray[np.bool_]
Integers = NDArray[np.integer[Any]]
Floats = NDArray[np.floating[Any]]
Side = Literal["truth", "answer"]

ROWS = 16384
"""How many rows are counted at a time: these rows fit in the processor's cache, and their counts fit in 16 bits."""


@dataclass(frozen=True, eq=False)
class LabelArrays:
    """Truths and answers of N samples and C classes.

    ids: the samples, one for each row. truth, answer: bool[N, C], whether the sample has the label.
    probabilities: float64[N, C] in 0..1, of the answers; None where no answer has any.
    """

    ids: tuple[str, ...]
    truth: Flags
    answer: Flags
    probabilities: NDArray[np.float64] | None


def as_arrays(truths: Mapping[str, Labels], answers: Mapping[str, Labels], classes: Sequence[str]) -> LabelArrays:
    """Turn labels by sample id into arrays, in the order of `truths`; used to tune thresholds, and for reports.

    Raises DataError where ids differ, where there are none, or where a label is not in `classes`. Raises ConfigError
    where some answers have probabilities and others have none, or wrong ones.
    """
    ids = paired_ids(truths, answers)
    known = any(answer.probabilities is not None for answer in answers.values())
    return LabelArrays(
        ids,
        as_flags(truths, ids, classes, "truth"),
        as_flags(answers, ids, classes, "answer"),
        as_probabilities(answers, ids, classes, "a comparison by probability") if known else None,
    )


def paired_ids(truths: Mapping[str, Labels], answers: Mapping[str, Labels]) -> tuple[str, ...]:
    """Return the sample ids in the order of `truths`; DataError where `answers` has other ids, or there are none."""
    require_pairs(dict.fromkeys(truths, ()), dict.fromkeys(answers, ()))
    return tuple(truths)


def as_flags(labels: Mapping[str, Labels], ids: Sequence[str], classes: Sequence[str], side: Side) -> Flags:
    """Return whether each sample has each label: bool[N, C]. Raises DataError for a label that is not in `classes`."""
    rows = [labels[name].names for name in ids]
    flags = np.zeros((len(ids), len(classes)), bool)
    columns = _columns([label for row in rows for label in row], classes)
    at = np.repeat(np.arange(len(ids)), [len(row) for row in rows])
    _refuse_unknown(columns, at, rows, ids, classes, side)
    flags[at, columns] = True
    return flags


def as_codes(labels: Mapping[str, Labels], ids: Sequence[str], classes: Sequence[str], side: Side) -> NDArray[np.int64]:
    """Return the position of each sample's label in `classes`: int64[N]. Of an answer, the first (best) label is used.

    Raises DataError for a label that is not in `classes`, for a truth that does not have exactly one label, and for an
    answer without labels.
    """
    if side == "truth":
        require_one_label(labels)
    rows = [labels[name].names[:1] for name in ids]
    for name, row in zip(ids, rows, strict=True):
        if not row:
            raise DataError(f"sample {name}: its {side} has no label; give one of the {len(classes)} classes")
    columns = _columns([row[0] for row in rows], classes)
    _refuse_unknown(columns, np.arange(len(ids)), rows, ids, classes, side)
    return columns


def as_probabilities(
    answers: Mapping[str, Labels], ids: Sequence[str], classes: Sequence[str], metric: str
) -> NDArray[np.float64]:
    """Return the probabilities of the answers: float64[N, C] in 0..1.

    Raises ConfigError, which names `metric`, where an answer has no probabilities, does not have one for each class, or
    has one that is NaN or outside 0..1.
    """
    rows = []
    for name in ids:
        row = answers[name].probabilities
        if row is None or row.shape != (len(classes),):
            has = "no probabilities" if row is None else f"probabilities of shape {row.shape}"
            raise ConfigError(
                f"sample {name}: its answer has {has}, and {metric} needs {len(classes)}, one for each class; "
                "give probabilities in the submission, in the order of the classes"
            )
        rows.append(row)
    probabilities = np.concatenate(rows, dtype=np.float64).reshape(len(rows), len(classes))
    wrong = ~((probabilities >= 0) & (probabilities <= 1))
    if wrong.any():
        at, column = divmod(int(wrong.argmax()), len(classes))
        raise ConfigError(
            f"sample {ids[at]}: its answer gives class {classes[column]!r} the probability "
            f"{probabilities[at, column]}, and {metric} needs 0 to 1; turn logits into probabilities, and leave no NaN"
        )
    return probabilities


def require_one_label(truths: Mapping[str, Labels]) -> None:
    """Raise DataError where a truth does not have exactly one label."""
    for name, truth in truths.items():
        if len(truth.names) != 1:
            raise DataError(
                f"sample {name}: its truth has {len(truth.names)} labels, and this metric is for one; "
                "choose a metric of several labels (f1, mean_column_log_loss, roc_auc)"
            )


def _columns(labels: list[str], classes: Sequence[str]) -> NDArray[np.int64]:
    """The position of each label in `classes`, -1 where it is not there."""
    place = {name: at for at, name in enumerate(classes)}
    return np.array([place.get(label, -1) for label in labels], np.int64)


def _refuse_unknown(
    columns: NDArray[np.int64],
    at: NDArray[np.intp],
    rows: Sequence[tuple[str, ...]],
    ids: Sequence[str],
    classes: Sequence[str],
    side: Side,
) -> None:
    """Raise DataError for the first label whose column is -1; it also names the class with the most similar name."""
    if (columns >= 0).all():
        return
    row = int(at[(columns < 0).argmax()])
    label = next(label for label in rows[row] if label not in classes)
    near = get_close_matches(str(label), classes, n=1, cutoff=0)[0]
    raise DataError(
        f"sample {ids[row]}: its {side} has label {label!r}, which is none of the {len(classes)} classes; "
        f"the nearest is {near!r}"
    )


# ------------------------------------------------------------------------------------------------------ one label


def confusion(truth: Integers, answer: Integers, classes: int) -> NDArray[np.int64]:
    """Return the confusion matrix: the number of samples by (truth, answer), int64[C, C], with the truth in rows.

    truth, answer: int[N], classes numbered 0..C-1. Raises DataError where lengths differ, or for other numbers.
    """
    if truth.shape != answer.shape:
        raise DataError(f"{len(truth)} truths and {len(answer)} answers; expected one answer for each truth")
    counts = np.zeros(classes * classes, np.int64)
    for side, values in (("truth", truth), ("answer", answer)):
        if len(values) and not 0 <= values.min() <= values.max() < classes:
            row = int(((values < 0) | (values >= classes)).argmax())
            raise DataError(f"{side} {values[row]} in row {row} is outside 0..{classes - 1}")
    for start in range(0, len(truth), ROWS):
        part = truth[start : start + ROWS].astype(np.int64) * classes
        part += answer[start : start + ROWS]
        counts += np.bincount(part, minlength=classes * classes)
    return counts.reshape(classes, classes)


def quadratic_kappa(truth: Integers, answer: Integers, classes: int) -> float:
    """Return Cohen's kappa with quadratic weights, -1..1, of two int[N] of grades 0..classes-1 (Cohen 1968).

    It is 1 - sum(w * observed) / sum(w * expected), where w = (i - j)². Where all truths and all answers are the same
    grade, the formula is 0/0 and the result is 1. Raises DataError as `confusion` does, and where there are no samples.
    """
    if not len(truth):
        raise DataError("no samples to score")
    observed = confusion(truth, answer, classes)
    grades = np.arange(classes)
    weights = (grades[:, np.newaxis] - grades) ** 2
    expected = np.outer(observed.sum(axis=1), observed.sum(axis=0).astype(np.float64)) / len(truth)
    apart = float((weights * expected).sum())
    return 1.0 - float((weights * observed).sum()) / apart if apart else 1.0


# -------------------------------------------------------------------------------------------------- several labels


@dataclass(frozen=True, eq=False)
class Counts:
    """Numbers of labels, int64[...], in both sides, in the truth, and in the answer; by class or by sample."""

    both: NDArray[np.int64]
    truth: NDArray[np.int64]
    answer: NDArray[np.int64]

    def total(self) -> Counts:
        """Return the sums over all classes or samples: int64[1]."""
        return Counts(self.both.sum(keepdims=True), self.truth.sum(keepdims=True), self.answer.sum(keepdims=True))


def class_counts(truth: Flags, answer: Flags) -> Counts:
    """Count the labels of each class: int64[C], from two bool[N, C]. Raises DataError where the shapes differ."""
    _require_flags(truth, answer)
    counts = np.zeros((3, truth.shape[1]), np.int64)
    for start in range(0, len(truth), ROWS):
        there, found = truth[start : start + ROWS], answer[start : start + ROWS]
        for at, flags in enumerate((there & found, there, found)):
            counts[at] += np.add.reduce(flags.view(np.uint8), axis=0, dtype=np.uint16)
    return Counts(*counts)


def row_counts(truth: Flags, answer: Flags) -> Counts:
    """Count the labels of each sample: int64[N], from two bool[N, C]. Raises DataError where the shapes differ."""
    _require_flags(truth, answer)
    counts = np.empty((3, len(truth)), np.int64)
    smallest = np.min_scalar_type(truth.shape[1])
    for start in range(0, len(truth), ROWS):
        there, found = truth[start : start + ROWS], answer[start : start + ROWS]
        for at, flags in enumerate((there & found, there, found)):
            counts[at, start : start + ROWS] = np.add.reduce(flags.view(np.uint8), axis=1, dtype=smallest)
    return Counts(*counts)


def f_beta(counts: Counts, beta: float = 1.0, empty: float | None = 0.0) -> NDArray[np.float64]:
    """Return F-beta: (1 + beta²) both / (beta² truth + answer), float64 in the shape of the counts.

    Where neither side has a label it is `empty`, or NaN where `empty` is None.
    """
    among = beta**2 * counts.truth + counts.answer
    figures: NDArray[np.float64] = (1 + beta**2) * counts.both / np.where(among > 0, among, 1)
    figures[among == 0] = np.nan if empty is None else empty
    return figures


def mean_f_beta(counts: Counts, beta: float = 1.0, empty: float | None = 0.0) -> float:
    """Return the mean of `f_beta`: of `class_counts` the macro average, of a `total()` the micro average.

    Of `row_counts` it is the average over samples. Where `empty` is None, classes or samples without a label on either
    side are left out; the result is 1 where all are left out.
    """
    figures = f_beta(counts, beta, empty)
    figures = figures[~np.isnan(figures)]
    return float(figures.mean()) if len(figures) else 1.0


def _require_flags(truth: Flags, answer: Flags) -> None:
    if truth.shape != answer.shape or truth.ndim != 2:
        raise DataError(f"truth has shape {truth.shape} and answer {answer.shape}; expected one shape [N, C]")
    if truth.dtype != np.bool_ or answer.dtype != np.bool_:
        raise DataError(f"truth has type {truth.dtype} and answer {answer.dtype}; expected bool")


# --------------------------------------------------------------------------------------------------- probabilities


def log_losses(truth: Integers, probabilities: Floats, clip: float, normalise: bool) -> NDArray[np.float64]:
    """Return -log of the probability of each sample's true class: float64[N].

    truth: int[N]; probabilities: float[N, C]. normalise: rows are first divided by their sums, which must be above 0.
    Then the probability is clipped to clip .. 1 - clip.
    """
    own = np.take_along_axis(probabilities, truth[:, np.newaxis], axis=1)[:, 0].astype(np.float64)
    if normalise:
        own /= probabilities.sum(axis=1, dtype=np.float64)
    losses: NDArray[np.float64] = -np.log(np.clip(own, clip, 1 - clip))
    return losses


def column_log_losses(truth: Flags, probabilities: Floats, clip: float) -> NDArray[np.float64]:
    """Return -log p for labels of the sample, else -log(1 - p), with p clipped to clip .. 1 - clip: float64[N, C]."""
    clipped = np.clip(probabilities, clip, 1 - clip, dtype=np.float64)
    losses: NDArray[np.float64] = -np.log(np.where(truth, clipped, 1 - clipped))
    return losses


@dataclass(frozen=True, eq=False)
class CalibrationBins:
    """Samples by confidence, in B bins of equal width over 0..1.

    edges: float64[B + 1]; a bin has the confidences above its lower edge and up to its upper edge; the first bin has 0
    too. counts: int64[B], the samples of each bin. confidence, accuracy: float64[B], the mean confidence and the share
    of right answers; NaN in an empty bin.
    """

    edges: NDArray[np.float64]
    counts: NDArray[np.int64]
    confidence: NDArray[np.float64]
    accuracy: NDArray[np.float64]

    def expected_error(self) -> float:
        """Return the ECE: the mean over samples of |accuracy - confidence| of their bin, 0..1.

        Source: Guo et al. 2017, arXiv 1706.04599.
        """
        gaps = np.abs(self.accuracy - self.confidence)
        return float(np.nansum(self.counts * gaps) / self.counts.sum())


def calibration_bins(right: Flags, confidence: Floats, bins: int = 15) -> CalibrationBins:
    """Compare confidence with accuracy in `bins` bins.

    right: bool[N]; confidence: float[N] in 0..1. For many classes, give the highest probability, and whether its class
    is right. For one class, give its probability, and whether the sample has it. Raises DataError where lengths differ,
    where there are no samples, and where a confidence is NaN or outside 0..1.
    """
    if right.shape != confidence.shape or not len(right):
        raise DataError(f"{len(right)} samples and {len(confidence)} confidences; expected as many of both, at least 1")
    if not 0 <= confidence.min() <= confidence.max() <= 1:
        row = int((~((confidence >= 0) & (confidence <= 1))).argmax())
        raise DataError(f"confidence {confidence[row]} in row {row} is outside 0..1; give probabilities, not logits")
    edges = np.linspace(0, 1, bins + 1)
    into = np.searchsorted(edges[1:-1], confidence, side="left")
    counts = np.bincount(into, minlength=bins)
    some = np.where(counts > 0, counts, np.nan)
    confident = np.bincount(into, weights=confidence, minlength=bins) / some
    return CalibrationBins(edges, counts, confident, np.bincount(into, weights=right, minlength=bins) / some)
