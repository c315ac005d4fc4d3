"""Settings of memory and threads: steps, images a second and memory, on a quiet machine and beside a busy process.

python benchmarks/processors.py [--works train predict embed] [--beside] [--rounds 3] [--threads 2] [--precisions ...]

Each measurement is a process of its own, as libgomp reads its variables when it is loaded. `before` is a process as
torch makes it. `memory` keeps freed buffers (`medalist.processors.keep_buffers`), `threads` has GOMP_SPINCOUNT=1000,
`both` has both, which is what medalist does. `passive` is `memory` with OMP_WAIT_POLICY=PASSIVE. Settings take turns;
printed are medians over rounds, the processor time of a step or image, and the largest peak of memory. With --beside
every measurement runs a second time beside a process that keeps one processor busy.

train: a step (forward, backward, fused AdamW) of a U-Net lite0 at batch 8, 256 x 256. predict: its forward. embed: the
forward of lite0 at batch 32, 224 x 224. All channels-last; the images are random numbers.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import nullcontext
from statistics import median
from typing import Any

SETTINGS: dict[str, tuple[bool, dict[str, str]]] = {
    "before": (False, {}),
    "memory": (True, {}),
    "threads": (False, {"GOMP_SPINCOUNT": "1000"}),
    "both": (True, {"GOMP_SPINCOUNT": "1000"}),
    "passive": (True, {"OMP_WAIT_POLICY": "PASSIVE"}),
}
"""Whether buffers are kept, and the variables of the process."""

BUSY = "while True: pass"


def work_of(name: str, precision: str, compiled: bool) -> tuple[Callable[[], Any], int]:
    """Return what is repeated, and how many images each time has."""
    import torch
    from torch.nn.functional import binary_cross_entropy_with_logits

    from medalist.engine.placement import DevicePlacement
    from medalist.models.backbone import build_encoder
    from medalist.tasks.embed.model_settings import EmbedderConfig
    from medalist.tasks.segment.model_settings import SmpConfig
    from medalist.tasks.segment.network import build_model

    torch.manual_seed(0)
    place = DevicePlacement(torch.device("cpu"), precision)  # type: ignore[arg-type]
    batch, side = (32, 224) if name == "embed" else (8, 256)
    images = torch.rand(batch, 3, side, side).to(memory_format=torch.channels_last)
    network: torch.nn.Module
    if name == "embed":
        network = build_encoder(EmbedderConfig(encoder="tf_efficientnet_lite0", dim=8), (side, side), None)
    else:
        unet = {"kind": "unet", "encoder": "tf_efficientnet_lite0", "weights": "none", "channels": ["body", "border"]}
        network = build_model(SmpConfig.model_validate({**unet, "decoder_channels": [128, 64, 32, 16, 16]}))
    network = network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    called = torch.compile(network) if compiled else network
    if name != "train":
        network.eval()

        def forward() -> None:
            with torch.inference_mode(), place.autocast():
                called(images)

        return forward, batch
    target = (torch.rand(batch, 2, side, side) > 0.5).float()
    optimizer = torch.optim.AdamW(network.parameters(), lr=1e-3, fused=True)

    def step() -> None:
        optimizer.zero_grad()
        with place.autocast():
            outputs = called(images)
        binary_cross_entropy_with_logits(outputs.float(), target).backward()
        torch.nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        optimizer.step()

    return step, batch


def child(options: argparse.Namespace) -> None:
    """Measure in this process, and print one line of JSON."""
    if SETTINGS[options.child][0]:
        from medalist.processors import keep_buffers

        assert "kept" in keep_buffers()
    import resource

    import torch

    torch.set_num_threads(options.threads)
    once, images = work_of(options.works[0], options.precisions[0], options.compile)
    for _ in range(2):
        once()
    before, times = resource.getrusage(resource.RUSAGE_SELF), []
    for _ in range(options.steps):
        began = time.perf_counter()
        once()
        times.append(time.perf_counter() - began)
    after = resource.getrusage(resource.RUSAGE_SELF)
    busy = (after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime) / options.steps
    faults = (after.ru_minflt - before.ru_minflt) // options.steps
    told = {
        "rate": len(times) / sum(times),
        "images": images,
        "cpu": busy,
        "faults": faults,
        "mb": after.ru_maxrss / 1e3,
    }
    sys.stdout.write(json.dumps(told) + "\n")


def measured(options: argparse.Namespace, setting: str, work: str, precision: str, beside: bool) -> dict[str, float]:
    words = [sys.executable, __file__, "--child", setting, "--works", work, "--precisions", precision]
    words += [
        "--threads",
        str(options.threads),
        "--steps",
        str(options.steps),
        *(["--compile"] if options.compile else []),
    ]
    clean = {name: value for name, value in os.environ.items() if name not in ("GOMP_SPINCOUNT", "OMP_WAIT_POLICY")}
    other = subprocess.Popen([sys.executable, "-c", BUSY]) if beside else nullcontext()
    with other:
        try:
            told = subprocess.run(words, env=clean | SETTINGS[setting][1], check=True, capture_output=True, text=True)
        finally:
            if isinstance(other, subprocess.Popen):
                other.kill()
    found: dict[str, float] = json.loads(told.stdout.splitlines()[-1])
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--works", nargs="+", default=["train", "predict", "embed"])
    parser.add_argument("--settings", nargs="+", default=list(SETTINGS), choices=list(SETTINGS))
    parser.add_argument("--precisions", nargs="+", default=["32-true"])
    parser.add_argument("--compile", action="store_true", help="torch.compile by inductor")
    parser.add_argument("--beside", action="store_true", help="also beside a process that keeps one processor busy")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--steps", type=int, default=6)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--child", choices=list(SETTINGS), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        child(options)
        return
    for work in options.works:
        for beside in (False, True) if options.beside else (False,):
            rows: dict[tuple[str, str], list[dict[str, float]]] = {}
            for _ in range(options.rounds):
                for setting in options.settings:
                    for precision in options.precisions:
                        found = measured(options, setting, work, precision, beside)
                        rows.setdefault((setting, precision), []).append(found)
            print(f"{work}, {options.threads} threads, {'beside a busy process' if beside else 'quiet'}:")
            for (setting, precision), each in rows.items():
                print(f"  {setting:<8} {precision:<10} {line(each)}", flush=True)


def line(each: list[dict[str, float]]) -> str:
    """The medians of some measurements, and their largest peak."""
    rates = [one["rate"] for one in each]
    busy, faults = (median(one[name] for one in each) for name in ("cpu", "faults"))
    return (
        f"{median(rates):6.3f} a second ({min(rates):.3f} to {max(rates):.3f}), "
        f"{each[0]['images'] * median(rates):6.1f} images/s, {busy:6.2f} s of processors each, "
        f"{faults:9,.0f} page faults, peak {max(one['mb'] for one in each):,.0f} MB"
    )


if __name__ == "__main__":
    main()
