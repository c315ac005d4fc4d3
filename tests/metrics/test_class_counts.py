from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from medalist.errors import DataError
from medalist.metrics import class_counts
from medalist.metrics.class_counts import confusion, count_classes, mean_of, row_means
from medalist.records import Mask

NAN = float("nan")


@st.composite
def pair(draw: st.DrawFn) -> tuple[Mask, Mask]:
    shape = draw(array_shapes(min_dims=2, max_dims=2, min_side=1, max_side=7))
    side = arrays(np.uint8, shape, elements=st.integers(0, 3))
    truth, answer = draw(side), draw(side)
    void = draw(st.none() | arrays(np.bool_, shape))
    if void is not None:
        truth[void] = 0
    return Mask(truth, void), Mask(answer)


@settings(deadline=None)
@given(pair(), st.sampled_from([1, 5, 1 << 24]))
def test_against_a_loop_over_pixels(sides: tuple[Mask, Mask], at_once: int) -> None:
    truth, answer = sides
    slow = np.zeros((4, 4), np.int64)
    for at, value in np.ndenumerate(truth.classes):
        if truth.void is None or not truth.void[at]:
            slow[value, answer.classes[at]] += 1
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(class_counts, "_MOST_AT_ONCE", at_once)  # lines are counted in parts
        found = confusion(truth, answer, 4)
    assert found.dtype == np.int64 and np.array_equal(found, slow)


def test_views_that_are_not_contiguous_are_counted_right() -> None:
    truth = np.arange(24, dtype=np.uint8).reshape(4, 6) % 3
    answer = (truth + 1) % 3
    for cut in (np.s_[::2], np.s_[:, ::2], np.s_[::-1, ::-1]):
        assert np.array_equal(
            confusion(Mask(truth[cut]), Mask(answer[cut]), 3),
            confusion(Mask(truth[cut].copy()), Mask(answer[cut].copy()), 3),
        )
    assert confusion(Mask(truth.T), Mask(answer.T), 3).sum() == 24


def test_the_answer_at_void_pixels_is_not_judged_even_if_it_is_no_class() -> None:
    truth = Mask(np.array([[1, 0]], np.uint8), np.array([[False, True]]))
    assert confusion(truth, Mask(np.array([[1, 9]], np.uint8)), 2).tolist() == [[0, 0], [0, 1]]


def test_values_that_are_no_class_are_named_with_the_sample() -> None:
    good, bad = Mask(np.array([[0, 1]], np.uint8)), Mask(np.array([[0, 2]], np.uint8))
    with pytest.raises(DataError, match=r"sample x: the answer has the value 2 in 1 pixels; .* 0\.\.1"):
        count_classes({"w": good, "x": good}, {"w": good, "x": bad}, ("a", "b"))
    with pytest.raises(DataError, match="sample x: the truth has the value 2"):
        count_classes({"x": bad}, {"x": good}, ("a", "b"))


def test_images_without_pixels_and_without_judged_pixels_count_nothing() -> None:
    nothing = Mask(np.zeros((0, 3), np.uint8))
    assert not confusion(nothing, nothing, 2).any()
    blank = Mask(np.zeros((2, 3), np.uint8), np.ones((2, 3), np.bool_))
    assert not confusion(blank, Mask(np.ones((2, 3), np.uint8)), 2).any()


def test_255_classes_are_not_taken_for_void() -> None:
    last = Mask(np.full((1, 2), 254, np.uint8))
    assert confusion(last, last, 255)[254, 254] == 2


def test_the_means() -> None:
    table = np.array([[1.0, NAN, 0.0], [0.5, NAN, NAN], [NAN, NAN, NAN]])
    assert mean_of(table, "pairs") == 0.5
    assert mean_of(table, "images") == 0.5  # (0.5 + 0.5) / 2, without the third image
    assert mean_of(table, "classes") == 0.375  # (0.75 + 0) / 2, without the second class
    assert row_means(table).tolist() == [0.5, 0.5, 1.0]
    for over in ("pairs", "images", "classes"):
        assert mean_of(np.full((2, 2), NAN), over) == 1.0  # type: ignore[arg-type]
