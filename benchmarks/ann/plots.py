"""Curves of one set of vectors as a picture."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from curves import OURS, envelope, points_of


def plot(results: dict[str, dict[str, Any]], title: str, mode: str, file: Path) -> None:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 6), layout="constrained")
    axes = figure.add_subplot()
    marks = "osv^D<>pP*Xhd"
    for number, (name, result) in enumerate(results.items()):
        front = [point for point in envelope(points_of(result, mode)) if point[0] >= 0.8]
        if front:
            width = 2.5 if name == OURS else 1.2
            colour = "black" if name == OURS else f"C{number % 10}"
            x, y = zip(*front, strict=True)
            axes.plot(x, y, marker=marks[number % len(marks)], ms=4, lw=width, color=colour, label=name)
    axes.set(yscale="log", xlabel="recall@10", ylabel="queries per CPU second, one thread", title=title, xlim=(0.8, 1))
    axes.grid(visible=True, which="both", alpha=0.3)
    if axes.lines:
        axes.legend(fontsize=8, ncols=2)
    figure.savefig(file, dpi=120)
