"""The report page of a classification run: confusions, classes, calibration, curves, tuning, images.

The data are rendered by `classification.html.j2`, which extends `report/page.html.j2`; the rules of `report/page.py`
for hostile names hold here too. N is the number of samples, C the number of the contest's classes.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from hashlib import sha256
from itertools import pairwise
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from medalist.errors import DataError
from medalist.files import write_text
from medalist.metrics.label_arrays import CalibrationBins, calibration_bins
from medalist.report.charts import finite, fold_name, own_colours, svg
from medalist.report.page import RunReport, few_strata, page_values, rendered
from medalist.report.pictures import FOUND, MISSED, Picture, fit_image, printable
from medalist.tasks.classify.figures import (
    MOST_CLASSES,
    MOST_MATRIX,
    NARROW,
    RIGHT,
    WRONG,
    ClassRanks,
    calibration_figure,
    class_parts,
    class_ranks,
    class_table,
    confusion_figure,
    confusion_matrix,
    curves_by_class_figure,
    decisions_calibration,
    frequent_confusions,
    most_confused,
)

MOST_STRATA = 12
"""Strata on the page at most; where strata are classes, there may be thousands."""
SIDE = 384
"""Longer side of a picture on the page, in pixels; smaller pictures are not enlarged."""
INCH = 72 / 11.4
"""Width on the page, in rem, of one inch of a figure; a figure of 11.4 inches has the full width of the page."""


@dataclass(frozen=True, eq=False)
class ImageTile:
    """One OOF image on the page.

    truth, answer: its labels as text. note: its highest probabilities or its grade as text ("p(rust) 0.97"). picture:
    uint8[H, W, 3].
    """

    id: str
    fold: int | str
    truth: str
    answer: str
    note: str
    score: float
    picture: Picture


@dataclass(frozen=True, eq=False)
class ClassificationReport:
    """The data of the report page of a classification run: plain values; nothing else is read from disk.

    run: the parts that the page of every run has, without pictures.
    classes: the contest's C classes in their order; where mode is `ordinal`, the grades from the lowest.
    truth, answer: bool[N, C], the true labels and the decided labels of each sample.
    probabilities: float[N, C] in 0..1; None where a prediction is one number, a grade.
    worst, doubtful: images in the order in which they are shown; `chosen` selects them.
    tuning: the section of scores.json: `thresholds` (by class, one number, or a list of cuts), `by_fold` {fold: the
        same}, and the scores `honest`, `naive` and `untuned`. Empty where nothing was tuned.
    facts: rows (name, value) of a small table.
    """

    run: RunReport
    classes: tuple[str, ...]
    mode: Literal["single", "multi", "ordinal"]
    truth: NDArray[np.bool_]
    answer: NDArray[np.bool_]
    probabilities: NDArray[np.floating[Any]] | None = None
    worst: Sequence[ImageTile] = ()
    doubtful: Sequence[ImageTile] = ()
    tuning: Mapping[str, Any] = field(default_factory=dict)
    facts: Sequence[tuple[str, str]] = ()


def write_classification_report(path: Path, report: ClassificationReport) -> None:
    """Write the page, whole or not at all. Raises DataError for a probability that is NaN or outside 0..1."""
    write_text(path, render_classification(report).encode("utf-8", "backslashreplace").decode("utf-8"))


def render_classification(report: ClassificationReport) -> str:
    """Return the page as HTML text. Raises DataError for a probability that is NaN or outside 0..1."""
    _check(report)
    report = replace(report, classes=tuple(name or "–" for name in report.classes))
    scores, left_out = few_strata(report.run.scores, MOST_STRATA)
    # The parts are taken away from the page of every run: it would draw map@1 and map@5 as a curve over thresholds.
    parts: Mapping[str, float] = scores["oof"].pop("parts", None) or {}
    values = page_values(replace(report.run, scores=scores))
    rest, by_class = class_parts(parts, report.classes)
    some = report.probabilities is not None and report.truth.size > 0
    ranks = class_ranks(report.truth, report.probabilities) if some and report.probabilities is not None else None
    values |= {
        "parts": rest if report.truth.size else parts,
        "left_out_strata": left_out,
        "shown": report,
        "confusion": _confusion(report) if report.truth.size else None,
        "table": class_table(report.classes, report.truth, report.answer, ranks, by_class)
        if report.truth.size
        else None,
        "calibration": _calibration(report) if some else None,
        "curves_by_class": _curves(report, ranks) if ranks is not None else None,
        "tuned": tuning_table(report.tuning, report.classes),
        "verdict": lambda tile: verdict(tile, report.mode),
        "fitted": _fitted,
        "plain": printable,
        "colours": {"found": FOUND, "missed": MISSED, "right": RIGHT, "wrong": WRONG},
    }
    return rendered("classification.html.j2", values, __package__)


def chosen(by_sample: Mapping[str, float], doubt: Mapping[str, float], most: int) -> tuple[list[str], list[str]]:
    """Return the ids of the worst and of the most doubtful samples, at most `most` of each; no id is in both.

    by_sample: scores by id; samples without a finite score are left out. doubt: margins by id: the difference between
    the two highest probabilities, or the distance to the nearest threshold or cut. A smaller margin is more doubtful;
    samples without a finite margin are not doubtful.

    The worst samples have the lowest scores. Of equal scores those with the largest margin come first, because they are
    confident mistakes. The worst are at most half of the samples, and none of them has the highest score, unless all
    scores are equal. Samples that are equal in both are sorted by a hash, so that they are not all of one class.
    """
    scores = {name: float(value) for name, value in by_sample.items() if finite(value)}
    margins = {name: float(doubt[name]) for name in scores if finite(doubt.get(name))}
    hashes = {name: sha256(name.encode("utf-8", "surrogatepass")).hexdigest() for name in scores}
    ordered = sorted(scores, key=lambda name: (scores[name], -margins.get(name, -math.inf), hashes[name]))
    highest, lowest = (scores[ordered[-1]], scores[ordered[0]]) if ordered else (0.0, 0.0)
    below = [name for name in ordered if scores[name] < highest or highest == lowest]
    worst = below[: min(most, -(-len(ordered) // 2))]
    rest = margins.keys() - set(worst)
    return worst, sorted(rest, key=lambda name: (margins[name], hashes[name]))[:most]


def verdict(tile: ImageTile, mode: str) -> Literal["right", "wrong", ""]:
    """Return whether the answer of an image is right, by its first label; "" where the text cannot show it."""
    if tile.answer == tile.truth:
        return "" if mode == "multi" else "right"  # a text shows only the first labels, so others may differ
    return "right" if mode == "single" and tile.answer.startswith(f"{tile.truth}, ") else "wrong"


# ---------------------------------------------------------------------------------------------------------- tuning


@dataclass(frozen=True)
class TuningTable:
    """The result of tuning: its scores, and thresholds (or cuts, each between two grades) by fold.

    gain: the honest score minus the untuned one, None where one is not known. what: "threshold" or "cut". folds: the
    column heads. rows: (names, number for the test part, numbers of the folds); names are the class, the two grades of
    a cut, or empty for one threshold of all classes. left_out: the number of rows that are not shown.
    """

    scores: Mapping[str, Any]
    gain: float | None
    what: str
    folds: tuple[str, ...]
    rows: tuple[tuple[tuple[str, ...], float | None, tuple[float | None, ...]], ...]
    left_out: int


def tuning_table(tuning: Mapping[str, Any], classes: Sequence[str]) -> TuningTable | None:
    """Return the table of `ClassificationReport.tuning`; None where nothing was tuned.

    Of more than `MOST_CLASSES` rows it keeps those whose numbers differ most between the folds, sorted by this.
    """
    by_fold = tuning.get("by_fold") if isinstance(tuning.get("by_fold"), Mapping) else None
    folds = {str(fold): _named(found, classes) for fold, found in (by_fold or {}).items()}
    final = _named(tuning.get("thresholds"), classes)
    keys = list(dict.fromkeys([*final, *(key for found in folds.values() for key in found)]))
    rows = [(key, final.get(key), tuple(found.get(key) for found in folds.values())) for key in keys]
    if not rows and not any(finite(tuning.get(name)) for name in ("honest", "naive", "untuned")):
        return None
    if len(rows) > MOST_CLASSES:
        rows.sort(key=lambda row: -_spread(row[2]))
    gains = [float(tuning[name]) for name in ("honest", "untuned") if finite(tuning.get(name))]
    return TuningTable(
        {name: tuning.get(name) for name in ("honest", "naive", "untuned")},
        gains[0] - gains[1] if len(gains) == 2 else None,
        "cut" if isinstance(tuning.get("thresholds"), list | tuple) else "threshold",
        tuple(fold_name(fold) for fold in folds),
        tuple(rows[:MOST_CLASSES]),
        max(0, len(rows) - MOST_CLASSES),
    )


def _named(found: Any, classes: Sequence[str]) -> dict[tuple[str, ...], float]:
    """Return the finite numbers by name: thresholds by class, cuts by their two grades, one threshold by ()."""
    if isinstance(found, Mapping):
        return {(str(name),): float(value) for name, value in found.items() if finite(value)}
    if isinstance(found, list | tuple):
        between: Sequence[tuple[str, ...]] = list(pairwise(classes))
        if len(found) != len(between):
            between = [(f"cut {place + 1}",) for place in range(len(found))]
        return {names: float(value) for names, value in zip(between, found, strict=True) if finite(value)}
    return {(): float(found)} if finite(found) else {}


def _spread(numbers: Sequence[float | None]) -> float:
    known = [number for number in numbers if number is not None]
    return max(known) - min(known) if known else 0.0


# -------------------------------------------------------------------------------------------------------- sections


def first_answers(report: ClassificationReport) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Return truth and answer, bool[n, C], of the samples with one true label and an answer.

    Where there are probabilities, only the most probable of several labels in an answer is kept.
    """
    answer = report.answer
    if report.probabilities is not None:
        ranked = np.where(answer, report.probabilities, -1.0)
        answer = answer & (np.arange(answer.shape[1]) == ranked.argmax(axis=1)[:, np.newaxis])
    kept = (report.truth.sum(axis=1) == 1) & (answer.sum(axis=1) == 1)
    return report.truth[kept], answer[kept]


