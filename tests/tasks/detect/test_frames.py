from __future__ import annotations

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from medalist.data.placing import fitted, framed, put
from medalist.data.targets import BoxTarget
from medalist.tasks.detect.frames import cut, drawn, joined, zoomed
from medalist.tasks.detect.settings import FrameConfig


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
        placed = drawn((30, 40), (96, 128), zoomed((0.5, 2.0), random), random)
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


@pytest.mark.parametrize("native", [(300, 500), (997, 1013), (1000, 2000)])
@pytest.mark.parametrize("factor", [0.07, 0.31, 0.93, 1.0, 2.7])
def test_a_part_is_scaled_as_it_is_scaled_in_the_whole_image(native: tuple[int, int], factor: float) -> None:
    random = np.random.default_rng(3)
    # Smooth pictures, so that a difference in value says how far the part is moved.
    y, x = np.mgrid[: native[0], : native[1]]
    image = np.stack([127 + 120 * np.sin(y / 9), 127 + 120 * np.cos(x / 7), x % 256], axis=-1).astype(np.uint8)
    for _ in range(5):
        whole = fitted(native, native, factor)
        top, left = (-int(random.integers(0, max(1, side - 16))) for side in whole.size)
        placed = fitted(native, native, factor, top, left)
        region = slice(3, 40), slice(5, 60)
        seen, expected = np.zeros((2, 64, 64, 3), np.uint8)
        put(seen, image, placed, region)
        scaled = image
        if placed.size[0] < native[0]:
            scaled = cv2.resize(image, placed.size[::-1], interpolation=cv2.INTER_AREA)
        elif placed.size != native:
            scaled = cv2.resize(image, placed.size[::-1], interpolation=cv2.INTER_LINEAR)
        wanted = scaled[3 - top : 40 - top, 5 - left : 60 - left]
        expected[3 : 3 + wanted.shape[0], 5 : 5 + wanted.shape[1]] = wanted
        smooth = np.abs(seen[..., :2].astype(int) - expected[..., :2])
        assert smooth.max() <= 3, (native, factor, top, left)


def test_the_place_of_a_part_is_that_of_its_point() -> None:
    random = np.random.default_rng(5)
    for _ in range(200):
        point = random.random(2) * (300, 500)
        placed = drawn((300, 500), (64, 96), zoomed((0.5, 6.0), random), random, (float(point[0]), float(point[1])))
        x, y = placed.into(np.array([[*point[::-1], *point[::-1]]], np.float32))[0, :2]
        assert -0.51 <= y <= 64.51 and -0.51 <= x <= 96.51
        for start, side, own in ((placed.top, 64, placed.size[0]), (placed.left, 96, placed.size[1])):
            assert min(0, side - own) <= start <= max(0, side - own)


@pytest.mark.parametrize(
    ("native", "unit", "seen"), [((640, 320), 2.0, 1.0), ((100, 80), 0.3125, 0.3125), ((320, 320), 1, 1)]
)
def test_pixels_keep_their_size_where_the_config_says_so(native: tuple[int, int], unit: float, seen: float) -> None:
    frame = FrameConfig(size=(320, 320), unit="pixel")
    assert frame.unit_factor(native) == pytest.approx(unit) and frame.seen_factor(native) == pytest.approx(seen)
    assert fitted(native, frame.size, frame.unit_factor(native)).size == native
    plain = FrameConfig(size=(320, 320))
    assert plain.unit_factor(native) == plain.seen_factor(native) == 1
    canvas, placed = framed(picture(*native), frame.size, 0, frame.seen_factor(native))
    assert placed.size == (min(320, native[0]), min(native[1], 320 * native[1] // max(320, native[0])))
    assert canvas.shape == (320, 320, 3)
