"""The report page of a segmentation run: the page of every run, with objects by size, thresholds and enlarged places.

The data are rendered by `segmentation.html.j2`, which extends `report/page.html.j2` and takes the sections of classes
from `classes.html.j2`; the rules of `report/page.py` for hostile names hold here too.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from shlex import quote
from typing import Any

import yaml

from medalist.files import write_text
from medalist.report.charts import decision_figure, svg
from medalist.report.page import RunReport, few_strata, page_values, rendered
from medalist.report.zoom import FRAME, TRUTH, heat_colours
from medalist.tasks.segment.class_section import ClassesReport, class_values
from medalist.tasks.segment.objects import ObjectTotals
from medalist.tasks.segment.thresholds import Sweep

MOST_STRATA = 200
"""Strata on the page at most."""
MOST_CHARTS = 4
"""Thresholds of classes whose charts are shown without a click: those that gain most."""
_PLAIN = re.compile(r"[A-Za-z_][\w-]*")


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
    run = f"{report.run.competition}/{report.run.run}"
    classes = class_values(report.classes) if report.classes else None
    values |= {
        "left_out_strata": left_out,
        "shown": report,
        "objects": report.objects,
        "sweeps": [_shown(sweep, run) for sweep in report.sweeps if not sweep.channel],
        "class_sweeps": _largest_first([_shown(sweep, run) for sweep in report.sweeps if sweep.channel]),
        "most_charts": MOST_CHARTS,
        "class_keys": {key.name: key for key in (classes["keys"] if classes else ())},
        "heat": heat or None,
        "void": report.void,
        "classes": classes,
        "colours": values["colours"] | {"truth": TRUTH, "frame": FRAME},
    }
    if report.classes:  # the table of classes has their IoU
        told = {f"iou {name}" for name in report.classes.classes.names}
        values["parts"] = {name: value for name, value in values["parts"].items() if name not in told}
    return rendered("segmentation.html.j2", values, __package__)


def _shown(sweep: Sweep, run: str) -> dict[str, Any]:
    """Return the chart of a sweep, the numbers of the sentence about it, and the command that tries its best."""
    lines = {"all": sweep.scores} | {f"fold {fold}": values for fold, values in sweep.folds.items()}
    highest = max(sweep.scores)
    key = f"decide.{sweep.name}"
    value = _mapping({**sweep.setting, sweep.channel: sweep.best}) if sweep.channel else f"{sweep.best:g}"
    return {
        "name": sweep.name,
        "channel": sweep.channel,
        "used": f"{sweep.used:g}",
        "best": f"{sweep.best:g}",
        "gain": highest - sweep.now,
        "honest": None if sweep.honest is None else sweep.honest - sweep.now,
        "flat": highest - min(sweep.scores) < 0.0005,
        "samples": sweep.samples,
        "of": sweep.of,
        "command": f"medalist score {quote(run)} {quote(f'{key}={value}')}",
        "figure": svg(decision_figure(f"{key} {sweep.channel}".strip(), sweep.used, sweep.thresholds, lines)),
    }


def _mapping(values: Mapping[str, float]) -> str:
    """Return a mapping as YAML on one line; names that could mean something else are quoted."""
    plain = {name: _PLAIN.fullmatch(name) and yaml.safe_load(name) == name for name in values}
    pairs = [f"{name if plain[name] else json.dumps(name)}: {value:g}" for name, value in values.items()]
    return f"{{{', '.join(pairs)}}}"


def _largest_first(sweeps: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return the sweeps with the largest honest gain first, or with the largest gain where it is not known."""
    return sorted(sweeps, key=lambda one: -(one["gain"] if one["honest"] is None else one["honest"]))
