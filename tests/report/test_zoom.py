from __future__ import annotations

import numpy as np
import pytest

from medalist.records import Mask
from medalist.report.pictures import joined, panels
from medalist.report.zoom import (
    FRAME,
    LEAST,
    TRUTH,
    heat,
    heat_colours,
    holds,
    window_around,
    with_frames,
)


@pytest.mark.parametrize("middle", [(0, 0), (100, 150), (199, 299), (5, 290)])
def test_a_window_lies_inside_the_image_around_its_object(middle):
    row, column = middle
    box = (slice(row, min(row + 4, 200)), slice(column, min(column + 9, 300)))
    rows, columns = window_around(box, (200, 300))
    assert rows.stop - rows.start == columns.stop - columns.start == LEAST
    assert 0 <= rows.start <= row and rows.stop <= 200 and 0 <= columns.start <= column and columns.stop <= 300
    assert holds((rows, columns), box) and not holds((slice(0, 2), slice(0, 2)), (slice(90, 99), slice(90, 99)))


def test_an_object_that_fills_the_image_gets_no_window():
    assert window_around((slice(0, 100), slice(0, 100)), (200, 200)) is None
    assert window_around((slice(3, 5), slice(3, 5)), (80, 80)) is None
    assert window_around((slice(0, 1), slice(0, 300)), (40, 4000)) == (slice(0, 40), slice(0, 900))


def test_a_small_peak_does_not_vanish_from_a_reduced_map():
    probability = np.zeros((900, 1200), np.float32)
    probability[501, 703] = 1.0
    picture = heat(probability, side=60)
    assert picture.shape == (45, 60, 3)
    assert (picture.astype(int).sum(axis=2) > 600).sum() >= 1  # pale yellow
    assert heat(np.ones((1, 3), np.float32), side=30).shape == (10, 30, 3)


def test_the_outline_of_the_truth_is_on_the_probabilities():
    classes = np.zeros((40, 40), np.uint8)
    classes[30:34, 30:34] = 1
    probability = np.full((40, 40), 0.5, np.float32)
    drawn = (heat(probability, Mask(classes), 80) == np.array(TRUTH)).all(axis=2)
    assert drawn.any() and not drawn[:50, :50].any()
    window = (slice(20, 40), slice(20, 40))
    assert (heat(probability, Mask(classes), 80, window) == np.array(TRUTH)).all(axis=2).sum() > drawn.sum()
    assert TRUTH not in heat_colours(256)


def test_frames_are_drawn_on_a_copy():
    picture = np.zeros((100, 200, 3), np.uint8)
    framed = with_frames(picture, [(slice(10, 20), slice(30, 40)), (slice(45, 50), slice(90, 100))], (50, 100))
    line = (framed == np.array(FRAME)).all(axis=2)
    assert line[20:40, 60].all() and line[99, 180:200].all() and not picture.any()


def test_panels_of_a_window_keep_what_the_whole_image_says():
    """The two pieces touch the window only in part, and stay right or wrong as they are in the whole image."""
    image = np.random.default_rng(0).integers(0, 255, (50, 70, 3), np.uint8)
    truth, answer = np.zeros((2, 50, 70), np.uint8)
    truth[10:20, 10:30] = 1
    answer[10:20, 10:40] = 1
    whole = (slice(0, 50), slice(0, 70))
    for one, other in zip(
        panels(image, Mask(truth), Mask(answer), 70),
        panels(image, Mask(truth), Mask(answer), 70, whole),
        strict=True,
    ):
        assert np.array_equal(one, other)
    part = panels(image, Mask(truth), Mask(answer), 60, (slice(0, 20), slice(20, 40)))
    assert all(picture.shape == (60, 60, 3) for picture in part)


def test_pictures_are_joined_in_rows():
    tile = np.zeros((4, 6, 3), np.uint8)
    assert joined([tile] * 3).shape == (4, 3 * 6 + 2 * 3, 3)
    assert joined([tile] * 3, 2).shape == (4 + 3 + 4, 6 + 3 + 6, 3)
