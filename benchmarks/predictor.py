"""`open_run`: seconds from a new process to the first prediction, and what a prediction costs over the bare forward.

python benchmarks/predictor.py RUN [--runs DIR] [--image FILE] [--side 256] [--rounds 5] [--count 20]

First: `import medalist`, `open_run`, `predict`, each time in a new process. Then, in this process: pictures one by one,
by `predict` and by the same networks on tensors that are ready, in turns. The image is a random one without --image.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import time
from collections.abc import Callable
from statistics import median
from typing import Any

import numpy as np
from PIL import Image

import medalist
from medalist.processors import sleep_soon

FIRST = """
import sys, time
began = time.perf_counter()
import medalist, numpy
predictor = medalist.open_run(sys.argv[1], runs=sys.argv[2], device="cpu")
opened = time.perf_counter()
predictor.predict(numpy.zeros((int(sys.argv[3]), int(sys.argv[3]), 3), numpy.uint8))
print(opened - began, time.perf_counter() - began)
"""


def seconds(call: Callable[[], Any], count: int) -> float:
    began = time.perf_counter()
    for _ in range(count):
        call()
    return (time.perf_counter() - began) / count


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run")
    parser.add_argument("--runs", default="runs")
    parser.add_argument("--image")
    parser.add_argument("--side", type=int, default=256)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--count", type=int, default=20)
    options = parser.parse_args()
    words = [sys.executable, "-c", FIRST, options.run, options.runs, str(options.side)]
    first = [list(map(float, subprocess.check_output(words, text=True).split())) for _ in range(options.rounds)]
    opened, predicted = (median(column) for column in zip(*first, strict=True))
    print(f"new process: open_run after {opened:.2f} s, first prediction after {predicted:.2f} s   (wanted: below 3 s)")

    sleep_soon()
    predictor = medalist.open_run(options.run, runs=options.runs, device="cpu")
    networks: Any = predictor.networks
    pixels = np.random.default_rng(0).integers(0, 256, (options.side, options.side, 3)).astype(np.uint8)
    if options.image:
        pixels = np.asarray(Image.open(options.image).convert("RGB"))
    bare = bare_forward(networks, pixels)
    for call in (bare, lambda: predictor.predict(pixels)):
        seconds(call, 3)
    pairs = [
        (seconds(bare, options.count), seconds(lambda: predictor.predict(pixels), options.count))
        for _ in range(options.rounds)
    ]
    plain, ours = (1000 * median(column) for column in zip(*pairs, strict=True))
    ratio = median(own / bare_seconds for bare_seconds, own in pairs)
    print(f"a picture of {pixels.shape[1]} x {pixels.shape[0]}: predict {ours:.1f} ms, bare forward {plain:.1f} ms")
    print(f"  ratio {ratio:.3f}   (wanted: at most 1.05)")


def bare_forward(networks: Any, pixels: np.ndarray[Any, Any]) -> Callable[[], Any]:
    """The forward passes of a prediction (networks, views, scales) on a tensor that is ready, and nothing else."""
    import torch

    from medalist.data.loader import collate
    from medalist.tasks.segment.inference import average_views

    batch = collate([networks.item(0, pixels)]).to(torch.device("cpu"), networks.settings.train.channels_last)

    @torch.inference_mode()
    def forward() -> Any:
        return average_views(
            networks.task, networks.models, batch.image, networks.settings.predict, networks.settings.model.stride
        )

    return forward


if __name__ == "__main__":
    main()
