"""The properties of a machine that may change the last digits of figures."""

from __future__ import annotations

import platform

import torch

from medalist.runs.surroundings import processor


def machine() -> dict[str, str]:
    """Return the properties of this machine that may change the last digits of figures.

    These are system, processor, the instructions that torch uses, CUDA, cuDNN and GPUs.
    """
    names = [torch.cuda.get_device_name(number) for number in range(torch.cuda.device_count())]
    if torch.backends.mps.is_available():
        names.append("MPS")
    cudnn: int | None = torch.backends.cudnn.version()  # type: ignore[no-untyped-call]
    return {
        "system": platform.platform(),
        "processor": processor(),
        "instructions": torch.backends.cpu.get_cpu_capability(),
        "CUDA": str(torch.version.cuda or "none"),
        "cuDNN": str(cudnn or "none"),
        "GPUs": ", ".join(f"{names.count(name)} x {name}" for name in dict.fromkeys(names)) or "none",
    }
