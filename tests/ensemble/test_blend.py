from __future__ import annotations

import weakref
from collections.abc import Iterator
from itertools import permutations
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from medalist.codecs.disk import disk_array, is_on_disk
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


def on_disk(prediction: MapPrediction, folder: Path) -> MapPrediction:
    maps = disk_array(prediction.maps.shape, np.uint8, folder)
    maps[:] = prediction.maps
    return MapPrediction(maps, prediction.channels)


@pytest.mark.parametrize("count", [1, 2, 5])
def test_maps_on_disk_have_the_same_mean(tmp_path: Path, count: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("medalist.codecs.disk.bands.__defaults__", (40,))
    random = np.random.default_rng(count)
    those = [MapPrediction(random.integers(0, 256, (3, 20, 9)).astype(np.uint8), ("a", "b", "c")) for _ in range(count)]
    blended = blend([on_disk(one, tmp_path) for one in those], tmp_path)
    np.testing.assert_array_equal(blended.maps, blend(those).maps)
    assert is_on_disk(blended.maps) and blended.channels == ("a", "b", "c")
    assert list(tmp_path.iterdir()) == []


def test_maps_in_memory_are_read_one_after_another() -> None:
    """No list of all predictions is made: each is gone before the next but one is read."""
    alive: list[weakref.ref[MapPrediction]] = []

    def coming() -> Iterator[MapPrediction]:
        for value in range(6):
            assert sum(one() is not None for one in alive[1:]) <= 1
            made = prediction(value, value)
            alive.append(weakref.ref(made))
            yield made

    assert blend(coming()).maps.ravel().tolist() == [3, 3]  # 2.5, rounded up