def _confusion(report: ClassificationReport) -> dict[str, Any]:
    """Return the values of the section of confusions; it has a matrix only where each image has one label."""
    single = report.mode != "multi"
    truth, answer = first_answers(report) if single else (report.truth, report.answer)
    matrix, totals = confusion_matrix(truth, answer), truth.sum(axis=0)
    found = frequent_confusions(matrix)
    rows = [(report.classes[row], report.classes[at], count, count / int(totals[row])) for row, at, count in found]
    places = np.arange(len(report.classes)) if len(report.classes) <= MOST_MATRIX else most_confused(matrix)
    values = {
        "rows": rows,
        "images": len(truth),
        "left_out": len(report.truth) - len(truth),
        "several": int((report.answer.sum(axis=1) > 1).sum()) if single else 0,
        "drawn": len(places),
        "narrow": len(places) <= NARROW,
        "figure": None,
    }
    if not single or not len(truth):
        return values
    apart = np.abs(truth.argmax(axis=1) - answer.argmax(axis=1))
    cells = matrix[places][:, places].toarray()
    figure = confusion_figure(cells, totals[places], [report.classes[at] for at in places.tolist()])
    return values | {
        "right": int((apart == 0).sum()),
        "near": float((apart <= 1).mean()),
        "inside": int(cells.sum() - np.trace(cells)),
        "figure": svg(figure),
        "width": round(INCH * figure.get_figwidth(), 1),
    }


