"""Half precision on processors: whether this machine gains from it, measured, and the layers that would lose by it."""

from __future__ import annotations

import time
from typing import Any

import torch
from torch import Tensor, nn
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


def depthwise_in_float32(network: nn.Module, device: str, precision: Precision) -> int:
    """Let depthwise convolutions train in float32 on processors; return how many there are.

    torch has no fast backward for them in bfloat16 there: it takes several times as long as in float32, and half of the
    step of a U-Net with an EfficientNet. Their forward without gradients stays in bfloat16. Does nothing on other
    devices and in `32-true`.
    """
    if device != "cpu" or precision not in AUTOCAST:
        return 0
    found = [one for one in network.modules() if isinstance(one, nn.Conv2d) and 1 < one.groups == one.in_channels]
    for one in found:
        one.register_forward_pre_hook(_enter_float32)
        one.register_forward_hook(_leave_float32, always_call=True)
    return len(found)


def _enter_float32(module: nn.Module, inputs: tuple[Any, ...]) -> tuple[Any, ...] | None:
    if not (torch.is_grad_enabled() and torch.is_autocast_enabled("cpu")):
        return None
    torch.set_autocast_enabled("cpu", False)
    module.__dict__[_WITHOUT_AUTOCAST] = True
    return tuple(one.float() for one in inputs)


def _leave_float32(module: nn.Module, inputs: tuple[Any, ...], output: Any) -> Tensor | None:
    if not module.__dict__.pop(_WITHOUT_AUTOCAST, False):
        return None
    torch.set_autocast_enabled("cpu", True)
    return None if output is None else output.to(torch.get_autocast_dtype("cpu"))  # None: the forward has failed


_WITHOUT_AUTOCAST = "_medalist_without_autocast"


def _seconds(dtype: torch.dtype) -> float:
    """Return the shortest time of several equal convolutions, forward and backward."""
    image, kernel = torch.ones(_SHAPE, dtype=dtype), torch.ones(_KERNEL, dtype=dtype, requires_grad=True)
    found = []
    for _ in range(_ROUNDS):
        started = time.perf_counter()
        functional.conv2d(image, kernel, padding=1).sum().backward()  # type: ignore[no-untyped-call]
        found.append(time.perf_counter() - started)
    return min(found)
