"""Seeded watershed against plain loops, whole-image floods and hand-made pictures."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays
from numpy.typing import NDArray
from scipy import ndimage
from skimage.segmentation import watershed

from medalist.postprocess.settings import WatershedConfig
from medalist.postprocess.watershed import (
    connected,
    fill_holes,
    flood,
    in_reading_order,
    largest_pieces,
    watershed_labels,
    without_small,
)

Array = NDArray[np.int32]
PLAIN = WatershedConfig(min_seed=0, min_size=0, fill_holes=False)
SMALL_LABELS = arrays(np.int32, array_shapes(min_dims=2, max_dims=2, max_side=9), elements=st.integers(0, 3))


def discs(size: tuple[int, int], *middles: tuple[int, int, int]) -> Array:
    rows, columns = np.indices(size)
    labels = np.zeros(size, np.int32)
    for number, (row, column, radius) in enumerate(middles, 1):
        labels[(rows - row) ** 2 + (columns - column) ** 2 <= radius**2] = number
    return labels


def touching_border(labels: Array) -> NDArray[np.bool_]:
    """Pixels whose 3 x 3 window holds two different objects, by plain loops."""
    border = np.zeros(labels.shape, bool)
    for row, column in np.ndindex(labels.shape):
        window = labels[max(row - 1, 0) : row + 2, max(column - 1, 0) : column + 2]
        border[row, column] = len(set(window.ravel().tolist()) - {0}) > 1
    return border


def pieces_by_walking(values: Array) -> list[tuple[int, list[tuple[int, int]]]]:
    """(value, pixels) of each connected piece of equal value, background too, in reading order."""
    found = []
    seen = np.zeros(values.shape, bool)
    for start in np.ndindex(values.shape):
        if seen[start]:
            continue
        seen[start] = True
        todo, pixels = [start], []
        while todo:
            row, column = todo.pop()
            pixels.append((row, column))
            for there in ((row - 1, column), (row + 1, column), (row, column - 1), (row, column + 1)):
                inside = 0 <= there[0] < values.shape[0] and 0 <= there[1] < values.shape[1]
                if inside and not seen[there] and values[there] == values[start]:
                    seen[there] = True
                    todo.append(there)
        found.append((int(values[start]), pixels))
    return found


def paint(shape: tuple[int, ...], objects: list[tuple[int, list[tuple[int, int]]]]) -> Array:
    labels = np.zeros(shape, np.int32)
    for number, pixels in objects:
        labels[tuple(np.array(pixels).T)] = number
    return labels


@given(SMALL_LABELS, st.integers(0, 6))
def test_small_pieces_go_as_in_plain_loops(values: Array, min_size: int) -> None:
    merged = [(1, pixels) for value, pixels in pieces_by_walking((values > 0).astype(np.int32)) if value]
    want = paint(values.shape, [(1, pixels) for _, pixels in merged if len(pixels) >= min_size])
    np.testing.assert_array_equal(without_small(values > 0, min_size), want > 0)


@given(SMALL_LABELS, st.integers(0, 4))
def test_the_largest_piece_stays_as_in_plain_loops(values: Array, min_size: int) -> None:
    best: dict[int, list[tuple[int, int]]] = {}
    for value, pixels in pieces_by_walking(values):
        if value and len(pixels) > len(best.get(value, [])):
            best[value] = pixels
    want = paint(values.shape, [(value, pixels) for value, pixels in best.items() if len(pixels) >= min_size])
    np.testing.assert_array_equal(largest_pieces(values, min_size), want)


@given(SMALL_LABELS)
def test_holes_are_filled_as_in_plain_loops(values: Array) -> None:
    want = values.copy()
    for value, pixels in pieces_by_walking(values):
        around = set()
        for row, column in pixels:
            for there in ((row - 1, column), (row + 1, column), (row, column - 1), (row, column + 1)):
                inside = 0 <= there[0] < values.shape[0] and 0 <= there[1] < values.shape[1]
                around.add(int(values[there]) if inside else -1)
        owners = around - {0}
        if value == 0 and len(owners) == 1 and -1 not in owners:
            want[tuple(np.array(pixels).T)] = owners.pop()
    np.testing.assert_array_equal(fill_holes(values), want)


@given(SMALL_LABELS)
def test_reading_order(values: Array) -> None:
    seen: list[int] = []
    for value in values.ravel().tolist():
        if value and value not in seen:
            seen.append(value)
    want = np.zeros_like(values)
    for number, value in enumerate(seen, 1):
        want[values == value] = number
    np.testing.assert_array_equal(in_reading_order(values), want)


@given(
    arrays(np.uint8, (14, 17), elements=st.sampled_from([0, 90, 150, 200, 255])),
    arrays(np.uint8, (14, 17), elements=st.sampled_from([0, 0, 0, 100, 255])),
)
def test_flooding_by_boxes_equals_one_flood_of_the_image(body: NDArray[np.uint8], border: NDArray[np.uint8]) -> None:
    height = (body.astype(np.float32) - border) / np.float32(255)
    # No two pixels alike: among equals the flood's queue goes by what else is in it, also in other pieces.
    height -= np.random.default_rng(0).permutation(height.size).reshape(height.shape).astype(np.float32) * np.float32(
        1e-6
    )
    pieces, count = connected(body > 128)
    seeds, seed_count = connected((height > 0.6) & (pieces > 0))
    whole = watershed(-height, seeds, mask=pieces > 0)
    alone = (pieces > 0) & (whole == 0)  # pieces without a seed
    whole[alone] = pieces[alone] + seed_count
    got = in_reading_order(flood(pieces, count, seeds, height)) if count else pieces
    np.testing.assert_array_equal(got, in_reading_order(whole.astype(np.int32)))


@given(
    arrays(np.float32, (12, 13), elements=st.sampled_from([0.0, 0.4, 0.55, 0.7, 1.0])),
    arrays(np.float32, (12, 13), elements=st.sampled_from([0.0, 0.0, 0.3, 0.9])),
    st.sampled_from(["threshold", "distance"]),
    st.integers(0, 12),
    st.booleans(),
)
def test_objects_are_connected_large_enough_numbered_and_the_same_each_time(
    body: NDArray[np.float32], border: NDArray[np.float32], rule: str, min_size: int, fill: bool
) -> None:
    config = WatershedConfig.model_validate(
        {"seed_rule": rule, "min_size": min_size, "min_seed": 2, "fill_holes": fill}
    )
    labels = watershed_labels(body, border, config)
    np.testing.assert_array_equal(labels, watershed_labels(body, border, config))
    assert labels.dtype == np.int32 and labels.shape == body.shape
    numbers, sizes = np.unique(labels[labels > 0], return_counts=True)
    assert numbers.tolist() == list(range(1, len(numbers) + 1))
    assert (sizes >= min_size).all()
    assert all(ndimage.label(labels == number)[1] == 1 for number in numbers)
    if not fill:
        assert not (labels[body <= 0.5]).any()


@pytest.mark.parametrize("rule", ["threshold", "distance"])
def test_two_touching_discs_with_a_border_are_two_objects_and_get_the_border_back(rule: str) -> None:
    truth = discs((30, 50), (14, 15, 10), (14, 34, 10))
    body = (truth > 0).astype(np.float32)
    config = WatershedConfig.model_validate({"seed_rule": rule, "radius": 8})
    labels = watershed_labels(body, touching_border(truth).astype(np.float32), config)
    assert labels.max() == 2
    assert ((labels > 0) == (truth > 0)).all()
    assert (labels != truth).mean() < 0.01


def test_without_a_border_they_are_one_and_the_distance_parts_them_again() -> None:
    truth = discs((30, 50), (14, 15, 10), (14, 34, 10))
    body = (truth > 0).astype(np.float32)
    assert watershed_labels(body, None, WatershedConfig()).max() == 1
    assert watershed_labels(body, np.zeros_like(body), WatershedConfig()).max() == 1
    apart = watershed_labels(body, None, WatershedConfig(seed_rule="distance", radius=8))
    assert apart.max() == 2
    assert (apart != truth).mean() < 0.01


def test_border_weight_0_ignores_the_border() -> None:
    truth = discs((30, 50), (14, 15, 10), (14, 34, 10))
    border = touching_border(truth).astype(np.float32)
    body = (truth > 0).astype(np.float32)
    assert watershed_labels(body, border, WatershedConfig(border_weight=0)).max() == 1


def test_a_diagonal_border_of_one_pixel_separates() -> None:
    body = np.ones((20, 20), np.float32)
    labels = watershed_labels(body, np.eye(20, dtype=np.float32), WatershedConfig())
    assert labels.max() == 2
    assert labels[2, 17] != labels[17, 2]
    assert (labels > 0).all()


@pytest.mark.parametrize("rule", ["threshold", "distance"])
@pytest.mark.parametrize("shape", [(1, 1), (1, 7), (40, 30)])
def test_empty_and_whole_images(shape: tuple[int, int], rule: str) -> None:
    config = PLAIN.model_copy(update={"seed_rule": rule})
    assert watershed_labels(np.zeros(shape, np.float32), None, config).max() == 0
    np.testing.assert_array_equal(watershed_labels(np.ones(shape, np.float32), None, config), np.ones(shape))


def test_a_single_pixel_is_an_object_only_where_that_is_allowed() -> None:
    body = np.zeros((5, 5), np.float32)
    body[2, 3] = 1
    assert watershed_labels(body, None, PLAIN).sum() == 1
    assert watershed_labels(body, None, WatershedConfig()).max() == 0


def test_a_piece_without_a_seed_is_an_object() -> None:
    body = np.zeros((20, 40), np.float32)
    body[5:15, 5:15] = 0.55  # above `body`, nowhere above `seed`
    body[5:15, 25:35] = 1.0
    labels = watershed_labels(body, None, WatershedConfig())
    np.testing.assert_array_equal(labels > 0, body > 0)
    assert labels[10, 10] == 1 and labels[10, 30] == 2


def test_seeds_that_are_too_small_do_not_split() -> None:
    body = np.full((20, 20), 0.55, np.float32)
    body[2:8, 2:8] = 1.0
    body[15, 15] = 1.0
    assert watershed_labels(body, None, WatershedConfig(min_seed=5)).max() == 1
    assert watershed_labels(body, None, WatershedConfig(min_seed=1)).max() == 2


def test_a_hole_is_filled_and_a_bay_at_the_edge_is_not() -> None:
    body = np.ones((20, 20), np.float32)
    body[5:8, 5:8] = 0
    body[0:3, 10] = 0
    labels = watershed_labels(body, None, WatershedConfig())
    assert (labels[5:8, 5:8] == 1).all()
    assert (labels[0:3, 10] == 0).all()
    assert not watershed_labels(body, None, WatershedConfig(fill_holes=False))[6, 6]


def test_an_object_inside_another_is_not_swallowed() -> None:
    body = np.ones((30, 30), np.float32)
    body[5:25, 5:25] = 0
    body[10:20, 10:20] = 1
    labels = watershed_labels(body, None, WatershedConfig())
    assert labels.max() == 2
    assert (labels[7, 7:20] == 0).all()


def test_perfect_maps_of_a_crowd_give_the_crowd_back() -> None:
    rng = np.random.default_rng(5)
    grid = [(row, column) for row in range(10, 120, 14) for column in range(10, 120, 14)]
    shift = rng.integers(-2, 3, (len(grid), 2)).tolist()
    middles = [(row + down, column + right, 9) for (row, column), (down, right) in zip(grid, shift, strict=True)]
    truth = discs((128, 128), *middles)
    body = (truth > 0).astype(np.float32)
    labels = watershed_labels(body, touching_border(truth).astype(np.float32), WatershedConfig())
    assert labels.max() == len(middles)
    for number in range(1, len(middles) + 1):
        mask = truth == number
        answer = labels == np.bincount(labels[mask]).argmax()
        assert (mask & answer).sum() / (mask | answer).sum() > 0.85
