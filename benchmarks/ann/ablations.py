"""What single choices of our core are worth: indexes that differ in one of them, searched in turns in one process.

    python benchmarks/ann/ablations.py --vectors runs/ann --set deep112 [--subset N]

Queries a second of one thread (batches) at a recall, as ratios to the default: medians over rounds in which every
variant has its turn, so that a machine that slows down slows all of them. What only another source code can show stands
in the README beside the figures of this script.
"""

from __future__ import annotations

import argparse
import os
import statistics
import tempfile
import time
from pathlib import Path

import numpy as np
from curves import qps_at
from run import METRICS
from truth import cached_truth, padded, recall

from medalist.search import Index

WIDTHS = (12, 16, 20, 24, 30, 38, 48, 60, 76, 96, 130, 180)
CHANGES: dict[str, dict[str, int | str]] = {
    "default": {},
    "degree 16": {"degree": 16},
    "degree 24": {"degree": 24},
    "degree 40": {"degree": 40},
    "effort 32": {"effort": 32},
    "effort 128": {"effort": 128},
    "float16": {"refine": "float16"},
}


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("--vectors", type=Path, default=Path("runs/ann"))
    options.add_argument("--set", default="deep112", choices=sorted(METRICS))
    options.add_argument("--subset", type=int, default=200_000)
    options.add_argument("--rounds", type=int, default=5)
    chosen = options.parse_args()
    base = np.load(chosen.vectors / f"{chosen.set}-base.npy", mmap_mode="r")[: chosen.subset]
    queries = np.load(chosen.vectors / f"{chosen.set}-queries.npy")[:2000]
    metric = METRICS[chosen.set]
    tenth = cached_truth(chosen.vectors / f"{chosen.set}-base.npy", chosen.subset, queries, metric)
    indexes, builds = {}, {}
    for name, change in CHANGES.items():
        index, start = Index(base.shape[1], metric, **change), time.process_time()
        index.add(None, base, threads=1)
        indexes[name], builds[name] = index, time.process_time() - start
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "default.index"
        indexes["default"].save(file)
        indexes["vectors in the file"] = Index.open(file, mode="mapped")
        for kernels in ("avx2", "baseline"):
            os.environ["MEDALIST_KERNELS"] = kernels
            indexes[f"kernels {kernels}"] = Index.open(file, mode="memory")
        del os.environ["MEDALIST_KERNELS"]
    points: dict[str, list[tuple[float, float]]] = {name: [] for name in indexes}
    for width in WIDTHS:
        spent: dict[str, list[float]] = {name: [] for name in indexes}
        for _ in range(chosen.rounds):
            for name, index in indexes.items():
                start = time.thread_time()
                hits = index.search(queries, 10, ef=width)
                spent[name].append(time.thread_time() - start)
                if len(spent[name]) == chosen.rounds:
                    reached = recall(padded(hits.ids, len(queries)), base, queries, tenth, metric)
                    points[name].append((reached, len(queries) / statistics.median(spent[name])))
    print("| variant | 0.95 | 0.99 | build, CPU s | bytes / raw |\n|---|---|---|---|---|")
    for name, index in indexes.items():
        cells = []
        for target in (0.95, 0.99):
            mine, default = qps_at(points[name], target), qps_at(points["default"], target)
            cells.append(f"{mine / default:.2f}" if mine and default else "–")
        built = f"{builds[name]:.1f}" if name in builds else ""
        size = index.stats().bytes_per_vector / (4 * base.shape[1])
        print(f"| {name} | {' | '.join(cells)} | {built} | {size:.2f} |")


if __name__ == "__main__":
    main()
