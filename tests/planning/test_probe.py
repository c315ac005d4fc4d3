from __future__ import annotations

import itertools
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from medalist.data.cache import Decoded
from medalist.errors import DataError
from medalist.kinds import load_settings
from medalist.planning.arithmetic import Stage, Timed
from medalist.planning.forecast import Wish, make_plan
from medalist.planning.inference_cost import chosen, largest_peak, timed
from medalist.planning.options import variants
from medalist.planning.probe import LONG, Clock, Enough, settings_of, weights_bytes
from medalist.planning.sampled_cache import SampledCache, fitting
from medalist.records import Sample
from medalist.runs.cost import peak_memory
from medalist.tasks.embed.settings import EmbedSettings
from medalist.tasks.segment.settings import SegmentSettings
from medalist.training.start import checked


class Hand:
    """A clock that is moved by hand."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch):
        self.now = 1000.0
        monkeypatch.setattr("time.perf_counter", lambda: self.now)


@pytest.fixture
def hand(monkeypatch: pytest.MonkeyPatch) -> Hand:
    return Hand(monkeypatch)


def batches_seen(hand: Hand, clock: Clock, seconds: float) -> int:
    for number in itertools.count(1):
        hand.now += seconds
        try:
            clock.advance()
        except Enough:
            return number
    raise AssertionError


@pytest.mark.parametrize(
    ("until", "last", "seconds", "seen"),
    [(10, 100, 1, 11), (10, 100, 0.1, 60), (10, 100, 8, 4), (10, 20, 15, 2), (-5, -1, 3, 1), (-5, 100, 3, 4)],
)
def test_a_training_is_left_in_time(hand: Hand, until: float, last: float, seconds: float, seen: int) -> None:
    clock = Clock(hand.now + until, hand.now + last, 4, 60)
    assert batches_seen(hand, clock, seconds) == seen == len(clock.ends)
    assert np.allclose(np.diff([clock.started, *clock.ends]), seconds)


def sample(number: int, side: int) -> Sample:
    return Sample(f"s{number}", (Path("none"),), (side, side))


def pixels(one: Sample) -> Decoded:
    return np.full((*one.size, 3), int(one.id[1:]), np.uint8), np.zeros((*one.size, 2), np.uint8)


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
        assert target is not None and image.shape[:2] == target.shape[:2] == one.size
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


def test_whole_batches_count_padded_pixels() -> None:
    found = whole_batches([(30, 30), (64, 32), (32, 32), (20, 30), (33, 32)], 32, 2)
    assert sorted((one.positions, one.pixels) for one in found) == [
        ((0, 2), 2 * 32 * 32),
        ((1, 4), 2 * 64 * 32),
        ((3,), 32 * 32),
    ]


@given(st.lists(st.integers(1, 1000), min_size=1, max_size=50), st.integers(2, 6))
def test_chosen_batches_stand_for_all(sizes: list[int], most: int) -> None:
    whole = [Whole((number,), size) for number, size in enumerate(sizes)]
    found = chosen(whole, most)
    kinds = [one.pixels for one in found]
    assert 1 <= len(found) <= most and kinds == sorted(set(kinds)) and kinds[-1] == max(sizes)
    assert len(set(sizes)) > most or set(kinds) == set(sizes)


def test_the_largest_shares_of_pixels_are_chosen() -> None:
    whole = [Whole((0,), 10)] * 3 + [Whole((1,), 1000)] * 50 + [Whole((2,), 1100)] + [Whole((3,), 1200)]
    assert [one.pixels for one in chosen(whole, 2)] == [1000, 1200]


def test_timing_ends_in_time(hand: Hand) -> None:
    looked: list[int] = []

    def once(one: Whole) -> Timed:
        seconds = one.pixels * (2.0 if one.pixels not in looked else 1.0)  # the first look at a shape is slower
        looked.append(one.pixels)
        hand.now += seconds
        return Timed(one.pixels, 0.0, seconds)

    whole = [Whole((0,), 0.1), Whole((1,), 0.5), Whole((2,), 4), Whole((3,), 50)]  # type: ignore[arg-type]
    found = timed(whole, once, hand.now + 20)
    assert [(one.pixels, one.forward) for one in found] == [(0.1, 0.1), (0.5, 0.5), (4, 8)]
    assert looked == [0.1, 0.1, 0.5, 0.5, 4]
    looked.clear()
    assert len(timed(whole, once, hand.now - 1)) == 1  # the smallest, whatever it takes


def test_a_probed_training_never_ends_or_looks(untrained: Any) -> None:
    settings = load_settings(untrained.config, ("train.compile=true",))
    made = settings_of(settings, Stage(3, (32, 64), True)).train
    assert made.size_in(LONG - 1) == (32, 64) and made.freeze == LONG - 1 and not made.compile
    assert made.evaluate_every == 0 and made.average is None
    assert settings_of(settings, Stage(3, None, False)).train.freeze == 0
    assert settings.train.epochs == 1 and settings.train.compile


def test_weights_are_counted() -> None:
    model = torch.nn.Sequential(torch.nn.Linear(3, 5), torch.nn.BatchNorm1d(5))
    model[0].weight.requires_grad_(False)
    assert weights_bytes(model) == (4 * (15 + 5 + 5 + 5 + 5 + 5) + 8, 4 * (5 + 5 + 5))
    before = peak_memory()
    held = np.ones(before // 8 + 2_000_000)  # more than there ever was
    assert peak_memory() > before + 10_000_000 and held.size


def test_what_is_compared(untrained: Any) -> None:
    settings = load_settings(untrained.config)
    assert isinstance(settings, SegmentSettings)
    changes = [one.change for one in variants(settings, 2, False, None)]
    assert changes == ["train.precision=bf16-mixed", "loader.workers=2", "train.batch=2", "train.batch=8"]
    assert "loader.workers=4" in [one.change for one in variants(settings, 4, False, None)]
    on_gpu = [one.change for one in variants(settings, 1, True, 512)]
    assert on_gpu[:3] == ["train.precision=bf16-mixed", "train.precision=16-mixed", "loader.cache_mb=512"]
    other = load_settings(untrained.config, ("train.batch=1", "loader.workers=3", "train.precision=bf16-mixed"))
    found = {one.change: one for one in variants(other, 2, False, None)}
    assert list(found) == ["train.precision=32-true", "loader.workers=0", "train.batch=2"]
    assert found["train.batch=2"].settings.train.batch == 2 and found["train.batch=2"].changes
    assert not found["loader.workers=0"].changes and found["train.precision=32-true"].predicts


@pytest.mark.parametrize("contest", ["whales", "signs"])
def test_a_plan_of_embeddings(request: pytest.FixtureRequest, quiet: Any, contest: str) -> None:
    toy = request.getfixturevalue(contest)
    plan = checked(toy.config, (), str(toy.data), (), "other", toy.runs)
    assert isinstance(plan.settings, EmbedSettings)
    made = make_plan(plan, Wish(seconds=5), time.perf_counter(), quiet)
    assert (plan.run.folder / "plan.json").is_file() and list(plan.run.folder.iterdir()) == [
        plan.run.folder / "plan.json"
    ]
    assert all(made.seconds[part] > 0 for part in ("reading", "training", "looks", "oof", "test"))
    assert any(option.change.startswith("sampler.classes=") for option in made.options)
    dim = 8
    rows = [len(samples) for fold in (0, 1) for samples in predicted(plan, fold)]
    rows += [2 * len(samples) for samples in predicted(plan, None)]  # two folds side by side
    assert made.disk["predictions"] == sum(rows) * dim * 4


FROZEN = """\
competition: humpback_whale
folds: {n: 2, seed: 1, stratified: false}
task: {kind: embed}
image: {size: [64, 64]}
model: {encoder: tf_efficientnet_lite0, frozen: true, pooling: POOLING, dim: 8}
loss: {terms: [{kind: arcface}]}
train: {epochs: 3, batch: 8}
predict: {batch: 8}
tracking: none
"""


@pytest.mark.parametrize("pooling", ["avg", "gem"])
def test_a_plan_of_a_head_on_kept_features(
    trained_whales: Any, at_home: Path, quiet: Any, tmp_path: Path, pooling: str
) -> None:
    config = tmp_path / "frozen.yaml"
    config.write_text(FROZEN.replace("POOLING", pooling))
    plan = checked(config, (), str(trained_whales.data), (0,), None, tmp_path / "runs")
    made = make_plan(plan, Wish(seconds=6), time.perf_counter(), quiet)
    # The encoder is what takes time: it sees all training images once (the fold's gallery), then the test's.
    # (How long is the difference of two measurements, which may be nothing on a busy machine.)
    assert min(made.seconds["reading"], made.seconds["test"]) >= 0
    assert computed(plan, 0) == [] and len(wholes(plan, 0)) > 1
    queries = whole_batches([(64, 64)] * len(plan.contest.split.test), 1, 8)
    assert computed(plan, None) == queries
    assert made.measured["paces"][0]["batch"] < 1
    assert not list(tmp_path.rglob("features*"))


def test_the_largest_batch_needs_more_than_those_that_were_tried() -> None:
    assert largest_peak(1000, 1600, [10, 30], [10, 30, 30]) == 1600
    assert largest_peak(1000, 1600, [10, 30], [10, 30, 90]) == 2800  # 600 bytes for 30 pixels, 1800 for 90
    assert largest_peak(1000, 900, [10], [90]) == 900  # nothing grew
    assert largest_peak(1000, 1600, [], []) == 1600
