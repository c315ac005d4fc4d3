from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from medalist.data.class_sampler import ClassBatchSampler
from medalist.data.loader import batches
from medalist.data.settings import ClassSampler
from medalist.engine.job import TrainJob
from medalist.engine.memory import batch_that_fits, is_out_of_memory, largest, same_step, too_large

Make = Callable[..., TrainJob]


class Narrow(nn.Module):
    """A network of little memory: it takes so many pixels, over all samples of a batch."""

    def __init__(self, network: nn.Module, pixels: float, error: Exception | None = None):
        super().__init__()
        self.network, self.pixels = network, pixels
        self.error = error or torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB")
        self.seen: list[tuple[int, ...]] = []

    def forward(self, image: Tensor) -> Tensor:
        self.seen.append(tuple(image.shape))
        if image.shape[0] * image.shape[2] * image.shape[3] > self.pixels:
            raise self.error
        found: Tensor = self.network(image)
        return found


def narrow(make: Make, network: Any, pixels: float, error: Exception | None = None, **settings: Any) -> TrainJob:
    return make(model=Narrow(network(), pixels, error), **settings)


@pytest.mark.parametrize(
    ("error", "is_one"),
    [
        (torch.OutOfMemoryError("no"), True),
        (MemoryError(), True),
        (RuntimeError("[enforce fail at alloc_cpu.cpp] DefaultCPUAllocator: can't allocate memory: you tried"), True),
        (RuntimeError("DefaultCPUAllocator: not enough memory: you tried to allocate 8 bytes"), True),
        (RuntimeError("CUDA out of memory in a library"), True),
        (torch.AcceleratorError("CUDA error: out of memory\nCUDA kernel errors might be reported later"), True),
        (RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"), True),
        (RuntimeError("cuDNN error: CUDNN_STATUS_ALLOC_FAILED"), True),
        (torch.AcceleratorError("CUDA error: an illegal memory access was encountered"), False),
        (RuntimeError("the sizes of tensors must match"), False),
        (ValueError("CUDA out of memory"), False),
        (KeyboardInterrupt(), False),
    ],
    ids=range(12),
)
def test_what_is_out_of_memory(error: BaseException, is_one: bool) -> None:
    assert is_out_of_memory(error) == is_one


def test_torch_itself_says_so() -> None:
    with pytest.raises((RuntimeError, MemoryError)) as found:
        torch.empty(1 << 60, dtype=torch.uint8)
    assert is_out_of_memory(found.value)


@given(st.integers(1, 600), st.integers(0, 600))
def test_the_largest_is_found_to_an_eighth(too_many: int, limit: int) -> None:
    limit = min(limit, too_many - 1)
    asked = []

    def fits(batch: int) -> bool:
        asked.append(batch)
        return batch <= limit

    found = largest(fits, too_many)
    if limit == 0:
        assert found is None
    else:
        assert found is not None and found <= limit <= found + max(0, found // 8 - 1) and found in asked
    assert len(asked) == len(set(asked)) <= 2 * math.ceil(math.log2(too_many + 1)) and 0 not in asked


@pytest.mark.parametrize(("room", "fitting"), [(12, 12), (5, 5), (1, 1), (0, None), (15, 15)])
def test_a_real_step_tells_what_fits(make: Make, network: Any, room: int, fitting: int | None) -> None:
    job = narrow(make, network, room * 16 * 16, batch=16)
    assert batch_that_fits(job) == fitting
    assert all(parameter.grad is None for parameter in job.model.parameters())


def test_a_step_sees_the_largest_images_of_all_epochs(make: Make, network: Any) -> None:
    sizes = [{"epochs": 1, "size": [32, 32]}]
    job = narrow(make, network, 16 * 32 * 32, batch=32, epochs=3, sizes=sizes)
    assert batch_that_fits(job) == 16
    assert {shape[2:] for shape in job.model.seen} == {(32, 32)}
    smaller = narrow(make, network, 16 * 16 * 16, batch=32, epochs=3, sizes=[{"epochs": 1, "size": [8, 8]}])
    assert batch_that_fits(smaller) == 16 and {shape[2:] for shape in smaller.model.seen} == {(16, 16)}


def test_the_optimiser_needs_memory_too(make: Make, network: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    job = narrow(make, network, math.inf, batch=8)

    class Greedy(torch.optim.SGD):
        def step(self, closure: Any = None) -> None:
            if job.model.seen[-1][0] > 2:
                raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr("medalist.engine.memory.make_optimizer", lambda model, *_: Greedy(model.parameters(), 0.1))
    assert batch_that_fits(job) == 2


@pytest.mark.parametrize("error", [RuntimeError("shapes do not match"), ValueError("no"), KeyError("x")], ids=range(3))
def test_other_errors_are_not_swallowed(make: Make, network: Any, error: Exception) -> None:
    with pytest.raises(type(error)):
        batch_that_fits(narrow(make, network, 0, error, batch=8))


def test_batch_norms_that_want_two_samples_fit_no_one(make: Make, network: Any) -> None:
    job = narrow(make, network, 0, ValueError("Expected more than 1 value per channel"), batch=2)
    assert batch_that_fits(job) is None


@pytest.mark.parametrize(
    ("samples", "fitting", "alike"),
    [(32, 12, (8, 4)), (32, 16, (16, 2)), (24, 12, (12, 2)), (32, 31, (16, 2)), (31, 12, None), (7, 7, (7, 1))],
)
def test_the_same_step_of_smaller_batches(samples: int, fitting: int, alike: tuple[int, int] | None) -> None:
    assert same_step(samples, fitting) == alike


def test_the_line_says_what_to_type(make: Make) -> None:
    line = too_large(make(batch=32), 12)
    assert line == (
        "fold 0: out of memory at train.batch=32; 12 fits (tried on this machine): "
        "type train.batch=8 train.accumulate=4, which keeps 32 samples a step"
    )
    assert too_large(make(batch=16, accumulate=3), 12).endswith(
        "type train.batch=12 train.accumulate=4, which keeps 48 samples a step"
    )
    assert too_large(make(batch=31), 12).endswith("12 fits (tried on this machine): type train.batch=12")
    assert "no smaller batch fits" in too_large(make(batch=31), None)


def test_classes_that_fit_are_told(make: Make, network: Any) -> None:
    job = make(batch=1, model=Narrow(network(), 6 * 16 * 16))
    order = ClassBatchSampler([number % 3 for number in range(6)], ClassSampler(kind="pxk", classes=3, per_class=3), 5)
    job = replace(job, train=batches(job.train.dataset, order, 0))
    fitting = batch_that_fits(job)
    assert fitting == 6
    assert too_large(job, fitting) == (
        "fold 0: out of memory at sampler.classes=3; 6 samples fit (tried on this machine): type sampler.classes=2"
    )
    assert "no smaller batch fits" in too_large(job, 5)  # a class alone teaches nothing


def test_bad_samples_are_told(make: Make) -> None:
    with pytest.raises(Exception, match="on sample s"):
        batch_that_fits(make(augment=[{"RandomCrop": {"height": 900, "width": 900}}]))
