"""Upserts into a folder beside searches: how many are acknowledged a second, and what do the searches lose?

python benchmarks/ann/upserts.py [--vectors runs/ann] [--set sift] [--subset 200000] [--seconds 1.5] [--rounds 3]

A thread replaces vectors with ids and fields, of which nine in ten exist, in batches of 1, 10, 100 and 1000, one after
another, and under "interval" once more with a pause between them, so that --rate come a second; this thread searches,
one query at a time, in turns without a filter and with one that means a tenth. Windows with and without the writer take
turns; one ends when the upsert ends that it began with time to spare. Printed, for each policy of fsync and each size:
upserts a second (of all windows together, and the slowest window), the longest upsert (it links what came late, or
clears dead vectors away), the searches' rates beside the writer as a share of those alone (medians of windows), and at
the end of each policy the bytes of the log and the seconds that opening the folder takes. Wanted, under "interval":
2000 upserts a second, and a share of 0.7 while so many come. After --minutes nothing new is begun.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median

if __name__ == "__main__":
    os.environ.update({f"{library}_NUM_THREADS": "1" for library in ("OMP", "OPENBLAS", "MKL")})  # NumPy reads it

import numpy as np
from numpy.typing import NDArray

from medalist.errors import SearchError
from medalist.search import Index
from medalist.search.checks import Fsync
from medalist.search.filters import F, Filter
from medalist.search.schema import FieldKind

PROJECT = Path(__file__).parent.parent.parent
METRICS = {"sift": "l2", "deep112": "cosine", "deep320": "cosine"}
POLICIES: tuple[Fsync, ...] = ("os", "interval", "always")
SIZES = (1, 10, 100, 1000)
SCHEMA: dict[str, FieldKind] = {"part": "int", "kind": "tag"}
WHERE = F.part < 10
BLOCK = 25
"""Queries of one kind, before those of the other kind come."""
SHARE = 0.7
"""Of the searches' rate, beside the writer."""

Rows = NDArray[np.float32]


def columns(rng: np.random.Generator, n: int) -> dict[str, list[int] | list[str]]:
    return {"part": rng.integers(0, 100, n).tolist(), "kind": [f"kind{one}" for one in rng.integers(0, 20, n)]}


