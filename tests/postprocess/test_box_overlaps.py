"""Overlaps and the order of boxes against numbers worked out by hand and plain loops."""

import numpy as np
import pytest
from box_cases import iou_by_hand, predictions
from hypothesis import given
from hypothesis import strategies as st

from medalist.postprocess.box_overlaps import FARTHEST, are_boxes, areas_of, by_value, meeting, overlaps
from medalist.records import BoxPrediction

BOXES = np.array([(0, 0, 4, 2), (2, 0, 6, 2), (0, 0, 8, 8), (20, 20, 21, 21)], np.float64)


def test_overlaps_worked_out_by_hand() -> None:
    assert areas_of(BOXES).tolist() == [8, 8, 64, 1]
    assert overlaps(BOXES[:1], BOXES)[0].tolist() == [1, 4 / 12, 8 / 64, 0]
    assert overlaps(BOXES[:1], BOXES, "smaller")[0].tolist() == [1, 4 / 8, 1, 0]
    assert overlaps(BOXES[2:3], BOXES, "first")[0].tolist() == [8 / 64, 8 / 64, 1, 0]
    assert overlaps(BOXES[:0], BOXES).shape == (0, 4)


@given(predictions(most=6))
def test_overlaps_are_those_of_plain_loops(seen: BoxPrediction) -> None:
    corners = seen.xyxy.astype(np.float64)
    want = [[iou_by_hand(one, two) for two in corners.tolist()] for one in corners.tolist()]
    np.testing.assert_allclose(overlaps(corners, corners), np.array(want).reshape(len(want), len(want)))


@pytest.mark.parametrize(
    "row", [(1, 0, 1, 5), (0, 3, 5, 3), (5, 0, 1, 1), (0, 0, np.inf, 1), (np.nan, 0, 1, 1), (0, 0, 4 * FARTHEST, 1)]
)
def test_what_has_no_area_is_no_box(row: tuple[float, ...]) -> None:
    assert are_boxes(np.array([row, (0, 0, 1, 1)], np.float32)).tolist() == [False, True]


def test_equal_scores_are_ordered_by_corners_then_by_others() -> None:
    xyxy = np.array([(1, 0, 2, 2), (0, 5, 2, 9), (0, 0, 2, 2), (0, 0, 2, 2)], np.float64)
    assert by_value(np.array([0.5, 0.9, 0.5, 0.5]), xyxy, np.array([0, 0, 2, 1])).tolist() == [1, 3, 2, 0]


@given(predictions(most=8), predictions(most=8), st.sampled_from([1, 5, 1 << 20]))
def test_boxes_meet_where_they_share_an_area(one: BoxPrediction, two: BoxPrediction, most: int) -> None:
    first, second = one.xyxy.astype(np.float64), two.xyxy.astype(np.float64)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("medalist.postprocess.box_overlaps.MOST_PAIRS", most)
        pairs = [pair for some in meeting(first, second) for pair in np.stack(some, axis=1).tolist()]
    assert sorted(pairs) == np.argwhere(overlaps(first, second) > 0).tolist()
