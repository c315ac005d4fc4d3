"""Thresholds, curves and confusions of boxes, worked out by hand and by plain loops."""

from math import isnan

import numpy as np
import pytest
from box_cases import predictions
from hypothesis import given

from medalist.records import Boxes, BoxPrediction
from medalist.report.box_counts import above_cut, all_boxes, best_cut, class_curves, class_rows, confusion
from medalist.report.box_errors import outcome_of

TRUTH = Boxes(
    np.array([(0, 0, 10, 10), (20, 0, 30, 10), (40, 0, 50, 20), (60, 0, 70, 10)], np.float32),
    np.array([0, 1, 0, 0], np.int32),
    np.ones(4, np.float32),
    np.array([False, False, False, True]),
)
ANSWER = Boxes(
    np.array([(0, 0, 10, 10), (20, 0, 30, 10), (60, 0, 70, 9), (90, 0, 99, 9), (40, 0, 50, 19)], np.float32),
    np.array([0, 0, 0, 1, 0], np.int32),
    np.array([0.9, 0.8, 0.7, 0.6, 0.5], np.float32),
)


def of(truth: Boxes, answer: Boxes, cut: float = 0.0):
    there, said = {"a": truth}, above_cut({"a": answer}, cut)
    return all_boxes(there, said, {"a": outcome_of(truth, said["a"])})


def test_the_threshold_has_the_highest_f1() -> None:
    boxes = of(TRUTH, ANSWER)
    assert boxes.kinds.tolist() == ["found", "class", "background", "found"]
    # of 1, 2, 3, 4 answers 1, 1, 1, 2 are right: F1 2/4, 2/5, 2/6, 4/7
    assert best_cut(boxes) == pytest.approx(0.25)
    assert best_cut(of(TRUTH, above_cut({"a": ANSWER}, 0.55)["a"])) == pytest.approx(0.85)
    nothing = Boxes(ANSWER.xyxy[:0], ANSWER.labels[:0], ANSWER.scores[:0])
    assert best_cut(of(TRUTH, nothing)) == 0.0
    assert best_cut(all_boxes({}, {}, {})) == 0.0


@given(predictions(most=8), predictions(most=6))
def test_no_other_threshold_has_a_higher_f1(said: BoxPrediction, there: BoxPrediction) -> None:
    truth, answer = (Boxes(one.xyxy, one.labels, one.scores) for one in (there, said))
    boxes = of(truth, answer)

    def f1(cut: float) -> float:
        own = boxes.scores > cut
        return 2 * (boxes.kinds[own] == "found").sum() / max(1, own.sum() + truth.count)

    best = f1(best_cut(boxes))
    assert all(f1(cut) <= best + 1e-12 for cut in (0.0, 0.05, 0.15, 0.3, 0.7, 0.95))


def test_curves_and_rows_by_class_worked_out_by_hand() -> None:
    boxes = of(TRUTH, ANSWER)
    first, second, third = class_curves(boxes, 3)
    assert (first.recall.tolist(), first.truths) == ([0.5, 0.5, 1], 2)
    assert first.precision.tolist() == pytest.approx([1, 1 / 2, 2 / 3])
    assert first.average == pytest.approx(0.5 * 1 + 0.5 * 2 / 3)
    assert (second.average, second.truths) == (0, 1)
    assert isnan(third.average)
    rows = class_rows(of(TRUTH, ANSWER, 0.75), [first, second, third], ("cat", "dog", "cow"))
    assert [(row.name, row.truths, row.answers, row.found) for row in rows] == [("cat", 2, 2, 1), ("dog", 1, 0, 0)]
    assert [(row.precision, row.recall) for row in rows] == [(0.5, 0.5), (None, 0.0)]


def test_confusions_worked_out_by_hand() -> None:
    counts = confusion({"a": TRUTH, "b": TRUTH}, {"a": ANSWER, "b": above_cut({"b": ANSWER}, 0.85)["b"]}, 2)
    assert counts.tolist() == [[3, 0, 1], [1, 0, 1], [0, 1, 0]]


def test_a_truth_is_paired_with_an_answer_of_its_class_first() -> None:
    truth = Boxes(np.array([(0, 0, 10, 10)], np.float32), np.array([1], np.int32), np.ones(1, np.float32))
    xyxy = np.array([(0, 0, 10, 10), (0, 0, 10, 8)], np.float32)
    answer = Boxes(xyxy, np.array([0, 1], np.int32), np.array([0.9, 0.2], np.float32))
    assert confusion({"a": truth}, {"a": answer}, 2).tolist() == [[0, 0, 0], [0, 1, 0], [1, 0, 0]]
