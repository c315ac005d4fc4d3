"""Maps that segmentation is trained on, made from the truth."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays
from numpy.typing import NDArray

from medalist.data.map_targets import VOID, ClassTarget, MapTarget
from medalist.errors import ConfigError, DataError
from medalist.records import Answer, Instances, Labels, Mask, Ranking
from medalist.tasks.segment.settings import SegmentConfig
from medalist.tasks.segment.targets import blank_target, map_target, target_bytes

SHAPES = array_shapes(min_dims=2, max_dims=2, min_side=1, max_side=9)


def maps_of(truth: Answer, *channels: str, border: int = 1) -> NDArray[np.uint8]:
    target = map_target(truth, SegmentConfig(border=border), channels)
    assert isinstance(target, MapTarget)
    return target.maps


@pytest.mark.parametrize("channels", [("body", "centre"), ("nucleus",), ("energy0",)])
def test_instances_refuse_other_channels(channels: tuple[str, ...]) -> None:
    with pytest.raises(ConfigError, match=f"^model.channels: instances give body, border, .*, not {channels[-1]}$"):
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


SOFTMAX = SegmentConfig(activation="softmax")
STREET = ("road", "car", "sky")


def masked(*rows: str) -> Mask:
    """Return a mask with a digit for each pixel, or `.` for void."""
    classes = np.array([[0 if one == "." else int(one) for one in row] for row in rows], np.uint8)
    return Mask(classes, np.array([[one == "." for one in row] for row in rows]))


def test_void_goes_with_maps_and_is_0_in_each() -> None:
    target = map_target(masked("01.2", "..10"), SegmentConfig(), ("sky", "road"), STREET)
    assert isinstance(target, MapTarget) and target.void is not None
    assert target.maps[..., 0].tolist() == [[0, 0, 0, 1], [0, 0, 0, 0]]
    assert target.maps[..., 1].tolist() == [[1, 0, 0, 0], [0, 0, 0, 1]]
    assert target.void.tolist() == [[False, False, True, False], [True, True, False, False]]
    unsaid = map_target(Mask(np.array([[0, 1]], np.uint8), np.zeros((1, 2), np.bool_)), SegmentConfig(), ("salt",))
    assert isinstance(unsaid, MapTarget) and unsaid.void is None


@pytest.mark.parametrize("classes", [STREET, ()])
def test_softmax_keeps_one_class_for_each_pixel(classes: tuple[str, ...]) -> None:
    target = map_target(masked("01.2", "..10"), SOFTMAX, STREET, classes)
    assert isinstance(target, ClassTarget) and target.count == 3 and target.classes.dtype == np.uint8
    assert target.classes.tolist() == [[0, 1, VOID, 2], [VOID, VOID, 1, 0]]
    assert target_bytes(SOFTMAX, STREET) == 1 and target_bytes(SegmentConfig(), STREET) == 3


def test_the_bytes_of_a_target_are_those_that_a_cache_keeps() -> None:
    channels = ("body", "distance", "offset_x")
    for config in (SegmentConfig(), SegmentConfig(border_sigma=3.0)):
        for some in (channels, channels[:1]):
            target = map_target(Instances(np.ones((5, 7), np.int32)), config, some)
            assert sum(array.nbytes for array in target.arrays) == 35 * target_bytes(config, some)


def test_a_single_class_by_its_name_is_not_all_that_is_no_background() -> None:
    target = map_target(masked("0122"), SegmentConfig(), ("car",), STREET)
    assert isinstance(target, MapTarget) and target.maps[..., 0].tolist() == [[0, 1, 0, 0]]


def test_a_class_that_the_contest_does_not_have_is_refused() -> None:
    for config in (SegmentConfig(), SOFTMAX):
        with pytest.raises(DataError, match=r"^its mask has class 7, and the contest has the classes 0..2 \(road, car"):
            map_target(masked("07"), config, STREET, STREET)
    with pytest.raises(ConfigError, match=r"names 3 classes .* but a mask has class 3; .* for each class 0..3$"):
        map_target(masked("03"), SOFTMAX, STREET)


def test_planes_are_exclusive_under_softmax_and_the_later_wins() -> None:
    labels = np.array([[1, 1, 2, 2, 0]], np.int32)
    target = map_target(
        Instances(labels), SegmentConfig(activation="softmax", border=1), ("background", "body", "border")
    )
    assert isinstance(target, ClassTarget) and target.classes.tolist() == [[1, 2, 2, 1, 0]]
    target = map_target(
        Instances(labels), SegmentConfig(activation="softmax", border=1), ("border", "body", "background")
    )
    assert isinstance(target, ClassTarget) and target.classes.tolist() == [[1, 1, 1, 1, 2]]
    assert maps_of(Instances(labels), "background", "body")[0].tolist() == [[0, 1], [0, 1], [0, 1], [0, 1], [1, 0]]
    with pytest.raises(ConfigError, match=r"add background to model.channels, as in \[background, body, border\]$"):
        map_target(Instances(labels), SOFTMAX, ("body", "border"))


def test_a_blank_target_is_of_the_type_of_the_others() -> None:
    for config in (SegmentConfig(), SOFTMAX):
        blank = blank_target((3, 5), config, STREET)
        assert type(blank) is type(map_target(masked("012"), config, STREET, STREET))
        blank.check("a.png", (3, 5))
