"""Instances of large maps are those of the whole image; `watershed_labels` is the slow twin."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from numpy.typing import NDArray

from medalist.codecs.disk import is_on_disk
from medalist.postprocess.decide import decide
from medalist.postprocess.instance_bands import fill_holes_by_bands, renumber_by_bands, watershed_by_bands
from medalist.postprocess.settings import WatershedConfig
from medalist.postprocess.watershed import fill_holes, in_reading_order, watershed_labels
from medalist.records import Instances, MapPrediction

SIZES = st.tuples(st.integers(1, 14), st.integers(1, 14))
LEVELS = st.sampled_from([0, 60, 120, 130, 160, 200, 255])
PIXELS = st.integers(1, 80)


@given(st.data(), SIZES, st.integers(0, 4), st.integers(0, 3), st.booleans(), st.booleans(), PIXELS)
def test_instances_are_those_of_the_whole(
    data: st.DataObject, size: tuple[int, int], min_size: int, min_seed: int, fills: bool, bordered: bool, pixels: int
) -> None:
    body = data.draw(arrays.arrays(np.uint8, size, elements=LEVELS))
    border = data.draw(arrays.arrays(np.uint8, size, elements=LEVELS)) if bordered else None
    config = WatershedConfig(min_size=min_size, min_seed=min_seed, fill_holes=fills)
    whole = watershed_labels(_floats(body), None if border is None else _floats(border), config)
    np.testing.assert_array_equal(watershed_by_bands(body, border, config, pixels), whole)


@settings(max_examples=8)
@given(SIZES, st.integers(0, 10**6), st.integers(300, 3000))
def test_objects_far_apart_are_split_by_distance_as_in_the_whole(size: tuple[int, int], seed: int, pixels: int) -> None:
    """Each piece, two rectangles that overlap, has room around it, so that the distances of others do not count."""
    random = np.random.default_rng(seed)
    body = np.zeros((80, 90), np.uint8)
    height, width = size
    for top, left in ((5, 8), (45, 50)):
        body[top : top + height, left : left + width] = 255
        down, right = top + int(random.integers(height)), left + int(random.integers(width))
        body[down : down + width, right : right + height] = 200
    config = WatershedConfig(seed_rule="distance", radius=3, smooth=1.0, min_seed=0, min_size=0)
    np.testing.assert_array_equal(
        watershed_by_bands(body, None, config, pixels), watershed_labels(_floats(body), None, config)
    )


LABELS = arrays.arrays(np.int32, SIZES, elements=st.integers(0, 3))


@given(LABELS, PIXELS)
def test_holes_are_filled_as_in_the_whole(labels: NDArray[np.int32], pixels: int) -> None:
    expected, made = fill_holes(labels), labels.copy()
    fill_holes_by_bands(made, pixels)
    np.testing.assert_array_equal(made, expected)


@given(LABELS, PIXELS)
def test_numbers_are_those_of_the_whole(labels: NDArray[np.int32], pixels: int) -> None:
    numbers = np.unique(labels[labels > 0])
    dense = np.searchsorted(np.concatenate(([0], numbers)), labels).astype(np.int32)
    expected, made = in_reading_order(dense), dense.copy()
    renumber_by_bands(made, len(numbers), pixels)
    np.testing.assert_array_equal(made, expected)


def test_large_instances_are_decided_by_bands(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    maps = np.random.default_rng(0).integers(0, 256, (2, 90, 70)).astype(np.uint8)
    config = WatershedConfig(min_size=2, min_seed=1)
    for channels in (("border", "body"), ("body", "other")):
        prediction = MapPrediction(maps, channels)
        whole = decide(prediction, config)
        with monkeypatch.context() as patch:
            patch.setattr("medalist.postprocess.decide.LARGE_PIXELS", 1000)
            made = decide(prediction, config)
        assert isinstance(whole, Instances) and isinstance(made, Instances) and is_on_disk(made.labels)
        np.testing.assert_array_equal(made.labels, whole.labels)


def _floats(plane: NDArray[np.uint8]) -> NDArray[np.float32]:
    return plane.astype(np.float32) / 255
