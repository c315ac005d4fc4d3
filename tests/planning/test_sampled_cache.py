from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from medalist.data.cache import Decoded
from medalist.data.targets import MapTarget
from medalist.errors import DataError
from medalist.planning.sampled_cache import SampledCache, fitting
from medalist.records import Sample


def sample(number: int, side: int) -> Sample:
    return Sample(f"s{number}", (Path("none"),), (side, side))


def pixels(one: Sample) -> Decoded:
    return np.full((*one.size, 3), int(one.id[1:]), np.uint8), MapTarget(np.zeros((*one.size, 2), np.uint8))


def test_stand_ins_have_the_size_of_what_they_stand_for() -> None:
    samples = [sample(number, 16 if number % 2 else 8) for number in range(40)]
    sizes = [5 * one.size[0] ** 2 for one in samples]
    made = SampledCache(pixels, samples, sizes, 10**9)
    read = made.fill(0.0, 2, 10**9, 1)  # no time: one turn is read all the same
    assert read.samples == 8 == len(made.kept) and read.pixels == sum(
        s.size[0] ** 2 for s in samples if s.id in made.kept
    )
    assert made.kept_bytes == 5 * read.pixels and made.bytes == made.all_bytes == sum(sizes)
    for one in samples:
        image, target = made(one)
        assert isinstance(target, MapTarget) and image.shape[:2] == target.maps.shape[:2] == one.size
        assert f"s{image[0, 0, 0]}" in made.kept and (one.id not in made.kept or image[0, 0, 0] == int(one.id[1:]))
    assert len({int(made(one)[0][0, 0, 0]) for one in samples}) > 2  # not one for all
    made.hold(samples[:3])
    assert all(made(one)[0][0, 0, 0] == int(one.id[1:]) for one in samples[:3])


def test_what_a_training_does_not_keep_is_read_each_time() -> None:
    samples = [sample(number, 8) for number in range(10)]
    made = SampledCache(pixels, samples, [320] * 10, 4 * 320 + 100)
    assert made.fitting == 4 and made.bytes == 1280 and made.all_bytes == 3200
    made.fill(0.0, 1, 10, 1)
    for number, one in enumerate(samples):
        again = made(one)[0] is not made(one)[0]
        assert again == (number >= 4) and (not again or made(one)[0][0, 0, 0] == number)


def test_a_size_that_was_not_read_gets_the_nearest() -> None:
    made = SampledCache(pixels, [sample(0, 8), sample(1, 100), sample(2, 90)], [1] * 3, 9)
    made.hold([made.samples[0], made.samples[1]])
    assert made(made.samples[2])[0].shape == (100, 100, 3)


def test_a_bad_sample_is_named() -> None:
    def bad(one: Sample) -> Decoded:
        raise DataError("no image")

    with pytest.raises(DataError, match="sample s0: no image"):
        SampledCache(bad, [sample(0, 8)], [1], 1).fill(9e9, 2, 10, 1)


@given(st.lists(st.integers(0, 50), max_size=20), st.integers(0, 300))
def test_what_fits(sizes: list[int], budget: int) -> None:
    count, total = fitting(sizes, budget)
    assert total == sum(sizes[:count]) <= budget
    assert count == len(sizes) or total + sizes[count] > budget
