"""Charts of a run, for the page and for notebooks: matplotlib Figures, made without pyplot's global state.

Text and axes have a colour that is almost black. `svg` replaces it by the colour of the page's text, so that charts can
be read on light and dark pages and in print.
"""

from __future__ import annotations

import io
import math
import re
import warnings
from collections.abc import Iterable, Mapping, Sequence
from statistics import median
from types import MappingProxyType
from typing import Any

import matplotlib as mpl
from markupsafe import Markup
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, NullLocator

from medalist.report.pictures import printable

INK = "#010203"
ACCENT = "#3f7fd6"
STRATA = (
    "#4269d0",
    "#efb118",
    "#ff725c",
    "#3ca951",
    "#a463f2",
    "#6cc5b0",
    "#ff8ab7",
    "#9c6b4e",
    "#97bbf5",
    "#9498a0",
)
"""Colours of strata; those of folds are `LINES`, so that a fold is not taken for a stratum."""
LINES = ("#3f7fd6", "#e0762f", "#2f9e6e", "#b55bc4", "#c9a227", "#d64f63", "#2aa3b8", "#8a7f72")


def curves_figure(curves: Mapping[str, Sequence[Mapping[str, Any]]]) -> Figure:
    """Draw training loss, validation loss and learning rate, with one line for each fold.

    curves: by fold, the rows of metrics.jsonl, as in `page.RunReport`. Panels of what is not `drawable` are left out.
    """
    panels = {"loss": "training loss", "val_loss": "validation loss", "lr": "learning rate"}
    along = _along(curves)
    shown = [name for name in panels if name in drawable(curves)] or ["loss"]
    figure = Figure(figsize=(11.4, 2.9), layout="constrained")
    axes = figure.subplots(1, len(shown), squeeze=False)[0]
    for ax, name in zip(axes, shown, strict=True):
        for place, (fold, fold_rows) in enumerate(curves.items()):
            points = [(row.get(along, at), row[name]) for at, row in enumerate(fold_rows) if finite(row.get(name))]
            ax.plot(
                [x for x, _ in points],
                [y for _, y in points],
                color=LINES[place % len(LINES)],
                linewidth=1.5,
                marker="o" if len(points) < 40 else None,
                markersize=2.6,
                label=label(fold_name(fold)),
            )
        plain_axes(ax, panels[name], along)
        ax.xaxis.set_major_locator(MaxNLocator(6, integer=True))
    if len(shown) > 1 and shown[1] == "val_loss":
        axes[1].sharey(axes[0])
        axes[0].autoscale()
    legend(axes[0], len(curves))
    return figure


def drawable(curves: Mapping[str, Sequence[Mapping[str, Any]]]) -> set[str]:
    """Return the names of the figures that make a line: those with two numbers or more in one fold."""
    names = {name for rows in curves.values() for row in rows for name in row}
    return {name for name in names if any(sum(finite(row.get(name)) for row in rows) > 1 for rows in curves.values())}


def stratum_colours(strata: Iterable[str]) -> dict[str, str]:
    """Return a colour for each stratum, by its place in the order of names.

    Charts and tables of one contest agree where each is given all strata of the contest. More strata than colours
    share colours.
    """
    return {name: STRATA[place % len(STRATA)] for place, name in enumerate(sorted(set(strata)))}


def own_colours(strata: Iterable[str], shown: Iterable[str] = ()) -> dict[str, str]:
    """Return `stratum_colours` where each stratum has a colour of its own, and each name in `shown` is a stratum.

    Otherwise return nothing: a colour that several strata share says nothing. `shown` are the classes or identities of
    a chart; they have the colours of strata where they are the strata.
    """
    names = set(strata)
    return stratum_colours(names) if len(names) <= len(STRATA) and set(shown) <= names else {}