def _calibration(report: ClassificationReport) -> dict[str, Any]:
    assert report.probabilities is not None
    bins = _bins(report.truth, report.probabilities, report.mode)
    shares = bins.counts / bins.counts.sum()
    if report.mode == "multi":
        words, what = ("probability of a class", "share that has the class"), "class decisions"
    else:
        words, what = ("highest probability", "share right"), "images"
    return {
        "error": bins.expected_error(),
        "confidence": float(np.nansum(shares * bins.confidence)),
        "accuracy": float(np.nansum(shares * bins.accuracy)),
        # One bin alone would be a chart with one point.
        "figure": svg(calibration_figure(bins, *words, what)) if (bins.counts > 0).sum() > 1 else None,
    }


def _bins(truth: NDArray[np.bool_], probabilities: NDArray[np.floating[Any]], mode: str) -> CalibrationBins:
    if mode == "multi":
        return decisions_calibration(truth, probabilities)
    best = probabilities.argmax(axis=1)[:, np.newaxis]
    right, confidence = np.take_along_axis(truth, best, axis=1), np.take_along_axis(probabilities, best, axis=1)
    return calibration_bins(right[:, 0], confidence[:, 0])


def _curves(report: ClassificationReport, ranks: ClassRanks) -> dict[str, Any]:
    assert report.probabilities is not None
    shown, known = ranks.lowest(), np.isfinite(ranks.auc)
    values = {"drawn": len(shown), "known": int(known.sum()), "missing": int((~known).sum()), "figure": None}
    if not len(shown):
        return values
    colours = own_colours(report.run.strata.values(), report.classes)
    figure = curves_by_class_figure(report.truth, report.probabilities, report.classes, ranks, shown, colours)
    means = {"auc": float(ranks.auc[known].mean()), "precision": float(ranks.precision[known].mean())}
    return values | means | {"figure": svg(figure)}


def _fitted(picture: Picture) -> Picture:
    return fit_image(picture, SIDE) if max(picture.shape[:2]) > SIDE else picture


def _check(report: ClassificationReport) -> None:
    """Check shapes, and raise DataError for a bad probability, because probabilities may come from a damaged file."""
    assert report.truth.ndim == 2 and report.truth.shape[1] == len(report.classes), report.truth.shape
    assert report.truth.shape == report.answer.shape, (report.truth.shape, report.answer.shape)
    if report.probabilities is None:
        return
    assert report.truth.shape == report.probabilities.shape, (report.truth.shape, report.probabilities.shape)
    wrong = ~((report.probabilities >= 0) & (report.probabilities <= 1))
    if wrong.any():
        row, column = (int(at[0]) for at in np.nonzero(wrong))
        raise DataError(
            f"run {report.run.run}: the probability of class {report.classes[column]!r} in row {row} is "
            f"{report.probabilities[row, column]}, expected 0 to 1; "
            f"run medalist predict {report.run.competition}/{report.run.run} --split oof again"
        )
