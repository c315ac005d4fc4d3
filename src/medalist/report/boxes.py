"""The report page of a run whose answers are boxes: kinds of errors, classes, curves, confusions, sizes, pictures.

The data are rendered by `boxes.html.j2`, which extends `page.html.j2`; the rules of `page` for hostile names hold here
too. Nothing is read from disk, and no metric is imported: the caller gives the contest's own.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from medalist.files import write_text
from medalist.records import Boxes, Score
from medalist.report.box_counts import (
    AllBoxes,
    ClassCurve,
    ClassRow,
    Counts,
    above_cut,
    all_boxes,
    best_cut,
    class_curves,
    class_rows,
    confusion,
)
from medalist.report.box_errors import ERRORS, IGNORED, BoxErrors, Error, Outcome, box_errors, counted, outcome_of
from medalist.report.box_figures import confusion_figure, curves_figure, drawn_classes, sizes_figure
from medalist.report.box_pictures import box_panels, flaw_windows
from medalist.report.charts import finite, svg
from medalist.report.page import RunReport, SamplePicture, few_strata, page_values, rendered
from medalist.report.pictures import Picture, joined

MOST_STRATA = 200
"""Strata on the page at most."""
MOST_CLASSES = 40
"""Classes in the table at most: those with the lowest average precision."""

Metric = Callable[[Mapping[str, Boxes], Mapping[str, Boxes]], Score]


@dataclass(frozen=True, eq=False)
class BoxFindings:
    """What is found out about the boxes of all scored samples.

    classes: names of the contest's classes. cut: the score above which errors are counted, drawn and confused. errors:
    of all answers, also of those below the threshold, because the metric judges them too. outcomes: by sample id, of
    the answers above the threshold. above: the boxes of all samples, the answers above the threshold. curves: by class,
    of all answers. rows: a row for each class that has boxes. confusions: see `box_counts.confusion`.
    """

    classes: tuple[str, ...]
    cut: float
    errors: BoxErrors
    outcomes: Mapping[str, Outcome]
    above: AllBoxes
    curves: tuple[ClassCurve, ...]
    rows: tuple[ClassRow, ...]
    confusions: Counts

    @property
    def wrong(self) -> dict[str, int]:
        """The number of errors above the threshold by sample id; of equal scores the worst samples have the most."""
        return {name: sum(one.counts()[kind] for kind in ERRORS) for name, one in self.outcomes.items()}


def box_findings(
    truths: Mapping[str, Boxes],
    answers: Mapping[str, Boxes],
    classes: Sequence[str],
    metric: Metric,
    cut: float | None = None,
) -> BoxFindings:
    """Find out what is wrong with the answers of all samples.

    Args:
        truths: by sample id.
        answers: of the same samples, with all scores that were submitted.
        classes: the names of the contest's classes.
        metric: of the contest; it is asked seven times, for what each kind of error costs.
        cut: a score; None takes the one above which the answers of all classes together have the highest F1.
    """
    assert truths.keys() == answers.keys(), "truths and answers of other samples"
    errors = box_errors(truths, answers, metric)
    whole = all_boxes(truths, answers, errors.outcomes)
    cut = best_cut(whole) if cut is None else cut
    shown = above_cut(answers, cut)
    outcomes = {name: outcome_of(truth, shown[name]) for name, truth in truths.items()}
    above, curves = all_boxes(truths, shown, outcomes), class_curves(whole, len(classes))
    return BoxFindings(
        tuple(classes),
        cut,
        errors,
        outcomes,
        above,
        tuple(curves),
        tuple(class_rows(above, curves, classes)),
        confusion(truths, shown, len(classes)),
    )


def sample_picture(
    name: str,
    image: Picture,
    truth: Boxes,
    answer: Boxes,
    findings: BoxFindings,
    *,
    fold: int | str,
    score: float,
    stratum: str | None = None,
) -> SamplePicture:
    """Draw a sample for the page, with enlarged places where boxes are missed or wrong.

    name: the id of the sample, which must be among the findings. image: uint8[H, W, 3]. answer: with all scores.
    """
    shown, outcome = above_cut({name: answer}, findings.cut)[name], findings.outcomes[name]
    panels = box_panels(image, truth, shown, outcome, findings.classes)
    places = flaw_windows(truth, shown, outcome, (image.shape[0], image.shape[1]))
    details = [
        (words, joined(box_panels(image, truth, shown, outcome, findings.classes, window=window)))
        for words, window in places
    ]
    return SamplePicture(name, fold, score, stratum, joined(panels), outcome.in_words(), details)


@dataclass(frozen=True)
class ErrorRow:
    """A kind of error in words. above, all: how many there are above the threshold and in all. share: of the bar."""

    words: str
    above: int
    all: int
    gain: float
    share: float


def error_rows(findings: BoxFindings) -> list[ErrorRow]:
    """Return a row for each kind of error, those first whose correction gains most; bars are in 0..100."""
    counts, above = counted(findings.errors.outcomes), counted(findings.outcomes)
    highest = max([0.0, *(gain for gain in findings.errors.gains.values() if finite(gain))])

    def row(error: Error) -> ErrorRow:
        gain = round(findings.errors.gains[error], 3) + 0.0  # no -0.000
        share = round(100 * max(0.0, gain) / highest, 1) if highest and finite(gain) else 0.0
        return ErrorRow(ERRORS[error], above[error], counts[error], gain, share)

    return sorted((row(error) for error in ERRORS), key=lambda one: -one.gain if finite(one.gain) else 0.0)


def write_box_report(path: Path, report: RunReport, findings: BoxFindings) -> None:
    """Write the page, whole or not at all. report: the parts that the page of every run has, with its pictures."""
    write_text(path, render_boxes(report, findings).encode("utf-8", "backslashreplace").decode("utf-8"))


def render_boxes(report: RunReport, findings: BoxFindings) -> str:
    """Return the page as HTML text."""
    scores, left_out = few_strata(report.scores, MOST_STRATA)
    values = page_values(replace(report, scores=scores))
    # The table of classes has what the metric says of each class.
    by_class = {name: values["parts"].pop(f"ap {name}", None) for name in findings.classes}
    rows = sorted(findings.rows, key=lambda row: (row.average is None, row.average or 0.0))
    judged = len(findings.above.areas)
    values |= {
        "left_out_strata": left_out,
        "cut": findings.cut,
        "errors": error_rows(findings),
        "boxes": {
            "truths": judged,
            "found": int((findings.above.true_kinds == "found").sum()),
            "answers": len(findings.above.labels),
            "right": int((findings.above.kinds == "found").sum()),
            "ignored": sum(one.truths.count(IGNORED) for one in findings.outcomes.values()),
            "images": len(findings.outcomes),
        },
        "class_rows": [(row, by_class[row.name]) for row in rows[:MOST_CLASSES]],
        "left_out_classes": max(0, len(rows) - MOST_CLASSES),
        "scored_classes": any(value is not None for value in by_class.values()),
        "charts": _charts(findings),
    }
    return rendered("boxes.html.j2", values, __package__)


def _charts(findings: BoxFindings) -> dict[str, Any]:
    drawn = {
        "curves": curves_figure(findings.curves, findings.classes),
        "sizes": sizes_figure(findings.above),
        "confusions": confusion_figure(findings.confusions, findings.classes),
    }
    known = sum(1 for curve in findings.curves if curve.truths)
    some = int((findings.confusions.sum(axis=0) + findings.confusions.sum(axis=1))[:-1].astype(bool).sum())
    wide = drawn["confusions"]
    return {name: None if figure is None else svg(figure) for name, figure in drawn.items()} | {
        "known": known,
        "confused": len(drawn_classes(findings.confusions)),
        "classes": some,
        "width": round(72 / 11.4 * wide.get_figwidth(), 1) if wide is not None else 0,
    }
