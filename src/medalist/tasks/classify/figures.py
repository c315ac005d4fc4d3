"""What is drawn and counted of a run of image classification: confusions, calibration, curves and figures by class.

Arrays in, plain values and matplotlib Figures out. N is the number of samples, C of the contest's classes.
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
from medalist.report.charts import ACCENT, INK, LINES, finite, plain_axes
from medalist.report.pictures import printable

Flags = NDArray[np.bool_]
Floats = NDArray[np.floating[Any]]
Indices = NDArray[np.int64]

MOST_MATRIX = 24
"""Classes in a confusion matrix."""
MOST_CURVES = 10
"""Classes whose curves are drawn."""
MOST_CLASSES = 40
"""Classes in a table."""
NARROW = 8
"""Classes up to which a confusion matrix takes half of the page's width."""
RIGHT, WRONG = ACCENT, LINES[1]
"""Colours of a confusion matrix."""

_COLOURS = (*LINES[:7], "#7a9a01", "#8c564b", "#5b5bd6")
_WIDE = 100  # times the smallest bar; from there on bars are drawn on a log scale
_BLOCK = 1 << 22  # class decisions that are counted at a time


def shortened(name: str, most: int = 24) -> str:
    """The name on one line, its middle left out where it is wider than `most` letters; broad letters count twice.

    Names of classes often begin alike (`tomato_leaf_mold`, `tomato_leaf_rust`), so both their ends are kept.
    """
    text = printable(name, 4096)
    widths = np.array([1 + (east_asian_width(letter) in "WF") for letter in text], np.int64)
    if widths.sum() <= most:
        return text
    first = int(np.searchsorted(np.cumsum(widths), most // 2, "right"))
    last = int(np.searchsorted(np.cumsum(widths[::-1]), most - 1 - most // 2, "right"))
    return f"{text[:first]}…{text[len(text) - last :]}"


def brief(count: float) -> str:
    """A count in at most five letters: 1234, 12k, 3.4M."""
    for unit, size in (("G", 1e9), ("M", 1e6), ("k", 1e3)):
        if count >= (1e4 if unit == "k" else size):
            scaled = count / size
            return f"{scaled:.1f}{unit}" if scaled < 9.95 else f"{scaled:.0f}{unit}"
    return f"{count:.0f}"


# ------------------------------------------------------------------------------------------------------ confusions

Matrix = csr_array[Any, tuple[int, int]]


def confusion_matrix(truth: Flags, answer: Flags) -> Matrix:
    """Count samples by (truth, answer), bool[N, C] each: a sparse int64[C, C], as there may be thousands of classes.

    Its diagonal counts the labels that are found. Beside it each missed label of a sample is paired with each false one
    of the same sample; where every sample has one label and one answer that is the usual confusion matrix.
    """
    missed, false = csr_array(truth & ~answer, dtype=np.int64), csr_array(answer & ~truth, dtype=np.int64)
    found = class_counts(truth, answer).both
    return csr_array(missed.T @ false + diags_array(found, dtype=np.int64))


def most_confused(matrix: Matrix, most: int = MOST_MATRIX) -> Indices:
    """The classes, in their order, that take part in most confusions: int64[at most `most`].

    matrix: counts [C, C] by (truth, answer). Equal classes are taken in their order.
    """
    wrong = matrix.sum(axis=0) + matrix.sum(axis=1) - 2 * matrix.diagonal()
    return np.sort(np.argsort(-wrong, kind="stable")[:most]).astype(np.int64)


def frequent_confusions(matrix: Matrix, most: int = 12) -> list[tuple[int, int, int]]:
    """(truth, answer, count) of the most frequent confusions, the most frequent first, equal ones in their order."""
    cells = matrix.tocoo()
    wrong = (cells.row != cells.col) & (cells.data > 0)
    rows, columns, counts = cells.row[wrong], cells.col[wrong], cells.data[wrong]
    order = np.lexsort((columns, rows, -counts))[:most]
    return [(int(rows[at]), int(columns[at]), int(counts[at])) for at in order]


def confusion_figure(counts: Indices, totals: Indices, classes: Sequence[str]) -> Figure:
    """Draw a confusion matrix, the truth in rows: counts, on a colour that is the share of the truth's samples.

    counts: int64[S, S] by (truth, answer) of S classes. totals: int64[S], all samples of each, also those whose answer
    is not among the S. classes: S names. Cells without samples are left empty.
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
    text.set_in_layout(False)  # there may be hundreds, and none leaves its cell


# ----------------------------------------------------------------------------------------------------- calibration


def decisions_calibration(truth: Flags, probabilities: Floats, bins: int = 15) -> CalibrationBins:
    """Calibration of all class decisions taken as one: whether a class is there, by its probability.

    truth: bool[N, C]; probabilities: float[N, C] in 0..1. It is `calibration_bins` of the flat arrays, in less memory.
    Raises DataError as that does.
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
    """Draw the share that is right over the confidence, and below it how many samples each bin has.

    confidence, accuracy: what the axes are called. what: that which is counted.
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
    """ROC AUC and average precision of each class: float64[C], NaN where a class has positives or negatives alone."""

    auc: NDArray[np.float64]
    precision: NDArray[np.float64]

    def lowest(self, most: int = MOST_CURVES) -> Indices:
        """The classes with the lowest AUC, the lowest first; those without one are left out."""
        order = np.argsort(self.auc, kind="stable")  # NaN stands last
        return order[: min(most, int(np.isfinite(self.auc).sum()))].astype(np.int64)


def class_ranks(truth: Flags, probabilities: Floats) -> ClassRanks:
    """Rank the samples by each class: bool[N, C] and float[N, C]. Raises DataError where a probability is NaN."""
    auc = roc_auc(truth, probabilities)
    precision = average_precision(truth, probabilities)
    return ClassRanks(auc, np.where(np.isfinite(auc), precision, np.nan))


def curves_by_class_figure(
    truth: Flags, probabilities: Floats, classes: Sequence[str], ranks: ClassRanks, shown: Indices
) -> Figure:
    """Draw the ROC curve and the precision-recall curve of the classes `shown`, at most ten; the legend has AUC and AP.

    truth: bool[N, C]; probabilities: float[N, C]. Each class shown has an AUC.
    """
    assert len(shown) <= len(_COLOURS), f"{len(shown)} classes for {len(_COLOURS)} colours"
    figure = Figure(figsize=(11.4, 3.9), layout="constrained")
    left, right = figure.subplots(1, 2)
    for colour, place in zip(_COLOURS, shown, strict=False):
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
    """A row for each class: its name, how many samples have it and how many are answered so, and its figures.

    heads: what the figures are. left_out: classes that are not shown.
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
    """Precision, recall, F1, AUC and AP of each class. Figures that the score has by class replace these.

    truth, answer: bool[N, C]. by_class: by the name of a figure (`recall`, `log_loss`), its values by class.

    All classes are in their order; of more than `MOST_CLASSES` those with the lowest F1, the lowest first. A figure is
    NaN where it does not exist.
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
        order = np.argsort(columns["f1"], kind="stable")[:MOST_CLASSES]  # NaN stands last
    rows = [
        (classes[at], int(counts.truth[at]), int(counts.answer[at]), tuple(float(one[at]) for one in columns.values()))
        for at in order.tolist()
    ]
    names = {"f1": "F1", "auc": "AUC", "ap": "AP", "log_loss": "log loss"}
    return ClassTable(tuple(names.get(head, head) for head in columns), tuple(rows), len(classes) - len(rows))


def class_parts(
    parts: Mapping[str, float], classes: Sequence[str]
) -> tuple[dict[str, float], dict[str, dict[str, float]]]:
    """Split the parts of a score that are of one class (`recall rust`) off: the rest; and by figure, by class."""
    known, rest, by_class = set(classes), dict[str, float](), dict[str, dict[str, float]]()
    for part, value in parts.items():
        figure, space, name = part.partition(" ")
        if space and name in known and part != "left out" and finite(value):
            by_class.setdefault(figure, {})[name] = float(value)
        else:
            rest[part] = value
    return rest, by_class