def thresholds_figure(thresholds: Mapping[str, Sequence[tuple[float, float]]]) -> Figure:
    """Draw each part of the score over its thresholds: by name, (threshold, value) pairs."""
    figure = Figure(figsize=(5.6, 2.9), layout="constrained")
    ax = figure.subplots()
    for place, (name, pairs) in enumerate(thresholds.items()):
        colour = LINES[place % len(LINES)]
        ax.plot(
            [x for x, _ in pairs],
            [y for _, y in pairs],
            color=colour,
            marker="o",
            markersize=3.4,
            label=label(name),
        )
    if len(thresholds) == 1:
        for x, y in next(iter(thresholds.values())):
            ax.annotate(f"{y:.2f}", (x, y), (0, 7), textcoords="offset points", ha="center", size=8, color=INK)
    ax.set_ylim(min(0.0, ax.get_ylim()[0]), max(1.0, ax.get_ylim()[1]))
    plain_axes(
        ax,
        f"{label(next(iter(thresholds)))} by threshold" if len(thresholds) == 1 else "by threshold",
        "threshold of the metric",
    )
    legend(ax, len(thresholds))
    return figure


def spread_figure(
    values: Sequence[float],
    what: str = "images",
    strata: Sequence[str] = (),
    colours: Mapping[str, str] = MappingProxyType({}),
) -> Figure:
    """Draw the histogram of the samples' scores, with the median. `what`: the plural name of the samples.

    strata: the stratum of each value, or nothing. colours: by stratum; the parts of a bar have these colours.
    """
    figure = Figure(figsize=(5.6, 2.9), layout="constrained")
    ax = figure.subplots()
    low, high = min(0.0, *values), max(1.0, *values)
    names = [name for name in colours if name in set(strata)]
    if len(strata) == len(values) and len(names) > 1 and set(strata) <= set(colours):
        parts = [[value for value, one in zip(values, strata, strict=True) if one == name] for name in names]
        shown = [colours[name] for name in names]
        ax.hist(parts, bins=20, range=(low, high), color=shown, rwidth=0.92, stacked=True)
    else:
        ax.hist(values, bins=20, range=(low, high), color=ACCENT, rwidth=0.92)
    ax.set_ylim(top=1.16 * ax.get_ylim()[1])  # room for the text at the median
    middle = median(values)
    ax.axvline(middle, color=INK, linewidth=1, linestyle=(0, (3, 3)))
    side = "right" if middle > (low + high) / 2 else "left"
    ax.annotate(
        f"median {middle:.3f}",
        (middle, 1.0),
        (-5 if side == "right" else 5, -9),
        xycoords=("data", "axes fraction"),
        textcoords="offset points",
        ha=side,
        size=8,
        color=INK,
    )
    plain_axes(ax, f"{what} by score", "score")
    ax.yaxis.set_major_locator(MaxNLocator(5, integer=True))
    return figure


def decision_figure(
    name: str, used: float, thresholds: Sequence[float], scores: Mapping[str, Sequence[float]]
) -> Figure:
    """Draw the score over a threshold of the decision, with a line at the one that is used.

    name: of the threshold. scores: by line, a score for each threshold; the first line is that of all samples, and the
    others, of folds, are thinner.
    """
    figure = Figure(figsize=(5.6, 2.9), layout="constrained")
    ax = figure.subplots()
    for place, (line, values) in enumerate(scores.items()):
        style: dict[str, Any] = {"color": INK, "linewidth": 1.8, "marker": "o", "markersize": 3.4, "zorder": 3}
        if place:
            style = {"color": LINES[(place - 1) % len(LINES)], "linewidth": 1.1, "alpha": 0.8}
        ax.plot(thresholds, values, label=label(line), **style)
    ax.axvline(used, color=INK, linewidth=1, linestyle=(0, (3, 3)))
    side = "right" if used > (min(thresholds) + max(thresholds)) / 2 else "left"
    ax.annotate(
        f"scored with {used:g}",
        (used, 0.0),
        (-5 if side == "right" else 5, 6),
        xycoords=("data", "axes fraction"),
        textcoords="offset points",
        ha=side,
        size=8,
        color=INK,
    )
    plain_axes(ax, f"score by {label(name)}", label(name))
    legend(ax, len(scores))
    return figure


