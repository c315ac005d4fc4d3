"""The peak memory of a piece of work: it is measured, not guessed."""

from __future__ import annotations

import threading
from collections.abc import Callable

import numpy as np
import psutil

from medalist.system import forget_peak_memory, peak_memory

SAFE_SHARE = 0.9
"""The share of a limit that is planned with; the rest is for what cannot be measured before."""

SAMPLED_SECONDS = 0.002


def in_gb(size: float) -> str:
    """Return a number of bytes as text, rounded up to a tenth of a GB."""
    return f"{np.ceil(size / 1e8) / 10:.1f} GB"


def peak_while(work: Callable[[], object]) -> int:
    """Return the peak memory of this process in bytes while `work` runs."""
    if forget_peak_memory():
        work()
        return peak_memory()
    seen = [psutil.Process().memory_info().rss]
    done = threading.Event()

    def watch() -> None:
        while not done.wait(SAMPLED_SECONDS):
            seen.append(psutil.Process().memory_info().rss)

    watching = threading.Thread(target=watch, daemon=True)
    watching.start()
    try:
        work()
    finally:
        done.set()
        watching.join()
    return max(*seen, psutil.Process().memory_info().rss)
