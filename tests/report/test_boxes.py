"""The page of boxes: it has the numbers of the errors, hostile names stay text, and it is drawn without boxes too."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest

from medalist.records import Boxes, Score
from medalist.report.boxes import BoxFindings, box_findings, error_rows, render_boxes, sample_picture, write_box_report
from medalist.report.page import RunReport

HOSTILE = "<script>alert('x')</script>"
CLASSES = ("cell", HOSTILE, "none")
EMPTY = Boxes(np.empty((0, 4), np.float32), np.empty(0, np.int32), np.empty(0, np.float32))
IMAGE = np.random.default_rng(0).integers(0, 255, (400, 400, 3), np.uint8)


def boxes(*rows: tuple[float, ...]) -> Boxes:
    """Rows (label, score, x1, y1, x2, y2)."""
    table = np.array(rows, np.float64)
    return Boxes(table[:, 2:].astype(np.float32), table[:, 0].astype(np.int32), table[:, 1].astype(np.float32))


TRUTHS = {
    "a": boxes((0, 1, 10, 10, 30, 30), (1, 1, 100, 100, 140, 120), (0, 1, 300, 300, 306, 306)),
    "b": boxes((1, 1, 0, 0, 50, 50)),
    "c": EMPTY,
}
ANSWERS = {
    "a": boxes((0, 0.9, 11, 10, 30, 30), (0, 0.8, 100, 100, 140, 120), (1, 0.05, 350, 350, 360, 360)),
    "b": boxes((1, 0.7, 0, 0, 50, 49), (1, 0.02, 0, 0, 50, 20)),
    "c": EMPTY,
}


def found_metric(truths: Mapping[str, Boxes], answers: Mapping[str, Boxes]) -> Score:
    """The share of truths that have an answer with their first corner and class."""
    hits = count = 0
    for name, truth in truths.items():
        said = {(*row[:2], label) for row, label in zip(answers[name].xyxy.tolist(), answers[name].labels, strict=True)}
        hits += sum((*row[:2], label) in said for row, label in zip(truth.xyxy.tolist(), truth.labels, strict=True))
        count += truth.count
    return Score(hits / max(1, count), {}, {})


@pytest.fixture(scope="module")
def findings() -> BoxFindings:
    return box_findings(TRUTHS, ANSWERS, CLASSES, found_metric)


def test_errors_are_counted_above_a_threshold_and_what_they_cost_is_told(findings: BoxFindings) -> None:
    assert findings.cut == pytest.approx((0.7 + 0.05) / 2)
    rows = {row.words: row for row in error_rows(findings)}
    assert rows["wrong class"].gain == pytest.approx(0.25)
    assert (rows["wrong class"].above, rows["nothing there"].above, rows["nothing there"].all) == (1, 0, 1)
    assert (rows["missed"].above, rows["badly placed"].all) == (1, 1)
    assert rows["wrong class"].share == 100
    assert findings.wrong == {"a": 2, "b": 0, "c": 0}
    assert box_findings(TRUTHS, ANSWERS, CLASSES, found_metric, 0.01).outcomes["b"].answers == ("found", "place")


def test_the_page_has_the_numbers_and_hostile_names_stay_text(findings: BoxFindings, tmp_path: Path) -> None:
    sample = sample_picture("a", IMAGE, TRUTHS["a"], ANSWERS["a"], findings, fold=0, score=0.25, stratum=HOSTILE)
    assert sample.note == "1 of 3 found; 1 wrong class; 1 missed"
    assert [words for words, _ in sample.details] == ["missed", "wrong class, score 0.80"]
    scores = {"oof": {"value": 0.5, "parts": {"recall": 0.4, "ap cell": 0.375, f"ap {HOSTILE}": 0.625}}}
    run = RunReport(HOSTILE, "toy", "", {}, {}, scores, worst=[sample], best=[sample])
    write_box_report(tmp_path / "index.html", run, findings)
    text = (tmp_path / "index.html").read_text("utf-8")
    assert "<script" not in text
    assert "Above the score 0.375, <b>2</b> of 4 true boxes are found (50 %), and 2 of 3 answered boxes" in text
    assert all(
        words in text for words in ("AP of the metric", "0.625", "0.375", "nothing there", "precision by recall")
    )
    assert "ap cell" not in text
    assert "true boxes by size" in text and text.count("<svg") == 3


def test_a_run_without_boxes_has_a_page_too() -> None:
    empty = box_findings({"a": EMPTY}, {"a": EMPTY}, CLASSES, found_metric)
    assert (empty.cut, empty.rows, error_rows(empty)[0].gain) == (0.0, (), 0.0)
    text = render_boxes(RunReport("run", "toy", "", {}, {}, {"oof": {"value": 0.0}}), empty)
    assert "<b>0</b> of 0 true boxes are found" in text
    assert "<svg" not in text
