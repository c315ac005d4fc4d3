from __future__ import annotations

import base64
import io

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst
from PIL import Image

from medalist.records import Instances, Mask
from medalist.report.pictures import (
    FALSE,
    FOUND,
    GAP,
    MISSED,
    captioned,
    edges,
    fit_image,
    fit_labels,
    grid,
    hatched,
    jpeg_base64,
    outline,
    png_base64,
    side_by_side,
    stretched,
)

label_maps = npst.arrays(np.int32, npst.array_shapes(min_dims=2, max_dims=2, max_side=9), elements=st.integers(0, 4))


def gray(height: int, width: int, value: int = 100):
    return np.full((height, width, 3), value, dtype=np.uint8)


def has(picture, colour) -> bool:
    return bool((picture == np.array(colour, dtype=np.uint8)).all(axis=2).any())


def slow_edges(labels, thickness):
    line = np.zeros(labels.shape, dtype=bool)
    for (row, column), label in np.ndenumerate(labels):
        window = labels[
            max(0, row - thickness) : row + thickness + 1, max(0, column - thickness) : column + thickness + 1
        ]
        line[row, column] = label > 0 and bool((window != label).any())
    return line


@given(label_maps, st.integers(1, 3))
def test_edges_equal_the_loop(labels, thickness):
    assert (edges(labels, thickness) == slow_edges(labels, thickness)).all()


def test_touching_objects_are_parted():
    labels = np.zeros((16, 16), dtype=np.int32)
    labels[4:12, 2:8] = 1
    labels[4:12, 8:14] = 2
    picture = outline(gray(16, 16), Instances(labels), (255, 0, 0), side=160)
    assert picture.shape == (160, 160, 3)
    line = (picture == (255, 0, 0)).all(axis=2)
    middle = line[80]
    assert middle[79] and middle[80]  # the two sides of the common border
    assert not middle[40:70].any() and not middle[90:120].any()  # the insides are free
    assert line[80].sum() == 4


