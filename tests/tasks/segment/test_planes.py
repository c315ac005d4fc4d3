"""Planes of instances against loops over pixels and objects."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays
from numpy.typing import NDArray

from medalist.data.map_targets import MapTarget
from medalist.data.transforms import augment, compose_augment, sample_seed
from medalist.errors import ConfigError
from medalist.records import Instances, Mask
from medalist.tasks.segment.planes import edge_distance, nearness, touching_border
from medalist.tasks.segment.settings import SegmentConfig
from medalist.tasks.segment.targets import map_target

SHAPES = array_shapes(min_dims=2, max_dims=2, min_side=1, max_side=9)
SOME = arrays(np.int32, array_shapes(min_dims=2, max_dims=2, min_side=1, max_side=12), elements=st.integers(0, 3))


def target_of(labels: NDArray[np.int32], *channels: str, **settings: Any) -> MapTarget:
    target = map_target(Instances(labels), SegmentConfig(**settings), channels)
    assert isinstance(target, MapTarget)
    return target


def maps_of(labels: NDArray[np.int32], *channels: str, **settings: Any) -> NDArray[np.uint8]:
    return target_of(labels, *channels, **settings).maps


def plain_border(labels: NDArray[np.int32], radius: int) -> NDArray[np.bool_]:
    """The slow twin: look at every window."""
    border = np.zeros(labels.shape, np.bool_)
    for row, column in np.ndindex(*labels.shape):
        top, left = max(0, row - radius), max(0, column - radius)
        window = labels[top : row + radius + 1, left : column + radius + 1]
        border[row, column] = len(set(window.ravel().tolist()) - {0}) >= 2
    return border


@given(arrays(np.int32, SHAPES, elements=st.sampled_from([0, 0, 0, 1, 2, 3, 300, 65534])), st.integers(1, 4))
def test_instances_give_body_and_border(labels: NDArray[np.int32], radius: int) -> None:
    border = plain_border(labels, radius)
    np.testing.assert_array_equal(touching_border(labels, radius), border)
    target = maps_of(labels, "border", "body", border=radius)
    assert target.dtype == np.uint8 and target.shape == (*labels.shape, 2)
    np.testing.assert_array_equal(target[..., 0], border)
    np.testing.assert_array_equal(target[..., 1], labels > 0)


def test_border_by_hand() -> None:
    labels = np.array([[1, 1, 0, 0, 2, 2, 3]], np.int32)
    np.testing.assert_array_equal(touching_border(labels, 1), np.array([[0, 0, 0, 0, 0, 1, 1]], np.bool_))
    np.testing.assert_array_equal(touching_border(labels, 2), np.array([[0, 0, 1, 1, 1, 1, 1]], np.bool_))


def test_a_radius_beyond_the_image_and_an_image_without_objects() -> None:
    assert touching_border(np.array([[1, 2]], np.int32), 50).all()
    assert not touching_border(np.array([[7, 7]], np.int32), 50).any()
    assert not touching_border(np.zeros((5, 5), np.int32), 2).any()


def test_more_objects_than_can_be_told_apart() -> None:
    with pytest.raises(ConfigError, match=r"^an image with 65535 objects; at most 65534"):
        touching_border(np.array([[0, 65535]], np.int32), 1)


def plain_distance(labels: NDArray[np.int32]) -> NDArray[np.float32]:
    """The slow twin: of each pixel of an object, the nearest pixel that is not of it."""
    found = np.zeros(labels.shape, np.float32)
    places = np.argwhere(np.ones(labels.shape))
    for row, column in np.argwhere(labels):
        others = places[labels.ravel() != labels[row, column]]
        squares = ((others - (row, column)) ** 2).sum(axis=1)
        found[row, column] = np.sqrt(squares.min()) if len(squares) else np.inf
    return found


@given(arrays(np.int32, array_shapes(min_dims=2, max_dims=2, min_side=1, max_side=12), elements=st.integers(0, 2)))
def test_the_distance_to_the_edge_is_that_to_the_nearest_other_pixel(labels: NDArray[np.int32]) -> None:
    twin = plain_distance(labels)
    np.testing.assert_allclose(edge_distance(labels), twin, rtol=1e-5)
    maps = maps_of(labels, "energy1", "energy2", "contour", energy_step=1.2, contour=2)
    np.testing.assert_array_equal(maps[..., 0], twin > 1.2)
    np.testing.assert_array_equal(maps[..., 1], twin > 2.4)
    np.testing.assert_array_equal(maps[..., 2], (twin > 0) & (twin <= 2))
    capped = maps_of(labels, "distance", distance_cap=3.0)[..., 0]
    np.testing.assert_allclose(capped, 255 * np.minimum(np.where(np.isfinite(twin), twin, 3) / 3, 1), atol=0.51)
    own = maps_of(labels, "distance")[..., 0]
    for number in set(labels.ravel().tolist()) - {0}:
        inside = twin[labels == number]
        share = inside / inside.max() if np.isfinite(inside).all() else np.ones(len(inside))
        np.testing.assert_allclose(own[labels == number], 255 * share, atol=0.51)
    assert not own[labels == 0].any()


@given(SOME, st.floats(0.5, 6))
def test_nearness_is_by_the_two_nearest_objects(labels: NDArray[np.int32], sigma: float) -> None:
    near = nearness(labels, sigma)
    assert near.dtype == np.uint8
    for row, column in np.ndindex(*labels.shape):
        away = []
        for number in set(labels.ravel().tolist()) - {0}:
            squares = ((np.argwhere(labels == number) - (row, column)) ** 2).sum(axis=1)
            away.append(float(np.sqrt(squares.min())))
        ways = sorted([*away, np.inf, np.inf])[:2]
        assert near[row, column] == pytest.approx(255 * np.exp(-(sum(ways) ** 2) / (2 * sigma**2)), abs=0.6)
    target = target_of(labels, "body", border_sigma=sigma)
    assert target.near is not None
    np.testing.assert_array_equal(target.near, near)
    assert target_of(labels, "body").near is None


def test_masks_have_no_pixels_between_objects() -> None:
    with pytest.raises(ConfigError, match=r"^task.border_sigma weighs pixels between objects"):
        map_target(Mask(np.zeros((2, 2), np.uint8)), SegmentConfig(border_sigma=5.0), ("salt",))


def plain_offsets(labels: NDArray[np.int32], most: float) -> NDArray[np.float64]:
    """The slow twin: offsets down and right in pixels, cut to what can be said; NaN outside of objects."""
    found = np.full((*labels.shape, 2), np.nan)
    for row, column in np.argwhere(labels):
        centre = np.argwhere(labels == labels[row, column]).mean(axis=0)
        found[row, column] = np.clip(centre - (row, column), -most, most)
    return found


def said(maps: NDArray[np.uint8], most: float) -> NDArray[np.float64]:
    return np.where(maps > 0, (maps / 255 - 0.5) * 2 * most, np.nan)


@given(SOME, st.floats(1, 20))
def test_offsets_lead_to_the_centres_of_objects(labels: NDArray[np.int32], most: float) -> None:
    target = target_of(labels, "offset_y", "body", "offset_x", offset_range=most)
    assert target.numbers == (0, 2)
    np.testing.assert_array_equal(target.maps[..., 1], labels > 0)
    # half a step of rounding, and the lowest step, which stands for "no object"
    np.testing.assert_allclose(
        said(target.maps[..., [0, 2]], most), plain_offsets(labels, most), atol=2 * most * 1.01 / 255
    )
    alone = target_of(labels, "offset_x", offset_range=most)
    np.testing.assert_array_equal(alone.maps[..., 0], target.maps[..., 2])


@pytest.mark.parametrize("entry", [{"Transpose": {"p": 1.0}}, {"HorizontalFlip": {"p": 1.0}}, {"Rotate": {"p": 1.0}}])
def test_offsets_turn_with_the_image(entry: dict[str, dict[str, Any]]) -> None:
    labels = np.zeros((24, 24), np.int32)
    labels[4:12, 3:20], labels[12:20, 6:12] = 1, 2
    target = target_of(labels, "body", "offset_y", "offset_x", "distance")
    image = np.repeat(labels[..., None], 3, axis=2).astype(np.uint8)
    _, after = augment(compose_augment((entry,)), image, target, sample_seed(0, 0, 1))
    assert isinstance(after, MapTarget) and after.offsets is not None and after.numbers == (1, 2, 3)
    objects = after.offsets.objects.astype(np.int32)
    np.testing.assert_array_equal(after.maps[..., 0], objects > 0)
    np.testing.assert_allclose(said(after.maps[..., [1, 2]], 32.0), plain_offsets(objects, 32.0), atol=0.26)
    assert len(after.arrays) == 3 if after.void is not None else len(after.arrays) == 2
    again = after.with_arrays([array.copy() for array in after.arrays])
    assert again.numbers == after.numbers and again.offsets is not None
    np.testing.assert_array_equal(again.offsets.objects, after.offsets.objects)
