"""Where networks predict: a device and a precision. This file is light to import: it needs no Fabric."""

from __future__ import annotations

from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any, Protocol, get_args

import torch

from medalist.engine.settings import Precision
from medalist.errors import ConfigError

AUTOCAST = {"16-mixed": torch.float16, "bf16-mixed": torch.bfloat16}
"""The lower type of each mixed precision."""


class Placement(Protocol):
    """What a prediction needs to know about its device. Fabric has the same two attributes."""

    @property
    def device(self) -> torch.device:
        """The device of the networks."""
        ...

    def autocast(self) -> AbstractContextManager[Any]:
        """Return the context in which networks are called."""
        ...


@dataclass(frozen=True)
class DevicePlacement:
    """One device of this process, and the precision in which networks predict there."""

    device: torch.device
    precision: Precision

    def autocast(self) -> AbstractContextManager[Any]:
        """Return the context in which networks are called, as Fabric has it for this precision."""
        dtype = AUTOCAST.get(self.precision, torch.float32)
        return torch.autocast(self.device.type, dtype=dtype, enabled=self.precision in AUTOCAST)


def find_device(name: str) -> torch.device:
    """Return the device with this name: `cpu`, `cuda`, `cuda:1`, `mps`; `auto` is the first GPU, else the processors.

    Raises ConfigError where torch does not know the name, or this machine has no such device.
    """
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
    try:
        device = torch.device(name)
        if device.type not in ("cpu", "cuda", "mps"):
            raise RuntimeError("networks do not predict there")
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError, NotImplementedError, TypeError, ImportError) as error:
        reason = " ".join(str(error).split())[:100]
        raise ConfigError(f"no device '{name}' here ({reason}); take 'auto', 'cpu', 'cuda' or 'mps'") from None
    return device


def find_precision(name: str) -> Precision:
    """Return the precision with this name; ConfigError for another word."""
    for known in get_args(Precision):
        if name == known:
            found: Precision = known
            return found
    raise ConfigError(f"precision = '{name}'; allowed: {', '.join(get_args(Precision))}")
