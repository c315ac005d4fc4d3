"""Average precision and curves, by hand."""

from __future__ import annotations

import numpy as np
import pytest

from medalist.metrics.box_precision import average_precision, curve

HIT = np.array([[True, False, True, False]])
ALL = np.ones_like(HIT)


def test_the_three_rules_by_hand() -> None:
    """Precision is 1 up to recall 1/3, and 2/3 up to 2/3."""
    assert average_precision(HIT, ALL, 3, "all").tolist() == [pytest.approx(1 / 3 + 2 / 9)]
    assert average_precision(HIT, ALL, 3, "eleven").tolist() == [pytest.approx((4 + 3 * 2 / 3) / 11)]
    assert average_precision(HIT, ALL, 3, "coco").tolist() == [pytest.approx((34 + 33 * 2 / 3) / 101)]


def test_eleven_points_are_reached_by_their_own_recalls() -> None:
    hit = np.ones((1, 3), np.bool_)  # a recall of 3/10 reaches 0, 0.1, 0.2 and 0.3
    assert average_precision(hit, np.ones_like(hit), 10, "eleven").tolist() == [pytest.approx(4 / 11)]


def test_answers_that_do_not_count_change_nothing() -> None:
    counted = np.array([[True, False, True, True]])
    for points in ("all", "eleven", "coco"):
        without = average_precision(HIT[:, [0, 2, 3]], ALL[:, :3], 3, points)  # type: ignore[arg-type]
        assert average_precision(HIT, counted, 3, points).tolist() == without.tolist()  # type: ignore[arg-type]


def test_no_answer_and_several_thresholds() -> None:
    assert average_precision(np.zeros((2, 0), np.bool_), np.zeros((2, 0), np.bool_), 1, "all").tolist() == [0, 0]
    hit = np.array([[True, True], [False, True]])
    assert average_precision(hit, np.ones_like(hit), 2, "all").tolist() == [1.0, 0.25]


def test_a_curve_by_hand() -> None:
    recall, precision = curve(HIT[0], ALL[0], 4)
    assert recall.tolist() == [0.25, 0.25, 0.5, 0.5]
    assert precision.tolist() == [1, 0.5, pytest.approx(2 / 3), 0.5]
