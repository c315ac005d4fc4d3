"""An index in a folder whose process is killed again and again while it writes: is everything acknowledged there?

python benchmarks/ann/crash.py [--kills 240] [--seed 0] [--fsync interval] [--lives 20] [--lie] [--keep DIR]

A process opens or creates a folder and makes random changes without a pause (`changes.py`), some of them checkpoints,
optimize() and snapshots. It says on a pipe what it will do, and then that it is done. SIGKILL hits it at a random
moment: right at the start, after up to 1.2 s, or a moment after it began a change of a kind that was drawn. Then the
folder is opened read-only, verified, and opened for writing, and each time everything in it is compared with a model:
ids, vectors bit for bit, fields, counts, exact and fast searches. There must be all that was acknowledged, the change
in flight wholly or not at all, and nothing else; `verify` may name torn tails and left-over files, and nothing after
the folder was opened for writing. Snapshots that were acknowledged must hold what was there then. As a kill hardly ever
cuts a write in two, some logs get random bytes at their end before they are read, as a loss of power may leave them.
The next process goes on from there; after `--lives` kills a new folder begins, with integers and strings as ids in
turns. The first fault ends it, with exit code 1.

It can fail: `--lie` lets the process acknowledge before it writes, which is found within the first kills. A scratch
copy of `changes.do` that left the first id of a deletion out was found at the first one, one that made an upsert in two
halves within 80 kills.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import select
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

if __name__ == "__main__":
    os.environ.update({f"{library}_NUM_THREADS": "1" for library in ("OMP", "OPENBLAS", "MKL")})  # NumPy reads it

import numpy as np
from changes import DIM, METRIC, SCHEMA, Model, after, difference, do, drawn

from medalist.errors import SearchError
from medalist.search import Index

AIMED = (
    "checkpoint",
    "checkpoint",
    "optimize",
    "snapshot",
    "add",
    "upsert",
    "upsert",
    "delete",
    "delete_where",
    "set_where",
)
PATIENCE = 3.0
"""Seconds that a kill waits at most for a change of the kind that it is aimed at."""
TORN = 0.15
"""The share of kills after which the log gets bytes that are no record, as a loss of power may leave them."""
LEFT_BY_CRASH = re.compile(r"is left over|a write that was never finished")


class Fault(Exception):  # noqa: N818  as in changes of the core: a fault, found
    """Something that was acknowledged is not there, or something is there that nobody asked for."""


# The process that is killed.


def tell(**what: Any) -> None:
    os.write(1, f"{json.dumps(what)}\n".encode())


def work(lie: bool) -> None:
    """Wait for a line that says where and how; then change the index until the end, which comes from outside."""
    orders = json.loads(sys.stdin.readline())
    folder, fsync, strings = Path(orders["folder"]), orders["fsync"], orders["strings"]
    tell(what="open" if (folder / "MANIFEST").exists() else "create", seed=0)
    if (folder / "MANIFEST").exists():
        index = Index.open(folder, fsync=fsync, fsync_seconds=0.02, threads=1)
    else:
        index = Index.create(folder, DIM, METRIC, fields=SCHEMA, fsync=fsync, fsync_seconds=0.02)
    tell(done=0)
    for seed in range(orders["seed"], orders["seed"] + 10**6):
        change = drawn(seed, sorted(index.ids().tolist()), strings)
        tell(what=change.what, seed=seed)
        if lie:
            _, count = after({}, change)
            tell(done=None)
            do(index, change, folder.with_name(f"snapshot-{seed}"))
            continue
        count = do(index, change, folder.with_name(f"snapshot-{seed}"))
        tell(done=count)


# The process that kills.


@dataclass
class Child:
    """A process that is started beforehand, so that it can begin at once."""

    lie: bool
    log: Path
    process: subprocess.Popen[bytes] = field(init=False)
    room: bytes = b""

    def __post_init__(self) -> None:
        command = [sys.executable, str(Path(__file__).resolve()), "--child", *(["--lie"] if self.lie else [])]
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log, bufsize=0
            )

    def begin(self, **orders: Any) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(f"{json.dumps(orders)}\n".encode())

    def lines(self, seconds: float | None) -> Iterator[dict[str, Any]]:
        """What it says within some seconds, or until its end."""
        assert self.process.stdout is not None
        until = None if seconds is None else time.monotonic() + seconds
        while True:
            while b"\n" in self.room:
                line, self.room = self.room.split(b"\n", 1)
                yield json.loads(line)
            left = None if until is None else max(until - time.monotonic(), 0)
            ready, _, _ = select.select([self.process.stdout], [], [], left)
            more = os.read(self.process.stdout.fileno(), 1 << 16) if ready else b""
            if not more:
                return
            self.room += more

    def killed(self, delay: float, aim: str | None, aside: float) -> list[dict[str, Any]]:
        """Kill it `delay` seconds after its first word, and if `aim` when it next begins such a change, and `aside`
        seconds more; all that it said.
        """
        said = []
        for line in self.lines(60):
            said.append(line)
            break
        said.extend(self.lines(delay))
        if aim is not None:
            for line in self.lines(PATIENCE):
                said.append(line)
                if line.get("what") == aim:
                    time.sleep(aside)
                    break
        self.end()
        return [*said, *self.lines(None)]

    def end(self) -> None:
        """SystemExit where it had ended by itself, which is a fault of what it does."""
        self.process.send_signal(signal.SIGKILL)
        code = self.process.wait()
        if code != -signal.SIGKILL:
            raise Fault(f"the process failed by itself, code {code}:\n{self.log.read_text()[-3000:]}")


@dataclass
class Life:
    """A folder and what must be in it."""

    folder: Path
    strings: bool
    fsync: str
    model: Model = field(default_factory=dict)
    snapshots: list[tuple[Path, Model]] = field(default_factory=list)
    counts: Counter[str] = field(default_factory=Counter)

    def follow(self, said: list[dict[str, Any]]) -> tuple[str, Model]:
        """Make what was acknowledged in the model; what was in flight, and the model with that too."""
        for line, answer in zip(said[::2], [*said[1::2], None], strict=False):
            if line["what"] in ("open", "create"):
                if answer is None:
                    return line["what"], self.model
                continue
            change = drawn(line["seed"], sorted(self.model), self.strings)
            if change.what != line["what"]:
                raise Fault(f"before {line} the process saw other ids than were acknowledged")
            then, count = after(self.model, change)
            if answer is None:
                return line["what"], then
            if answer["done"] is not None and answer["done"] != count:
                raise Fault(f"{line}: acknowledged for {answer['done']} rows, not {count}")
            self.counts["changes"] += 1
            self.counts["times the log was folded"] += change.what in ("checkpoint", "optimize")
            self.model = then
            if change.what == "snapshot":
                self.snapshots.append((self.folder.with_name(f"snapshot-{line['seed']}"), then))
        return "nothing", self.model

    def check(self, flying: str, then: Model, rng: np.random.Generator) -> None:
        """Compare what the kill left with the model, which becomes what is there. Fault."""
        if flying == "create" and not (self.folder / "MANIFEST").exists():
            self.counts["creations that were broken off"] += 1
            shutil.rmtree(self.folder, ignore_errors=True)
            return
        if rng.random() < TORN:
            for log in self.folder.glob("log-*.bin"):
                with log.open("ab") as file:
                    file.write(rng.bytes(int(rng.integers(1, 3000))))
        with opened(self.folder, read_only=True) as index:
            fault = difference(index, self.model, rng)
            durable = bool(fault) and then is not self.model and not difference(index, then, rng)
        if fault and not durable:
            raise Fault(f"{self.folder.name}, {flying} in flight: {fault}")
        moved = fault or then is self.model or not same(self.model, then)
        if moved and flying not in ("open", "create", "nothing"):
            self.counts[
                "changes in flight that had become durable" if durable else "changes in flight that had not"
            ] += 1
        if durable:
            self.model = then
        for line in Index.verify(self.folder):
            if not LEFT_BY_CRASH.search(line):
                raise Fault(f"verify: {line}")
            self.counts["left-over files" if "left over" in line else "torn tails cut"] += 1
        with opened(self.folder, read_only=False) as index:
            if fault := difference(index, self.model, rng):
                raise Fault(f"{self.folder.name}, opened for writing: {fault}")
        if lines := Index.verify(self.folder):
            raise Fault(f"verify after opening for writing: {lines}")
        self.check_snapshots(rng)

    def check_snapshots(self, rng: np.random.Generator) -> None:
        for path, held in self.snapshots:
            with opened(path, read_only=True) as index:
                if fault := difference(index, held, rng):
                    raise Fault(f"{path.name}: {fault}")
            if lines := Index.verify(path):
                raise Fault(f"{path.name}: {lines}")
            self.counts["snapshots"] += 1
        self.snapshots.clear()
        for path in self.folder.parent.glob("snapshot-*"):
            shutil.rmtree(path)


def opened(folder: Path, read_only: bool) -> Index:
    try:
        return Index.open(folder, read_only=read_only, fsync="os", threads=1)
    except SearchError as error:
        raise Fault(f"cannot be opened: {error}") from error


def same(one: Model, other: Model) -> bool:
    return one.keys() == other.keys() and all(
        np.array_equal(one[key][0], other[key][0]) and one[key][1] == other[key][1] for key in one
    )


def kill_through(options: argparse.Namespace, home: Path) -> tuple[Counter[str], Counter[str], list[int]]:
    """Kill so often; what was met, inside of which change kills fell, rows of each folder at its end."""
    rng = np.random.default_rng(options.seed)
    total, inside = Counter[str](), Counter[str]()
    rows: list[int] = []
    life = Life(home / "index-0", False, options.fsync, counts=total)
    waiting = Child(options.lie, home / "children.log")
    try:
        for kill in range(options.kills):
            if kill and kill % options.lives == 0:
                rows.append(len(life.model))
                shutil.rmtree(life.folder, ignore_errors=True)
                life = Life(home / f"index-{kill}", not life.strings, options.fsync, counts=total)
            child, waiting = waiting, Child(options.lie, home / "children.log")
            early = rng.random() < 0.15
            aim = str(rng.choice(AIMED)) if not early and rng.random() < 0.65 else None
            delay = rng.uniform(0, 0.03) if early else rng.uniform(0, 0.5 if aim else 1.2)
            seed = int(rng.integers(2**40))
            child.begin(folder=str(life.folder), fsync=options.fsync, strings=life.strings, seed=seed)
            flying, then = life.follow(child.killed(delay, aim, 10 ** rng.uniform(-5, -2)))
            inside[flying] += 1
            life.check(flying, then, rng)
    finally:
        waiting.process.kill()
        waiting.process.wait()
    return total, inside, [*rows, len(life.model)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=240)
    parser.add_argument("--seed", type=int, default=0, help="of the moments and the changes")
    parser.add_argument("--fsync", choices=("os", "interval", "always"), default="interval")
    parser.add_argument("--lives", type=int, default=20, help="kills that a folder lives through")
    parser.add_argument("--lie", action="store_true", help="acknowledge before writing: this must be found")
    parser.add_argument("--keep", type=Path, help="a new folder to work in, which stays")
    parser.add_argument("--child", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        work(options.lie)
        return
    started = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        home = options.keep or Path(folder)
        if options.keep:
            home.mkdir(parents=True)
        try:
            total, inside, rows = kill_through(options, home)
        except Fault as fault:
            print(f"FAULT after {time.monotonic() - started:.0f} s: {fault}")
            sys.exit(1)
    print(
        f"{inside.total()} kills, fsync {options.fsync}, {time.monotonic() - started:.0f} s; nothing lost, nothing torn"
    )
    print("inside of: " + ", ".join(f"{what} {count}" for what, count in inside.most_common()))
    print("; ".join(f"{what}: {count}" for what, count in sorted(total.items())))
    print("rows at the end of each folder: " + ", ".join(map(str, rows)))


if __name__ == "__main__":
    main()
