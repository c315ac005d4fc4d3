from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from itertools import chain
from pathlib import Path

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from medalist.data.cache import Decoded, PixelCache
from medalist.data.dataset import TrainDataset
from medalist.data.items import Key, Normalisation
from medalist.data.loader import batches
from medalist.data.samplers import ShuffleBatchSampler
from medalist.data.settings import WeightedSampler
from medalist.data.targets import MapTarget
from medalist.data.weighted_sampler import WeightedBatchSampler
from medalist.errors import ConfigError
from medalist.records import Sample

BALANCED = WeightedSampler(kind="balanced")
NAMES = ("a", "b", "c", None)


def weighted(**weights: float) -> WeightedSampler:
    return WeightedSampler(kind="weighted", weights=weights)


def epoch_of(order: WeightedBatchSampler | ShuffleBatchSampler, epoch: int) -> list[list[Key]]:
    order.epoch = epoch
    return list(order)


def drawn(order: WeightedBatchSampler, epoch: int) -> Counter[int]:
    """How often each position comes in an epoch."""
    return Counter(key[1] for batch in epoch_of(order, epoch) for key in batch)


def expected(strata: Sequence[str | None], sampler: WeightedSampler, draws: int) -> np.ndarray:
    """What the settings promise, said in another way than the code says it."""
    if sampler.kind == "balanced":
        return np.array([draws / len(set(strata)) / strata.count(name) for name in strata])
    weights = [1.0 if name is None else sampler.weights.get(name, 1.0) for name in strata]
    return np.array(weights) * draws / sum(weights)


some_strata = st.lists(st.sampled_from(NAMES), min_size=1, max_size=60).filter(any)
some_weights = st.one_of(st.none(), st.dictionaries(st.sampled_from("abc"), st.floats(0, 1000), min_size=1))


def possible(strata: Sequence[str | None], weights: dict[str, float] | None) -> WeightedSampler:
    if weights is None:
        return BALANCED
    weights = {name: weight for name, weight in weights.items() if name in strata}
    assume(weights and any(name is None or weights.get(name, 1) for name in strata))
    return weighted(**weights)


@settings(deadline=None)
@given(some_strata, some_weights, st.integers(1, 9), st.integers(0, 2**31), st.integers(0, 300))
def test_each_sample_and_each_stratum_comes_as_often_as_expected(
    strata: list[str | None], weights: dict[str, float] | None, batch: int, seed: int, epoch: int
) -> None:
    sampler = possible(strata, weights)
    order = WeightedBatchSampler(strata, sampler, batch, seed)
    came = drawn(order, epoch)
    draws = len(strata) if len(strata) < batch else len(strata) // batch * batch
    assert came.total() == draws == order.draws
    often = expected(strata, sampler, draws)
    assert all(abs(came[position] - share) < 1 + 1e-9 for position, share in enumerate(often))
    for name in set(strata):
        members = [position for position, stratum in enumerate(strata) if stratum == name]
        assert abs(sum(came[position] for position in members) - often[members].sum()) < 1 + 1e-9


@settings(deadline=None)
@given(some_strata, some_weights, st.integers(1, 9), st.integers(1, 4), st.integers(0, 4), st.integers(0, 40))
def test_over_processes_it_is_that_of_one_process(
    strata: list[str | None], weights: dict[str, float] | None, batch: int, world: int, epoch: int, first: int
) -> None:
    sampler = possible(strata, weights)
    if len(strata) < world:
        with pytest.raises(ConfigError, match=f"^{len(strata)} training samples cannot be shared by {world} processes"):
            WeightedBatchSampler(strata, sampler, batch, 7, 0, world)
        return
    ranks = [WeightedBatchSampler(strata, sampler, batch, 7, rank, world) for rank in range(world)]
    alone = WeightedBatchSampler(strata, sampler, batch * world, 7)
    shares = [epoch_of(order, epoch) for order in ranks]
    assert len({len(part) for share in shares for part in share}) == 1  # all processes have equally many
    assert {len(order) for order in ranks} == {len(share) for share in shares} == {len(alone)}
    assert len(alone) == len(ShuffleBatchSampler(len(strata), batch, 7, 0, world))
    keys = [key for share in shares for part in share for key in part]
    assert len(keys) == len(set(keys))
    if len(strata) >= batch * world or len(strata) % world == 0:
        for whole, parts in zip(epoch_of(alone, epoch), zip(*shares, strict=True), strict=True):
            assert list(chain(*zip(*parts, strict=True))) == whole
    for order, share in zip(ranks, shares, strict=True):
        order.first = first
        assert epoch_of(order, epoch) == share[first:] and len(order) == len(share)


