"""The report page of a segmentation run: the page of every run, with objects by size, thresholds and enlarged places.

The data are rendered by `segmentation.html.j2`, which extends `report/page.html.j2` and takes the sections of classes
from `classes.html.j2`; the rules of `report/page.py` for hostile names hold here too.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from shlex import quote
from typing import Any

from medalist.files import write_text
from medalist.report.charts import decision_figure, svg
from medalist.report.page import RunReport, few_strata, page_values, rendered
from medalist.report.zoom import FRAME, TRUTH, heat_colours
from medalist.tasks.segment.class_section import ClassesReport, class_values
from medalist.tasks.segment.objects import ObjectTotals
from medalist.tasks.segment.thresholds import Sweep

MOST_STRATA = 200
"""Strata on the page at most."""


@dataclass(frozen=True, eq=False)
class SegmentationReport:
    """The data of the report page of a segmentation run: plain values; nothing else is read from disk.

    run: the parts that the page of every run has, with the pictures of the worst and the best samples.
    objects: the objects of all scored samples. pieces: whether they are pieces of masks.
    empty: the number of samples that are not shown as worst or best, as truth and answer are both empty.
    sweeps: the score by threshold. unswept: why there are no thresholds and no probabilities; "" where there are.
    classes: None for instances and for masks of one class. void: whether a truth has void pixels.
    """

    run: RunReport
    objects: ObjectTotals
    pieces: bool
    empty: int = 0
    sweeps: Sequence[Sweep] = ()
    unswept: str = ""
    classes: ClassesReport | None = None
    void: bool = False


def write_segmentation_report(path: Path, report: SegmentationReport) -> None:
    """Write the page, whole or not at all."""
    write_text(path, render_segmentation(report).encode("utf-8", "backslashreplace").decode("utf-8"))


def render_segmentation(report: SegmentationReport) -> str:
    """Return the page as HTML text."""
    scores, left_out = few_strata(report.run.scores, MOST_STRATA)
    values = page_values(replace(report.run, scores=scores))
    heat = "" if report.unswept else ", ".join(f"rgb({red} {green} {blue})" for red, green, blue in heat_colours())
    values |= {
        "left_out_strata": left_out,
        "shown": report,
        "objects": report.objects,
        "sweeps": [_shown(sweep, f"{report.run.competition}/{report.run.run}") for sweep in report.sweeps],
        "heat": heat or None,
        "void": report.void,
        "classes": class_values(report.classes) if report.classes else None,
        "colours": values["colours"] | {"truth": TRUTH, "frame": FRAME},
    }
    return rendered("segmentation.html.j2", values, __package__)


def _shown(sweep: Sweep, run: str) -> dict[str, Any]:
    """Return the chart of a sweep, the numbers of the sentence about it, and the command that tries its best."""
    lines = {"all": sweep.scores} | {f"fold {fold}": values for fold, values in sweep.folds.items()}
    highest = max(sweep.scores)
    return {
        "name": sweep.name,
        "used": f"{sweep.used:g}",
        "best": f"{sweep.best:g}",
        "gain": highest - sweep.now,
        "honest": None if sweep.honest is None else sweep.honest - sweep.now,
        "flat": highest - min(sweep.scores) < 0.0005,
        "samples": sweep.samples,
        "of": sweep.of,
        "command": f"medalist score {quote(run)} decide.{sweep.name}={sweep.best:g}",
        "figure": svg(decision_figure(f"decide.{sweep.name}", sweep.used, sweep.thresholds, lines)),
    }
