"""Devices, and what several processes of one command do in turn."""

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
from lightning_fabric.connector import _is_using_cli
from lightning_fabric.strategies.ddp import DDPStrategy
from lightning_fabric.utilities.distributed import _distributed_is_initialized
from torch import Tensor

from medalist.engine.settings import Precision
from medalist.errors import MedalistError, RunError
from medalist.processes import LOST, PARENT, place

LONGEST_WAIT = timedelta(days=1)
"""How long processes wait for what one of them does alone, as keeping features; one that is lost is seen at once."""

Value = TypeVar("Value")


def open_fabric(precision: Precision) -> Fabric:
    """Fabric on this process's device; where it is one of several, joined with the others, for which it waits.

    On GPUs torch then takes deterministic kernels, where it has them.
    """
    here = place()
    logging.getLogger("lightning_fabric").setLevel(logging.WARNING)  # who joined whom is no news
    if _is_using_cli():
        fabric = Fabric(precision=precision)  # `fabric run` says the rest, and takes no other word for it
    else:
        fabric = Fabric(
            accelerator="auto",
            devices=here.local_world,
            num_nodes=here.machines,
            strategy=DDPStrategy(timeout=LONGEST_WAIT) if here.world > 1 else "auto",
            precision=precision,
        )
    if here.world > 1 and not fabric._launched:  # Fabric's own launcher has joined them before
        fabric.launch()
    if fabric.device.type == "cuda":
        torch.backends.cudnn.benchmark = False
        torch.backends.cudnn.deterministic = True
    return fabric


def first_alone(fabric: Fabric, work: Callable[[], Value]) -> Value:
    """What `work` gives: the first process does it alone, and then the others, who find what it wrote.

    A mistake of the first is raised there, and ends the others without a word, with the same exit code.
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
    """The mean of a tensor over all processes. Not Fabric's, which first waits for all of them."""
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
    """Turns the loss of another process into one line; RunError.

    Where `processes.start` has started this one, it ends without a line: who started it tells what became of the other.
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
            f"process {fabric.global_rank} of {fabric.world_size} has lost another one; its own line says why. "
            "Run the same command to go on"
        ) from error
