from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from medalist.data.placing import fitted, framed, put
from medalist.data.targets import BoxTarget
from medalist.tasks.detect.frames import cut, drawn, joined


def picture(height: int, width: int) -> np.ndarray:  # type: ignore[type-arg]
    return np.random.default_rng(1).integers(0, 255, (height, width, 3)).astype(np.uint8)


def boxes(*xyxy: tuple[float, float, float, float]) -> BoxTarget:
    return BoxTarget(np.array(xyxy, np.float32).reshape(-1, 4), np.arange(len(xyxy), dtype=np.int64))


@given(st.integers(1, 300), st.integers(1, 300), st.floats(0.3, 2.0), st.integers(-40, 40), st.integers(-40, 40))
def test_boxes_come_back_to_where_they_were(height: int, width: int, factor: float, top: int, left: int) -> None:
    placed = fitted((height, width), (96, 128), factor, top, left)
    whole = np.array([[0, 0, width, height], [width / 4, 0, width / 2, height / 2]], np.float32)
    assert placed.back(placed.into(whole), (height, width)) == pytest.approx(whole, abs=1e-2)
    x1, y1, x2, y2 = placed.into(whole)[0]
    assert (x2 - x1, y2 - y1) == pytest.approx(placed.size[::-1], rel=1e-5) and (x1, y1) == (left, top)


def test_an_image_just_fits_into_its_frame() -> None:
    seen, placed = framed(picture(60, 40), (96, 128), 7)
    assert seen.shape == (96, 128, 3) and placed.size == (96, 64) and (placed.top, placed.left) == (0, 0)
    assert (seen[:, 64:] == 7).all() and not (seen[:, :64] == 7).all()
    same = picture(96, 128)
    assert framed(same, (96, 128), 7)[0] is same


def test_only_the_region_is_drawn_and_only_what_lies_in_it() -> None:
    canvas = np.zeros((10, 12, 3), np.uint8)
    image = np.full((4, 6, 3), 9, np.uint8)
    put(canvas, image, fitted((4, 6), (4, 6), 1.0, -1, 9), (slice(0, 2), slice(0, 11)))
    assert np.flatnonzero(canvas[..., 0].any(axis=1)).tolist() == [0, 1]
    assert np.flatnonzero(canvas[..., 0].any(axis=0)).tolist() == [9, 10]
    put(canvas, image, fitted((4, 6), (4, 6), 1.0, 50, 50))  # outside: nothing is drawn
    assert canvas.sum() == 2 * 2 * 9 * 3


def test_a_random_place_shows_any_part_of_a_large_image_and_all_of_a_small_one() -> None:
    random = np.random.default_rng(0)
    for _ in range(50):
        placed = drawn((30, 40), (96, 128), (0.5, 2.0), random)
        for offset, side, own in zip((placed.top, placed.left), (96, 128), placed.size, strict=True):
            assert min(0, side - own) <= offset <= max(0, side - own)
            assert 0.49 * side <= own <= 2.01 * side


def test_boxes_are_cut_and_those_hardly_left_are_dropped() -> None:
    target = boxes((0, 0, 10, 10), (5, 0, 25, 10), (19.5, 0, 30, 10), (0, 0, 10, 0.5))
    inside = cut(target, slice(0, 10), slice(0, 20), 0.5)
    assert inside.labels.tolist() == [0, 1] and inside.xyxy.tolist() == [[0, 0, 10, 10], [5, 0, 20, 10]]
    assert cut(target, slice(0, 10), slice(0, 20), 0.8).labels.tolist() == [0]
    assert joined([inside, target]).labels.tolist() == [0, 1, 0, 1, 2, 3]
    assert cut(boxes(), slice(0, 10), slice(0, 20), 0.5).xyxy.shape == (0, 4)
