"""Test whether figures depend on the number of processes: held-out loss, Dice and OOF score on 1, 2 and 4 processes.

python benchmarks/processes.py [--config configs/toy_nuclei/demo.yaml] [--data DIR] [--epochs 2] [--processes 1 2 4]
    [key=value ...]

Fold 0 is trained briefly on one process. Then each number of processes validates and predicts its held-out samples with
the same weights, and one process scores the predictions. For the toy contest new images are drawn where --data is not
given. All figures are printed with all digits. The exit code is 1 where they differ in any bit.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
from pathlib import Path

from medalist.competition import load_competition
from medalist.kinds import load_settings
from medalist.reporter import SilentReporter

PROJECT = Path(__file__).parent.parent
FOLD = 0
NAME = "processes"


def plain(*words: object) -> None:
    """Run `medalist` in a new process with one thread, which is also what each of several processes has."""
    command = [sys.executable, "-m", "medalist", "--quiet", *map(str, words)]
    subprocess.run(command, check=True, cwd=PROJECT, env=os.environ | {"OMP_NUM_THREADS": "1"}, stdout=sys.stderr)


def look(config: Path, data: Path, runs: Path, overrides: list[str], out: Path) -> None:
    """Validate the held-out samples in one of several processes; the first process writes the figures to `out`."""
    from medalist.engine.checkpoint import load_weights
    from medalist.engine.devices import open_fabric
    from medalist.engine.job import TrainJob
    from medalist.engine.train import validate_held_out
    from medalist.kinds import kind_of
    from medalist.training.request import TrainRequest
    from medalist.training.start import prepare_together

    settings = load_settings(config, tuple(overrides))
    fabric = open_fabric(settings.train.precision)
    request = TrainRequest(settings, config, tuple(overrides), str(data), (FOLD,), NAME, runs)
    setup = prepare_together(request, fabric)
    job = kind_of(settings).training().open_data(setup, fabric, SilentReporter())(FOLD)
    assert isinstance(job, TrainJob), "a kind without gradients validates nothing while it trains"
    load_weights(job.model, setup.run.checkpoint(FOLD, settings.train.keep))
    figures = validate_held_out(job, fabric.to_device(job.model))
    if fabric.is_global_zero:
        out.write_text(json.dumps(figures), encoding="utf-8")


def spread(words: list[str], count: int) -> None:
    """Run the function `look` of this file in `count` processes."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    shared = {"WORLD_SIZE": str(count), "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "OMP_NUM_THREADS": "1"}
    if sys.platform == "linux":
        shared["GLOO_SOCKET_IFNAME"] = "lo"
    started = []
    for rank in range(count):
        own = os.environ | shared | {"RANK": str(rank), "LOCAL_RANK": str(rank)}
        started.append(subprocess.Popen([sys.executable, __file__, *words], env=own, cwd=PROJECT))
    codes = [process.wait() for process in started]
    if any(codes):
        raise SystemExit(1)


def figures_on(count: int, options: argparse.Namespace, config: Path, data: Path, trained: Path) -> dict[str, float]:
    """Return the figures of the same weights on `count` processes."""
    runs = trained.with_name(f"runs{count}")
    shutil.copytree(trained, runs)
    (run,) = runs.glob(f"*/{NAME}")
    out = runs / "figures.json"
    overrides = [*options.overrides, f"train.epochs={options.epochs}"]
    spread(["--look", str(out), "--config", str(config), "--data", str(data), "--runs", str(runs), *overrides], count)
    figures: dict[str, float] = json.loads(out.read_text())
    shutil.rmtree(run / "oof")
    plain("--runs", runs, "predict", f"{run.parent.name}/{NAME}", "--split", "oof", "--data", data, "--devices", count)
    plain("--runs", runs, "score", f"{run.parent.name}/{NAME}", "--data", data)
    return figures | {"OOF score": json.loads((run / "scores.json").read_text())["oof"]["value"]}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("overrides", nargs="*", metavar="key=value")
    parser.add_argument("--config", type=Path, default=PROJECT / "configs" / "toy_nuclei" / "demo.yaml")
    parser.add_argument("--data", type=Path)
    parser.add_argument("--epochs", type=int, default=2)
    parser.add_argument("--processes", type=int, nargs="+", default=[1, 2, 4])
    parser.add_argument("--look", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--runs", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_intermixed_args()
    config = options.config.resolve()
    if options.look:
        look(config, options.data, options.runs, options.overrides, options.look)
        return
    with tempfile.TemporaryDirectory() as folder:
        data, runs = options.data, Path(folder, "runs")
        if data is None:
            draw = load_competition(load_settings(config).competition, PROJECT / "competitions").draw
            if draw is None:
                parser.error("type --data DIR: this contest is not drawn")
            data = Path(folder, "data")
            draw(data, 2018)
        data = data.resolve()
        overrides = [*options.overrides, f"train.epochs={options.epochs}"]
        plain("--runs", runs, "train", config, "--data", data, "--fold", FOLD, "--name", NAME, *overrides)
        found = {count: figures_on(count, options, config, data, runs) for count in options.processes}
    first = found[options.processes[0]]
    for count, figures in found.items():
        print(f"{count} {'process' if count == 1 else 'processes'}")
        for name, value in figures.items():
            print(f"  {name:20} {value!r:24} {'equal' if value == first[name] else 'DIFFERENT'}")
    raise SystemExit(0 if all(figures == first for figures in found.values()) else 1)


if __name__ == "__main__":
    main()
