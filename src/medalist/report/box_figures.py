"""Charts of the boxes of a run: curves by class, confusions, sizes of missed boxes. See `charts` for their style."""

from __future__ import annotations

from collections.abc import Sequence
from math import ceil, floor, log2

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from matplotlib.ticker import FuncFormatter, MaxNLocator

from medalist.report.box_counts import AllBoxes, ClassCurve, Counts
from medalist.report.box_errors import FOUND
from medalist.report.charts import ACCENT, INK, LINES, brief, label, legend, plain_axes
from medalist.report.pictures import printable

MOST_CURVES = len(LINES)
"""Classes whose curves are drawn: those with the lowest average precision."""
MOST_MATRIX = 20
"""Classes in a confusion matrix at most: those with the most confusions."""
RIGHT, WRONG = ACCENT, LINES[1]
"""Colours of the confusion matrix, and of found and missed truths."""


def curves_figure(curves: Sequence[ClassCurve], classes: Sequence[str]) -> Figure | None:
    """Draw precision over recall of the classes with the lowest average precision; None where no class has a truth."""
    known = sorted((curve for curve in curves if curve.truths), key=lambda curve: (curve.average, curve.label))
    if not known:
        return None
    figure = Figure(figsize=(5.6, 3.6), layout="constrained")
    ax = figure.subplots()
    for curve, colour in zip(known, LINES, strict=False):
        recall, precision = np.append(0.0, curve.recall), np.append(curve.precision[:1], curve.precision)
        name = label(f"AP {curve.average:.3f} · {classes[curve.label]}")
        ax.plot(recall[: len(precision)], precision, color=colour, linewidth=1.5, label=name)
    ax.set(xlim=(-0.015, 1.015), ylim=(-0.015, 1.03))
    plain_axes(ax, "precision by recall at IoU 0.5", "recall")
    legend(ax, 2)  # also of one class, because it tells its average precision
    return figure


def drawn_classes(counts: Counts) -> list[int]:
    """Return the numbers of the classes that a confusion matrix shows, ascending: those with the most confusions."""
    inner = counts[:-1, :-1]
    wrong = counts.sum(axis=0)[:-1] + counts.sum(axis=1)[:-1] - 2 * inner.diagonal()
    some = np.flatnonzero(counts.sum(axis=0)[:-1] + counts.sum(axis=1)[:-1])
    return sorted(some[np.argsort(-wrong[some], kind="stable")][:MOST_MATRIX].tolist())


def confusion_figure(counts: Counts, classes: Sequence[str]) -> Figure | None:
    """Draw the confusions of `drawn_classes`, with a column of missed truths and a row of answers where nothing is.

    counts: int64[C + 1, C + 1] as of `box_counts.confusion`. The colour of a cell shows its share of its row. None
    where there is no box.
    """
    places = drawn_classes(counts)
    if not places:
        return None
    kept = [*places, len(counts) - 1]
    cells, totals = counts[np.ix_(kept, kept)], counts.sum(axis=1)[kept]
    names = [printable(classes[at], 20) for at in places]
    size = len(kept)
    side = max(0.36, min(0.62, 3.6 / size)) * size
    figure = Figure(figsize=(min(11.4, max(5.6, side + 2.0)), side + 1.5), layout="constrained")
    ax = figure.subplots()
    for row, column in np.argwhere(cells > 0).tolist():
        share = float(cells[row, column] / totals[row])
        _cell(ax, row, column, int(cells[row, column]), share, RIGHT if row == column else WRONG)
    ax.set(xlim=(0, size), ylim=(size, 0), xticks=np.arange(size) + 0.5, yticks=np.arange(size) + 0.5)
    plain_axes(ax, "", "answer")
    ax.grid(visible=False)
    ax.spines["bottom"].set_visible(False)
    ax.hlines(np.arange(size + 1), 0, size, color=INK, alpha=0.1, linewidth=0.7)
    ax.vlines(np.arange(size + 1), 0, size, color=INK, alpha=0.1, linewidth=0.7)
    ax.set_ylabel("truth", size=8.5, color=INK)
    turned = 0 if max(len(name) for name in names) * size < 60 else 90
    above, beside = ax.set_xticklabels([*names, "missed"], rotation=turned), ax.set_yticklabels([*names, "nothing"])
    for text in [*above, *beside]:
        text.set_parse_math(False)
    return figure


def _cell(ax: Axes, row: int, column: int, count: int, share: float, colour: str) -> None:
    ax.add_patch(Rectangle((column, row), 1, 1, facecolor=colour, alpha=0.07 + 0.7 * share, linewidth=0))
    text = ax.text(column + 0.5, row + 0.5, brief(count), size=8.5, color=INK, ha="center", va="center")
    text.set_in_layout(False)  # to save time: there may be hundreds of texts, and all of them fit into their cells


def sizes_figure(above: AllBoxes) -> Figure | None:
    """Draw how many truths are found and not found, by the square root of their areas; None where there is no truth.

    above: the boxes above the threshold.
    """
    if not len(above.areas):
        return None
    sides, found = np.sqrt(above.areas), above.true_kinds == FOUND
    low, high = floor(2 * log2(sides.min())), ceil(2 * log2(sides.max()))
    edges = np.exp2(np.arange(low, max(high, low + 1) + 1) / 2)
    edges[-1] = max(edges[-1], sides.max())
    counts = [np.histogram(sides[own], edges)[0] for own in (found, ~found)]
    figure = Figure(figsize=(5.6, 3.6), layout="constrained")
    ax = figure.subplots()
    at = np.arange(len(edges) - 1)
    ax.bar(at, counts[0], 0.9, color=RIGHT, label="found")
    ax.bar(at, counts[1], 0.9, bottom=counts[0], color=WRONG, label="not found")
    step = -(-len(edges) // 8)
    ax.set_xticks(np.arange(0, len(edges), step) - 0.5, [f"{edge:.0f}" for edge in edges[::step]])
    plain_axes(ax, "true boxes by size", "square root of the area in pixels")
    ax.yaxis.set_major_locator(MaxNLocator(5, integer=True))
    ax.yaxis.set_major_formatter(FuncFormatter(lambda value, _: brief(value)))
    legend(ax, 2)
    return figure
