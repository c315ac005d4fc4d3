"""Tiles with a common part are found against a slow search, and what only looks alike is left apart."""

from __future__ import annotations

import random
from collections.abc import Mapping
from pathlib import Path

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from medalist.folds.overlaps import Overlap, find_overlaps, overlap_groups
from medalist.records import Sample

Image = NDArray[np.uint8]
STEP = 32


def scene(seed: int, height: int, width: int, texture: float = 25) -> Image:
    """Land seen from above: smooth brightness, and texture at several scales."""
    draw = np.random.default_rng(seed)
    canvas = np.full((height, width), draw.uniform(60, 180), np.float32)
    for blur in (1, 4, 12):
        canvas += texture * blur * cv2.GaussianBlur(draw.normal(0, 1, (height, width)).astype(np.float32), (0, 0), blur)
    colour = np.stack([canvas, 0.9 * canvas + 8, 0.8 * canvas], axis=2)
    return np.clip(colour, 0, 255).astype(np.uint8)


def jpeg(image: Image, quality: int = 90) -> Image:
    """The image as a JPEG has it."""
    written = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, quality])[1]
    return np.asarray(cv2.imdecode(written, cv2.IMREAD_COLOR), np.uint8)


def tiles(name: str, image: Image, side: int = 3 * STEP, step: int = STEP) -> dict[str, Image]:
    rows, columns = (range(0, length - side + 1, step) for length in image.shape[:2])
    return {f"{name}{y // step}{x // step}": jpeg(image[y : y + side, x : x + side]) for y in rows for x in columns}


def found(images: Mapping[str, Image], order: random.Random | None = None, step: int = STEP) -> tuple[Overlap, ...]:
    samples = [Sample(name, (Path(name),), image.shape[:2]) for name, image in images.items()]
    if order is not None:
        order.shuffle(samples)
    return find_overlaps(samples, step, lambda path: images[str(path)])


def slow(images: Mapping[str, Image]) -> set[Overlap]:
    """Lay each image on each other one at all offsets, and compare the pixels of the common part."""
    expected = set()
    names = sorted(images)
    for at, first in enumerate(names):
        for second in names[at + 1 :]:
            one, other = images[first].astype(float).mean(axis=2), images[second].astype(float).mean(axis=2)
            if one.shape != other.shape:
                continue
            (height, width), reach = one.shape, range(-2 * STEP, 3 * STEP, STEP)
            for down in reach:
                for right in reach:
                    here = one[max(0, down) : height + min(0, down), max(0, right) : width + min(0, right)]
                    there = other[max(0, -down) : height + min(0, -down), max(0, -right) : width + min(0, -right)]
                    if np.abs(here - there).mean() < 6 and here.std() > 3:
                        expected.add(Overlap(first, second, down, right))
    return expected


def test_overlapping_tiles_of_scenes_are_found_among_strangers() -> None:
    images = tiles("a", scene(1, 4 * STEP, 5 * STEP)) | tiles("b", scene(2, 6 * STEP, 3 * STEP))
    images |= {f"lone{seed}": jpeg(scene(100 + seed, 3 * STEP, 3 * STEP)) for seed in range(10)}
    overlaps = found(images)
    assert set(overlaps) == slow(images) and len(overlaps) == len(set(overlaps))
    # The six tiles of scene a overlap one another; of the four of scene b, the first and the last have nothing common.
    assert len(overlaps) == 15 + 5
    assert Overlap("a00", "a11", STEP, STEP) in overlaps and Overlap("a01", "a10", STEP, -STEP) in overlaps


def test_a_group_joins_tiles_that_do_not_overlap_themselves() -> None:
    images = tiles("b", scene(2, 6 * STEP, 3 * STEP)) | {"c": jpeg(scene(9, 3 * STEP, 3 * STEP))}
    samples = [Sample(name, (Path(name),), image.shape[:2]) for name, image in images.items()]
    grouping = overlap_groups(samples, STEP, lambda path: images[str(path)])
    assert grouping.group_of == {"b00": "b00", "b10": "b00", "b20": "b00", "b30": "b00", "c": "c"}
    assert ("b00", "b10", "overlap offset 32 down, 0 right") in grouping.joins


def test_copies_have_the_offset_0() -> None:
    image = scene(4, 3 * STEP, 3 * STEP)
    assert found({"a": jpeg(image, 95), "b": jpeg(image, 80)}) == (Overlap("a", "b", 0, 0),)


def test_the_answer_does_not_depend_on_the_order() -> None:
    images = tiles("z", scene(1, 4 * STEP, 4 * STEP)) | tiles("a", scene(2, 4 * STEP, 4 * STEP))
    assert len({found(images, random.Random(seed)) for seed in range(4)}) == 1


def test_one_common_block_at_a_corner_is_enough() -> None:
    image = scene(3, 5 * STEP, 5 * STEP)
    corner = {"a": jpeg(image[: 3 * STEP, : 3 * STEP]), "b": jpeg(image[2 * STEP :, 2 * STEP :])}
    assert found(corner) == (Overlap("a", "b", 2 * STEP, 2 * STEP),)


def test_blocks_that_agree_beside_blocks_that_do_not_are_no_overlap() -> None:
    """The same object, pasted into two scenes, does not make them one."""
    one, other = scene(1, 3 * STEP, 3 * STEP), scene(2, 3 * STEP, 3 * STEP)
    other[:STEP, :STEP] = one[:STEP, :STEP]
    assert found({"a": jpeg(one), "b": jpeg(other)}) == ()


def test_water_cloud_and_black_margins_say_nothing() -> None:
    draw = np.random.default_rng(0)
    water = {f"w{n}": jpeg(np.clip(draw.normal(40, 3, (96, 96, 3)), 0, 255).astype(np.uint8)) for n in range(20)}
    plain = {f"{value}{n}": np.full((96, 96, 3), value, np.uint8) for value in (0, 90, 255) for n in range(5)}
    framed = {}
    for seed in range(5):
        framed[f"f{seed}"] = scene(seed, 96, 96)
        framed[f"f{seed}"][:64] = 0
    assert found(water | plain | framed) == ()


def test_tiles_at_other_offsets_and_sizes_are_not_looked_for() -> None:
    image = scene(5, 5 * STEP, 5 * STEP)
    shifted = {"a": jpeg(image[:96, :96]), "b": jpeg(image[13:109, :96])}
    assert found(shifted) == ()
    sizes = {"a": jpeg(image[:96, :96]), "b": jpeg(image[:96, :128])}
    assert found(sizes) == ()


@pytest.mark.parametrize("shape", [(16, 16), (20, 50), (40, 17)])
def test_small_and_odd_images(shape: tuple[int, int]) -> None:
    image = scene(6, *shape)
    assert found({"a": image, "b": image, "c": scene(7, *shape)}, step=16) == (Overlap("a", "b", 0, 0),)


def test_few_images() -> None:
    assert found({}) == ()
    assert found({"a": scene(0, 96, 96)}) == ()
    tiny = np.zeros((4, 4, 3), np.uint8)
    assert found({"a": tiny, "b": tiny}) == ()
    assert overlap_groups([Sample("a", (Path("a"),), (4, 4))], 16, lambda path: tiny).group_of == {"a": "a"}
