from __future__ import annotations

from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from medalist.data.cache import PixelCache
from medalist.data.fitting import fit_image, trimmed
from medalist.data.settings import FitConfig
from medalist.errors import ConfigError
from medalist.records import Sample
from medalist.tasks.embed.composing import Composed, Composition, SignPart, compose, joined_parts
from medalist.tasks.embed.settings import EmbedSettings

Pixels = NDArray[np.uint8]
STILL = np.zeros((2, 2, 2))
SIGNS = FitConfig(size=(64, 64), fit="pad", trim=0.75)


def sign(number: int, size: tuple[int, int] = (64, 64), colours: bool = False) -> Pixels:
    """A soft blot of light, other in each number."""
    random = np.random.default_rng(number)
    image = np.zeros((*size, 3), np.uint8)
    line = random.integers(np.array(size)[::-1] // 8, np.array(size)[::-1] * 7 // 8, (5, 2)).astype(np.int32)
    cv2.polylines(image, [line], False, (255, 120, 200) if colours else (255, 255, 255), 5)
    return np.asarray(cv2.GaussianBlur(image, (5, 5), 1.5), np.uint8)


def cache_of(labels: list[int]) -> PixelCache:
    """Samples whose ids do not stand in the order of the cache."""
    count = len(labels)
    samples = [Sample(f"w{count - number:03}", (Path("none"),), (64, 64)) for number in range(count)]
    cache = PixelCache(lambda sample: (sign(int(sample.id[1:])), None), samples)
    cache.fill(10**7)
    return cache


def by_hand(made: Composition, one: Pixels, two: Pixels, share: float, jitter: NDArray[np.float64]) -> Pixels:
    """The slow twin: turned, cut, and looked up pixel by pixel on a ground of twice the size and more."""
    longest = max(one.shape[:2])
    side, canvas = share * longest, 3 * longest // 2 * 2
    out = np.zeros((canvas, canvas, one.shape[2]), np.float64)
    grid = np.mgrid[:canvas, :canvas] - (canvas - 1) / 2
    for part, whole, way, drawn in ((made.first, one, -1, jitter[0]), (made.second, two, 1, jitter[1])):
        rows, columns = np.mgrid[: whole.shape[0], : whole.shape[1]].astype(float)
        rows, columns = rows - rows.mean(), columns - columns.mean()
        x, y, offset = part.cut or (0.0, 0.0, 1.0)
        stays = x * columns + y * rows < offset * side
        turned = np.rot90(whole * stays[..., None], part.turns).astype(float)
        x = (grid[1] - way * made.distance * side / 2 * np.cos(made.angle) - drawn[1, 0] * longest * 3 / 64) / (
            part.scale * (1 + 0.08 * drawn[0, 0])
        ) + (turned.shape[1] - 1) / 2
        y = (grid[0] - way * made.distance * side / 2 * np.sin(made.angle) - drawn[1, 1] * longest * 3 / 64) / (
            part.scale * part.aspect * (1 + 0.08 * drawn[0, 1])
        ) + (turned.shape[0] - 1) / 2
        padded = np.pad(turned, ((1, 2), (1, 2), (0, 0)))
        x, y = np.clip(x, -1, turned.shape[1]) + 1, np.clip(y, -1, turned.shape[0]) + 1
        left, top = np.floor(x).astype(int), np.floor(y).astype(int)
        u, v = (x - left)[..., None], (y - top)[..., None]
        upper = padded[top, left] * (1 - u) + padded[top, left + 1] * u
        lower = padded[top + 1, left] * (1 - u) + padded[top + 1, left + 1] * u
        out = np.maximum(out, upper * (1 - v) + lower * v)
    return np.asarray(np.rint(out), np.uint8)


@pytest.mark.parametrize("size", [(64, 64), (48, 64)])
@pytest.mark.parametrize("share", [0.75, 1.0])
def test_parts_are_turned_cut_scaled_and_joined_by_the_maximum(share: float, size: tuple[int, int]) -> None:
    compositions = compose(4, 24, [2] * 9, [None] * 9)
    assert {part.turns for made in compositions for part in (made.first, made.second)} == {0, 1, 2, 3}
    assert {part.cut is None for made in compositions for part in (made.first, made.second)} == {True, False}
    for number, made in enumerate(compositions):
        jitter = np.random.default_rng(number).uniform(-1, 1, (2, 2, 2))
        one, two = sign(2 * number, size, colours=True), sign(2 * number + 1, size)
        found, slow = joined_parts(made, one, two, share, jitter), by_hand(made, one, two, share, jitter)
        margin = (slow.shape[0] - found.shape[0]) // 2
        inner = slow[margin : margin + found.shape[0], margin : margin + found.shape[0]]
        assert inner.astype(int).sum() > 0.99 * slow.astype(int).sum(), "the ground holds what is drawn"
        differences = np.abs(found.astype(int) - inner)
        assert differences.max() <= 12 and differences.mean() < 0.5, "OpenCV counts in 32nds of a pixel"


def test_a_composition_worked_by_hand() -> None:
    """Two dots at the right edge: one turned to the top, one as it is, side by side."""
    image = np.zeros((17, 17, 1), np.uint8)
    image[8, 16] = 200
    made = Composition(SignPart(0, 1, 1.0, 1.0, None), SignPart(1, 0, 1.0, 1.0, None), 0.0, 1.0, 2)
    found = joined_parts(made, image, image, 1.0, STILL)[..., 0]
    middle = (found.shape[0] - 1) / 2
    spots = np.argwhere(found > 10) - middle
    np.testing.assert_allclose(sorted({tuple(np.rint(spot)) for spot in spots}), [(-8, -8), (0, 16)], atol=1)


def test_a_cut_that_leaves_nothing_is_not_made() -> None:
    image = np.zeros((64, 64, 3), np.uint8)
    image[20:44, 40:50] = 255
    whole = Composition(SignPart(0, 0, 1.0, 1.0, None), SignPart(1, 0, 0.5, 1.0, None), 0.0, 0.5, 2)
    for cut, same in (((1.0, 0.0, 0.0), True), ((0.0, 1.0, 0.0), False)):  # the left half is empty, the upper is not
        made = replace(whole, first=replace(whole.first, cut=cut))
        found = [joined_parts(one, image, image, 0.75, STILL) for one in (whole, made)]
        assert np.array_equal(found[0], found[1]) is same


def test_compositions_are_drawn_as_they_should_be() -> None:
    groups = ["a"] * 10 + ["b"] * 10 + [None] * 5 + ["alone"]
    sizes = [2 + number % 3 for number in range(24)] + [1, 4]
    made = compose(7, 4000, sizes, groups)
    assert made == compose(7, 4000, sizes, groups) and made[:10] == compose(7, 10, sizes, groups)
    assert made[:10] != compose(8, 10, sizes, groups)
    assert len(set(made)) == 4000
    parts = [part for one in made for part in (one.first, one.second)]
    assert {part.identity for part in parts} == set(range(26)) - {24}, "one sample is too few"
    assert all(one.first.identity != one.second.identity for one in made)
    assert all(one.samples == min(sizes[one.first.identity], sizes[one.second.identity]) for one in made)
    assert all(0.6 <= one.first.scale <= 1 and 0.4 <= one.second.scale <= 1 for one in made)
    assert all(0.7 <= part.aspect <= 1 for part in parts)
    assert all(0.35 <= 2 * one.distance / (one.first.scale + one.second.scale) <= 1 for one in made)
    turns = Counter(part.turns for part in parts)
    assert all(abs(turns[turn] / 8000 - 0.25) < 0.03 for turn in range(4))
    assert abs(np.mean([part.cut is not None for part in parts]) - 0.35) < 0.03
    assert abs(np.mean([one.angle % (np.pi / 2) == 0 for one in made]) - 0.6) < 0.03
    grouped = [one for one in made if one.first.identity < 20]
    together = np.mean([groups[one.first.identity] == groups[one.second.identity] for one in grouped])
    assert abs(together - (0.6 + 0.4 * 9 / 24)) < 0.04


def test_samples_are_of_one_hand() -> None:
    """The n-th by id of one with the n-th by id of the other."""
    labels = [0, 1, 2, 0, 1, 0, 0, 1]
    cache = cache_of(labels)
    compositions = compose(1, 12, [4, 3, 1], ["x", "x", "x"])
    composed = Composed(cache, range(8), labels, compositions, SIGNS, 5)
    assert composed.identities == 3
    assert len(composed) == 12 * 3 and composed.labels == tuple(number // 3 for number in range(36))
    hands = {0: [6, 5, 3, 0], 1: [7, 4, 1]}  # ids fall as indices rise
    for position in range(36):
        number, one, two = composed.parts(position)
        made = compositions[number]
        assert number == position // 3
        assert one == hands[made.first.identity][position % 3] and two == hands[made.second.identity][position % 3]


def test_a_draw_is_a_pure_function_of_seed_epoch_position_and_draw() -> None:
    labels = [number // 3 for number in range(12)]
    cache = cache_of(labels)
    compositions = compose(1, 6, [3] * 4, [None] * 4)
    composed = Composed(cache, range(12), labels, compositions, SIGNS, 5)
    again = Composed(cache_of(labels), range(12), labels, compositions, SIGNS, 5)
    other = Composed(cache, range(12), labels, compositions, SIGNS, 6)
    first = composed.draw(2, 7)
    np.testing.assert_array_equal(first, again.draw(2, 7))
    for image in (composed.draw(3, 7), composed.draw(2, 7, 1), other.draw(2, 7), composed.draw(2, 8)):
        assert not np.array_equal(first, image)
    means = [np.mean([composed.draw(epoch, 3 * number) for epoch in range(6)], axis=0) for number in range(6)]
    for one in range(6):
        for two in range(one):
            assert np.abs(means[one] - means[two]).mean() > 2, "compositions differ more than by their jitter"


@pytest.mark.parametrize("image", [SIGNS, FitConfig(size=(32, 48), fit="pad", margin=1.25)])
def test_a_draw_is_framed_as_real_images_are(image: FitConfig) -> None:
    labels = [0, 0, 1, 1]
    cache = cache_of(labels)
    compositions = compose(1, 3, [2, 2], [None] * 2)
    composed = Composed(cache, range(4), labels, compositions, image, 5)
    kept = (round(image.size[0] * image.margin), round(image.size[1] * image.margin))
    for position in range(6):
        found = composed.draw(0, position)
        assert found.shape == (*kept, 3) and found.dtype == np.uint8 and found.max() > 128
        assert all(cache[index][0].shape == (64, 64, 3) and not cache[index][0].flags.writeable for index in range(4))
        if image.trim is not None:
            rows, columns = np.nonzero(found[..., 0] > 64)
            assert abs(max(np.ptp(rows), np.ptp(columns)) + 1 - 48) <= 2
            fit = fit_image(trimmed(found, image.trim), kept, "pad")
            assert np.abs(fit.astype(int) - found).mean() < 6, "it stands in the middle already"


@pytest.mark.parametrize("sizes", [[1, 1, 1], [5, 1]])
def test_two_identities_with_two_samples_are_needed(sizes: list[int]) -> None:
    with pytest.raises(ConfigError, match=r"^task.composed = 3 needs two identities .*; set task.composed=0$"):
        compose(1, 3, sizes, [None] * len(sizes))
    assert compose(1, 0, sizes, [None] * len(sizes)) == ()


@pytest.mark.parametrize("changes", [{"model": {"frozen": True, "weights": "imagenet"}}, {"image": {"fill": 9}}])
def test_composed_identities_need_images_on_a_dark_ground(changes: dict[str, Any]) -> None:
    tree: dict[str, Any] = {
        "competition": "toy",
        "task": {"kind": "embed", "composed": 5},
        "image": {"size": [32, 32]},
        "model": {"encoder": "test_resnet", "weights": "none", "dim": 8},
        "loss": {"terms": [{"kind": "triplet"}]},
    }
    EmbedSettings.model_validate(tree)
    for part, change in changes.items():
        tree[part] = {**tree[part], **change}
    with pytest.raises(ValueError, match=r"task.composed adds light images"):
        EmbedSettings.model_validate(tree)
