"""Compare the time of folds in the queue with the time of the same folds one after another.

python benchmarks/fold_queue.py [--config FILE] [--data DIR] [--folds 4] [--epochs 20] [--workers 2] [--rounds 3]

Both are commands as users type them, in new processes and new run folders. Both are timed as a whole: start of Python
and of Ray, reading, training, prediction of the held-out samples. Each worker of the queue has its share of the
processors. The folds one after another are timed on one such share, which corresponds to one GPU of several, and on all
processors. Rounds are interleaved. The medians and the median ratios are printed.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median

PROJECT = Path(__file__).parent.parent


def seconds(options: argparse.Namespace, threads: int | None, *more: str) -> float:
    """Return the seconds of one command that trains all folds in a new folder."""
    env = {name: value for name, value in os.environ.items() if name not in ("OMP_NUM_THREADS", "MKL_NUM_THREADS")}
    if threads is not None:
        env["OMP_NUM_THREADS"] = str(threads)
    with tempfile.TemporaryDirectory() as runs:
        words = [sys.executable, "-m", "medalist", "--quiet", "--runs", runs, "train", str(options.config)]
        words += [f"folds.n={options.folds}", f"train.epochs={options.epochs}", "tracking=none", *more]
        words += ["--data", str(options.data)] if options.data else []
        started = time.perf_counter()
        subprocess.run(words, check=True, env=env, cwd=PROJECT, stdout=subprocess.DEVNULL)
        return time.perf_counter() - started


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--config", type=Path, default=PROJECT / "configs" / "toy_nuclei" / "demo.yaml")
    parser.add_argument("--data", type=Path, default=None, help="folder of the contest; default: as medalist finds it")
    parser.add_argument("--folds", type=int, default=4)
    parser.add_argument("--epochs", type=int, default=20)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    cores = len(os.sched_getaffinity(0))
    share = max(1, cores // options.workers)
    queued, on_share, on_all = [], [], []
    for _ in range(options.rounds):
        queued.append(seconds(options, None, "--folds", "all", "--workers", str(options.workers)))
        on_share.append(seconds(options, share))
        on_all.append(seconds(options, cores))
    print(f"{options.config.stem}, {options.folds} folds of {options.epochs} epochs, {options.rounds} rounds:")
    print(f"  queue of {options.workers}: {median(queued):.1f} s")
    for threads, alone in ((share, on_share), (cores, on_all)):
        ratio = median(one / both for one, both in zip(alone, queued, strict=True))
        wanted = "   (wanted on 2 shares: at least 1.7)" if threads == share else ""
        print(f"  one after another, threads {threads}: {median(alone):.1f} s, ratio {ratio:.2f}{wanted}")


if __name__ == "__main__":
    main()
