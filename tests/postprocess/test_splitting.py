"""Objects that are split into parts, and touching objects that are merged."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy import ndimage

from medalist.postprocess.splitting import (
    merge_touching,
    split_at_peaks,
    split_at_seeds,
    split_dented,
    with_parts,
)
from medalist.postprocess.watershed import in_reading_order

Labels = NDArray[np.int32]


def discs(*middles: tuple[int, int], radius: int = 8, size: tuple[int, int] = (40, 80)) -> NDArray[np.bool_]:
    rows, columns = np.indices(size)
    found = np.zeros(size, bool)
    for row, column in middles:
        found |= (rows - row) ** 2 + (columns - column) ** 2 <= radius**2
    return found


def test_two_discs_that_melt_together_are_split_between_them() -> None:
    labels = (discs((20, 20), (20, 33)) + 2 * discs((20, 60))).astype(np.int32)
    parts = split_at_peaks(labels, 1.0, 4, 5)
    assert parts.parent.tolist() == [1, 1]  # the lone disc has one peak
    assert parts.labels[20, 15] != parts.labels[20, 38] and parts.labels[20, 60] == 0
    columns = [np.argwhere(parts.labels == number)[:, 1] for number in (1, 2)]
    assert abs(columns[0].max() - 26) <= 1 and abs(columns[1].min() - 27) <= 1
    whole = with_parts(labels, parts)
    assert whole.max() == 3 and ((whole > 0) == (labels > 0)).all()
    only = split_at_peaks(labels, 1.0, 4, 5, np.array([False, True]))
    assert len(only.parent) == 0 and not only.labels.any()


def test_seeds_split_and_small_parts_fall_away() -> None:
    labels = np.zeros((10, 30), np.int32)
    labels[2:8, 1:20], labels[2:8, 20:29] = 1, 2  # touching objects
    height = np.zeros(labels.shape, np.float32)
    height[3:7, 2:6], height[3:7, 12:18], height[3:7, 22:26] = 1.0, 0.9, 1.0
    parts = split_at_seeds(labels, height > 0.5, height, 4, 10)
    assert parts.parent.tolist() == [1, 1] and (parts.labels[labels == 2] == 0).all()
    assert ((parts.labels > 0) == (labels == 1)).all()
    # A seed that is too small is none, and an object of which one part is left is not split.
    assert len(split_at_seeds(labels, height > 0.5, height, 17, 10).parent) == 0
    assert len(split_at_seeds(labels, height > 0.5, height, 4, 70).parent) == 0


def test_seeds_that_touch_over_the_line_of_two_objects_split_none() -> None:
    """One piece of the inside over two touching objects is a seed of each."""
    labels = np.zeros((6, 20), np.int32)
    labels[1:5, 1:10], labels[1:5, 10:19] = 1, 2
    inside = labels > 0
    assert len(split_at_seeds(labels, inside, inside.astype(np.float32), 1, 1).parent) == 0


@given(st.integers(0, 300), st.sampled_from([1, 3, 8]))
def test_parts_are_connected_pieces_of_their_objects(seed: int, min_size: int) -> None:
    random = np.random.default_rng(seed)
    smooth = ndimage.gaussian_filter(random.normal(size=(30, 40)), 2)
    labels = in_reading_order(ndimage.label(smooth > np.quantile(smooth, 0.5))[0].astype(np.int32))
    height = ndimage.gaussian_filter(random.normal(size=(30, 40)), 1).astype(np.float32)
    for parts in (
        split_at_seeds(labels, height > 0.1, height, 2, min_size),
        split_at_peaks(labels, 0.5, 2, min_size),
    ):
        assert sorted({*np.unique(parts.labels)} - {0}) == list(range(1, len(parts.parent) + 1))
        assert all(count > 1 for count in np.bincount(parts.parent) if count)
        for number, parent in enumerate(parts.parent, start=1):
            mask = parts.labels == number
            assert (labels[mask] == parent).all() and mask.sum() >= min_size
            assert ndimage.label(mask)[1] == 1
        whole = with_parts(labels, parts)
        kept = [number for number in range(1, labels.max() + 1) if number not in parts.parent]
        assert whole.max() == len(kept) + len(parts.parent)
        assert all(len(np.unique(whole[labels == number])) == 1 for number in kept)


def test_dented_objects_are_split_and_round_ones_are_not() -> None:
    labels = (discs((20, 20), (20, 33)) + 2 * discs((20, 60))).astype(np.int32)
    assert split_dented(labels, 0.9, 1.0, 4, 5).max() == 3
    assert split_dented(labels, 0.5, 1.0, 4, 5) is labels


def test_objects_merge_where_the_line_between_them_is_no_border() -> None:
    labels = np.zeros((8, 30), np.int32)
    labels[1:7, 1:10], labels[1:7, 10:20], labels[1:7, 20:29] = 1, 2, 3
    border = np.zeros(labels.shape, np.float32)
    border[:, 9:11], border[:, 19:21] = 0.2, 0.8
    assert merge_touching(labels, border, 0.1).tolist() == labels.tolist()
    merged = merge_touching(labels, border, 0.5)
    assert merged.max() == 2 and merged[3, 5] == merged[3, 15] == 1 and merged[3, 25] == 2
    assert merge_touching(labels, border, 0.9).max() == 1
    apart = np.where(labels == 2, 0, labels)
    assert merge_touching(apart, border, 0.9) is apart


def test_a_line_is_judged_by_its_mean_from_both_sides() -> None:
    labels = np.zeros((4, 4), np.int32)
    labels[:, :2], labels[:, 2:] = 1, 2
    border = np.zeros((4, 4), np.float32)
    border[:, 1], border[:, 2] = (0, 0, 0, 1), (1, 1, 0, 0)  # the mean of the eight is 3/8
    assert merge_touching(labels, border, 0.375).max() == 2
    assert merge_touching(labels, border, 0.376).max() == 1


@pytest.mark.parametrize("labels", [np.zeros((5, 6), np.int32), np.ones((5, 6), np.int32)])
def test_empty_and_full_images_are_left_alone(labels: Labels) -> None:
    zeros = np.zeros(labels.shape, np.float32)
    assert len(split_at_seeds(labels, zeros > 0, zeros, 1, 1).parent) == 0
    assert len(split_at_peaks(labels, 1.0, 3, 1).parent) == 0
    assert split_dented(labels, 1.0, 1.0, 3, 1).tolist() == labels.tolist()
    assert merge_touching(labels, zeros, 1.0).tolist() == labels.tolist()