@dataclass
class Writer:
    """A thread that writes when it is let, until a moment; `rate` 0: as fast as it can."""

    index: Index
    base: Rows
    size: int
    rate: float
    stop: float = 0
    done: int = 0
    busy: float = 0
    longest: float = 0
    fault: SearchError | None = None
    rng: np.random.Generator = field(default_factory=lambda: np.random.default_rng(3))
    let: threading.Event = field(default_factory=threading.Event)
    idle: threading.Event = field(default_factory=threading.Event)
    ending: bool = False

    def __post_init__(self) -> None:
        self.idle.set()
        self.thread = threading.Thread(target=self.run)
        self.thread.start()

    def run(self) -> None:
        try:
            while True:
                self.let.wait()
                self.let.clear()
                if self.ending:
                    return
                self.write()
                self.idle.set()
        except SearchError as fault:  # told to the thread that waits
            self.fault = fault
        finally:
            self.idle.set()

    def begin(self, seconds: float) -> None:
        self.idle.clear()
        self.stop = time.perf_counter() + seconds
        self.let.set()

    def write(self) -> None:
        """Batches until the window is over; the clock runs through to the end of the last one."""
        begin, mine, there = time.perf_counter(), 0, len(self.base)
        while time.perf_counter() < self.stop:
            ids = np.unique(self.rng.integers(0, there + there // 9, self.size))
            vectors = self.base[self.rng.integers(0, there, len(ids))]
            vectors = vectors + self.rng.normal(scale=0.01 * float(vectors.std()), size=vectors.shape).astype(
                np.float32
            )
            fields = columns(self.rng, len(ids))
            start = time.perf_counter()
            self.index.upsert(ids, vectors, fields, threads=1)
            end = time.perf_counter()
            self.longest = max(self.longest, end - start)
            mine += len(ids)
            if self.rate:
                time.sleep(max(begin + mine / self.rate - end, 0))
        self.done += mine
        self.busy += time.perf_counter() - begin

    def end(self) -> None:
        self.ending = True
        self.let.set()
        self.thread.join()
        if self.fault is not None:
            raise self.fault


def search(index: Index, queries: Rows, seconds: float, until: threading.Event | None = None) -> tuple[float, float]:
    """Queries a second without and with a filter in a window, which lasts on until the event is set."""
    spent, asked = [0.0, 0.0], [0, 0]
    filters: tuple[Filter | None, Filter] = (None, WHERE)
    end, at = time.perf_counter() + seconds, 0
    while time.perf_counter() < end or (until is not None and not until.is_set()):
        for number, where in enumerate(filters):
            begin = time.perf_counter()
            for _ in range(BLOCK):
                index.search(queries[at % len(queries)], 10, where=where)
                at += 1
            spent[number] += time.perf_counter() - begin
            asked[number] += BLOCK
    return asked[0] / spent[0], asked[1] / spent[1]


def windows(index: Index, base: Rows, queries: Rows, size: int, rate: float, options: argparse.Namespace) -> str:
    """Windows without and with the writer in turns."""
    writer = Writer(index, base, size, rate)
    alone, beside, rates = [], [], []
    try:
        for _ in range(options.rounds):
            alone.append(search(index, queries, options.seconds))
            done, busy = writer.done, writer.busy
            writer.begin(options.seconds)
            beside.append(search(index, queries, options.seconds, writer.idle))
            if writer.fault is not None:
                break
            rates.append((writer.done - done) / (writer.busy - busy))
    finally:
        writer.end()
    plain, filtered = (median(row[i] for row in alone) for i in range(2))
    shares = [median(a[i] / b[i] for a, b in zip(beside, alone, strict=True)) for i in range(2)]
    paced = f", paced for {rate:.0f}" if rate else ""
    return (
        f"{size:5}{paced}: {writer.done / writer.busy:.0f} upserts/s (slowest window {min(rates):.0f}), longest "
        f"{1000 * writer.longest:.0f} ms; searches alone {plain:.0f}/s, filtered {filtered:.0f}/s; beside "
        f"{shares[0]:.2f}, filtered {shares[1]:.2f}"
    )


def opening(folder: Path, queries: Rows) -> str:
    size = sum(file.stat().st_size for file in folder.glob("log-*.bin"))
    begin = time.perf_counter()
    with Index.open(folder, read_only=True, threads=1) as index:
        index.search(queries[0], 10)
        return f"log {size / 1e6:.1f} MB, opened and asked in {time.perf_counter() - begin:.2f} s"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--vectors", type=Path, default=PROJECT / "runs" / "ann", help="folder of the .npy files")
    parser.add_argument("--set", choices=METRICS, default="sift")
    parser.add_argument("--subset", type=int, default=200_000, help="first vectors of the base alone")
    parser.add_argument("--seconds", type=float, default=1.5, help="of a window")
    parser.add_argument("--rounds", type=int, default=3, help="windows of each kind")
    parser.add_argument("--rate", type=float, default=2000, help="upserts a second of the paced windows")
    parser.add_argument("--policies", nargs="+", choices=POLICIES, default=POLICIES)
    parser.add_argument("--sizes", nargs="+", type=int, default=SIZES)
    parser.add_argument("--minutes", type=float, default=4.5)
    parser.add_argument("--folder", type=Path, help="where the folder is made, for a disk of another speed")
    options = parser.parse_args()
    file = options.vectors / f"{options.set}-base.npy"
    if not file.exists():
        raise SystemExit(f"no vectors; make them: python benchmarks/ann/vectors.py --out {options.vectors}")
    base = np.array(np.load(file, mmap_mode="r")[: options.subset])
    queries = np.load(options.vectors / f"{options.set}-queries.npy")[:2000]
    with tempfile.TemporaryDirectory(dir=options.folder) as home:
        folder = Path(home) / "index"
        begin = time.perf_counter()
        with Index.create(folder, base.shape[1], METRICS[options.set], fields=SCHEMA) as index:  # type: ignore[arg-type]
            index.add(np.arange(len(base)), base, columns(np.random.default_rng(0), len(base)))
            index.optimize()
        print(
            f"{options.set}, {base.shape[0]} × {base.shape[1]}, made in {time.perf_counter() - begin:.1f} s", flush=True
        )
        for policy in options.policies:
            paced = [(size, options.rate) for size in options.sizes if 10 <= size <= 100 and policy == "interval"]
            print(f"fsync {policy}")
            with Index.open(folder, fsync=policy) as index:
                for size, rate in [*paced, *((size, 0) for size in options.sizes)]:
                    if time.perf_counter() - begin > 60 * options.minutes:
                        print(f"{size:5}: left out, as the time was over")
                        continue
                    print(windows(index, base, queries, size, rate, options), flush=True)
            wanted = f"; wanted: {options.rate:.0f}, shares of {SHARE} when paced" if paced else ""
            print(f"  {opening(folder, queries)}{wanted}", flush=True)


if __name__ == "__main__":
    main()