@pytest.mark.parametrize("size", [(1, 1), (3, 2), (1, 700), (2000, 31), (600, 900)])
@pytest.mark.parametrize("kind", [Mask, Instances])
def test_any_size_is_drawn(size, kind):
    values = np.zeros(size, dtype=np.uint8 if kind is Mask else np.int32)
    values[: size[0] // 2 + 1, : size[1] // 2 + 1] = 1
    answer = kind(values)
    picture = outline(gray(*size), answer, side=64)
    assert max(picture.shape[:2]) == 64 and min(picture.shape) >= 1
    both = side_by_side(gray(*size), answer, answer, "a caption", side=64)
    assert both.dtype == np.uint8
    assert both.shape[1] == 3 * picture.shape[1] + 6
    assert both.shape[0] > picture.shape[0]


def test_errors_have_their_colours():
    truth, answer = np.zeros((2, 20, 30), dtype=np.int32)
    truth[2:8, 2:8] = 1
    answer[2:8, 2:8] = 2  # found
    truth[12:18, 2:8] = 2  # missed
    answer[12:18, 20:26] = 1  # false
    picture = side_by_side(gray(20, 30), Instances(truth), Instances(answer), side=90)
    image, of_truth, of_answer = picture[:, :90], picture[:, 93:183], picture[:, 186:]
    assert (picture[:, 90:93] == GAP).all()
    assert not any(has(image, colour) for colour in (FOUND, MISSED, FALSE))
    assert has(of_truth, FOUND) and has(of_truth, MISSED) and not has(of_truth, FALSE)
    assert has(of_answer, FOUND) and has(of_answer, FALSE) and not has(of_answer, MISSED)
    assert has(of_truth[36:, :30], MISSED) and not has(of_truth[:30], MISSED)


def test_masks_are_tinted_by_verdict():
    truth, answer = np.zeros((2, 4, 4), dtype=np.uint8)
    truth[0, 0] = answer[0, 0] = 1  # agrees
    truth[0, 2], answer[0, 2] = 1, 2  # another class: missed and false
    answer[2, 2] = 2  # false
    picture = side_by_side(gray(4, 4), Mask(truth), Mask(answer), side=4)
    of_truth, of_answer = picture[:, 7:11].astype(int), picture[:, 14:].astype(int)

    def tinted(panel, place, colour, weight):
        return np.abs(panel[place] - (100 * (1 - weight) + np.array(colour) * weight)).max() <= 1

    assert tinted(of_truth, (0, 0), FOUND, 0.35) and tinted(of_answer, (0, 0), FOUND, 0.35)
    assert tinted(of_truth, (0, 2), MISSED, 0.55) and tinted(of_answer, (0, 2), FALSE, 0.55)
    assert tinted(of_answer, (2, 2), FALSE, 0.55) and (of_truth[2, 2] == 100).all()


def test_void_pixels_are_hatched_and_have_no_verdict():
    truth, answer, void = np.zeros((20, 30), np.uint8), np.ones((20, 30), np.uint8), np.zeros((20, 30), np.bool_)
    truth[:, 20:], void[:, :10] = 1, True
    image, of_truth, of_answer = np.split(
        side_by_side(gray(20, 30), Mask(truth, void), Mask(answer), side=87), [90, 180], 1
    )
    assert not (image == 0).all(axis=2)[3:].any()
    for panel in (of_truth[3:], of_answer[3:]):
        stripes = (panel == 255).all(axis=2) | (panel == 0).all(axis=2)
        assert 0.3 < stripes[:, 2:28].mean() < 0.6 and not stripes[:, 32:].any()
        assert (panel[:, 2:28].max(axis=2) == panel[:, 2:28].min(axis=2)).all()  # no colour
    assert (of_answer[10, 40] != of_answer[10, 70]).any()  # false beside found
    drawn = outline(gray(20, 30), Mask(truth, void), side=90)
    assert (drawn[:, :28] == 255).all(axis=2).any() and has(drawn, FOUND)


def test_one_void_pixel_is_seen_in_a_reduced_picture():
    void = np.zeros((900, 900), np.bool_)
    void[::90, 451] = True
    assert (hatched(gray(90, 90), void, 90) != 100).any()


def test_wrong_shapes_and_kinds_are_our_fault():
    truth = Instances(np.zeros((4, 4), dtype=np.int32))
    with pytest.raises(AssertionError, match=r"\(4, 5\)"):
        outline(gray(4, 5), truth)
    with pytest.raises(AssertionError, match="Instances but answer is Mask"):
        side_by_side(gray(4, 4), truth, Mask(np.zeros((4, 4), dtype=np.uint8)))


def test_small_objects_survive_reduction():
    labels = np.zeros((1000, 1000), dtype=np.int32)
    for number, place in enumerate(np.arange(5, 1000, 97), start=1):
        labels[place, place] = number
    fitted = fit_labels(labels, 50)
    assert fitted.shape == (50, 50)
    assert set(np.unique(fitted)) == set(np.unique(labels))


@given(label_maps)
def test_enlarging_by_a_whole_number_repeats_pixels(labels):
    factor = 3
    fitted = fit_labels(labels, factor * max(labels.shape))
    assert (fitted == labels.repeat(factor, axis=0).repeat(factor, axis=1)).all()
    assert fit_image(gray(*labels.shape), factor * max(labels.shape)).shape[:2] == fitted.shape


def test_stretching_uses_the_whole_range_and_keeps_flat_images():
    dark = gray(20, 20, 4)
    dark[:10] = 20
    assert (stretched(dark).min(), stretched(dark).max()) == (0, 255)
    assert (stretched(gray(5, 5, 77)) == 77).all()


def test_grid_holds_every_picture_unchanged():
    pictures = [gray(10, 12, 10), gray(30, 8, 60), gray(5, 5, 120)]
    sheet = grid(pictures, 2)
    for picture in pictures:
        assert (sheet == picture[0, 0]).all(axis=2).sum() == picture.shape[0] * picture.shape[1]
    assert grid([], 3).size
    assert grid(pictures[:1], 5).shape == (10 + 20, 12 + 20, 3)
    assert grid(pictures, 2, ["a", "", "c"]).shape[0] > sheet.shape[0]
    with pytest.raises(AssertionError, match="1 captions for 3 images"):
        grid(pictures, 2, ["a"])


@pytest.mark.parametrize("caption", ["<script>\n\t\x00", "x" * 2_000_000, "\ud800 \u202e", "核 é"])
def test_hostile_captions_fit_above_the_picture(caption):
    picture = gray(40, 60)
    result = captioned(picture, caption)
    assert result.shape[1:] == (60, 3)
    assert (result[-40:] == picture).all()


def test_base64_decodes_to_the_picture():
    picture = np.random.default_rng(0).integers(0, 255, (12, 17, 3), dtype=np.uint8)
    with Image.open(io.BytesIO(base64.b64decode(png_base64(picture)))) as image:
        assert (np.asarray(image) == picture).all()
    with Image.open(io.BytesIO(base64.b64decode(jpeg_base64(picture)))) as image:
        assert image.size == (17, 12) and image.format == "JPEG"
