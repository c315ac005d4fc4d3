"""Maps that segmentation is trained on, made from the truth."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays
from numpy.typing import NDArray

from medalist.errors import ConfigError
from medalist.records import Answer, Instances, Labels, Mask, Ranking
from medalist.tasks.segment.settings import SegmentConfig
from medalist.tasks.segment.targets import map_target, touching_border

SHAPES = array_shapes(min_dims=2, max_dims=2, min_side=1, max_side=9)


def maps_of(truth: Answer, *channels: str, border: int = 1) -> NDArray[np.uint8]:
    return map_target(truth, SegmentConfig(border=border), channels).maps


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
    target = maps_of(Instances(labels), "border", "body", border=radius)
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


@pytest.mark.parametrize("channels", [("body", "centre"), ("nucleus",)])
def test_instances_refuse_other_channels(channels: tuple[str, ...]) -> None:
    with pytest.raises(ConfigError, match=f"^model.channels: instances give body, border, not {channels[-1]}$"):
        maps_of(Instances(np.zeros((2, 2), np.int32)), *channels)


@given(arrays(np.uint8, SHAPES, elements=st.integers(0, 3)))
def test_masks_give_foreground_or_one_channel_for_each_class(classes: NDArray[np.uint8]) -> None:
    one = maps_of(Mask(classes), "salt")
    assert one.dtype == np.uint8 and one.shape == (*classes.shape, 1)
    many = maps_of(Mask(classes), "a", "b", "c")
    assert many.dtype == np.uint8 and many.shape == (*classes.shape, 3)
    for row, column in np.ndindex(*classes.shape):
        assert one[row, column, 0] == (classes[row, column] > 0)
        assert many[row, column].tolist() == [int(classes[row, column] == number) for number in (1, 2, 3)]


def test_a_class_without_a_channel_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"^model.channels names 2 classes \(a, b\), but a mask has class 5; .*1..5$"):
        maps_of(Mask(np.array([[0, 5]], np.uint8)), "a", "b")


def test_identities_are_no_pixels() -> None:
    with pytest.raises(ConfigError, match=r"task.kind = segment, but the contest asks for identities"):
        maps_of(Ranking(("whale",)), "body")


def test_labels_are_no_pixels() -> None:
    with pytest.raises(ConfigError, match=r"task.kind = segment, but the contest asks for labels"):
        maps_of(Labels(("cat",), None), "body")
