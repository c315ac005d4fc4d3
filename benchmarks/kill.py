"""Compare a training that is killed many times with one that is never killed: are all files the same, bit for bit?

python benchmarks/kill.py [--config FILE] [--kills 24] [--devices 1] [--data DIR] [--seed 0] [--keep DIR] [CHANGE ...]

First `medalist train` trains fold 0 of the config in a process of its own, with a state after each step. Then the same
training is killed with SIGKILL to all its processes: two times while it starts, four times while it predicts the
held-out samples, and all other times at moments spread over the training. Such a moment is a random time of up to a
step after a randomly chosen state is written, so that any line of the loop and any file may be hit. After each kill the
same command is started again, until it ends. The places of the kills are printed, and the sha256 of the files at the
end: weights, rows of metrics without their times, held-out predictions. The exit code is 1 where they differ.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from hashlib import sha256
from pathlib import Path

from medalist.competition import load_competition
from medalist.files import sha256_file
from medalist.kinds import load_settings

PROJECT = Path(__file__).parent.parent
DRAWN_SEED = 2018
EARLY, LATE = 2, 4
"""The number of kills while a process starts, and while it predicts."""


@dataclass(frozen=True)
class Training:
    """The command, the folder of the run that it makes, and the file of its output."""

    command: tuple[str, ...]
    run: Path
    log: Path

    @property
    def newest(self) -> int:
        """The number of batches before the newest state; 0 without a state."""
        names = [path.name for path in (self.run / "fold0").glob("state-*.safetensors")]
        return max((int(name[6:16]) for name in names if re.fullmatch(r"state-\d{10}\.safetensors", name)), default=0)

    @property
    def trained(self) -> bool:
        return (self.run / "fold0" / "last.safetensors").exists()

    def predicted(self, since: float) -> int:
        """Return how many predictions were written since a moment in Unix time (seconds)."""
        return sum(path.stat().st_mtime > since for path in (self.run / "oof").glob("[!.]*.png"))

    def has_predicted(self, since: float, count: int) -> bool:
        return self.predicted(since) >= count

    def is_at(self, batches: int) -> bool:
        return self.newest >= batches or self.trained

    def start(self) -> subprocess.Popen[bytes]:
        """Start or resume the training in a process group of its own."""
        with self.log.open("ab") as log:
            return subprocess.Popen(self.command, stdout=log, stderr=log, cwd=PROJECT, start_new_session=True)

    def to_the_end(self) -> float:
        """Run until the training ends, and return the seconds. Raises SystemExit where it fails."""
        started = time.monotonic()
        if self.start().wait():
            sys.exit(f"the training failed:\n{self.log.read_text()[-3000:]}")
        return time.monotonic() - started

    def killed(self, when: Callable[[], bool], delay: float) -> bool:
        """Run until `when` is true and `delay` seconds longer, and kill all processes.

        Returns False where the training ends before. Raises SystemExit where it fails.
        """
        process = self.start()
        while not when():
            if process.poll() is not None:
                break
            time.sleep(0.001)
        else:
            time.sleep(delay)
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
        code = process.wait()
        if code not in (0, -signal.SIGKILL):
            sys.exit(f"the training failed:\n{self.log.read_text()[-3000:]}")
        return code != 0

    def rows(self) -> list[dict[str, float]]:
        """Return the rows of metrics without their times."""
        lines = (self.run / "fold0" / "metrics.jsonl").read_text().splitlines()
        return [{name: value for name, value in json.loads(line).items() if name != "seconds"} for line in lines]

    def left(self) -> dict[str, str]:
        """Return the sha256 of each file that must be the same, and of the rows of metrics."""
        files = [*(self.run / "fold0").glob("*.safetensors"), *(self.run / "oof").rglob("*")]
        hashes = {
            str(path.relative_to(self.run)): sha256_file(path)
            for path in sorted(files)
            if path.is_file() and not path.name.startswith(".")
        }
        rows = json.dumps(self.rows(), sort_keys=True)
        return {**hashes, "fold0/metrics.jsonl without seconds": sha256(rows.encode()).hexdigest()}

    def half_written(self) -> list[str]:
        """Return the names of the temporary files that a kill has left."""
        return sorted(path.name for path in self.run.rglob(".*-*") if path.is_file())


def kill_through(training: Training, kills: int, per_epoch: int, total: int, step: float, seed: int) -> int:
    """Kill the training `kills` times, and then let it end. Print the place of each kill, and return their number."""
    chance = random.Random(seed)
    early = min(EARLY, kills)
    inside = max(kills - EARLY - LATE, 0)
    # The training is divided into equal stretches, with one kill in each.
    stretch = total / max(inside, 1)
    points = [int((number + chance.random()) * stretch) for number in range(inside)]
    hits = 0

    def tell(what: str) -> None:
        half = ", ".join(re.sub(r"^\.[0-9a-f]{8}-", "", name) for name in training.half_written())
        print(f"  kill {hits:2}: {what}{f'; half-written: {half}' if half else ''}", flush=True)

    for _ in range(early):
        if training.killed(lambda: True, chance.uniform(0.1, 4)):
            hits += 1
            tell("while it starts" if not training.newest else f"after {training.newest} batches")
    for point in points:
        # Each attempt has to get farther than the one before, because otherwise the training would never end.
        target = max(point, training.newest + 1)
        if target > total or training.trained:
            break
        if training.killed(partial(training.is_at, target), chance.uniform(0, step)):
            hits += 1
            epoch, batch = divmod(training.newest, per_epoch)
            where = f"newest state: epoch {epoch}, batch {batch} of {per_epoch}"
            tell("behind the last epoch" if training.trained else where)
    while hits < kills:
        now, wanted = time.time(), chance.randint(1, 6)
        if not training.killed(partial(training.has_predicted, now, wanted), 0):
            break
        hits += 1
        tell(f"while it predicts, {training.predicted(now)} predictions written")
    training.to_the_end()
    return hits


def compared(whole: dict[str, str], parts: dict[str, str]) -> bool:
    """Print the hashes of both trainings, and return whether all are equal."""
    names = sorted(whole.keys() | parts.keys())
    rest = [name for name in names if not name.startswith("fold0/")]
    equal = sum(whole.get(name) == parts.get(name) for name in rest)
    shown = [(name, whole.get(name, "missing"), parts.get(name, "missing")) for name in names if name not in rest]
    one, two = (sha256(json.dumps([side.get(name) for name in rest]).encode()).hexdigest() for side in (whole, parts))
    shown.append((f"oof, {equal} of {len(rest)} files equal", one, two))
    for name, one, two in shown:
        print(f"  {name:38} {one[:16]} {'==' if one == two else '!='} {two[:16]}")
    return whole == parts


def trainings(options: argparse.Namespace, home: Path) -> tuple[Training, Training]:
    """Return two trainings on the same data: one that is never killed, and one that is killed."""
    changes: Sequence[str] = (*options.changes, "checkpoint.steps=1")
    if not any(change.startswith("train.epochs=") for change in changes):
        changes = ("train.epochs=4", *changes)
    settings = load_settings(options.config, tuple(changes))
    draw, data = load_competition(settings.competition, PROJECT / "competitions").draw, options.data
    if draw is not None:
        data = home / "data"
        if not data.exists():
            draw(data, DRAWN_SEED)
    if data is None:
        sys.exit(f"the contest {settings.competition} does not draw its own data; say --data")

    def made(name: str) -> Training:
        root = home / name
        words = ["train", options.config.resolve(), *changes, "--data", Path(data).resolve(), "--fold", 0]
        words += ["--name", "run", "--devices", options.devices]
        start = [sys.executable, "-m", "medalist", "--quiet", "--runs", root]
        command = tuple(str(word) for word in [*start, *words])
        return Training(command, root / settings.competition / "run", home / f"{name}.log")

    return made("whole"), made("parts")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("changes", nargs="*", metavar="CHANGE", help="to the config; train.epochs=4 unless said")
    parser.add_argument("--config", type=Path, default=PROJECT / "configs" / "toy_nuclei" / "demo.yaml")
    parser.add_argument("--kills", type=int, default=24)
    parser.add_argument("--devices", type=int, default=1)
    parser.add_argument("--data", type=Path, help="the contest's folder, for contests that do not draw their own")
    parser.add_argument("--seed", type=int, default=0, help="of the moments")
    parser.add_argument("--keep", type=Path, help="a new folder to train in, which stays")
    options = parser.parse_intermixed_args()
    with tempfile.TemporaryDirectory() as folder:
        home = options.keep or Path(folder)
        if options.keep:
            home.mkdir(parents=True)
        whole, parts = trainings(options, home)
        seconds = whole.to_the_end()
        rows = whole.rows()
        total = int(rows[-1]["step"])
        per_epoch = total // len(rows)
        cost = json.loads((whole.run / "fold0" / "cost.json").read_text())
        step = cost["train_seconds"] / total
        print(
            f"{total} batches in {len(rows)} epochs, {step * 1000:.0f} ms each, {seconds:.0f} s with start and end",
            flush=True,
        )
        started = time.monotonic()
        hits = kill_through(parts, options.kills, per_epoch, total, step, options.seed)
        print(f"{hits} kills of {options.kills}, then it ended; {time.monotonic() - started:.0f} s")
        same = compared(whole.left(), parts.left())
        half = parts.half_written()
        if half:
            print(f"  left half-written: {', '.join(half)}")
        print("equal, bit for bit" if same else "DIFFERENT")
    sys.exit(0 if same else 1)


if __name__ == "__main__":
    main()
