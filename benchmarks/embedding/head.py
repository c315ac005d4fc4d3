"""A head on the kept features of a frozen encoder: seconds for 100 epochs.

python benchmarks/embedding/head.py --data DIR [--config configs/grocery_retrieval/frozen.yaml] [--epochs 100]

DIR is the contest of the config. The features are computed first, if they are not kept yet; timed is `engine.train.fit`
of fold 0, as `medalist train` calls it: loading, training, checkpoints.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

from medalist.engine.devices import open_fabric
from medalist.engine.job import TrainJob
from medalist.engine.train import fit
from medalist.kinds import kind_of, load_settings
from medalist.reporter import SilentReporter
from medalist.training.request import TrainRequest
from medalist.training.start import prepare

PROJECT = Path(__file__).parents[2]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--config", type=Path, default=PROJECT / "configs" / "grocery_retrieval" / "frozen.yaml")
    parser.add_argument("--epochs", type=int, default=100)
    parser.add_argument("--runs", type=Path, default=PROJECT / "runs")
    options = parser.parse_args()
    reporter = SilentReporter()
    name = f"head-benchmark-{time.time_ns()}"  # a run of its own, so that nothing is done already
    overrides = (f"train.epochs={options.epochs}", "tracking=none")
    settings = load_settings(options.config, overrides)
    setup = prepare(TrainRequest(settings, options.config, overrides, str(options.data), (0,), name, options.runs))
    fabric = open_fabric(settings.train.precision)
    job = kind_of(settings).training().open_data(setup, fabric, reporter)(0)
    assert isinstance(job, TrainJob)
    job.folder.mkdir(parents=True)
    began = time.perf_counter()
    with reporter.progress(name, job.steps) as bar:
        fit(job, lambda row: None, bar)
    took = time.perf_counter() - began
    samples = len(setup.contest.split.train)
    print(f"{options.epochs} epochs of fold 0 of {samples} samples: {took:.1f} s, {job.steps} steps")


if __name__ == "__main__":
    main()
