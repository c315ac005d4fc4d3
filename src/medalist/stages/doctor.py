"""`medalist doctor`: what this machine has."""

from __future__ import annotations

import os
import shutil
import sys
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import psutil
import torch

from medalist.models.weights import list_weights, offline, weights_folder
from medalist.runs import commit

SHOWN = (
    "medalist",
    "torch",
    "torchvision",
    "timm",
    "segmentation-models-pytorch",
    "albumentations",
    "lightning-fabric",
    "numpy",
    "opencv-python-headless",
)


def examine(runs: Path) -> list[list[str]]:
    """(what, what was found) for processors, memory, GPUs, disk, weights, network policy and versions."""
    memory = psutil.virtual_memory()
    place = next(folder for folder in (runs.resolve(), *runs.resolve().parents) if folder.exists())
    free = shutil.disk_usage(place).free
    rows = [
        ["python", sys.version.split()[0]],
        [
            "processors",
            f"{len(os.sched_getaffinity(0)) if hasattr(os, 'sched_getaffinity') else os.cpu_count()}",
        ],
        ["threads of torch", str(torch.get_num_threads())],
        ["memory", f"{memory.available / 1e9:.1f} GB free of {memory.total / 1e9:.1f}"],
        ["disk for runs", f"{free / 1e9:.1f} GB free at {place}"],
    ]
    rows += [
        [f"GPU {number}", f"{torch.cuda.get_device_name(number)}, {_gpu_memory(number)}"]
        for number in range(torch.cuda.device_count())
    ] or [["GPU", "none: training runs on the processors"]]
    rows.append(["network for weights", "never (MEDALIST_OFFLINE=1)" if offline() else "the hub is the last place"])
    rows.append(["weights folder", f"{weights_folder()}"])
    rows += [[f"weights {found.name}", f"{found.source}: {found.path}"] for found in list_weights()]
    rows.append(["commit", commit()])
    rows += [[name, _version(name)] for name in SHOWN]
    return rows


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return "not installed by pip"


def _gpu_memory(number: int) -> str:
    free, total = torch.cuda.mem_get_info(number)
    return f"{free / 1e9:.1f} GB free of {total / 1e9:.1f}"
