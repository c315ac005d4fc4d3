"""Devices and processes on systems that the tests do not run on."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from lightning_fabric.accelerators.mps import MPSAccelerator

from medalist.engine import devices
from medalist.engine.devices import open_fabric
from medalist.engine.memory import is_out_of_memory
from medalist.engine.settings import Precision
from medalist.errors import RunError

PLACE = {"LOCAL_RANK": "1", "RANK": "1", "WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "2"}


@pytest.fixture
def mac(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine with Apple's GPU, as far as Fabric looks."""
    monkeypatch.setattr(MPSAccelerator, "is_available", lambda: True)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: True)


@pytest.mark.parametrize("precision", ["32-true", "bf16-mixed", "16-mixed"])
def test_one_process_takes_apples_gpu(mac: None, precision: Precision) -> None:
    """With torch's autocast, and for halves its scaler, of that device."""
    fabric = open_fabric(precision)
    assert fabric.device.type == "mps"
    assert getattr(fabric._precision, "device", "mps") == "mps"


def test_several_processes_are_refused_there(mac: None, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in PLACE.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(RunError) as caught:
        open_fabric("32-true")
    assert str(caught.value) == (
        "2 processes cannot share Apple's GPU (MPS): leave out --devices, or set DISABLE_MPS=1 to train on the "
        "processors"
    )


@pytest.mark.parametrize("backend", [None, "gloo"])
def test_processes_of_windows_are_joined_by_gloo(monkeypatch: pytest.MonkeyPatch, backend: str | None) -> None:
    made: dict[str, Any] = {}

    def strategy(**words: Any) -> None:
        made.update(words)
        raise InterruptedError

    for name, value in PLACE.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(devices, "DDPStrategy", strategy)
    monkeypatch.setattr(devices, "BACKEND", backend)
    with pytest.raises(InterruptedError):
        open_fabric("32-true")
    assert made == {"process_group_backend": backend, "timeout": devices.LONGEST_WAIT}


def test_a_full_gpu_of_apple_is_known() -> None:
    assert is_out_of_memory(RuntimeError("MPS backend out of memory (MPS allocated: 9.06 GB, max allowed: 9.07 GB)"))
