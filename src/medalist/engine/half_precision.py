"""Whether this machine's processors gain from half precision, measured: many have no instructions for it."""

from __future__ import annotations

import time

import torch
from torch.nn import functional

from medalist.engine.placement import AUTOCAST, find_device
from medalist.engine.settings import Precision

SLOWER = 1.2
"""Half precision that takes more than this many times as long as float32 is worth a warning."""

_SHAPE, _KERNEL, _ROUNDS = (4, 32, 64, 64), (64, 32, 3, 3), 3


def half_precision_ratio(precision: Precision) -> float:
    """Return the time of a convolution on the processors in this precision, divided by its time in float32.

    1 for `32-true`. The convolution takes some milliseconds where the processors have the instructions. Without them
    torch emulates them, which takes ten times as long as float32, or longer.
    """
    if precision not in AUTOCAST:
        return 1.0
    half, single = (_seconds(dtype) for dtype in (AUTOCAST[precision], torch.float32))
    return half / single


def slow_precision(precision: Precision) -> str | None:
    """Return a warning where this process computes on processors that are slower in this precision, else None."""
    if find_device("auto").type != "cpu":
        return None
    ratio = half_precision_ratio(precision)
    if ratio <= SLOWER:
        return None
    return (
        f"warning: train.precision={precision} takes {ratio:.1f} times as long as 32-true in a convolution on these "
        "processors, which have no instructions for it; type train.precision=32-true"
    )


def _seconds(dtype: torch.dtype) -> float:
    """Return the shortest time of several equal convolutions, forward and backward."""
    image, kernel = torch.ones(_SHAPE, dtype=dtype), torch.ones(_KERNEL, dtype=dtype, requires_grad=True)
    found = []
    for _ in range(_ROUNDS):
        started = time.perf_counter()
        functional.conv2d(image, kernel, padding=1).sum().backward()  # type: ignore[no-untyped-call]
        found.append(time.perf_counter() - started)
    return min(found)
