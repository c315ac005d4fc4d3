"""Out of memory: recognise the error, and find the largest batch that fits."""

from __future__ import annotations

import copy
import gc
from collections.abc import Callable
from itertools import chain, cycle, islice
from typing import TYPE_CHECKING

import torch

from medalist.data.devices import empty_cache
from medalist.data.items import Item, Key
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
    "CUDA error: out of memory",  # from the driver itself, for example where another process holds the GPU's memory
    "CUBLAS_STATUS_ALLOC_FAILED",
    "CUDNN_STATUS_ALLOC_FAILED",
    "MPS backend out of memory",
)
"""Messages of torch's out-of-memory errors that have no type of their own."""


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error says that the memory of a GPU or of this machine was too small."""
    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        return True
    return isinstance(error, RuntimeError) and any(words in str(error) for words in NO_ROOM)


def fit_in_memory(job: TrainJob, log: Log, progress: Progress) -> None:
    """Train with the training loop. Raises TrainingError where memory is too small, and names a batch that fits."""
    try:
        fit(job, log, progress)
        return
    except (RuntimeError, MemoryError) as error:
        if not is_out_of_memory(error):
            raise
    # Outside of the except block the error, and the tensors of the failed step, are freed.
    if job.fabric.world_size > 1:  # the other processes wait for this one, so no step can be tried
        raise TrainingError(
            f"{job.title}: process {job.fabric.global_rank} is out of memory at train.batch={job.config.batch}; halve "
            "it and double train.accumulate, or start on one device, which finds the batch that fits"
        )
    raise TrainingError(too_large(job, batch_that_fits(job)))


def samples_of(job: TrainJob) -> int:
    """Return the number of samples of one batch on one process."""
    return job.sampler.units * job.sampler.samples_per_unit


def batch_that_fits(job: TrainJob) -> int | None:
    """Return the largest number of samples, below the job's batch, whose training step was tried and fits into memory.

    Returns None where even 1 sample does not fit. Call it on the process that failed, and after the except block is
    left, because the traceback keeps the tensors of the failed step. A step is that of the training: augmented samples
    in the largest size of any epoch, forward, loss, backward, and an optimiser that makes its moments. The steps change
    the weights of the job's network, so the network cannot be used afterwards. Errors other than out-of-memory are
    raised.
    """
    return largest(lambda batch: _fits(job, batch), samples_of(job))


def largest(fits: Callable[[int], bool], too_many: int) -> int | None:
    """Return a number below `too_many` for which `fits` is true; None where it is false for 1.

    All numbers below one that fits are assumed to fit. The search halves `too_many` until a number fits, and then
    bisects. It stops when the largest number that fits is known to an eighth of it, because each try costs a step.
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
    """Return the error message: what did not fit, and what to type. `fitting` is the result of `batch_that_fits`."""
    config, sampler, on_gpu = job.config, job.sampler, job.fabric.device.type == "cuda"
    each = sampler.samples_per_unit
    what = f"{job.title}: out of {'GPU ' if on_gpu else ''}memory at {sampler.setting}={sampler.units}"
    # A loss that compares classes needs at least two classes in a batch.
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
    """Return (batch, accumulate) whose product is `samples`, with the largest such batch that fits.

    Returns None where that batch is at most half of `fitting`: then the small batch would cost more than it is worth to
    keep the number of samples of a step.
    """
    batch = next(size for size in range(min(fitting, samples), 0, -1) if samples % size == 0)
    return (batch, samples // batch) if 2 * batch > fitting else None


def _fits(job: TrainJob, batch: int) -> bool:
    """Whether a step on `batch` training samples fits into memory; its tensors are freed afterwards."""
    _let_go(job)
    try:
        _step(job, _samples(job, batch))
    except ValueError:
        if batch > 1:
            raise
        return False  # a batch of 1 fails here, because batch norms of pooled features need two samples
    except (RuntimeError, MemoryError) as error:
        if not is_out_of_memory(error):
            raise
        return False
    finally:
        _let_go(job)
    return True


def _samples(job: TrainJob, batch: int) -> Batch:
    """Return the first `batch` samples of an epoch as its loader would make them, repeated where there are fewer."""
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
        parameter.requires_grad_(True)  # epochs without a frozen encoder need the most memory
    average = copy.deepcopy(job.model) if config.ema else None
    optimizer = make_optimizer(job.model, config, fabric.world_size)
    job.task.begin_epoch(0)
    with fabric.autocast():
        outputs = job.model(batch.image)
    loss = job.task.loss(outputs, batch)["loss"]
    loss.backward()  # type: ignore[no-untyped-call]
    optimizer.step()
    del average  # kept until here, because a training has it in memory during a step


def _let_go(job: TrainJob) -> None:
    """Free the memory that a step still holds."""
    job.model.zero_grad(set_to_none=True)
    job.task.begin_epoch(0)  # deletes what the loss keeps of earlier batches
    if job.fabric.device.type != "cpu":
        gc.collect()
        empty_cache(job.fabric.device)