def test_only_seed_and_epoch_count() -> None:
    strata = ["a"] * 9 + ["b"] * 3

    def made(seed: int, epoch: int) -> list[list[Key]]:
        return epoch_of(WeightedBatchSampler(strata, BALANCED, 4, seed), epoch)

    order = WeightedBatchSampler(strata, BALANCED, 4, 1)
    epoch_of(order, 5)
    assert epoch_of(order, 2) == made(1, 2) == epoch_of(order, 2)
    positions = [[[key[1] for key in batch] for batch in made(*at)] for at in ((1, 2), (1, 3), (2, 2))]
    assert positions[0] != positions[1] and positions[0] != positions[2]


def test_a_sample_that_comes_again_in_an_epoch_has_another_key() -> None:
    order = WeightedBatchSampler(["rare", *["often"] * 11], weighted(rare=20), 3, 4)
    keys = list(chain(*epoch_of(order, 6)))
    seen: Counter[int] = Counter()
    for key in keys:
        assert key == ((6, key[1], seen[key[1]]) if seen[key[1]] else (6, key[1]))
        seen[key[1]] += 1
    assert seen[0] in (7, 8)  # 12 * 20 / 31


def test_balanced_by_hand() -> None:
    """12 draws over 2 strata of 4 and 8: 1.5 and 0.75 for each sample, 6 and 6 for the strata."""
    order = WeightedBatchSampler(["a"] * 4 + ["b"] * 8, BALANCED, 4, 0)
    for epoch in range(30):
        came = drawn(order, epoch)
        assert [came[position] for position in range(4)].count(1) == 2 == [came[p] for p in range(4)].count(2)
        assert sum(came[position] for position in range(4, 12)) == 6
        assert set(came.values()) <= {1, 2} and came.total() == 12


def test_equal_weights_show_each_sample_once() -> None:
    order = WeightedBatchSampler(["a"] * 30 + [None] * 10, weighted(a=1), 4, 3)
    assert all(set(drawn(order, epoch).values()) == {1} and len(drawn(order, epoch)) == 40 for epoch in range(20))
    assert len({tuple(key[1] for batch in epoch_of(order, epoch) for key in batch) for epoch in range(20)}) == 20


def test_a_weight_of_zero_leaves_a_stratum_out_for_ever() -> None:
    order = WeightedBatchSampler(["a", "b", None] * 20, weighted(b=0), 4, 9)
    came = sum((drawn(order, epoch) for epoch in range(200)), Counter[int]())
    assert {position % 3 for position in came} == {0, 2} and len(came) == 40


