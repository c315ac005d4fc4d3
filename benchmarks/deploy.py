"""`medalist.deploy` against torch: milliseconds a picture on one thread, and seconds and memory of a new process.

python benchmarks/deploy.py RUN EXPORT [--runs DIR] [--side 256] [--rounds 7] [--count 10]

EXPORT is what `medalist export RUN -o EXPORT` wrote. First: pictures one by one, by `Deployed.predict`, by `open_run`
(torch eager, the whole path), and by the bare forward of the same networks on tensors that are ready, in turns, all on
one thread. Then new processes: seconds from nothing to the first prediction, and the peak of memory.
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

import medalist
from medalist.deploy import Deployed

NEW = {
    "deploy": """
import resource, sys, time
began = time.perf_counter()
import numpy
from medalist.deploy import Deployed
networks = Deployed.open(sys.argv[2], threads=1)
networks.predict(numpy.zeros((int(sys.argv[4]), int(sys.argv[4]), 3), numpy.uint8))
print(time.perf_counter() - began, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)
""",
    "open_run": """
import resource, sys, time
began = time.perf_counter()
import medalist, numpy
networks = medalist.open_run(sys.argv[1], runs=sys.argv[3], device="cpu")
networks.predict(numpy.zeros((int(sys.argv[4]), int(sys.argv[4]), 3), numpy.uint8))
print(time.perf_counter() - began, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)
""",
}


def seconds(call: Callable[[], Any], count: int) -> float:
    began = time.perf_counter()
    for _ in range(count):
        call()
    return (time.perf_counter() - began) / count


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run")
    parser.add_argument("export")
    parser.add_argument("--runs", default="runs")
    parser.add_argument("--side", type=int, default=256)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--count", type=int, default=10)
    options = parser.parse_args()

    deployed = Deployed.open(options.export, threads=1)
    predictor = medalist.open_run(
        options.run, runs=options.runs, device="cpu", precision="32-true", folds=deployed.described.folds
    )
    import torch

    torch.set_num_threads(1)
    pixels = np.random.default_rng(0).integers(0, 256, (options.side, options.side, 3)).astype(np.uint8)
    calls = {
        "deploy": lambda: deployed.predict(pixels),
        "open_run": lambda: predictor.predict(pixels),
        "bare": bare_forward(predictor, pixels),
    }
    for call in calls.values():
        seconds(call, 3)
    rounds = [{name: seconds(call, options.count) for name, call in calls.items()} for _ in range(options.rounds)]
    for name in calls:
        print(
            f"{name}: {1000 * median(one[name] for one in rounds):.1f} ms a picture of {options.side} x {options.side}"
        )
    for name in ("open_run", "bare"):
        ratio = median(one[name] / one["deploy"] for one in rounds)
        print(f"  deploy is {ratio:.2f} times as fast as {name}   (wanted: 1.5)")
    for name, code in NEW.items():
        words = [sys.executable, "-c", code, options.run, options.export, options.runs, str(options.side)]
        found = [list(map(float, subprocess.check_output(words, text=True).split())) for _ in range(3)]
        took, memory = (median(column) for column in zip(*found, strict=True))
        print(f"new process, {name}: first prediction after {took:.2f} s, peak {memory:.0f} MB")


def bare_forward(predictor: Any, pixels: np.ndarray[Any, Any]) -> Callable[[], Any]:
    """The forward passes of the networks on a tensor that is ready, in eager mode, one view, and nothing else."""
    import torch

    from medalist.data.items import prepared
    from medalist.tasks.networks import batches_of_images

    networks = predictor.networks
    ready = prepared(pixels, predictor.settings.image)
    batch = next(batches_of_images([ready], 1, networks.item))
    image = batch.to(torch.device("cpu"), predictor.settings.train.channels_last).image

    @torch.inference_mode()
    def forward() -> Any:
        return [model(image) for model in networks.models]

    return forward


if __name__ == "__main__":
    main()
