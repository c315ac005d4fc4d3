"""Boxes: every convention by hand, and texts that are read back as the same corners."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from medalist.codecs.boxes import PIXELS, VOC, XYWH, YOLO, BoxCoordinates, all_numbers, clipped, with_area
from medalist.records import Boxes

SIZE = (50, 100)  # height, width
FORMS = (PIXELS, VOC, XYWH, YOLO, BoxCoordinates("xyxy", normalised=True), BoxCoordinates("xywh", one_based=True))


@pytest.mark.parametrize(
    ("form", "written"),
    [
        (PIXELS, (10, 20, 30, 50)),
        (VOC, (11, 21, 30, 50)),  # pixels 11 to 30 counted from 1
        (BoxCoordinates(inclusive=True), (10, 20, 29, 49)),
        (BoxCoordinates(one_based=True), (11, 21, 31, 51)),
        (XYWH, (10, 20, 20, 30)),
        (BoxCoordinates("cxcywh"), (20, 35, 20, 30)),
        (YOLO, (0.2, 0.7, 0.2, 0.6)),
        (BoxCoordinates("xyxy", normalised=True), (0.1, 0.4, 0.3, 1.0)),
    ],
)
def test_each_convention_by_hand(form: BoxCoordinates, written: tuple[float, ...]) -> None:
    corners = np.array([[10.0, 20, 30, 50]])
    np.testing.assert_allclose(form.numbers(corners, SIZE), [written])
    np.testing.assert_allclose(form.corners(np.array([written], np.float64), SIZE), corners)


corner = st.one_of(st.just(0.0), st.floats(2**-10, 4000, width=32))


@given(boxes=st.lists(st.tuples(corner, corner, corner, corner), max_size=5), form=st.sampled_from(FORMS))
@settings(max_examples=60)
def test_shortest_texts_give_back_the_same_float32(boxes: list[tuple[float, ...]], form: BoxCoordinates) -> None:
    four = np.array(boxes, np.float32).reshape(-1, 4)
    xyxy = np.concatenate([np.minimum(four[:, :2], four[:, 2:]), np.maximum(four[:, :2], four[:, 2:])], axis=1)
    texts = form.texts(xyxy, (3000, 4000), None)
    assert all(all_numbers(row) for row in texts)
    read = np.array(texts, np.float64).reshape(-1, 4)
    np.testing.assert_array_equal(form.corners(read, (3000, 4000)).astype(np.float32), xyxy)


@pytest.mark.parametrize("decimals", [0, 2, 3])
@pytest.mark.parametrize("form", FORMS)
def test_rounded_texts_are_written_again_as_the_same(form: BoxCoordinates, decimals: int) -> None:
    if form.normalised and decimals < 3:
        return
    rng = np.random.default_rng(0)
    low = rng.uniform(0, 3900, (200, 2))
    xyxy = np.concatenate([low, low + rng.uniform(0.01, 60, (200, 2))], axis=1).astype(np.float32)
    first = form.texts(xyxy, (4000, 4000), decimals)
    read = form.corners(np.array(first, np.float64), (4000, 4000)).astype(np.float32)
    assert (read[:, :2] < read[:, 2:]).all(), "thin boxes keep an area"
    assert form.texts(read, (4000, 4000), decimals) == first


def test_rounding_moves_corners_and_not_widths() -> None:
    xyxy = np.array([[0.5, 0.4, 2.4, 1.6]], np.float32)
    assert PIXELS.texts(xyxy, None, 0) == [["0", "0", "2", "2"]]
    assert XYWH.texts(xyxy, None, 0) == [["0", "0", "2", "2"]]
    assert VOC.texts(np.array([[4.2, 4.2, 4.4, 4.4]], np.float32), None, 0) == [["5", "5", "5", "5"]]


@pytest.mark.parametrize("word", ["nan", "inf", "1_0", "0x1", "", " 1", "1e", "--1", "1,5", "١"])
def test_words_that_are_no_numbers(word: str) -> None:
    assert not all_numbers([word])


def test_clipping_leaves_out_what_is_outside() -> None:
    xyxy = np.array([[-5, -5, 10, 10], [90, 40, 120, 60], [100, 0, 110, 10], [1, 1, 2, 2]], np.float32)
    boxes = Boxes(xyxy, np.arange(4, dtype=np.int32), np.ones(4, np.float32), np.array([True, False, True, False]))
    found = clipped(boxes, SIZE)
    assert found.xyxy.tolist() == [[0, 0, 10, 10], [90, 40, 100, 50], [1, 1, 2, 2]]
    assert found.labels.tolist() == [0, 1, 3] and found.ignored is not None
    assert found.ignored.tolist() == [True, False, False]
    assert with_area(xyxy, SIZE).tolist() == [True, True, False, True]


def test_conventions_that_mean_nothing_are_refused() -> None:
    for wrong in ({"form": "xywh", "inclusive": True}, {"normalised": True, "one_based": True}):
        with pytest.raises(AssertionError):
            BoxCoordinates(**wrong)  # type: ignore[arg-type]
    with pytest.raises(AssertionError, match="size"):
        YOLO.corners(np.zeros((1, 4)), None)
