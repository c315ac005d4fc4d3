"""Batches in page-locked memory: the same values, in the layout that the network wants, copied beside the work."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor

from medalist.data.dataset import TrainDataset
from medalist.data.loader import Batch, batches
from medalist.data.targets import BoxTarget, LabelTarget, MapTarget, Targets, collate_targets
from medalist.engine.job import TrainJob

Make = Callable[..., TrainJob]


def targets() -> list[Targets]:
    maps = [MapTarget(np.full((5, 6, 2), number, np.uint8)) for number in range(3)]
    boxes = [
        BoxTarget(np.full((number, 4), number, np.float32), np.arange(number, dtype=np.int64)) for number in range(3)
    ]
    classes = [LabelTarget(np.array(number, np.int64)) for number in range(3)]
    flags = [LabelTarget(np.full(4, number, np.float32)) for number in range(3)]
    return [collate_targets(some) for some in (maps, boxes, classes, flags)]


def tensors(target: Targets) -> list[Tensor]:
    found: list[Tensor] = []
    for value in vars(target).values():
        found += [one for one in (value if isinstance(value, tuple) else (value,)) if isinstance(one, Tensor)]
    return found


@pytest.mark.gpu
@pytest.mark.parametrize("number", range(4))
def test_every_target_is_pinned_and_moved(gpu: str, number: int) -> None:
    plain = targets()[number]
    pinned = plain.pin_memory()
    assert type(pinned) is type(plain) and tensors(plain)
    for before, after in zip(tensors(plain), tensors(pinned), strict=True):
        assert torch.equal(before, after) and (after.is_pinned() or not after.numel())
    for before, after in zip(tensors(plain), tensors(pinned.to(torch.device(gpu))), strict=True):
        assert after.is_cuda and torch.equal(before.to(after.dtype), after.cpu())


@pytest.mark.filterwarnings("ignore:.*multi-threaded, use of fork")
@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("channels_last", [False, True])
def test_batches_arrive_as_the_loader_made_them(make: Make, device: str, workers: int, channels_last: bool) -> None:
    """Several are on their way at once, as in the loop, and none may overwrite another."""
    job = make(device)
    expected = list(make("cpu", "other").train)
    moved: list[tuple[Batch, Batch]] = []
    for raw in batches(_dataset(job), job.sampler, workers, pin=device == "cuda"):  # type: ignore[arg-type]
        assert raw.image.is_pinned() == (device == "cuda")
        assert all(tensor.is_pinned() == (device == "cuda") for tensor in tensors(_known(raw)))
        moved.append((raw, raw.to(torch.device(device), channels_last)))
    assert len(moved) == len(expected) == 4
    for plain, (_, batch) in zip(expected, moved, strict=True):
        assert batch.image.device.type == device and batch.indices == plain.indices
        layout = torch.channels_last if channels_last else torch.contiguous_format
        assert batch.image.is_contiguous(memory_format=layout)
        assert torch.equal(batch.image.cpu(), plain.image)
        for before, after in zip(tensors(_known(plain)), tensors(_known(batch)), strict=True):
            assert after.device.type == device and after.is_floating_point()
            assert torch.equal(after.cpu(), before.float())


def _known(batch: Batch) -> Targets:
    assert batch.target is not None
    return batch.target


def _dataset(job: TrainJob) -> TrainDataset:
    found = job.train.dataset.dataset  # type: ignore[attr-defined]  # below what hands mistakes over as values
    assert isinstance(found, TrainDataset)
    return found
