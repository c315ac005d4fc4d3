"""Counts and figures for the report of a classification run: confusions, calibration, curves and values by class.

Inputs are arrays, results are plain values and matplotlib Figures. N is the number of samples, C that of the classes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any
from unicodedata import east_asian_width

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.patches import Rectangle
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator
from numpy.typing import NDArray
from scipy.sparse import csr_array, diags_array

from medalist.metrics.label_arrays import CalibrationBins, calibration_bins, class_counts, f_beta
from medalist.metrics.label_ranks import average_precision, precision_recall_curve, roc_auc, roc_curve
from medalist.report.charts import ACCENT, INK, LINES, brief, finite, plain_axes
from medalist.report.pictures import printable

Flags = NDArray[np.bool_]
Floats = NDArray[np.floating[Any]]
Indices = NDArray[np.int64]

MOST_MATRIX = 24
"""Largest number of classes in a confusion matrix."""
MOST_CURVES = 10
"""Largest number of classes whose curves are drawn."""
MOST_CLASSES = 40
"""Largest number of classes in a table."""
NARROW = 8
"""A confusion matrix with at most this many classes takes half of the page's width."""
RIGHT, WRONG = ACCENT, LINES[1]
"""Colours of a confusion matrix."""

_COLOURS = (*LINES[:7], "#7a9a01", "#8c564b", "#5b5bd6")
_WIDE = 100  # bars have a log scale where the largest is more than this many times the smallest
_BLOCK = 1 << 22  # number of class decisions that are counted at a time, to limit memory


