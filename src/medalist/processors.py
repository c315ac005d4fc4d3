"""How this process uses processors and memory: settings that make work on processors faster.

**Memory.** glibc returns each large buffer to the system when it is freed, and the next step faults its pages in again:
270,000 page faults in a step of a U-Net at batch 8, 256 x 256. The process is told to keep large buffers
(`mallopt(3)`: M_MMAP_MAX = 0 and a high M_TRIM_THRESHOLD).

**Threads.** OpenMP threads that wait for the others spin. Where another process wants the same cores, a spinning thread
takes the time of a working one, and a step becomes several times slower. GOMP_SPINCOUNT makes threads sleep soon.

**Imports.** torch and timm make 750,000 objects that stay, and while they are imported Python's collector walks over
them again and again: a fifth of the time. It is paused for so long (`collector_paused`).

Settings that the user has made are left alone, and so are other allocators than glibc's and other systems than Linux.
Forked loader workers inherit both settings. Processes that are started anew inherit the variable, and call
`keep_buffers` themselves when they open their devices.
"""

from __future__ import annotations

import ctypes
import gc
import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

M_TRIM_THRESHOLD, M_MMAP_MAX = -1, -4
"""Names of parameters in glibc's malloc.h."""

KEPT_BYTES = 2**31 - 1
"""Free memory at the end of the heap up to which nothing is returned to the system: the largest that mallopt takes."""

SPIN_VARIABLE, SPIN_COUNT = "GOMP_SPINCOUNT", "1000"
"""How often a waiting thread of libgomp looks before it sleeps: some microseconds. By default it is 300,000 times."""

ALLOCATOR_VARIABLES = ("MALLOC_MMAP_MAX_", "MALLOC_MMAP_THRESHOLD_", "MALLOC_TRIM_THRESHOLD_", "MALLOC_TOP_PAD_")
WAIT_VARIABLES = (SPIN_VARIABLE, "OMP_WAIT_POLICY")

OTHER_ALLOCATORS = {"mallctl": "jemalloc", "tc_version": "tcmalloc", "mi_version": "mimalloc"}
"""A function that each allocator brings, by which a preloaded one is known."""


def keep_buffers() -> str:
    """Make glibc keep freed buffers in this process; return a line that says what was done, or why nothing was.

    This can be done at any time, and again without effect.
    """
    if not _on_linux():
        return "left to this system's allocator"
    said = _said(ALLOCATOR_VARIABLES)
    if "glibc.malloc" in os.environ.get("GLIBC_TUNABLES", ""):
        said = ["GLIBC_TUNABLES"]
    if said:
        return f"left as {said[0]} says"
    process = ctypes.CDLL(None)
    other = next((name for function, name in OTHER_ALLOCATORS.items() if hasattr(process, function)), None)
    if other is None and not hasattr(process, "gnu_get_libc_version"):
        other = "an allocator that is not glibc's"
    if other is not None:
        return f"left to {other}"
    kept = process.mallopt(M_MMAP_MAX, 0) == 1 and process.mallopt(M_TRIM_THRESHOLD, KEPT_BYTES) == 1
    return "kept by the process (mallopt)" if kept else "glibc refused to keep them"


def release_buffers() -> None:
    """Return to the system the free memory that glibc holds, before work of another shape begins; else do nothing.

    A prediction does not fit into the holes that a training leaves, so that the process would hold both. Reference
    cycles are collected first.
    """
    gc.collect()
    if _on_linux() and hasattr(process := ctypes.CDLL(None), "malloc_trim"):
        process.malloc_trim(0)


def sleep_soon() -> str:
    """Make waiting OpenMP threads sleep soon; return a line that says what is set, or why nothing is.

    It has an effect only before torch is imported, as libgomp reads the variable when it is loaded.
    """
    if not _on_linux():
        return "left to this system's OpenMP"
    said = _said(WAIT_VARIABLES)
    if not said and "torch" in sys.modules:
        return f"spin, as torch was imported first; set {SPIN_VARIABLE}={SPIN_COUNT} before"
    if not said:
        os.environ[SPIN_VARIABLE] = SPIN_COUNT
        said = [SPIN_VARIABLE]
    return f"{said[0]}={os.environ[said[0]]}"


@contextmanager
def collector_paused() -> Iterator[None]:
    """Keep Python's collector of reference cycles from running inside, while modules are imported or networks are made.

    It can be used as a decorator too. A collector that the user has switched off stays off.
    """
    running = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if running:
            gc.enable()


def _on_linux() -> bool:
    return sys.platform == "linux"  # in a function, as a type checker for another system skips what follows it


def _said(names: Sequence[str]) -> list[str]:
    return [name for name in names if name in os.environ]
