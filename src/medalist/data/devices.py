"""What devices cannot do: Apple's GPU (MPS) beside processors and CUDA."""

from __future__ import annotations

import torch
from torch import Tensor


def with_float64(values: Tensor) -> Tensor:
    """Return the tensor on a device that has float64: its own device, or the CPU for a tensor on MPS."""
    return values.cpu() if values.device.type == "mps" else values


def takes_channels_last(device: torch.device, wanted: bool) -> bool:
    """Return whether images and networks use the memory layout channels_last: as the config says, but never on MPS.

    The layout is not faster on MPS, and versions of torch fail there or compute wrong results (pytorch issues 140902
    and 180984, pull request 188371).
    """
    return wanted and device.type != "mps"


def copies_beside(device: torch.device) -> bool:
    """Return whether a copy to the device may run while the program continues (`non_blocking`): on CUDA only.

    On MPS such a copy may read memory that has been freed by then (pytorch issues 139550 and 189690).
    """
    return device.type == "cuda"


def empty_cache(device: torch.device) -> None:
    """Free the memory of the device that torch keeps but no tensor uses."""
    if device.type == "cuda":
        torch.cuda.empty_cache()
    elif device.type == "mps":
        torch.mps.empty_cache()