def shortened(name: str, most: int = 24) -> str:
    """Return the name on one line; where it is wider than `most` letters, its middle is replaced by "…".

    Wide letters (as in Chinese) count twice. Both ends of a name are kept, because names of classes often begin with
    the same words (`tomato_leaf_mold`, `tomato_leaf_rust`).
    """
    text = printable(name, 4096)
    widths = np.array([1 + (east_asian_width(letter) in "WF") for letter in text], np.int64)
    if widths.sum() <= most:
        return text
    first = int(np.searchsorted(np.cumsum(widths), most // 2, "right"))
    last = int(np.searchsorted(np.cumsum(widths[::-1]), most - 1 - most // 2, "right"))
    return f"{text[:first]}…{text[len(text) - last :]}"


# ------------------------------------------------------------------------------------------------------ confusions

Matrix = csr_array[Any, tuple[int, int]]


def confusion_matrix(truth: Flags, answer: Flags) -> Matrix:
    """Count samples by (truth, answer); return a sparse int64[C, C], because there may be thousands of classes.

    truth, answer: bool[N, C]. The diagonal counts the labels that are found. Off the diagonal each missed label of a
    sample is paired with each false label of the same sample. Where every sample has one label and one answer, this is
    the usual confusion matrix.
    """
    missed, false = csr_array(truth & ~answer, dtype=np.int64), csr_array(answer & ~truth, dtype=np.int64)
    found = class_counts(truth, answer).both
    return csr_array(missed.T @ false + diags_array(found, dtype=np.int64))


def most_confused(matrix: Matrix, most: int = MOST_MATRIX) -> Indices:
    """Return the numbers of the classes with the most confusions, ascending: int64[n], n at most `most`.

    matrix: counts [C, C] by (truth, answer). Of classes with equal counts the first ones are taken.
    """
    wrong = matrix.sum(axis=0) + matrix.sum(axis=1) - 2 * matrix.diagonal()
    return np.sort(np.argsort(-wrong, kind="stable")[:most]).astype(np.int64)


def frequent_confusions(matrix: Matrix, most: int = 12) -> list[tuple[int, int, int]]:
    """Return (truth, answer, count) of the `most` most frequent confusions, in descending order of count.

    Confusions with equal counts are in the order of truth, then answer.
    """
    cells = matrix.tocoo()
    wrong = (cells.row != cells.col) & (cells.data > 0)
    rows, columns, counts = cells.row[wrong], cells.col[wrong], cells.data[wrong]
    order = np.lexsort((columns, rows, -counts))[:most]
    return [(int(rows[at]), int(columns[at]), int(counts[at])) for at in order]


def confusion_figure(counts: Indices, totals: Indices, classes: Sequence[str]) -> Figure:
    """Draw a confusion matrix with the truth in rows; a cell's colour shows its share of the samples of its row.

    counts: int64[S, S] by (truth, answer) of S classes. totals: int64[S], all samples of each class, also those whose
    answer is not among the S classes. classes: S names. Cells without samples are left empty.
    """
    size, names = len(classes), [shortened(name) for name in classes]
    width = 5.6 if size <= NARROW else 11.4
    flat = max((len(name) for name in names), default=0) * 0.075 < 0.68 * width / max(1, size)
    height = max(0.34, min(0.62, 2.9 / max(1, size))) * size + (0.7 if flat else 2.1)
    figure = Figure(figsize=(width, height), layout="constrained")
    ax = figure.subplots()
    for row, column in np.argwhere(counts > 0).tolist():
        _cell(ax, row, column, int(counts[row, column]), float(counts[row, column] / totals[row]), size)
    ax.set(xlim=(0, size), ylim=(size, 0), xticks=np.arange(size) + 0.5, yticks=np.arange(size) + 0.5)
    plain_axes(ax, "", "answer")
    ax.grid(visible=False)
    ax.spines["bottom"].set_visible(False)
    ax.hlines(np.arange(size + 1), 0, size, color=INK, alpha=0.1, linewidth=0.7)
    ax.vlines(np.arange(size + 1), 0, size, color=INK, alpha=0.1, linewidth=0.7)
    ax.set_ylabel("truth", size=8.5, color=INK)
    for text in [*ax.set_xticklabels(names, rotation=0 if flat else 90), *ax.set_yticklabels(names)]:
        text.set_parse_math(False)
    return figure


def _cell(ax: Axes, row: int, column: int, count: int, share: float, size: int) -> None:
    colour = RIGHT if row == column else WRONG
    ax.add_patch(Rectangle((column, row), 1, 1, facecolor=colour, alpha=0.07 + 0.7 * share, linewidth=0))
    percent = f"{share:.0%}" if share >= 0.005 else "<1%"
    words = f"{count}\n{percent}" if size <= 5 else f"{count}" if size <= NARROW else brief(count)
    text = ax.text(column + 0.5, row + 0.5, words, size=8.5, color=INK, ha="center", va="center")
    text.set_in_layout(False)  # to save time: there may be hundreds of texts, and all of them fit into their cells


# ----------------------------------------------------------------------------------------------------- calibration


def decisions_calibration(truth: Flags, probabilities: Floats, bins: int = 15) -> CalibrationBins:
    """Return the calibration of all N * C class decisions together: whether a sample has a class, by its probability.

    truth: bool[N, C]; probabilities: float[N, C] in 0..1. The result is that of `calibration_bins` on the flat arrays,
    computed in less memory. Raises DataError as `calibration_bins` does.
    """
    step = max(1, _BLOCK // max(1, truth.shape[1]))
    starts = range(0, len(truth), step)
    parts = [
        calibration_bins(truth[at : at + step].ravel(), probabilities[at : at + step].ravel(), bins) for at in starts
    ]
    if len(parts) == 1:
        return parts[0]
    counts = np.stack([part.counts for part in parts]).sum(axis=0)
    some = np.where(counts > 0, counts, np.nan)
    confident = np.sum([np.nan_to_num(part.confidence) * part.counts for part in parts], axis=0)
    right = np.sum([np.nan_to_num(part.accuracy) * part.counts for part in parts], axis=0)
    return CalibrationBins(np.linspace(0, 1, bins + 1), counts, confident / some, right / some)


def calibration_figure(bins: CalibrationBins, confidence: str, accuracy: str, what: str = "images") -> Figure:
    """Draw the share of right decisions over the confidence, and below it the number of decisions in each bin.

    confidence, accuracy: names of the axes. what: the name of the counted things.
    """
    figure = Figure(figsize=(5.6, 4.8), layout=ConstrainedLayoutEngine(hspace=0.07))
    upper, lower = figure.subplots(2, 1, sharex=True, height_ratios=(3, 1))
    some = bins.counts > 0
    upper.plot([0, 1], [0, 1], color=INK, linewidth=1, linestyle=(0, (3, 3)), alpha=0.6)
    upper.vlines(bins.confidence[some], bins.confidence[some], bins.accuracy[some], color=WRONG, linewidth=1.6)
    upper.plot(bins.confidence[some], bins.accuracy[some], color=ACCENT, marker="o", markersize=4.5, linewidth=1.5)
    upper.set(xlim=(-0.01, 1.01), ylim=(-0.02, 1.02))
    plain_axes(upper, f"{accuracy} by {confidence}", "")
    centres, width = (bins.edges[1:] + bins.edges[:-1]) / 2, np.diff(bins.edges)
    lower.bar(centres, bins.counts, width=0.88 * width, color=ACCENT)
    wide = some.any() and bins.counts.max() > _WIDE * bins.counts[some].min()
    plain_axes(lower, f"{what} by {confidence}" + (", log scale" if wide else ""), confidence)
    if wide:
        lower.set_yscale("log")
        lower.set_ylim(0.7, 2 * bins.counts.max())
        lower.yaxis.set_major_locator(LogLocator(numticks=4))
        lower.yaxis.set_minor_locator(LogLocator(subs=()))
    else:
        lower.yaxis.set_major_locator(MaxNLocator(3, integer=True))
    lower.yaxis.set_major_formatter(FuncFormatter(lambda value, _: brief(value)))
    return figure


# ------------------------------------------------------------------------------------------------ curves by class


@dataclass(frozen=True, eq=False)
class ClassRanks:
    """ROC AUC and average precision of each class: float64[C], NaN for a class with positives or negatives only."""

    auc: NDArray[np.float64]
    precision: NDArray[np.float64]

    def lowest(self, most: int = MOST_CURVES) -> Indices:
        """Return the classes with the lowest AUC, the lowest first; classes without an AUC are left out."""
        order = np.argsort(self.auc, kind="stable")  # sorts NaN last
        return order[: min(most, int(np.isfinite(self.auc).sum()))].astype(np.int64)


def class_ranks(truth: Flags, probabilities: Floats) -> ClassRanks:
    """Return AUC and average precision of each class. truth: bool[N, C]; probabilities: float[N, C].

    Raises DataError where a probability is NaN.
    """
    auc = roc_auc(truth, probabilities)
    precision = average_precision(truth, probabilities)
    return ClassRanks(auc, np.where(np.isfinite(auc), precision, np.nan))


def curves_by_class_figure(
    truth: Flags,
    probabilities: Floats,
    classes: Sequence[str],
    ranks: ClassRanks,
    shown: Indices,
    colours: Mapping[str, str] = MappingProxyType({}),
) -> Figure:
    """Draw the ROC and precision-recall curves of the classes `shown`, at most ten; the legend shows AUC and AP.

    truth: bool[N, C]; probabilities: float[N, C]. Each class in `shown` must have an AUC. colours: by class, those of
    the strata where classes are strata; otherwise classes have colours by their place in `shown`.
    """
    assert len(shown) <= len(_COLOURS), f"{len(shown)} classes for {len(_COLOURS)} colours"
    figure = Figure(figsize=(11.4, 3.9), layout="constrained")
    left, right = figure.subplots(1, 2)
    for by_place, place in zip(_COLOURS, shown, strict=False):
        colour = colours.get(classes[place], by_place)
        there, scores = np.ascontiguousarray(truth[:, place]), probabilities[:, place]
        name = f"AUC {ranks.auc[place]:.3f} · AP {ranks.precision[place]:.3f} · {shortened(classes[place], 26)}"
        for ax, curve in ((left, roc_curve(there, scores)), (right, precision_recall_curve(there, scores))):
            ax.plot(curve.x, curve.y, color=colour, linewidth=1.5, label=name)
    left.plot([0, 1], [0, 1], color=INK, linewidth=1, linestyle=(0, (3, 3)), alpha=0.6)
    for ax in (left, right):
        ax.set(xlim=(-0.015, 1.015), ylim=(-0.015, 1.03))
    plain_axes(left, "true positive rate by false positive rate (ROC)", "false positive rate")
    plain_axes(right, "precision by recall", "recall")
    handles, names = right.get_legend_handles_labels()
    box = figure.legend(handles, names, frameon=False, fontsize=8.5, labelcolor=INK, loc="outside right center")
    for text in box.get_texts():
        text.set_parse_math(False)
    return figure


# --------------------------------------------------------------------------------------------------------- classes


@dataclass(frozen=True)
class ClassTable:
    """A table with a row for each class: (name, samples that have it, samples answered with it, its figures).

    heads: names of the figures. left_out: the number of classes that are not shown.
    """

    heads: tuple[str, ...]
    rows: tuple[tuple[str, int, int, tuple[float, ...]], ...]
    left_out: int = 0


def class_table(
    classes: Sequence[str],
    truth: Flags,
    answer: Flags,
    ranks: ClassRanks | None = None,
    by_class: Mapping[str, Mapping[str, float]] = MappingProxyType({}),
) -> ClassTable:
    """Return the table of precision, recall, F1, AUC and AP of each class.

    truth, answer: bool[N, C]. by_class: figures that the score has by class, {name of the figure (`recall`,
    `log_loss`): {class: value}}; they replace the computed figures.

    The classes are in their order. Of more than `MOST_CLASSES` classes, those with the lowest F1 are kept, the lowest
    first. A figure is NaN where it does not exist.
    """
    counts = class_counts(truth, answer)
    columns = {
        "precision": counts.both / np.where(counts.answer > 0, counts.answer, np.nan),
        "recall": counts.both / np.where(counts.truth > 0, counts.truth, np.nan),
        "f1": f_beta(counts, empty=None),
    }
    if ranks is not None:
        columns |= {"auc": ranks.auc, "ap": ranks.precision}
    for head, figures in by_class.items():
        own = columns.get(head, np.full(len(classes), np.nan))
        columns[head] = np.array([figures.get(name, own[place]) for place, name in enumerate(classes)], np.float64)
    order = np.arange(len(classes))
    if len(classes) > MOST_CLASSES:
        order = np.argsort(columns["f1"], kind="stable")[:MOST_CLASSES]  # sorts NaN last
    rows = [
        (classes[at], int(counts.truth[at]), int(counts.answer[at]), tuple(float(one[at]) for one in columns.values()))
        for at in order.tolist()
    ]
    names = {"f1": "F1", "auc": "AUC", "ap": "AP", "log_loss": "log loss"}
    return ClassTable(tuple(names.get(head, head) for head in columns), tuple(rows), len(classes) - len(rows))


def class_parts(
    parts: Mapping[str, float], classes: Sequence[str]
) -> tuple[dict[str, float], dict[str, dict[str, float]]]:
    """Separate the parts of a score that belong to one class (`recall rust`).

    Returns the other parts, and the separated ones as {figure: {class: value}}.
    """
    known, rest, by_class = set(classes), dict[str, float](), dict[str, dict[str, float]]()
    for part, value in parts.items():
        figure, space, name = part.partition(" ")
        if space and name in known and part != "left out" and finite(value):
            by_class.setdefault(figure, {})[name] = float(value)
        else:
            rest[part] = value
    return rest, by_class
