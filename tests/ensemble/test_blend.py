from __future__ import annotations

from itertools import permutations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from medalist.ensemble.blend import blend
from medalist.errors import RunError
from medalist.records import MapPrediction


def prediction(*values: int, channels: tuple[str, ...] = ("body",)) -> MapPrediction:
    return MapPrediction(np.array(values, np.uint8).reshape(len(channels), 1, -1), channels)


def test_one_prediction_stays_as_it_is() -> None:
    alone = prediction(0, 128, 255)
    assert blend([alone]) is alone


def test_the_mean_is_rounded_half_up() -> None:
    blended = blend([prediction(0, 1, 254, 255), prediction(1, 2, 255, 255)])
    assert blended.maps.ravel().tolist() == [1, 2, 255, 255]
    assert blended.maps.dtype == np.uint8
    thirds = blend([prediction(0, 0, 255), prediction(0, 0, 255), prediction(1, 2, 255)])
    assert thirds.maps.ravel().tolist() == [0, 1, 255]


@settings(deadline=None)
@given(st.lists(st.lists(st.integers(0, 255), min_size=4, max_size=4), min_size=1, max_size=5))
def test_it_is_the_mean_in_exact_numbers_and_any_order(rows: list[list[int]]) -> None:
    predictions = [prediction(*row, channels=("body", "border")) for row in rows]
    blended = blend(predictions)
    # floor(mean + 1/2), in whole numbers
    assert blended.maps.ravel().tolist() == [
        (2 * sum(column) + len(rows)) // (2 * len(rows)) for column in zip(*rows, strict=True)
    ]
    assert blended.channels == ("body", "border")
    for order in list(permutations(predictions))[:6]:
        np.testing.assert_array_equal(blend(order).maps, blended.maps)


def test_many_runs_do_not_overflow() -> None:
    assert blend([prediction(255)] * 1000).maps.ravel().tolist() == [255]


@pytest.mark.parametrize(
    "other",
    [prediction(1, 2, 3, 4), prediction(1, 2, channels=("border",)), prediction(1, 2, 3, 4, channels=("body", "b"))],
)
def test_what_does_not_fit_is_refused(other: MapPrediction) -> None:
    with pytest.raises(RunError, match="cannot be blended") as caught:
        blend([prediction(1, 2), other])
    assert "\n" not in str(caught.value)
