"""Tiles of one field are found, and what only looks alike is left apart."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping
from pathlib import Path

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.stats import pearsonr

from medalist.folds.mosaic import Fields, compare_borders, find_fields
from medalist.records import Sample

Image = NDArray[np.uint8]


def scene(seed: int, height: int = 256, width: int = 256, dots: int = 90, noise: float = 2.0) -> Image:
    """Bright, slightly blurred ellipses on a dark ground: the look of fluorescent nuclei."""
    draw = np.random.default_rng(seed)
    canvas = np.full((height, width), 20, np.float32)
    for _ in range(dots):
        centre = (int(draw.integers(width)), int(draw.integers(height)))
        axes = (int(draw.integers(5, 12)), int(draw.integers(5, 12)))
        cv2.ellipse(canvas, centre, axes, float(draw.integers(180)), 0, 360, float(draw.integers(60, 200)), -1)
    canvas = cv2.GaussianBlur(canvas, (0, 0), 1.5) + draw.normal(0, noise, canvas.shape)
    return np.repeat(np.clip(canvas, 0, 255).astype(np.uint8)[:, :, None], 3, axis=2)


def quarters(name: str, image: Image) -> dict[str, Image]:
    h, w = image.shape[0] // 2, image.shape[1] // 2
    return {f"{name}{y}{x}": image[y * h : (y + 1) * h, x * w : (x + 1) * w] for y in (0, 1) for x in (0, 1)}


def found(images: Mapping[str, Image], order: random.Random | None = None) -> Fields:
    samples = [Sample(name, (Path(name),), image.shape[:2]) for name, image in images.items()]
    if order is not None:
        order.shuffle(samples)
    return find_fields(samples, lambda path: images[str(path)])


def noise_only(seed: int, level: float = 20) -> Image:
    flat = np.random.default_rng(seed).normal(level, 2, (96, 96, 1))
    return np.repeat(np.clip(flat, 0, 255).astype(np.uint8), 3, axis=2)


def test_tiles_of_three_fields_are_found_among_strangers() -> None:
    images: dict[str, Image] = {}
    for seed, name in enumerate("abc"):
        images |= quarters(name, scene(seed))
    images |= {f"lone{seed}": scene(100 + seed, 128, 128, 25) for seed in range(12)}
    fields = found(images)
    assert fields.shared == tuple(tuple(f"{name}{q}" for q in ("00", "01", "10", "11")) for name in "abc")
    assert fields.group_of["b11"] == "b00"
    assert all(fields.group_of[f"lone{seed}"] == f"lone{seed}" for seed in range(12))
    assert {(j.first, j.second, j.rule) for j in fields.joins if j.first[0] == "a"} == {
        ("a00", "a01", "right"),
        ("a10", "a11", "right"),
        ("a00", "a10", "below"),
        ("a01", "a11", "below"),
    }
    assert all(join.correlation > 0.8 and join.step < 1.4 for join in fields.joins)


def test_tiles_in_a_strip_join_without_a_ring() -> None:
    field = scene(5, 128, 384, 70)
    images = {f"t{k}": field[:, k * 128 : (k + 1) * 128] for k in range(3)}
    assert found(images).shared == (("t0", "t1", "t2"),)


def test_in_heavy_noise_a_closed_ring_joins_what_one_border_cannot() -> None:
    tiles = quarters("a", scene(2, dots=130, noise=15))
    strangers = {f"s{seed}": scene(50 + seed, 128, 128, 32, noise=15) for seed in range(20)}
    assert found(tiles | strangers).shared == (("a00", "a01", "a10", "a11"),)
    del tiles["a11"]
    assert found(tiles | strangers).joins == ()


def test_the_answer_does_not_depend_on_the_order() -> None:
    images = quarters("z", scene(1)) | quarters("a", scene(2)) | {"m": scene(3, 128, 128, 25)}
    assert len({repr(found(images, random.Random(seed))) for seed in range(4)}) == 1


def test_unrelated_images_are_not_joined() -> None:
    fields = found({f"i{seed}": scene(seed, 128, 128, 25) for seed in range(60)})
    assert fields.shared == () and fields.joins == ()


def test_a_tile_turned_over_does_not_continue_its_neighbour() -> None:
    left, right = np.split(scene(9), 2, axis=1)
    assert found({"a": left, "b": right}).shared == (("a", "b"),)
    assert found({"a": left, "b": right[::-1]}).shared == ()
    assert found({"a": left[:, ::-1], "b": right}).shared == ()


def test_a_change_of_level_at_the_seam_is_no_seam() -> None:
    left, right = np.split(scene(9), 2, axis=1)
    brighter = np.minimum(right.astype(np.int32) + 40, 255).astype(np.uint8)
    assert found({"a": left, "b": brighter}).shared == ()


def test_blank_borders_do_not_join() -> None:
    blank = {f"n{seed}": noise_only(seed) for seed in range(30)}
    black = {f"k{k}": np.zeros((96, 96, 3), np.uint8) for k in range(4)}
    framed = {f"f{seed}": np.pad(scene(seed, 56, 56, 8), ((20, 20), (20, 20), (0, 0))) for seed in range(12)}
    assert found(blank | black | framed).joins == ()


def test_the_same_uneven_light_does_not_join() -> None:
    y, x = np.mgrid[0:96, 0:96] / 96 - 0.5
    light = (120 * (1 - 1.2 * (x * x + y * y)))[:, :, None]
    images = {f"v{s}": np.clip(noise_only(s, 0) + light, 0, 255).astype(np.uint8) for s in range(20)}
    assert found(images).joins == ()


@pytest.mark.parametrize(
    "change",
    [
        lambda a: a.copy(),
        lambda a: a[::-1],
        np.rot90,
        lambda a: np.rot90(a[:, ::-1], 3),
        lambda a: cv2.resize(a, (200, 140), interpolation=cv2.INTER_AREA),
        lambda a: np.clip(a.astype(np.float32) * 0.8 + np.random.default_rng(0).normal(0, 4, a.shape), 0, 255),
    ],
    ids=["copy", "flipped", "turned", "transposed", "resized", "dimmed and noisy"],
)
def test_near_duplicates_are_twins(change: Callable[[Image], Image]) -> None:
    image = scene(4, 160, 160, 30)
    images = {"a": image, "b": np.ascontiguousarray(change(image)).astype(np.uint8)}
    fields = found(images | {f"c{seed}": scene(20 + seed, 160, 160, 30) for seed in range(5)})
    assert fields.shared == (("a", "b"),)
    assert [(join.rule, join.first, join.second) for join in fields.joins if join.rule == "twin"] == [
        ("twin", "a", "b")
    ]


def test_few_and_tiny_images() -> None:
    assert found({}).group_of == {}
    assert found({"a": scene(0)}).group_of == {"a": "a"}
    one = {name: np.full((1, 1, 3), 7, np.uint8) for name in "ab"}
    assert found(one).group_of == {"a": "a", "b": "b"}


def test_compare_borders_against_slow_numbers() -> None:
    draw = np.random.default_rng(0)
    ends = draw.normal(5, 1, (3, 2, 40)).cumsum(axis=2).astype(np.float32)
    starts = draw.normal(5, 1, (4, 2, 40)).cumsum(axis=2).astype(np.float32)
    surprise, correlation, step = compare_borders(ends, starts)
    for i in range(3):
        for j in range(4):
            x, y = ends[i, 0].astype(float), starts[j, 0].astype(float)
            x0, y0 = (v - np.polyval(np.polyfit(np.arange(40), v, 2), np.arange(40)) for v in (x, y))
            c = pearsonr(x0, y0).statistic
            assert correlation[i, j] == pytest.approx(c, abs=1e-4)
            shared = sum((x0[k:] @ x0[:-k]) * (y0[k:] @ y0[:-k]) for k in range(1, 20)) / (x0 @ x0) / (y0 @ y0)
            count = 40 / max(1 + 2 * shared, 1)
            z = np.arctanh(np.clip(c, -0.99, 0.99)) * np.sqrt(max(count - 3, 0))
            assert surprise[i, j] == pytest.approx(z, abs=2e-3)
            inside = (((ends[i, 0] - ends[i, 1]) ** 2).mean() + ((starts[j, 0] - starts[j, 1]) ** 2).mean()) / 2
            assert step[i, j] == pytest.approx(((x - y) ** 2).mean() / inside, rel=1e-2)


@pytest.mark.data
def test_known_tiles_of_the_nuclei(contest_data: Callable[[str], Path]) -> None:
    """A stained 2x2 mosaic (looked at by eye) is found among 40 other images."""
    folder = contest_data("dsb2018") / "stage1_train"
    paths = sorted(folder.glob("*/images/*.png"))
    known = [path for path in paths if path.stem[:6] in KNOWN]
    others = [path for path in paths if path.stem[:6] not in KNOWN][:40]
    samples = [Sample(path.stem, (path,), (256, 320)) for path in known + others]
    groups = {tuple(name[:6] for name in names) for names in find_fields(samples).shared}
    assert tuple(sorted(KNOWN)) in groups


KNOWN = ("1e488c", "442c4e", "953211", "ebc188")
