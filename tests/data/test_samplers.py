from __future__ import annotations

from itertools import chain

import pytest
from hypothesis import given
from hypothesis import strategies as st

from medalist.data.samplers import ShuffleBatchSampler, SizeBucketSampler
from medalist.errors import ConfigError


def positions(order: ShuffleBatchSampler | SizeBucketSampler) -> list[list[int]]:
    return [[position for _, position in batch] for batch in order]


@given(st.integers(1, 60), st.integers(1, 9), st.integers(0, 5), st.integers(1, 4))
def test_train_order_over_processes_is_that_of_one_process(length: int, batch: int, epoch: int, world: int) -> None:
    if length < world:
        with pytest.raises(ConfigError, match=f"^{length} training samples cannot be shared by {world} processes"):
            ShuffleBatchSampler(length, batch, 2018, 0, world)
        return
    alone = ShuffleBatchSampler(length, batch * world, 2018)
    ranks = [ShuffleBatchSampler(length, batch, 2018, rank, world) for rank in range(world)]
    for order in (alone, *ranks):
        order.epoch = epoch
    assert {epoch} == {key[0] for order in (alone, *ranks) for keys in order for key in keys}
    whole = positions(alone)
    shares = [positions(order) for order in ranks]
    assert len(alone) == len(whole)
    assert all(len(order) == len(share) for order, share in zip(ranks, shares, strict=True))
    for number, global_batch in enumerate(whole):
        parts = [share[number] for share in shares]
        assert all(parts)
        assert len({len(part) for part in parts}) == 1
        assert sorted(chain(*parts)) == sorted(global_batch[: len(global_batch) // world * world])
        if length >= batch * world:
            assert {len(part) for part in parts} == {batch}


@given(st.integers(1, 100), st.integers(1, 12), st.integers(0, 9))
def test_train_order_is_a_permutation_without_the_last_partial_batch(length: int, batch: int, seed: int) -> None:
    seen = list(chain(*positions(ShuffleBatchSampler(length, batch, seed))))
    assert len(seen) == len(set(seen))
    assert set(seen) <= set(range(length))
    assert len(seen) == (length if length < batch else length - length % batch)


def test_train_order_changes_with_epoch_and_seed_and_with_nothing_else() -> None:
    order = ShuffleBatchSampler(20, 4, 1)
    first = positions(order)
    assert positions(order) == first == positions(ShuffleBatchSampler(20, 4, 1))
    order.epoch = 1
    assert positions(order) != first != positions(ShuffleBatchSampler(20, 4, 2))
    order.epoch = 0
    assert positions(order) == first


@given(
    st.lists(st.tuples(st.integers(1, 70), st.integers(1, 70)), min_size=1, max_size=30),
    st.sampled_from([1, 16, 32]),
    st.integers(1, 5),
    st.integers(1, 4),
)
def test_whole_order_has_every_sample_once(sizes: list[tuple[int, int]], stride: int, batch: int, world: int) -> None:
    ranks = [positions(SizeBucketSampler(sizes, stride, batch, rank, world)) for rank in range(world)]
    assert max(map(len, ranks)) - min(map(len, ranks)) <= 1
    every = list(chain(*ranks))
    assert sorted(chain(*every)) == list(range(len(sizes)))
    assert all(1 <= len(keys) <= batch for keys in every)
    padded = [(-(-h // stride), -(-w // stride)) for h, w in sizes]
    for keys in every:
        assert len({padded[position] for position in keys}) == 1
    small = [padded[keys[0]] for keys in every if len(keys) < batch]
    assert len(small) == len(set(small))  # one partial batch for a size: no more batches than needed
