"""What decide gives for each kind, and what it refuses."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
from pydantic import TypeAdapter, ValidationError

from medalist.errors import ConfigError
from medalist.postprocess.decide import decide
from medalist.postprocess.settings import DecideConfig, ThresholdConfig, WatershedConfig
from medalist.records import Instances, MapPrediction, Mask

CONFIG: TypeAdapter[WatershedConfig | ThresholdConfig] = TypeAdapter(DecideConfig)


def two_squares(border: bool) -> MapPrediction:
    maps = np.zeros((2, 20, 40), np.uint8)
    maps[0, 4:16, 4:36] = 255
    maps[1, 4:16, 19:21] = 255
    return MapPrediction(maps, ("body", "border")) if border else MapPrediction(maps[:1], ("body",))


def test_watershed_uses_the_border_where_there_is_one() -> None:
    apart = decide(two_squares(border=True), WatershedConfig())
    assert isinstance(apart, Instances)
    assert apart.count == 2
    assert np.bincount(apart.labels.ravel()).tolist() == [20 * 40 - 12 * 32, 12 * 16, 12 * 16]
    joined = decide(two_squares(border=False), WatershedConfig())
    assert isinstance(joined, Instances)
    assert joined.count == 1


def test_channels_are_found_by_name_not_by_place() -> None:
    there = two_squares(border=True)
    swapped = MapPrediction(there.maps[::-1], ("border", "body"))
    first, second = decide(there, WatershedConfig()), decide(swapped, WatershedConfig())
    assert isinstance(first, Instances) and isinstance(second, Instances)
    np.testing.assert_array_equal(first.labels, second.labels)


def mask_of(maps: np.ndarray, **settings: object) -> np.ndarray:
    answer = decide(MapPrediction(maps, ("first", "second")), ThresholdConfig.model_validate(settings))
    assert isinstance(answer, Mask)
    assert answer.classes.dtype == np.uint8
    return answer.classes


def test_threshold_is_strict_and_takes_the_named_channel() -> None:
    maps = np.array([[[0, 127, 128, 255]], [[255, 0, 0, 0]]], np.uint8)
    assert mask_of(maps).tolist() == [[0, 0, 1, 1]]
    assert mask_of(maps, channel="second").tolist() == [[1, 0, 0, 0]]
    assert mask_of(maps, threshold=0.9).tolist() == [[0, 0, 0, 1]]


def test_threshold_drops_small_pieces_fills_holes_and_empties() -> None:
    maps = np.zeros((2, 9, 9), np.uint8)
    maps[0, 1:4, 1:4] = 255
    maps[0, 2, 2] = 0
    maps[0, 7, 7:9] = 255
    assert mask_of(maps).sum() == 10
    assert mask_of(maps, min_size=2).sum() == 10
    assert mask_of(maps, min_size=3).sum() == 8
    assert mask_of(maps, min_size=3, fill_holes=True).sum() == 9
    assert mask_of(maps, empty_below=10).sum() == 10
    assert mask_of(maps, empty_below=11).sum() == 0


def test_a_missing_map_is_named_with_those_that_are_there() -> None:
    prediction = MapPrediction(np.zeros((1, 2, 2), np.uint8), ("salt",))
    with pytest.raises(ConfigError, match="no map 'body', only: salt"):
        decide(prediction, WatershedConfig())
    with pytest.raises(ConfigError, match=r"decide\.channel 'slat'"):
        decide(prediction, ThresholdConfig(channel="slat"))


@pytest.mark.parametrize(
    "settings",
    [
        {"kind": "magic"},
        {"body": 0.5},
        {"kind": "watershed", "body": 1.0},
        {"kind": "watershed", "seed": 0.0},
        {"kind": "watershed", "seed": float("nan")},
        {"kind": "watershed", "min_size": -1},
        {"kind": "watershed", "min_size": 2.5},
        {"kind": "watershed", "seed_rule": "guess"},
        {"kind": "watershed", "border_weight": -0.1},
        {"kind": "watershed", "border_weight": float("inf")},
        {"kind": "watershed", "threshold": 0.5},
        {"kind": "threshold", "threshold": -0.1},
        {"kind": "threshold", "seed": 0.5},
    ],
)
def test_wrong_settings_are_refused(settings: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        CONFIG.validate_python(settings)


def test_kind_picks_the_settings() -> None:
    assert CONFIG.validate_python({"kind": "watershed", "min_size": 7}) == WatershedConfig(min_size=7)
    assert CONFIG.validate_python({"kind": "threshold"}) == ThresholdConfig()


def test_deciding_needs_no_torch() -> None:
    code = "import medalist.postprocess.decide, sys; sys.exit('torch' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)
