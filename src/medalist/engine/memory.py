"""Out of memory: how to tell, and which batch would have fitted."""

from __future__ import annotations

import copy
import gc
from collections.abc import Callable
from itertools import chain, cycle, islice
from typing import TYPE_CHECKING

import torch

from medalist.data.dataset import Item, Key
from medalist.data.loader import Batch, collate
from medalist.engine.job import TrainJob
from medalist.engine.mixing import resized
from medalist.engine.optimizer import make_optimizer
from medalist.engine.train import fit
from medalist.errors import MedalistError, TrainingError
from medalist.reporter import Progress

if TYPE_CHECKING:
    from medalist.tracking.tracking import Log

NO_ROOM = (
    "DefaultCPUAllocator: can't allocate memory",
    "DefaultCPUAllocator: not enough memory",
    "CUDA out of memory",
    "CUDA error: out of memory",  # the driver itself, as where another process holds the GPU's memory
    "CUBLAS_STATUS_ALLOC_FAILED",
    "CUDNN_STATUS_ALLOC_FAILED",
)
"""How torch says so where it raises no error of its own kind."""


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error says that the memory of a GPU or of this machine did not suffice."""
    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        return True
    return isinstance(error, RuntimeError) and any(words in str(error) for words in NO_ROOM)


def fit_in_memory(job: TrainJob, log: Log, progress: Progress) -> None:
    """Train by the one loop; where memory does not suffice, TrainingError says which batch would fit."""
    try:
        fit(job, log, progress)
        return
    except (RuntimeError, MemoryError) as error:
        if not is_out_of_memory(error):
            raise
    # The error is gone by now, and with it what the failed step had in memory.
    if job.fabric.world_size > 1:  # the others wait for this one, so no step can be tried
        raise TrainingError(
            f"{job.title}: process {job.fabric.global_rank} is out of memory at train.batch={job.config.batch}; halve "
            "it and double train.accumulate, or start on one device, which finds the batch that fits"
        )
    raise TrainingError(too_large(job, batch_that_fits(job)))


def samples_of(job: TrainJob) -> int:
    """Samples of one batch on one process."""
    return job.sampler.units * job.sampler.samples_per_unit


def batch_that_fits(job: TrainJob) -> int | None:
    """The most samples, fewer than a batch has, that a step was tried on and that fit; None where not even 1 does.

    Call it when the error was caught and left, so that its traceback holds nothing of the failed step, and on the
    process that failed. A step is that of a training: augmented samples in the largest size that any epoch has,
    forward, loss, backward, and an optimiser that makes its moments. The weights of the job's network are spoilt by it:
    nothing may go on with them. Errors of another kind are raised.
    """
    return largest(lambda batch: _fits(job, batch), samples_of(job))


def largest(fits: Callable[[int], bool], too_many: int) -> int | None:
    """The largest number below `too_many` for which `fits` is true, taken to be true for all below one that fits.

    Halves first, then the middle of what is left, to an eighth of what fits: each try costs a step.
    """
    above, below = too_many, too_many // 2
    while below and not fits(below):
        above, below = below, below // 2
    if not below:
        return None
    while above - below > max(1, below // 8):
        middle = (above + below) // 2
        if fits(middle):
            below = middle
        else:
            above = middle
    return below


def too_large(job: TrainJob, fitting: int | None) -> str:
    """The line that says what did not fit, and what to type; `fitting` is what `batch_that_fits` found."""
    config, sampler, on_gpu = job.config, job.sampler, job.fabric.device.type == "cuda"
    each = sampler.samples_per_unit
    what = f"{job.title}: out of {'GPU ' if on_gpu else ''}memory at {sampler.setting}={sampler.units}"
    # What compares classes needs two of them.
    if fitting is None or (sampler.setting != "train.batch" and fitting < 2 * each):
        return (
            f"{what}; no smaller batch fits: make images smaller in augment, or type train.precision=bf16-mixed, "
            "train.grad_checkpointing=true or a smaller model.encoder"
        )
    here = "this GPU" if on_gpu else "this machine"
    if sampler.setting != "train.batch":
        return f"{what}; {fitting} samples fit (tried on {here}): type {sampler.setting}={fitting // each}"
    what = f"{what}; {fitting} fits (tried on {here})"
    alike = same_step(config.batch * config.accumulate, fitting)
    if alike is None:
        return f"{what}: type train.batch={fitting}"
    batch, accumulate = alike
    return (
        f"{what}: type train.batch={batch} train.accumulate={accumulate}, which keeps {batch * accumulate} samples a "
        "step"
    )


def same_step(samples: int, fitting: int) -> tuple[int, int] | None:
    """(batch, accumulate) that make a step of so many samples, with the largest batch that fits.

    None where that batch is less than half of what fits: then more is lost than the step is worth.
    """
    batch = next(size for size in range(min(fitting, samples), 0, -1) if samples % size == 0)
    return (batch, samples // batch) if 2 * batch > fitting else None


def _fits(job: TrainJob, batch: int) -> bool:
    """Whether a step on so many samples of the training part fits; nothing of it stays."""
    _let_go(job)
    try:
        _step(job, _samples(job, batch))
    except ValueError:
        if batch > 1:
            raise
        return False  # batch norms of pooled features need two samples
    except (RuntimeError, MemoryError) as error:
        if not is_out_of_memory(error):
            raise
        return False
    finally:
        _let_go(job)
    return True


def _samples(job: TrainJob, batch: int) -> Batch:
    """The first samples of an epoch, as its loader would make them; the same ones again where there are fewer."""
    some: list[Key] = list(islice(chain.from_iterable(job.sampler), batch))
    keys = list(islice(cycle(some), batch))
    items: list[Item] | MedalistError = job.train.dataset.__getitems__(keys)  # type: ignore[attr-defined]
    if isinstance(items, MedalistError):
        raise items
    return collate(items)


def _step(job: TrainJob, raw: Batch) -> None:
    config, fabric = job.config, job.fabric
    batch = raw.to(fabric.device, config.channels_last)
    if batch.image.ndim == 4:
        sizes = [config.size_in(epoch) or batch.image.shape[-2:] for epoch in range(config.epochs)]
        height, width = max(sizes, key=lambda size: size[0] * size[1])
        batch = resized(batch, (height, width))
    job.model.to(fabric.device).train()
    for parameter in job.model.parameters():
        parameter.requires_grad_(True)  # the epochs after those with a frozen encoder need the most
    average = copy.deepcopy(job.model) if config.ema else None
    optimizer = make_optimizer(job.model, config, fabric.world_size)
    job.task.begin_epoch()
    with fabric.autocast():
        outputs = job.model(batch.image)
    loss = job.task.loss(outputs, batch)["loss"]
    loss.backward()  # type: ignore[no-untyped-call]
    optimizer.step()
    del average  # it had its place while the step was made


def _let_go(job: TrainJob) -> None:
    """Give back what a step has left."""
    job.model.zero_grad(set_to_none=True)
    job.task.begin_epoch()  # cross-batch memories
    if job.fabric.device.type == "cuda":
        gc.collect()
        torch.cuda.empty_cache()
