"""Truths and answers as numbers of pixels."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst
from scipy import ndimage

from medalist.records import Instances, Labels, Mask
from medalist.report.labels import foreground, judged, matched, object_labels, pieces, shows_nothing, void_of

label_maps = npst.arrays(np.int32, npst.array_shapes(min_dims=2, max_dims=2, max_side=9), elements=st.integers(0, 4))

CLASSES = np.array([[0, 1, 2], [0, 0, 2]], np.uint8)
VOID = np.array([[True, False, False], [True, False, False]])


def slow_matched(truth, answer):
    found = np.zeros(truth.max() + 1, dtype=bool)
    right = np.zeros(answer.max() + 1, dtype=bool)
    for one in range(1, truth.max() + 1):
        for other in range(1, answer.max() + 1):
            common = ((truth == one) & (answer == other)).sum()
            union = ((truth == one) | (answer == other)).sum()
            if union and common / union > 0.5:
                found[one] = right[other] = True
    return found, right


@given(st.data())
def test_matched_equals_the_loop(data):
    truth = data.draw(label_maps)
    answer = data.draw(npst.arrays(np.int32, truth.shape, elements=st.integers(0, 4)))
    for fast, slow in zip(matched(truth, answer), slow_matched(truth, answer), strict=True):
        assert (fast == slow).all()


def test_half_of_the_union_is_no_match():
    truth = np.array([[1, 1]], dtype=np.int32)
    answer = np.array([[1, 0]], dtype=np.int32)
    assert not matched(truth, answer)[0].any()
    assert matched(truth, truth)[0].tolist() == [False, True]


@given(label_maps)
def test_pieces_equal_those_of_each_number_alone(numbers):
    found = pieces(numbers)
    assert ((found == 0) == (numbers == 0)).all()
    expected = 0
    for number in np.unique(numbers[numbers > 0]):
        own, count = ndimage.label(numbers == number)
        expected += count
        for piece in range(1, count + 1):
            of_piece = np.unique(found[own == piece])
            assert len(of_piece) == 1 and ((found == of_piece[0]) == (own == piece)).all()
    assert found.max(initial=0) == expected


def test_void_pixels_are_nothing_with_and_without_a_background():
    mask = Mask(CLASSES, VOID)
    assert object_labels(mask).tolist() == [[0, 1, 2], [0, 0, 2]]
    assert object_labels(mask, background=False).tolist() == [[0, 2, 3], [0, 1, 3]]
    assert object_labels(Mask(CLASSES), background=False).tolist() == [[1, 2, 3], [1, 1, 3]]
    assert mask.classes.tolist() == CLASSES.tolist()  # the mask is not changed
    with pytest.raises(AssertionError, match="whole image"):
        object_labels(Labels())


def test_an_answer_says_nothing_at_void_pixels():
    answer = Mask(np.full((2, 3), 2, np.uint8))
    said = judged(Mask(CLASSES, VOID), answer)
    assert object_labels(said).tolist() == [[0, 2, 2], [0, 2, 2]]
    assert judged(Mask(CLASSES), answer) is answer
    instances = Instances(CLASSES.astype(np.int32))
    assert judged(instances, instances) is instances


def test_void_of():
    assert void_of(Mask(CLASSES, VOID)) is VOID
    assert void_of(Mask(CLASSES, np.zeros_like(VOID))) is None and void_of(Mask(CLASSES)) is None
    assert void_of(Instances(CLASSES.astype(np.int32))) is None


def test_what_has_no_judged_object_shows_nothing():
    everywhere = np.ones((2, 3), np.bool_)
    empty, full = Mask(np.zeros((2, 3), np.uint8)), Mask(np.ones((2, 3), np.uint8))
    assert shows_nothing(empty, empty) and not shows_nothing(empty, full) and not shows_nothing(full, empty)
    assert shows_nothing(Mask(empty.classes, everywhere), full)
    assert shows_nothing(Mask(empty.classes, everywhere), full, background=False)
    assert not shows_nothing(empty, empty, background=False)


def test_every_number_above_0_is_foreground():
    assert foreground(Mask(CLASSES * 100, VOID)).classes.tolist() == [[0, 1, 1], [0, 0, 1]]
    assert foreground(Mask(CLASSES * 100, VOID)).void is VOID
    ones = Mask((CLASSES > 0).astype(np.uint8))
    assert foreground(ones) is ones
