"""Processes of a group of `torch.distributed`, for tests: forks of the test's process, which has imported torch.

A new interpreter would import all of it again, which takes seconds for each process.
"""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
import torch.distributed as dist

SECONDS = 300
"""How long all processes together may take, on the busiest machine."""


def together(world: int, folder: Path, work: Callable[[int], None]) -> None:
    """Call `work(rank)` in each of `world` processes that are one group of gloo, and wait for all of them.

    folder: an empty folder, where the processes meet. Where one fails, its traceback is on the standard error.
    """
    if not hasattr(os, "fork"):
        pytest.skip("needs fork")
    forked = multiprocessing.get_context("fork")
    started = [forked.Process(target=_member, args=(rank, world, folder, work), daemon=True) for rank in range(world)]
    for process in started:
        process.start()
    try:
        for process in started:
            process.join(SECONDS)
            assert process.exitcode == 0, f"a process ended with {process.exitcode}"
    finally:
        for process in started:
            process.kill()
            process.join()


def _member(rank: int, world: int, folder: Path, work: Callable[[int], None]) -> None:
    os.environ["GLOO_SOCKET_IFNAME"] = "lo"
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder / 'meeting'}", rank=rank, world_size=world)
    work(rank)
    dist.destroy_process_group()
