"""Out of memory: the training says which batch fits, and that batch does fit."""

from __future__ import annotations

import gc
import re
import weakref
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from unittest.mock import patch

import pytest
import torch
from torch import Tensor, nn

from medalist.data.loader import Batch
from medalist.engine.job import TrainJob
from medalist.engine.memory import fit_in_memory
from medalist.errors import TrainingError
from medalist.reporter import TimedProgress

Make = Callable[..., TrainJob]

ROOM = 1 << 30
"""Bytes that a training may take on a GPU beside what is in use already."""

SIDE, BATCH = 256, 64
"""A sample needs about 50 MB, so that a batch needs three times the room."""


class Wide(nn.Module):
    """Two convolutions with 32 channels between them at full size; on a processor it says itself when it is full."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(3, 32, 3, padding=1), nn.BatchNorm2d(32), nn.ReLU(), nn.Conv2d(32, 2, 1))

    def forward(self, image: Tensor) -> Tensor:
        if not image.is_cuda and len(image) > 5:
            raise torch.OutOfMemoryError("no room for more than five")
        logits: Tensor = self.body(image)
        return logits


@contextmanager
def limited(device: str) -> Iterator[None]:
    """Let this process take `ROOM` more of the GPU's memory than it has in use."""
    if device == "cpu":
        yield
        return
    gc.collect()
    torch.cuda.empty_cache()
    total = torch.cuda.get_device_properties(0).total_memory
    torch.cuda.set_per_process_memory_fraction((torch.cuda.memory_reserved() + ROOM) / total)
    try:
        yield
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0)
        torch.cuda.empty_cache()


def train(job: TrainJob) -> None:
    fit_in_memory(job, lambda row: None, TimedProgress(lambda _: None, "test", 1000, None))


def test_the_batch_that_is_named_fits_and_one_twice_as_large_does_not(make: Make, device: str) -> None:
    side, batch = (SIDE, BATCH) if device == "cuda" else (32, 16)

    def job(name: str, batch: int) -> TrainJob:
        return make(device, name, network=Wide(), side=side, count=BATCH, epochs=1, batch=batch)

    with limited(device):
        with pytest.raises(TrainingError) as told:
            train(job("large", batch))
        line = str(told.value)
        where = "GPU memory" if device == "cuda" else "memory"
        assert line.startswith(f"fold 0: out of {where} at train.batch={batch}; "), line
        found = re.search(r"; (\d+) fits \(tried on this (?:GPU|machine)\)", line)
        assert found, line
        train(job("fitting", int(found[1])))
        with pytest.raises(TrainingError, match="out of"):
            train(job("double", 2 * int(found[1])))


def test_a_batch_has_left_the_device_when_the_next_one_comes(make: Make, device: str) -> None:
    """`fit_in_memory` reckons with one batch."""
    job = make(device, network="plain")
    loss, seen, held = job.task.loss, list[weakref.ref[Tensor]](), list[bool]()

    def watched(outputs: Tensor, batch: Batch) -> Mapping[str, Tensor]:
        held.extend(image() is not None for image in seen[-1:])
        seen.append(weakref.ref(batch.image))
        return loss(outputs, batch)

    with patch.object(job.task, "loss", watched):
        train(job)
    assert len(held) >= 7 and not any(held[:7])


@pytest.mark.gpu
def test_what_a_failed_step_had_in_memory_is_given_back(make: Make, gpu: str) -> None:
    gc.collect()
    before = torch.cuda.memory_allocated()
    with limited(gpu), pytest.raises(TrainingError):
        train(make(gpu, network=Wide(), side=SIDE, count=BATCH, epochs=1, batch=BATCH))
    gc.collect()
    assert torch.cuda.memory_allocated() - before < 50_000_000
