"""Deciding by bands is deciding the whole image: `decide` on small images is the slow twin."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from numpy.typing import NDArray

from medalist.postprocess.bands import drop_small, fill_enclosed, pieces_of, threshold_by_bands
from medalist.postprocess.decide import decide
from medalist.postprocess.settings import ThresholdConfig
from medalist.postprocess.watershed import connected, fill_holes, without_small
from medalist.records import MapPrediction, Mask

SIZES = st.tuples(st.integers(1, 14), st.integers(1, 14))
MASKS = arrays.arrays(np.bool_, SIZES)
PLANES = arrays.arrays(np.uint8, SIZES, elements=st.sampled_from([0, 100, 127, 128, 200, 255]))
PIXELS = st.integers(1, 60)


@given(MASKS, PIXELS)
def test_pieces_are_those_of_the_whole(mask: NDArray[np.bool_], pixels: int) -> None:
    pieces = pieces_of(lambda rows: mask[rows], (mask.shape[0], mask.shape[1]), pixels)
    found = np.concatenate([pieces.of_band(number, mask[rows]) for number, rows in enumerate(pieces.rows)])
    whole, count = connected(mask)
    assert ((found > 0) == mask).all()
    assert len(pieces.sizes) == count + 1 and pieces.sizes.sum() == mask.sum() and pieces.sizes[0] == 0
    pairs = {(int(one), int(other)) for one, other in zip(found.ravel(), whole.ravel(), strict=True)}
    assert len(pairs) == len({one for one, _ in pairs}) == len({other for _, other in pairs})
    for one, other in pairs - {(0, 0)}:
        assert pieces.sizes[one] == np.count_nonzero(whole == other)


@given(MASKS, st.integers(0, 12), PIXELS)
def test_small_pieces_are_dropped(mask: NDArray[np.bool_], min_size: int, pixels: int) -> None:
    expected, made = without_small(mask, min_size), mask.copy()
    drop_small(made, min_size, pixels)
    np.testing.assert_array_equal(made, expected)


@given(MASKS, PIXELS)
def test_holes_are_filled(mask: NDArray[np.bool_], pixels: int) -> None:
    expected, made = fill_holes(mask.astype(np.int32)) > 0, mask.copy()
    fill_enclosed(made, pixels)
    np.testing.assert_array_equal(made, expected)


@given(
    PLANES, st.sampled_from([0.3, 0.5, 128 / 255, 0.9]), st.integers(0, 9), st.booleans(), st.integers(0, 30), PIXELS
)
def test_a_mask_is_decided_as_the_whole(
    plane: NDArray[np.uint8], threshold: float, min_size: int, fills: bool, empty_below: int, pixels: int
) -> None:
    config = ThresholdConfig(threshold=threshold, min_size=min_size, fill_holes=fills, empty_below=empty_below)
    whole = decide(MapPrediction(plane[None], ("one",)), config)
    assert isinstance(whole, Mask)
    made = threshold_by_bands(plane, config, pixels)
    np.testing.assert_array_equal(made, whole.classes)
    assert made.dtype == np.uint8


def test_a_spiral_over_many_bands_is_one_piece() -> None:
    mask = np.zeros((41, 41), np.bool_)
    for ring in range(0, 20, 2):  # rings that are joined by one pixel each
        mask[ring, ring : 41 - ring] = mask[40 - ring, ring : 41 - ring] = True
        mask[ring : 41 - ring, ring] = mask[ring : 41 - ring, 40 - ring] = True
        mask[ring + 1, 20] = ring < 18
    total = int(mask.sum())
    for pixels in (1, 100, 10_000):
        kept = mask.copy()
        drop_small(kept, total, pixels)
        assert kept.sum() == total
        drop_small(kept, total + 1, pixels)
        assert not kept.any()


def test_large_masks_are_decided_by_bands(monkeypatch: pytest.MonkeyPatch) -> None:
    maps = np.random.default_rng(0).integers(0, 256, (2, 30, 40)).astype(np.uint8)
    config = ThresholdConfig(min_size=4, fill_holes=True, channel="b")
    whole = decide(MapPrediction(maps, ("a", "b")), config)
    calls: list[Any] = []

    def noted(plane: Any, how: Any) -> Any:
        calls.append(plane.shape)
        return threshold_by_bands(plane, how, 100)

    monkeypatch.setattr("medalist.postprocess.decide.LARGE_PIXELS", 1000)
    monkeypatch.setattr("medalist.postprocess.decide.threshold_by_bands", noted)
    made = decide(MapPrediction(maps, ("a", "b")), config)
    assert isinstance(whole, Mask) and isinstance(made, Mask) and calls == [(30, 40)]
    np.testing.assert_array_equal(made.classes, whole.classes)
