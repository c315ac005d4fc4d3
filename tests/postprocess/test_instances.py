"""Objects from further maps: energy levels and predicted distances; rules after the watershed."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy import ndimage

from medalist.errors import ConfigError
from medalist.postprocess.decide import decide
from medalist.postprocess.instances import instance_labels
from medalist.postprocess.settings import WatershedConfig
from medalist.postprocess.watershed import level_seeds
from medalist.records import MapPrediction

Mask = NDArray[np.bool_]


def two_discs_and_a_dot() -> tuple[Mask, list[Mask]]:
    """Two discs that melt together, and a dot; and their eroded levels, of which the dot has only the first."""
    rows, columns = np.indices((40, 80))
    one, two = ((rows - 20) ** 2 + (columns - column) ** 2 <= 100 for column in (20, 36))
    dot = (abs(rows - 20) <= 3) & (abs(columns - 65) <= 3)
    levels = [ndimage.binary_erosion(one, iterations=n) | ndimage.binary_erosion(two, iterations=n) for n in (2, 5, 8)]
    levels[0] |= ndimage.binary_erosion(dot, iterations=2)
    return one | two | dot, levels


def prediction(**maps: Any) -> MapPrediction:
    values = np.stack([np.round(np.asarray(one, np.float64) * 255).astype(np.uint8) for one in maps.values()])
    return MapPrediction(values, tuple(maps))


def test_energy_levels_part_objects_that_melt_together() -> None:
    body, levels = two_discs_and_a_dot()
    maps = prediction(body=body, **{f"energy{number}": level for number, level in enumerate(levels, start=1)})
    labels = instance_labels(maps, WatershedConfig(seed_rule="energy", min_seed=1))
    assert labels.max() == 3 and ((labels > 0) == body).all()
    assert len({labels[20, 12], labels[20, 44], labels[20, 65]}) == 3
    # With the first level alone the two discs have one seed, because there they still melt together.
    first = instance_labels(prediction(body=body, energy1=levels[0]), WatershedConfig(seed_rule="energy"))
    assert first.max() == 2
    # The order of the maps does not matter, and energy3 without energy2 is not a level.
    without = prediction(energy3=levels[2], energy1=levels[0], body=body)
    assert instance_labels(without, WatershedConfig(seed_rule="energy")).max() == 2


@given(st.integers(0, 300), st.sampled_from([1, 4]))
def test_seeds_of_levels_are_those_of_a_loop(seed: int, min_seed: int) -> None:
    random = np.random.default_rng(seed)
    energy = ndimage.gaussian_filter(random.normal(size=(20, 25)), 1.5)
    levels = [energy > np.quantile(energy, share) for share in (0.4, 0.6, 0.8)]
    noise = random.random((20, 25)) < 0.05
    levels[2] = levels[2] | noise  # pixels outside of the level before do not count
    found = level_seeds(levels, min_seed)
    slow: list[Mask] = []
    nested = [levels[0], levels[0] & levels[1], levels[0] & levels[1] & levels[2]]
    for level in reversed(nested):
        pieces, count = ndimage.label(level)
        for number in range(1, count + 1):
            mask = pieces == number
            if mask.sum() >= min_seed and not any((mask & deeper).any() for deeper in slow):
                slow.append(mask)
    assert found.max() == len(slow) == len(np.unique(found)) - 1
    for mask in slow:
        assert len(np.unique(found[mask])) == 1 and (found > 0)[mask].all()


def test_peaks_of_a_predicted_distance_part_objects() -> None:
    body, _ = two_discs_and_a_dot()
    rows, columns = np.indices(body.shape)
    distance = np.zeros(body.shape)
    for row, column, radius in ((20, 20, 10), (20, 36, 10), (20, 65, 3)):
        distance = np.maximum(distance, 0.9 - np.hypot(rows - row, columns - column) / (radius + 1))
    maps = prediction(body=body, distance=np.where(body, distance, 0))
    config = WatershedConfig(seed_rule="distance_map", seed=0.5, radius=3)
    labels = instance_labels(maps, config)
    assert labels.max() == 3 and ((labels > 0) == body).all()
    # Without a peak above `seed` a piece of the body is one object.
    assert instance_labels(maps, config.model_copy(update={"seed": 0.95})).max() == 2


def test_rules_after_the_watershed_split_and_merge() -> None:
    body, _ = two_discs_and_a_dot()
    plain = WatershedConfig()
    maps = prediction(body=body, border=np.zeros(body.shape))
    assert instance_labels(maps, plain).max() == 2
    split = plain.model_copy(update={"split_solidity": 0.95, "radius": 4})
    assert instance_labels(maps, split).max() == 3
    both = split.model_copy(update={"merge_border": 0.5})
    assert instance_labels(maps, both).max() == 2  # there is no border on the new line


@pytest.mark.parametrize(
    ("settings", "name"),
    [
        ({"seed_rule": "energy"}, "energy1"),
        ({"seed_rule": "distance_map"}, "distance"),
        ({"merge_border": 0.5}, "border"),
    ],
)
def test_maps_that_a_rule_needs_are_named(settings: dict[str, Any], name: str) -> None:
    config = WatershedConfig.model_validate(settings)
    assert config.maps == ("body", name)
    with pytest.raises(ConfigError, match=f"no map '{name}', only: body"):
        decide(prediction(body=np.ones((4, 4))), config)