def _along(curves: Mapping[str, Sequence[Mapping[str, Any]]]) -> str:
    """Return the quantity of the x axis: epoch where no fold repeats an epoch, else step, else row number."""
    for name in ("epoch", "step"):
        if all(finite(row.get(name)) for rows in curves.values() for row in rows) and all(
            len({row[name] for row in rows}) == len(rows) for rows in curves.values()
        ):
            return name
    return "row"


def plain_axes(ax: Axes, title: str, along: str) -> None:
    """Give axes the style of all charts: a title on the left, one base line, faint horizontal lines."""
    ax.set_title(title, loc="left", size=10, color=INK, pad=9, parse_math=False)
    ax.set_xlabel(along, size=8.5, color=INK)
    ax.tick_params(which="both", labelsize=8.5, length=0, labelcolor=INK)
    ax.yaxis.set_minor_locator(NullLocator())
    ax.grid(axis="y", color=INK, alpha=0.13, linewidth=0.8)
    ax.set_axisbelow(True)
    for side, spine in ax.spines.items():
        spine.set_visible(side == "bottom")
        spine.set(color=INK, alpha=0.45, linewidth=0.8)


def fold_name(fold: object) -> str:
    """Return the name of a fold: "fold 0" for 0, "0" and "fold 0"."""
    text = str(fold)
    return text if text.startswith("fold ") else f"fold {text}"


def label(name: str) -> str:
    """Return a line's name for a legend: printable, with a space before a leading "_" (it would hide the line)."""
    text = printable(name, 40)
    return f" {text}" if text.startswith("_") else text


def brief(count: float) -> str:
    """Return a count as text of at most five letters: 1234, 12k, 3.4M."""
    for unit, size in (("G", 1e9), ("M", 1e6), ("k", 1e3)):
        if count >= (1e4 if unit == "k" else size):
            scaled = count / size
            return f"{scaled:.1f}{unit}" if scaled < 9.95 else f"{scaled:.0f}{unit}"
    return f"{count:.0f}"


def legend(ax: Axes, lines: int) -> None:
    """Add a legend where there are several lines. The names are not read as formulas."""
    if lines > 1:
        box = ax.legend(frameon=False, fontsize=8.5, labelcolor=INK, ncols=1 + (lines > 5))
        for text in box.get_texts():
            text.set_parse_math(False)


def svg(figure: Figure) -> Markup:
    """Return the figure as an SVG element. It has real text, the page's text colour, and no addresses."""
    data = io.StringIO()
    with warnings.catch_warnings(), mpl.rc_context({"svg.fonttype": "none", "svg.hashsalt": "medalist"}):
        # The reader's browser draws the text in its own fonts, so glyphs that matplotlib's font lacks do not matter.
        warnings.filterwarnings("ignore", message="Glyph .* missing from font")
        figure.savefig(
            data,
            format="svg",
            transparent=True,
            metadata=dict.fromkeys(("Date", "Creator", "Format", "Type")),
        )
    text = data.getvalue()
    text = re.sub(r"<metadata>.*?</metadata>|<!--.*?-->", "", text[text.index("<svg") :], flags=re.DOTALL)
    text = re.sub(
        r'(<svg[^>]*?) width="[^"]*"',
        r"\1",
        re.sub(r'(<svg[^>]*?) height="[^"]*"', r"\1", text, count=1),
        count=1,
    )
    return Markup(text.replace(INK, "currentColor"))  # matplotlib escapes every text that it writes


def finite(value: object) -> bool:
    """Return whether a value that was read from JSON is a number that can be drawn: finite, and no bool."""
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def finite_values(values: Iterable[object]) -> list[float]:
    """Return those of the values that are numbers and can be drawn."""
    return [float(value) for value in values if isinstance(value, int | float) and finite(value)]
