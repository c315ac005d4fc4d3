"""The kinds of errors on boxes made by hand, against a slow twin, and what correcting them gains."""

from collections.abc import Mapping

import numpy as np
import pytest
from box_cases import iou_by_hand, predictions
from hypothesis import given

from medalist.records import Boxes, BoxPrediction, Score
from medalist.report.box_errors import ERRORS, box_errors, corrected, counted, outcome_of

Row = tuple[float, ...]


def boxes(rows: list[Row], ignored: list[int] | None = None) -> Boxes:
    """Rows (label, score, x1, y1, x2, y2)."""
    table = np.array(rows, np.float64).reshape(-1, 6)
    passed = None if ignored is None else np.isin(np.arange(len(table)), ignored)
    corners = table[:, 2:].astype(np.float32)
    return Boxes(corners, table[:, 0].astype(np.int32), table[:, 1].astype(np.float32), passed)


TRUTH = boxes(
    [(0, 1, 0, 0, 10, 10), (1, 1, 20, 0, 30, 10), (0, 1, 40, 0, 50, 10), (0, 1, 60, 0, 70, 10), (0, 1, 80, 0, 90, 90)],
    ignored=[4],
)
ANSWER = boxes(
    [
        (0, 0.9, 0, 0, 10, 9),
        (0, 0.8, 0, 0, 10, 10),  # the first truth is found already
        (0, 0.7, 20, 0, 30, 10),
        (0, 0.6, 40, 0, 50, 4),
        (1, 0.5, 40, 0, 50, 4),
        (1, 0.4, 100, 0, 110, 10),
        (0, 0.3, 80, 0, 90, 5),
    ]
)
KINDS = ("found", "double", "class", "place", "both", "background", "ignored")


def slow(truth: Boxes, answer: Boxes) -> list[str]:
    """The kinds of answers by TIDE's rules, one after the other."""
    ious = [[iou_by_hand(one, two) for two in truth.xyxy.tolist()] for one in answer.xyxy.tolist()]
    order = sorted(
        range(answer.count), key=lambda at: (-answer.scores[at], *answer.xyxy[at].tolist(), answer.labels[at])
    )
    kinds, taken = [""] * answer.count, set()
    for at in order:
        free = [to for to in range(truth.count) if to not in taken and truth.labels[to] == answer.labels[at]]
        best = max(free, key=lambda to: (ious[at][to], -to), default=-1)
        if best >= 0 and ious[at][best] >= 0.5:
            kinds[at] = "found"
            taken.add(best)
            continue
        same = max((ious[at][to] for to in range(truth.count) if truth.labels[to] == answer.labels[at]), default=0)
        other = max((ious[at][to] for to in range(truth.count) if truth.labels[to] != answer.labels[at]), default=0)
        if 0.1 <= same < 0.5:
            kinds[at] = "place"
        elif other >= 0.5:
            kinds[at] = "class"
        elif same >= 0.5:
            kinds[at] = "double"
        else:
            kinds[at] = "background" if max(same, other) <= 0.1 else "both"
    return kinds


def recall_metric(truths: Mapping[str, Boxes], answers: Mapping[str, Boxes]) -> Score:
    """The share of found truths, minus a hundredth for each answer that finds none."""
    found = [outcome_of(truth, answers[name]) for name, truth in truths.items()]
    there = [kind for one in found for kind in one.truths if kind != "ignored"]
    wrong = sum(kind not in ("found", "ignored") for one in found for kind in one.answers)
    return Score(there.count("found") / max(1, len(there)) - wrong / 100, {}, {})


def test_each_kind_of_error_by_hand() -> None:
    found = outcome_of(TRUTH, ANSWER)
    assert found.answers == KINDS
    assert found.truths == ("found", "placed", "placed", "missed", "ignored")
    assert found.targets.tolist() == [0, 0, 1, 2, 2, -1, -1]
    assert found.in_words() == (
        "1 of 4 found; 1 wrong class; 1 badly placed; 1 wrong class and badly placed; 1 second box of an object; "
        "1 nothing there; 1 missed"
    )


@given(predictions(most=9), predictions(most=6))
def test_kinds_are_those_of_plain_loops(said: BoxPrediction, there: BoxPrediction) -> None:
    truth, answer = (Boxes(one.xyxy, one.labels, one.scores) for one in (there, said))
    assert list(outcome_of(truth, answer).answers) == slow(truth, answer)


@given(predictions(most=9), predictions(most=6))
def test_no_error_of_a_kind_is_left_where_it_is_corrected(said: BoxPrediction, there: BoxPrediction) -> None:
    truth, answer = (Boxes(one.xyxy, one.labels, one.scores) for one in (there, said))
    before = outcome_of(truth, answer)
    for error in ERRORS:
        after = outcome_of(*corrected(truth, answer, before, error))
        assert after.answers.count("found") >= before.answers.count("found")
        if error in ("double", "background", "both"):
            assert error not in after.answers


def test_what_is_corrected_gains_what_it_costs() -> None:
    errors = box_errors({"a": TRUTH, "b": TRUTH}, {"a": ANSWER, "b": boxes([])}, recall_metric)
    assert errors.value == pytest.approx(1 / 8 - 0.05)
    assert counted(errors.outcomes) == dict.fromkeys(KINDS, 1) | {"missed": 5}
    assert errors.gains["class"] == pytest.approx(1 / 8 + 0.01)
    assert errors.gains["place"] == pytest.approx(1 / 8 + 0.01)
    assert errors.gains["double"] == errors.gains["background"] == errors.gains["both"] == pytest.approx(0.01)
    assert errors.gains["missed"] == pytest.approx(1 / 3 - 1 / 8)


def test_the_surest_of_several_answers_is_corrected_and_the_others_go() -> None:
    answer = boxes([(0, 0.3, 20, 0, 30, 10), (0, 0.5, 20, 0, 30, 9), (1, 0.2, 60, 0, 70, 10)])
    _, said = corrected(TRUTH, answer, outcome_of(TRUTH, answer), "class")
    assert said.scores.tolist() == pytest.approx([0.5, 0.2])
    assert said.labels.tolist() == [1, 0]
    _, said = corrected(TRUTH, ANSWER, outcome_of(TRUTH, ANSWER), "place")
    assert said.xyxy[3].tolist() == [40, 0, 50, 10]


def test_images_without_boxes_have_no_errors() -> None:
    found = outcome_of(boxes([]), boxes([]))
    assert (found.answers, found.truths, found.in_words()) == ((), (), "0 of 0 found")
    assert outcome_of(boxes([]), ANSWER).answers == ("background",) * 7
    assert outcome_of(TRUTH, boxes([])).truths == ("missed",) * 4 + ("ignored",)
