"""The geometry of objects, against scikit-image and loops."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy import ndimage
from skimage.measure import regionprops
from skimage.morphology import convex_hull_image

from medalist.postprocess.shapes import Objects, axes_of, boxes_of, convex_areas, depths, edges_of

Labels = NDArray[np.int32]


def random_labels(seed: int, size: tuple[int, int] = (24, 31)) -> Labels:
    """Blobs that touch each other and the edge of the image."""
    random = np.random.default_rng(seed)
    smooth = ndimage.gaussian_filter(random.normal(size=size), 2)
    pieces, _ = ndimage.label(smooth > np.quantile(smooth, 0.5))
    halves = np.where((pieces > 0) & (np.arange(size[1]) > size[1] // 2), pieces + pieces.max(), pieces)
    _, numbered = np.unique(halves, return_inverse=True)
    return numbered.reshape(size).astype(np.int32)


@given(st.integers(0, 1000))
def test_areas_boxes_and_axes_are_those_of_scikit_image(seed: int) -> None:
    labels = random_labels(seed)
    objects = Objects.of(labels)
    props = regionprops(labels)
    assert objects.count == len(props) == labels.max()
    assert objects.area.tolist() == [one.area for one in props]
    height, width = boxes_of(objects)
    for at, one in enumerate(props):
        low_row, low_column, high_row, high_column = one.bbox
        assert (height[at], width[at]) == (high_row - low_row, high_column - low_column)
    longer, shorter = axes_of(objects)
    # scikit-image takes pixels for points; as squares they have a second moment of 1/12 of their own.
    np.testing.assert_allclose(longer**2, [one.axis_major_length**2 + 16 / 12 for one in props], atol=1e-6)
    np.testing.assert_allclose(shorter**2, [one.axis_minor_length**2 + 16 / 12 for one in props], atol=1e-6)


@given(st.integers(0, 1000))
def test_a_hull_has_the_squares_of_all_pixels_and_is_convex(seed: int) -> None:
    """Its area is between that of the hull of the middles and that of the pixels that scikit-image counts in it."""
    labels = random_labels(seed)
    for number, found in enumerate(convex_areas(Objects.of(labels)), start=1):
        mask = labels == number
        counted = convex_hull_image(mask).sum()
        assert mask.sum() <= found + 1e-9
        assert found == pytest.approx(counted, rel=0.2, abs=4)


def test_hulls_by_hand() -> None:
    labels = np.zeros((8, 12), np.int32)
    labels[1:4, 1:6] = 1
    labels[5:8, 1] = 2
    labels[7, 1:4] = 2  # an L: the hull cuts the corner from (5, 2) to (7, 4)
    labels[3, 9] = 3
    assert convex_areas(Objects.of(labels)).tolist() == [15.0, 7.0, 1.0]


@given(st.integers(0, 1000))
def test_edges_are_found_by_a_loop_too(seed: int) -> None:
    labels = random_labels(seed, (9, 11))
    slow = []
    for row in range(9):
        for column in range(11):
            for to in ((row - 1, column), (row + 1, column), (row, column - 1), (row, column + 1)):
                if 0 <= to[0] < 9 and 0 <= to[1] < 11 and labels[row, column] not in (0, labels[to]):
                    slow.append((labels[row, column], labels[to], row * 11 + column, to[0] * 11 + to[1]))
    found = edges_of(labels)
    fast = zip(found.inner, found.outer, found.inner_at, found.outer_at, strict=True)
    assert sorted(map(tuple, slow)) == sorted(tuple(map(int, one)) for one in fast)


@given(st.integers(0, 1000))
def test_depth_is_the_distance_to_the_rim_of_the_object(seed: int) -> None:
    labels = random_labels(seed, (12, 14))
    rim = np.zeros(labels.shape, bool)
    rim.ravel()[edges_of(labels).inner_at] = True
    found = depths(labels, edges_of(labels))
    other = np.argwhere(rim | (labels == 0))
    for row, column in np.argwhere(labels > 0):
        nearest = np.sqrt(((other - (row, column)) ** 2).sum(1).min())
        assert found[row, column] == pytest.approx(nearest + 1, abs=1e-4)
    assert (found[labels == 0] == 0).all()


@pytest.mark.parametrize("labels", [np.zeros((3, 4), np.int32), np.ones((3, 4), np.int32), np.ones((1, 1), np.int32)])
def test_images_without_objects_and_without_background(labels: Labels) -> None:
    objects, edges = Objects.of(labels), edges_of(labels)
    assert len(edges.inner) == 0
    assert len(convex_areas(objects)) == len(axes_of(objects)[0]) == len(boxes_of(objects)[0]) == labels.max()
    assert depths(labels, edges).tolist() == labels.astype(float).tolist()
