from __future__ import annotations

from collections.abc import Sequence
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from medalist.data.cache import Decoded, PixelCache
from medalist.data.dataset import InferenceDataset, Item, Normalisation, TrainDataset
from medalist.data.loader import Batch, batches, collate
from medalist.data.padding import Padding
from medalist.data.samplers import ShuffleBatchSampler, SizeBucketSampler
from medalist.errors import ConfigError, DataError, MedalistError
from medalist.files import read_image
from medalist.records import Sample

NORM = Normalisation((0.5,) * 3, (0.25,) * 3)


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


def item(index: int, height: int = 4, target: bool = True, label: int = -1) -> Item:
    plane = torch.full((2, height, 4), index, dtype=torch.uint8)
    image = torch.full((3, height, 4), float(index))
    return Item(index, image, plane if target else None, Padding(height - 1, 3), label)


def test_collate_and_singles() -> None:
    batch = collate([item(3), item(5)])
    assert batch.image.shape == (2, 3, 4, 4) and batch.image[1, 0, 0, 0] == 5
    assert batch.target is not None and batch.target.dtype == torch.uint8 and batch.target.shape == (2, 2, 4, 4)
    assert batch.indices == (3, 5)
    assert batch.paddings == (Padding(3, 3), Padding(3, 3))
    singles = list(batch.singles())
    assert [single.indices for single in singles] == [(3,), (5,)]
    assert all(single.image.shape == (1, 3, 4, 4) for single in singles)
    assert singles[1].target is not None and singles[1].target.shape == (1, 2, 3, 3)
    assert singles[1].target.unique().tolist() == [5]
    assert collate([item(0, target=False)]).target is None
    assert next(collate([item(0, target=False)]).singles()).target is None


def test_labels_ride_along(monkeypatch: pytest.MonkeyPatch) -> None:
    assert collate([item(3), item(5)]).labels is None
    batch = collate([item(3, label=7), item(5), item(4, label=0)])
    assert batch.labels is not None and batch.labels.dtype == torch.int64
    assert batch.labels.tolist() == [7, -1, 0]
    assert [single.labels.tolist() for single in batch.singles() if single.labels is not None] == [[7], [-1], [0]]
    moved = batch.to(torch.device("cpu"), True).labels
    assert moved is not None and moved.dtype == torch.int64 and moved.tolist() == [7, -1, 0]
    assert collate([item(3)]).to(torch.device("cpu"), True).labels is None
    monkeypatch.setattr(torch.Tensor, "pin_memory", lambda tensor: tensor + 1)
    pinned = batch.pin_memory().labels
    assert pinned is not None and pinned.tolist() == [8, 0, 1]
    assert collate([item(3)]).pin_memory().labels is None


@pytest.mark.parametrize("channels_last", [False, True])
def test_to_makes_floats_and_the_layout(channels_last: bool) -> None:
    batch = collate([item(1), item(0)]).to(torch.device("cpu"), channels_last)
    assert batch.target is not None and batch.target.dtype == torch.float32
    assert batch.target.unique().tolist() == [0, 1]
    layout = torch.channels_last if channels_last else torch.contiguous_format
    assert batch.image.is_contiguous(memory_format=layout)
    assert collate([item(1, target=False)]).to(torch.device("cpu"), channels_last).target is None


def test_a_batch_can_be_pinned(monkeypatch: pytest.MonkeyPatch) -> None:
    """DataLoader pins what has `pin_memory`, and silently leaves all else as it is."""
    monkeypatch.setattr(torch.Tensor, "pin_memory", lambda tensor: tensor + 1)
    pinned = collate([item(1), item(0)]).pin_memory()
    assert pinned.image.unique().tolist() == [1, 2]
    assert pinned.target is not None and pinned.target.unique().tolist() == [1, 2]
    assert pinned.indices == (1, 0)
    assert collate([item(1, target=False)]).pin_memory().target is None


def cache_of(sizes: Sequence[tuple[int, int]]) -> PixelCache:
    def made(sample: Sample) -> Decoded:
        random = np.random.default_rng(int(sample.id))
        image = random.integers(0, 256, (*sample.size, 3), np.uint8)
        return image, (image[..., :2] > 127).astype(np.uint8)

    cache = PixelCache(made, [Sample(str(number), (Path("x"),), size) for number, size in enumerate(sizes)])
    cache.fill(10_000_000)
    return cache


def assert_same(first: list[Batch], second: list[Batch]) -> None:
    assert len(first) == len(second) > 0
    for a, b in zip(first, second, strict=True):
        assert (a.indices, a.paddings) == (b.indices, b.paddings)
        assert torch.equal(a.image, b.image)
        assert a.target is not None and b.target is not None and torch.equal(a.target, b.target)


def test_batches_are_the_same_with_and_without_workers() -> None:
    augment: tuple[dict[str, dict[str, Any]], ...] = (
        {"RandomScale": {"p": 0.5}},
        {"RandomCrop": {"height": 32, "width": 32, "pad_if_needed": True}},
        {"GaussNoise": {"p": 0.5}},
    )
    made = []
    for workers in (0, 2):
        chosen = TrainDataset(cache_of([(40, 50)] * 9), range(9), augment, NORM, 7)
        order = ShuffleBatchSampler(9, 2, 7)
        loader = batches(chosen, order, workers)
        epochs: list[list[Batch]] = []
        for epoch in (0, 1, 5):
            order.epoch = epoch
            epochs.append(list(loader))
        made.append(epochs)
    for alone, shared in zip(*made, strict=True):
        assert_same(alone, shared)
    assert not torch.equal(made[0][0][0].image, made[0][1][0].image)


def test_whole_batches_are_the_same_with_and_without_workers() -> None:
    sizes = [(40, 50), (20, 20), (64, 33), (10, 31)]
    whole = InferenceDataset(cache_of(sizes), range(4), 32, NORM, read_image)
    order = SizeBucketSampler(sizes, 32, 2)
    assert_same(list(batches(whole, order, 0)), list(batches(whole, order, 2)))


@pytest.mark.parametrize("workers", [0, 2])
def test_iterating_leaves_the_random_numbers_of_the_training_alone(workers: int) -> None:
    """Each DataLoader iterator draws a seed; from torch's own generator, dropout would depend on the workers."""
    loader = batches(TrainDataset(cache_of([(8, 8)] * 4), range(4), (), NORM, 0), ShuffleBatchSampler(4, 2, 0), workers)
    torch.manual_seed(3)
    expected = torch.rand(3)
    torch.manual_seed(3)
    for _ in range(2):
        list(loader)
    assert torch.equal(torch.rand(3), expected)


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("error", [DataError("sample 3: cut off"), ConfigError("augment: no")])
def test_a_users_mistake_comes_out_as_one_line(workers: int, error: MedalistError) -> None:
    """torch would hand the traceback of the worker over, in many lines."""

    class Spoilt(TrainDataset):
        def __getitem__(self, key: tuple[int, int]) -> Item:
            if key[1] == 3:
                raise error
            return super().__getitem__(key)

    loader = batches(Spoilt(cache_of([(8, 8)] * 4), range(4), (), NORM, 0), ShuffleBatchSampler(4, 2, 0), workers)
    for _ in range(2):
        message = ""
        try:  # not pytest.raises: it keeps the traceback, and torch waits 10 s where garbage holds its workers
            list(loader)
        except MedalistError as found:
            assert type(found) is type(error)
            message = str(found)
        assert message == str(error)
