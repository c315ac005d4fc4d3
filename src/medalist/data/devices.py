"""What devices cannot do: Apple's GPU (MPS) beside processors and CUDA."""

from __future__ import annotations

import torch
from torch import Tensor


def with_float64(values: Tensor) -> Tensor:
    """The tensor where float64 can be computed: on its own device, or on the CPU if that is MPS, which has none."""
    return values.cpu() if values.device.type == "mps" else values


def takes_channels_last(device: torch.device, wanted: bool) -> bool:
    """Whether images and networks lie in memory with their channels last: as the config wants it, but never on MPS.

    MPS gains nothing by that layout, and versions of torch fail there or give wrong results (pytorch issues 140902 and
    180984, pull request 188371).
    """
    return wanted and device.type != "mps"


def copies_beside(device: torch.device) -> bool:
    """Whether a copy to the device may go on beside what follows: on CUDA.

    On MPS the copy may read memory that is in other hands by then (pytorch issues 139550 and 189690).
    """
    return device.type == "cuda"


def empty_cache(device: torch.device) -> None:
    """Give memory of the device back that no tensor holds."""
    if device.type == "cuda":
        torch.cuda.empty_cache()
    elif device.type == "mps":
        torch.mps.empty_cache()
