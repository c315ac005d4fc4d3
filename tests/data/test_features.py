from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from medalist.data.class_sampler import ClassBatchSampler
from medalist.data.features import FeatureDataset
from medalist.data.loader import batches
from medalist.data.padding import Padding
from medalist.data.samplers import ShuffleBatchSampler, SizeBucketSampler
from medalist.data.settings import ClassSampler
from medalist.data.targets import LabelTarget, LabelTargets, Target


def labels(*values: int) -> list[LabelTarget]:
    return [LabelTarget(np.array(value, np.int64)) for value in values]


def label_of(target: Target | None) -> int:
    assert isinstance(target, LabelTarget)
    return int(target.value)


def features(kind: Any, *shape: int) -> np.ndarray[Any, Any]:
    return np.random.default_rng(0).normal(size=shape).astype(kind)


@pytest.mark.parametrize("kind", [np.float16, np.float32])
@pytest.mark.parametrize("form", ["memory", "mapped"])
@pytest.mark.parametrize("shape", [(9, 5), (9, 4, 2, 3)])
def test_items_are_rows(kind: Any, form: str, shape: tuple[int, ...], tmp_path: Path) -> None:
    array = features(kind, *shape)
    given = array
    if form == "mapped":
        np.save(tmp_path / "f.npy", array)
        given = np.load(tmp_path / "f.npy", mmap_mode="r", allow_pickle=False)
    chosen = FeatureDataset(given, [8, 2, 5], labels(1, -1, 0))
    assert len(chosen) == 3
    for position, (row, label) in enumerate([(8, 1), (2, -1), (5, 0)]):
        item = chosen[3, position]
        assert (item.index, label_of(item.target)) == (row, label)
        assert item.padding == (Padding(2, 3) if len(shape) > 2 else Padding(1, 1))
        assert item.image.dtype == torch.float32
        np.testing.assert_array_equal(item.image.numpy(), array[row].astype(np.float32))
        item.image.add_(1)  # its own copy
        np.testing.assert_array_equal(given[row], array[row])
    assert FeatureDataset(given, [1])[0, 0].target is None


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("dims", [(5,), (4, 2, 3)])
def test_batches_are_those_of_single_items(workers: int, dims: tuple[int, ...]) -> None:
    classes = [position % 5 for position in range(25)]
    chosen = FeatureDataset(features(np.float16, 30, *dims), range(5, 30), labels(*classes))
    for order in (
        ShuffleBatchSampler(25, 8, 1),
        SizeBucketSampler([(1, 1)] * 25, 1, 8),
        ClassBatchSampler(classes, ClassSampler(kind="pxk", classes=4, per_class=6), 1),
    ):
        loaded = list(batches(chosen, order, workers))
        assert len(loaded) == len(order)
        for batch, keys in zip(loaded, order, strict=True):
            items = [chosen[key] for key in keys]
            assert batch.indices == tuple(item.index for item in items)
            assert isinstance(batch.target, LabelTargets)
            assert batch.target.values.tolist() == [label_of(item.target) for item in items]
            assert torch.equal(batch.image, torch.stack([item.image for item in items]))
            assert batch.paddings == tuple(item.padding for item in items)


@pytest.mark.parametrize("channels_last", [False, True])
def test_vectors_have_no_layout(channels_last: bool) -> None:
    chosen = FeatureDataset(features(np.float32, 4, 6), range(4), labels(0, 1, 2, 3))
    (batch,) = batches(chosen, SizeBucketSampler([(1, 1)] * 4, 1, 4), 0)
    moved = batch.to(torch.device("cpu"), channels_last)
    assert torch.equal(moved.image, batch.image)
    assert isinstance(moved.target, LabelTargets) and moved.target.values.tolist() == [0, 1, 2, 3]
