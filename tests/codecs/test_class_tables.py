from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays
from numpy.typing import NDArray

from medalist.codecs.class_tables import (
    ClassTable,
    colour_of,
    nearest_colour,
    number_of,
    packed,
    table_of_colours,
    table_of_ids,
)
from medalist.errors import ConfigError

CLASSES = ("background", "road", "car")


@given(
    arrays(np.uint16, array_shapes(min_dims=2, max_dims=2, max_side=5), elements=st.integers(0, 6)),
    st.dictionaries(st.integers(0, 6), st.integers(0, 2)),
    st.booleans(),
)
def test_against_a_loop_over_pixels(values: NDArray[np.uint16], ids: dict[int, int], narrow: bool) -> None:
    void = {6} - ids.keys()
    table = table_of_ids(ids, void, CLASSES)
    for given_values in (values.astype(np.uint8) if narrow else values, values.astype(np.int32)):
        classes, found_void, unknown = table.translate(given_values)
        for at, value in np.ndenumerate(values):
            assert classes[at] == ids.get(int(value), 0)
            assert (found_void is not None and found_void[at]) == (int(value) in void)
        counts = {int(value): int((values == value).sum()) for value in np.unique(values)}
        assert unknown == {value: count for value, count in counts.items() if value not in ids and value not in void}
        assert found_void is None or found_void.any()


def test_names_and_numbers_are_the_same_classes() -> None:
    assert number_of("car", CLASSES) == number_of(2, CLASSES) == 2
    with pytest.raises(ConfigError, match=r"no class 'cars'; the contest's classes are .*; did you mean 'car'"):
        number_of("cars", CLASSES)
    with pytest.raises(ConfigError, match=r"no class 3; the contest has 3 classes, 0\.\.2"):
        number_of(3, CLASSES)


def test_a_number_that_is_void_is_no_class_of_its_own_number() -> None:
    classes, void, unknown = table_of_ids(None, (1,), CLASSES).translate(np.array([[0, 1, 2]], np.uint8))
    assert classes.tolist() == [[0, 0, 2]] and void is not None and void.tolist() == [[False, True, False]]
    assert not unknown


def test_16_bit_values_are_not_cut() -> None:
    table = table_of_ids({26000: "car", 0: 0}, (65535,), CLASSES)
    values = np.array([[0, 26000, 65535, 144]], np.uint16)  # 26000 is 144 in 8 bits
    classes, void, unknown = table.translate(values)
    assert classes.tolist() == [[0, 2, 0, 0]] and unknown == {144: 1}
    assert void is not None and void.tolist() == [[False, False, True, False]]


def test_settings_that_cannot_be_are_refused() -> None:
    with pytest.raises(ConfigError, match="7 is a class and in `ignore` too"):
        table_of_ids({7: 1}, (7,), CLASSES)
    with pytest.raises(ConfigError, match=r"the value 70000 cannot be in a label picture"):
        table_of_ids({70000: 1}, (), CLASSES)
    with pytest.raises(ConfigError, match=r"\(1, 2, 3\) is a class and in `ignore` too"):
        table_of_colours({(1, 2, 3): 1}, [(1, 2, 3)], CLASSES)
    with pytest.raises(ConfigError, match=r"\(1, 2, 256\) is no colour"):
        table_of_colours({(1, 2, 256): 1}, (), CLASSES)


def test_colours_are_packed_and_unpacked() -> None:
    pixels = np.array([[[1, 2, 3], [255, 255, 255]]], np.uint8)
    assert packed(pixels).tolist() == [[1 * 65536 + 2 * 256 + 3, 0xFFFFFF]]
    assert colour_of(int(packed(pixels)[0, 0])) == (1, 2, 3)
    table = table_of_colours({(1, 2, 3): "road", (200, 0, 0): "car"}, [(255, 255, 255)], CLASSES)
    near = nearest_colour(int(packed(np.array([[[199, 9, 0]]], np.uint8))[0, 0]), table)
    assert near is not None and colour_of(near) == (200, 0, 0)
    assert nearest_colour(5, ClassTable({})) is None
    assert ClassTable({}).translate(packed(pixels))[2] == {0x010203: 1, 0xFFFFFF: 1}
