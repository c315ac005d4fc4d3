"""The device of a process, and how several processes of one command wait for each other."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import TypeVar

import torch
import torch.distributed as dist
from lightning_fabric import Fabric
from lightning_fabric.accelerators.mps import MPSAccelerator
from lightning_fabric.connector import _is_using_cli
from lightning_fabric.strategies.ddp import DDPStrategy
from lightning_fabric.utilities.distributed import _distributed_is_initialized
from torch import Tensor

from medalist.engine.settings import Precision
from medalist.errors import MedalistError, RunError
from medalist.processes import LOST, PARENT, place
from medalist.processors import keep_buffers
from medalist.system import WINDOWS

LONGEST_WAIT = timedelta(days=1)
"""How long processes wait while one of them works alone, for instance to compute features.

A process that is lost is noticed at once, so that a long wait does no harm."""

BACKEND = "gloo" if WINDOWS else None
"""The backend of torch.distributed. torch has no NCCL on Windows. None means NCCL on CUDA and gloo on processors."""

Value = TypeVar("Value")


def open_fabric(precision: Precision) -> Fabric:
    """Return Fabric on the device of this process. Where several processes run, wait until all have joined.

    On GPUs torch then uses deterministic kernels of cuDNN. Raises RunError for several processes on Apple's GPU (MPS),
    because torch cannot join processes there.
    """
    here = place()
    if here.world > 1 and MPSAccelerator.is_available():
        raise RunError(
            f"{here.world} processes cannot share Apple's GPU (MPS): leave out --devices, or set DISABLE_MPS=1 to "
            "train on the processors"
        )
    keep_buffers()
    logging.getLogger("lightning_fabric").setLevel(logging.WARNING)  # hides a line for each process that joins
    if _is_using_cli():
        fabric = Fabric(precision=precision)  # `fabric run` has set the other arguments, and allows no other values
    else:
        fabric = Fabric(
            accelerator="auto",
            devices=here.local_world,
            num_nodes=here.machines,
            strategy=DDPStrategy(process_group_backend=BACKEND, timeout=LONGEST_WAIT) if here.world > 1 else "auto",
            precision=precision,
        )
    if here.world > 1 and not fabric._launched:  # after Fabric's own launcher the processes have joined already
        fabric.launch()
    if fabric.device.type == "cuda":
        torch.backends.cudnn.benchmark = False
        torch.backends.cudnn.deterministic = True
    return fabric


def first_alone(fabric: Fabric, work: Callable[[], Value]) -> Value:
    """Return the result of `work`. The first process runs it alone; then the others run it and find the files written.

    A MedalistError in the first process is raised there. The other processes then end without a message, with the same
    exit code.
    """
    if fabric.world_size == 1:
        return work()
    done: list[Value] = []
    mistake: MedalistError | None = None
    if fabric.is_global_zero:
        try:
            done.append(work())
        except MedalistError as error:
            mistake = error
    if fabric.broadcast(mistake is not None):
        if mistake is not None:
            raise mistake
        raise SystemExit(2)
    return done[0] if done else work()


def mean_over_processes(values: Tensor) -> Tensor:
    """Return the mean of a tensor over all processes. Fabric's function is not used, as it first waits at a barrier."""
    if not _distributed_is_initialized():
        return values
    total = values.clone()
    dist.all_reduce(total)
    return total / dist.get_world_size()


def seed_generators(seed: int, device: torch.device) -> None:
    """Seed torch's generators of the processor and of `device`, with the same numbers as torch.manual_seed.

    torch.manual_seed also notes the seed for kinds of devices that are not there, which takes half a millisecond.
    """
    if device.type not in ("cpu", "cuda"):
        torch.manual_seed(seed)
        return
    torch.default_generator.manual_seed(seed)
    if device.type == "cuda":
        torch.cuda.manual_seed(seed)


def reset_scaler(fabric: Fabric) -> None:
    """Give the scaler of float16's gradients its first scale again; other precisions have no scaler."""
    scaler = getattr(fabric.strategy.precision, "scaler", None)
    if scaler is not None:
        scaler.load_state_dict(torch.amp.GradScaler(fabric.device.type).state_dict())


@contextmanager
def together(fabric: Fabric) -> Iterator[None]:
    """Turn the error that follows the loss of another process into a RunError of one line.

    Where `processes.start` has started this process, it ends without a message, with exit code LOST: the starting
    process then reports how the other process ended.
    """
    try:
        yield
    except RuntimeError as error:
        lost = isinstance(error, dist.DistError) or "gloo" in str(error).lower()
        if fabric.world_size == 1 or not lost or not _distributed_is_initialized():
            raise
        if PARENT in os.environ:
            raise SystemExit(LOST) from None
        raise RunError(
            f"process {fabric.global_rank} of {fabric.world_size} lost contact with another process; the message of "
            "that process says why; run the same command to resume"
        ) from error


def read_later(loss: Tensor) -> Callable[[], float]:
    """Return a function that reads a loss as soon as its batch is done.

    A plain `loss.item()` would also wait for the later work that the GPU was given.
    """
    if not loss.is_cuda:
        return loss.detach().item
    host = torch.empty((), dtype=loss.dtype, pin_memory=True)
    host.copy_(loss.detach(), non_blocking=True)
    done = torch.cuda.Event()  # type: ignore[no-untyped-call]
    done.record()

    def read() -> float:
        done.synchronize()
        return host.item()

    return read
