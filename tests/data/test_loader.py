from __future__ import annotations

import errno
import gc
import os
from collections.abc import Sequence
from multiprocessing.context import ForkProcess
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from medalist.codecs.images import read_image
from medalist.data.cache import Decoded, PixelCache
from medalist.data.dataset import InferenceDataset, TrainDataset
from medalist.data.items import Item, Normalisation
from medalist.data.loader import Batch, batches, collate
from medalist.data.padding import Padding
from medalist.data.samplers import ShuffleBatchSampler, SizeBucketSampler
from medalist.data.targets import LabelTarget, LabelTargets, MapTarget, MapTargets, Target
from medalist.errors import ConfigError, DataError, MedalistError
from medalist.records import Sample

NORM = Normalisation((0.5,) * 3, (0.25,) * 3)


def item(index: int, height: int = 4, target: bool = True, label: int | None = None) -> Item:
    planes = MapTarget(np.full((height, 4, 2), index, np.uint8))
    chosen: Target | None = planes if target else None
    if label is not None:
        chosen = LabelTarget(np.array(label, np.int64))
    return Item(index, torch.full((3, height, 4), float(index)), chosen, Padding(height - 1, 3))


def maps_of(batch: Batch) -> torch.Tensor:
    assert isinstance(batch.target, MapTargets)
    return batch.target.maps


def labels_of(batch: Batch) -> torch.Tensor:
    assert isinstance(batch.target, LabelTargets) and batch.target.values.dtype == torch.int64
    return batch.target.values


def test_collate_and_singles() -> None:
    batch = collate([item(3), item(5)])
    assert batch.image.shape == (2, 3, 4, 4) and batch.image[1, 0, 0, 0] == 5
    assert maps_of(batch).dtype == torch.uint8 and maps_of(batch).shape == (2, 2, 4, 4)
    assert batch.indices == (3, 5)
    assert batch.paddings == (Padding(3, 3), Padding(3, 3))
    singles = list(batch.singles())
    assert [single.indices for single in singles] == [(3,), (5,)]
    assert all(single.image.shape == (1, 3, 4, 4) for single in singles)
    assert maps_of(singles[1]).shape == (1, 2, 3, 3)
    assert maps_of(singles[1]).unique().tolist() == [5]
    assert collate([item(0, target=False)]).target is None
    assert next(collate([item(0, target=False)]).singles()).target is None


def test_labels_ride_along(monkeypatch: pytest.MonkeyPatch) -> None:
    batch = collate([item(3, label=7), item(5, label=-1), item(4, label=0)])
    assert labels_of(batch).tolist() == [7, -1, 0]
    assert [labels_of(single).tolist() for single in batch.singles()] == [[7], [-1], [0]]
    assert labels_of(batch.to(torch.device("cpu"), True)).tolist() == [7, -1, 0]
    monkeypatch.setattr(torch.Tensor, "pin_memory", lambda tensor: tensor + 1)
    assert labels_of(batch.pin_memory()).tolist() == [8, 0, 1]


@pytest.mark.parametrize("channels_last", [False, True])
def test_to_makes_floats_and_the_layout(channels_last: bool) -> None:
    batch = collate([item(1), item(0)]).to(torch.device("cpu"), channels_last)
    assert maps_of(batch).dtype == torch.float32
    assert maps_of(batch).unique().tolist() == [0, 1]
    layout = torch.channels_last if channels_last else torch.contiguous_format
    assert batch.image.is_contiguous(memory_format=layout)
    assert collate([item(1, target=False)]).to(torch.device("cpu"), channels_last).target is None


def test_a_batch_can_be_pinned(monkeypatch: pytest.MonkeyPatch) -> None:
    """DataLoader pins what has `pin_memory`, and silently leaves all else as it is."""
    monkeypatch.setattr(torch.Tensor, "pin_memory", lambda tensor: tensor + 1)
    pinned = collate([item(1), item(0)]).pin_memory()
    assert pinned.image.unique().tolist() == [1, 2]
    assert maps_of(pinned).unique().tolist() == [1, 2]
    assert pinned.indices == (1, 0)
    assert collate([item(1, target=False)]).pin_memory().target is None


def cache_of(sizes: Sequence[tuple[int, int]]) -> PixelCache:
    def made(sample: Sample) -> Decoded:
        random = np.random.default_rng(int(sample.id))
        image = random.integers(0, 256, (*sample.size, 3), np.uint8)
        return image, MapTarget((image[..., :2] > 127).astype(np.uint8))

    cache = PixelCache(made, [Sample(str(number), (Path("x"),), size) for number, size in enumerate(sizes)])
    cache.fill(10_000_000)
    return cache


def assert_same(first: list[Batch], second: list[Batch]) -> None:
    assert len(first) == len(second) > 0
    for a, b in zip(first, second, strict=True):
        assert (a.indices, a.paddings) == (b.indices, b.paddings)
        assert torch.equal(a.image, b.image)
        assert torch.equal(maps_of(a), maps_of(b))


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


def test_workers_that_do_not_start_are_one_line_and_leave_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """With `ulimit -n 24`, torch's half-made iterator printed a traceback of its `__del__` after the line."""
    honest, started = ForkProcess.start, list[ForkProcess]()

    def start(process: ForkProcess) -> None:
        if len(started) == 1:
            raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))
        honest(process)
        started.append(process)

    monkeypatch.setattr(ForkProcess, "start", start)
    data = TrainDataset(cache_of([(8, 8)] * 4), range(4), (), NORM, 0)
    with pytest.raises(ConfigError, match=r"loader.workers=2: the workers do not start \(Too many open files\)"):
        list(batches(data, ShuffleBatchSampler(4, 2, 0), 2))
    gc.collect()  # an error in a __del__ would fail this test
    assert len(started) == 1 and not any(process.is_alive() for process in started)
