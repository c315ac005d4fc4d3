"""Compare the time and peak memory that `medalist plan` predicts with those of the real training.

python benchmarks/plan.py --config configs/toy_nuclei/demo.yaml [--data DIR] [--fold 0] [--seconds 60] [key=value ...]

First the plan, then `medalist train` of the fold run in processes of their own, in a temporary folder of runs. For the
toy contest new images are drawn where --data is not given. The ratios planned / real are printed: of the training with
its validation, of OOF prediction, of both together, and of the peak memory of host and device. The goal is a time
within 15 % and a memory within 10 %.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from medalist.competition import load_competition
from medalist.kinds import load_settings
from medalist.runs.plans import short_clock

PROJECT = Path(__file__).parent.parent


def command(*words: object) -> float:
    """Run `medalist` in a new process, and return the seconds that it took."""
    started = time.perf_counter()
    subprocess.run([sys.executable, "-m", "medalist", *map(str, words)], check=True, cwd=PROJECT)
    return time.perf_counter() - started


def line(what: str, planned: float, real: float, shown: Any, wanted: str = "") -> None:
    ratio = planned / real if real else float("nan")
    print(f"  {what:24} planned {shown(planned):>10}  real {shown(real):>10}  ratio {ratio:.3f}{wanted}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("overrides", nargs="*", metavar="key=value")
    parser.add_argument("--config", type=Path, default=PROJECT / "configs" / "toy_nuclei" / "demo.yaml")
    parser.add_argument("--data", type=Path)
    parser.add_argument("--fold", type=int, default=0)
    parser.add_argument("--seconds", type=float, default=60.0)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        data, runs = options.data, Path(folder, "runs")
        if data is None:
            draw = load_competition(load_settings(options.config).competition, PROJECT / "competitions").draw
            if draw is None:
                parser.error("type --data DIR: this contest is not drawn")
            data = Path(folder, "data")
            draw(data, 2018)
        what = (options.config.resolve(), *options.overrides, "--data", data.resolve(), "--fold", options.fold)
        what = (*what, "--name", "planned")
        probe = command("--runs", runs, "plan", *what, "--seconds", options.seconds)
        whole = command("--runs", runs, "train", *what)
        (run,) = runs.glob("*/planned")
        plan = json.loads((run / "plan.json").read_text())
        cost = json.loads((run / f"fold{options.fold}" / "cost.json").read_text())
    planned = plan["by_fold"][str(options.fold)]
    training = planned["training"] + planned["validation"]
    print(f"{options.config.name} fold {options.fold}, {plan['machine']}; the plan took {probe:.1f} s of its process:")
    line("training, validation", training, cost["train_seconds"], short_clock)
    line("OOF prediction", planned["oof"], cost["oof_seconds"], short_clock)
    both = cost["train_seconds"] + cost["oof_seconds"]
    line("both", training + planned["oof"], both, short_clock, "   (wanted: 0.85 to 1.15)")
    print(f"  (the command took {short_clock(whole)}, its start and reading images included)")
    host = plan["host_bytes"], cost["host_bytes"]
    line("host's peak", *host, lambda count: f"{count / 1e6:.0f} MB", "   (wanted: 0.9 to 1.1)")
    if cost["device_bytes"]:
        device = plan["device_bytes"], cost["device_bytes"]
        line("device's peak", *device, lambda count: f"{count / 1e6:.0f} MB", "   (wanted: 0.9 to 1.1)")


if __name__ == "__main__":
    main()
