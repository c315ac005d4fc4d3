"""How far two predictions are apart, by hand."""

from __future__ import annotations

import numpy as np
import pytest

from medalist.exporting.differences import difference, side_by_side
from medalist.exporting.gate import relative
from medalist.records import BoxPrediction, MapPrediction, TablePrediction, VectorPrediction


def maps(value: int, channels: tuple[str, ...] = ("a",)) -> MapPrediction:
    return MapPrediction(np.full((len(channels), 2, 3), value, np.uint8), channels)


def boxes(*scores: float, sources: int = 1) -> BoxPrediction:
    count = len(scores)
    corners = np.tile(np.array([0, 0, 1, 1], np.float32), (count, 1))
    return BoxPrediction(
        corners, np.zeros(count, np.int32), np.array(scores, np.float32), np.zeros(count, np.int16), sources
    )


def test_differences_by_hand() -> None:
    assert difference(maps(200), maps(250)) == difference(maps(250), maps(200)) == pytest.approx(50 / 255)
    one, other = (TablePrediction(np.array(row, np.float32), ("a", "b")) for row in ((0.25, 0.5), (0.5, 0.375)))
    assert difference(one, other) == 0.25
    vectors = [VectorPrediction(np.array(row, np.float32)) for row in ((1, 0), (0.5, 0.25))]
    assert difference(vectors[0], vectors[1]) == 0.5
    assert difference(boxes(0.5, 0.25), boxes(0.25, 0.5)) == 0
    assert difference(boxes(0.5, 0.25), boxes(0.5)) == 0.25 == difference(boxes(0.5), boxes(0.5, 0.25))
    assert difference(boxes(), boxes()) == 0


def test_what_cannot_be_compared_is_infinitely_far() -> None:
    infinite = float("inf")
    assert difference(maps(1), maps(1, ("b",))) == infinite
    assert difference(maps(1), boxes()) == infinite
    assert difference(boxes(sources=1), boxes(sources=2)) == infinite
    nan = VectorPrediction(np.array([np.nan], np.float32))
    assert difference(VectorPrediction(np.zeros(1, np.float32)), nan) == infinite
    assert difference(VectorPrediction(np.zeros(1, np.float32)), VectorPrediction(np.zeros(2, np.float32))) == infinite


def test_outputs_are_compared_relative_to_the_largest_value() -> None:
    right = np.array([1.0, -50.0], np.float32)
    assert relative((right + 0.5).astype(np.float32), right) == pytest.approx(0.01)
    small = (right / 100).astype(np.float32)
    assert relative((small + 0.5).astype(np.float32), small) == pytest.approx(0.5)
    assert relative(np.array([np.inf, 0], np.float32), right) == relative(right[:1], right) == float("inf")


def test_pictures_show_both_maps_and_their_difference() -> None:
    image = np.full((2, 3, 3), 9, np.uint8)
    drawn = side_by_side(image, maps(200), maps(250))
    assert drawn.shape == (2, 12, 3) and [int(drawn[0, at, 0]) for at in (0, 3, 6, 9)] == [9, 200, 250, 50]
    assert (side_by_side(image, boxes(), boxes()) == image).all()