@pytest.mark.parametrize("weight", [5e-324, 1e-300, 1000.0])
def test_weights_of_any_size(weight: float) -> None:
    assert drawn(WeightedBatchSampler(["a"] * 6, weighted(a=weight), 2, 0), 0) == Counter(range(6))
    came = drawn(WeightedBatchSampler(["a"] * 3 + ["b"] * 3, weighted(a=weight), 2, 0), 0)
    assert {position // 3 for position in came} == ({0} if weight > 1 else {1})


@pytest.mark.parametrize("seed", range(3))
def test_over_epochs_each_sample_comes_in_time(seed: int) -> None:
    """Independent draws would leave a sample of 0.1 an epoch out of 60 epochs now and then, or show it twelve times."""
    strata = ["few"] * 10 + ["many"] * 89 + ["more"]
    sampler = weighted(many=11, more=11)
    order = WeightedBatchSampler(strata, sampler, 10, seed)
    often = expected(strata, sampler, 100)
    assert often[[0, 10]] == pytest.approx([0.1, 1.1])
    total: Counter[int] = Counter()
    for epoch in range(60):
        total += drawn(order, epoch)
        assert all(abs(total[position] - (epoch + 1) * share) < 2.5 for position, share in enumerate(often))
    assert len(total) == 100


def test_chances_are_those_of_the_weights() -> None:
    """Over seeds, whatever is rounded up in one epoch has its true expectation."""
    strata = ["a", "a", "a", "b", "c", "c", None]
    sampler = weighted(a=0.3, b=2.2, c=0.45)
    often = expected(strata, sampler, 7)
    total = sum((drawn(WeightedBatchSampler(strata, sampler, 7, seed), 3) for seed in range(3000)), Counter[int]())
    means = np.array([total[position] / 3000 for position in range(7)])
    assert np.abs(means - often).max() < 5 * 0.5 / np.sqrt(3000)


def test_draws_are_shuffled() -> None:
    order = WeightedBatchSampler(["a"] * 500 + ["b"] * 500, BALANCED, 100, 0)
    firsts = [sum(key[1] < 500 for key in batch) for batch in epoch_of(order, 0)]
    assert all(30 < count < 70 for count in firsts) and len(set(firsts)) > 3
    positions = [key[1] for batch in epoch_of(order, 0) for key in batch]
    assert abs(np.corrcoef(positions, np.arange(1000))[0, 1]) < 0.2


def test_the_order_drives_a_loader(tmp_path: Path) -> None:
    """Keys of three reach the set, which augments a repeated sample anew."""

    def noise(sample: Sample) -> Decoded:
        random = np.random.default_rng(int(sample.id))
        return random.integers(0, 255, (12, 12, 3)).astype(np.uint8), MapTarget(np.ones((12, 12, 1), np.uint8))

    samples = [Sample(str(number), (tmp_path / str(number),), (12, 12)) for number in range(8)]
    cache = PixelCache(noise, samples)
    augment = ({"RandomCrop": {"height": 8, "width": 8}},)
    dataset = TrainDataset(cache, range(8), augment, Normalisation((0.5,) * 3, (0.25,) * 3), 5)
    order = WeightedBatchSampler(["rare", *["often"] * 7], weighted(rare=50), 4, 5)
    loader = batches(dataset, order, 0)
    assert len(loader) == 2
    images = [image for batch in loader for image, index in zip(batch.image, batch.indices, strict=True) if index == 0]
    assert len(images) == 7 and len({image.numpy().tobytes() for image in images}) > 3
    order.first = 1
    assert [batch.indices for batch in loader] == [tuple(key[1] for key in epoch_of(order, 0)[0])]


@pytest.mark.parametrize(
    ("strata", "sampler", "said"),
    [
        (["day", "night"], weighted(nigth=2), r"stratum 'nigth'; there are: day, night; did you mean 'night'\?$"),
        ([None, ""], weighted(x=2), r"^sampler.weights: no training sample has the stratum 'x'; there are: none$"),
        ([f"{n:02}" for n in range(25)], weighted(zz=1), r"there are: 00, 01, .*, 19 and 5 more$"),
        (
            ["day", "night"],
            weighted(day=0, night=0),
            r"all strata \(day, night\) have weight 0, .*give one of them a larger weight$",
        ),
        ([None, None], BALANCED, r"^sampler.kind = balanced, but no training sample has a stratum; .*kind=shuffle$"),
        ([], BALANCED, r"^0 training samples cannot be shared by 1 processes; start 0 or fewer$"),
    ],
    ids=["misspelt", "no_strata", "many", "zeros", "balanced", "nothing"],
)
def test_what_a_user_can_get_wrong(strata: list[str | None], sampler: WeightedSampler, said: str) -> None:
    with pytest.raises(ConfigError, match=said) as caught:
        WeightedBatchSampler(strata, sampler, 2, 0)
    assert "\n" not in str(caught.value)


def test_all_weights_zero_but_for_those_without_a_stratum() -> None:
    assert set(drawn(WeightedBatchSampler(["a", "b", None, ""], weighted(a=0, b=0), 2, 0), 0)) == {2, 3}
