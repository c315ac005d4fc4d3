"""Pixel counts of targets, and the class weights of a fold."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from medalist.data.map_targets import VOID, ClassTarget, MapTarget
from medalist.records import Sample
from medalist.tasks.segment.class_weights import (
    CountedTargets,
    PixelCounts,
    class_factors,
    lacking,
    pixel_counts,
    weighted,
)
from medalist.tasks.segment.loss_settings import LossConfig, StagedLossConfig

NAMES = ("road", "car", "sky")


def test_pixels_are_counted_without_void() -> None:
    classes = np.array([[0, 0, 2, VOID], [2, 2, VOID, VOID]], np.uint8)
    assert pixel_counts(ClassTarget(classes, 4)) == PixelCounts(5, (2, 0, 3, 0))
    maps = np.zeros((2, 4, 2), np.uint8)
    maps[0, :2, 0], maps[1, 0, 1] = 1, 1
    void = np.zeros((2, 4), np.bool_)
    void[:, 3] = True
    assert pixel_counts(MapTarget(maps, void)) == PixelCounts(6, (2, 1))
    assert pixel_counts(MapTarget(maps)) == PixelCounts(8, (2, 1))


def test_a_target_is_made_once_for_its_counts() -> None:
    made: list[str] = []

    def make(sample: Sample) -> ClassTarget:
        made.append(sample.id)
        return ClassTarget(np.zeros((2, 3), np.uint8), 2)

    targets = CountedTargets(make)
    targets(Sample("a", (), (2, 3)))
    for name in ("a", "b", "b"):
        assert targets.counts(Sample(name, (), (2, 3))) == PixelCounts(6, (6, 0))
    assert made == ["a", "b"]


def test_balanced_weights_are_the_inverse_of_the_pixels() -> None:
    factors = class_factors({"road": 900, "car": 90, "sky": 10}, None)
    assert factors["car"] / factors["road"] == pytest.approx(10)
    assert factors["sky"] / factors["car"] == pytest.approx(9)
    assert sum(factors.values()) / 3 == pytest.approx(1)
    assert class_factors({"road": 5, "car": 0, "distance": 7}, None) == {"road": 1, "car": 1, "distance": 1}
    assert class_factors({"road": 0}, None) == {"road": 1}


@given(st.dictionaries(st.sampled_from("abcd"), st.integers(1, 60), min_size=1), st.sampled_from([0.0, 0.5, 0.9, 0.99]))
def test_effective_numbers_are_those_of_the_paper(pixels: dict[str, int], beta: float) -> None:
    """arXiv 1901.05555: a weight is (1 - beta) / (1 - beta^n)."""
    exact = Fraction(beta)
    weights = {name: float((1 - exact) / (1 - exact**n)) for name, n in pixels.items()}
    mean = sum(weights.values()) / len(weights)
    for name, factor in class_factors(pixels, beta).items():
        assert factor == pytest.approx(weights[name] / mean)


def test_a_beta_near_1_weighs_by_the_inverse_of_the_pixels() -> None:
    few = class_factors({"a": 1000, "b": 10}, 0.9999999)
    assert few["b"] / few["a"] == pytest.approx(100, rel=1e-3)
    many = class_factors({"a": 10**12, "b": 10**10}, 0.9999999)
    assert many["b"] / many["a"] == pytest.approx(1, rel=1e-3)


def test_class_weights_multiply_the_weights_that_are_given() -> None:
    counts = [PixelCounts(100, (60, 20, 20)), PixelCounts(100, (60, 20, 20))]
    loss = LossConfig(ce=1, class_weights="balanced", channels={"sky": 2.0})
    balanced = weighted(loss, NAMES, counts)
    assert isinstance(balanced, LossConfig)
    shares = balanced.channel_weights(NAMES)
    assert [share / shares[0] for share in shares] == pytest.approx([1, 3, 6])
    plain = LossConfig(ce=1, channels={"sky": 2.0})
    assert weighted(plain, NAMES, counts) is plain
    staged = StagedLossConfig.model_validate(
        {"kind": "stages", "stages": [{"epochs": 2, "ce": 1, "class_weights": "effective"}, {"lovasz": 1}]}
    )
    weighed = weighted(staged, NAMES, counts)
    assert isinstance(weighed, StagedLossConfig)
    first, last = weighed.stages
    assert first.class_weights == "none" and first.epochs == 2 and set(first.channels) == set(NAMES)
    assert last.channels == {}


def test_what_a_fold_lacks_is_said() -> None:
    samples = [Sample(f"s{number}", (), (2, 2)) for number in range(8)]
    whole = [PixelCounts(4, (0, 2, 0))] * 8
    assert lacking("fold 1", samples, ("background", "car", "sky"), whole) == [
        "fold 1: no training sample has a pixel of sky, so its network learns only where that is not"
    ]
    blind = [PixelCounts(0, (0, 0, 0))] * 7 + [PixelCounts(4, (1, 1, 2))]
    assert lacking("fold 1", samples, NAMES, blind) == [
        "fold 1: every pixel of 7 training samples is void, so nothing is learned from them: "
        "s0, s1, s2, s3, s4 and 2 more"
    ]
    assert lacking("fold 1", samples, NAMES, [PixelCounts(4, (1, 1, 2))] * 8) == []
