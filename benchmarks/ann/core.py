"""What our index costs besides one thread's queries: threads, memory, opening, exact search.

python benchmarks/ann/core.py [--vectors runs/ann] [--set deep112] [--parts threads memory open exact] [--subset N]

threads   CPU-bound work on 1 and on 2 threads, wall seconds, taking turns: build and batch search; saved files must be
          the same bytes, answers the same rows
memory    bytes a vector by part, and in all as a share of the raw float32 vectors, with float32 and float16 refine
open      `import medalist.search`, open of a saved index and the first query, seconds in a fresh interpreter
exact     gigabytes of raw vectors a second of exact search against NumPy's matmul and argpartition, one thread
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

if __name__ == "__main__":
    os.environ.update({f"{library}_NUM_THREADS": "1" for library in ("OMP", "OPENBLAS", "MKL")})  # NumPy reads it

import numpy as np
from numpy.typing import NDArray

from medalist.search import Index

PROJECT = Path(__file__).parent.parent.parent
METRICS = {"sift": "l2", "deep112": "cosine", "deep320": "cosine"}
K = 10
EF = 100
FRESH = """
import sys, time
start = time.perf_counter()
from medalist.search import Index
imported = time.perf_counter()
index = Index.open(sys.argv[1], mode=sys.argv[3])
opened = time.perf_counter()
import numpy as np
query = np.load(sys.argv[2], mmap_mode="r")[0].copy()
begin = time.perf_counter()
index.search(query, 10)
done = time.perf_counter()
print(imported - start, opened - imported, done - begin)
"""

Rows = NDArray[np.float32]


def wall(work: Callable[[], object]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def built(base: Rows, metric: str, threads: int = 1, **options: Any) -> Index:
    index = Index(base.shape[1], metric=metric, **options)
    index.add(None, base, threads=threads)
    return index


def threads(base: Rows, queries: Rows, metric: str, rounds: int, folder: Path) -> None:
    seconds: dict[tuple[str, int], list[float]] = {}
    answers: dict[int, Any] = {}
    index = None
    for _ in range(rounds):
        for count in (1, 2):
            start = time.perf_counter()
            index = built(base, metric, count)
            seconds.setdefault(("build", count), []).append(time.perf_counter() - start)
            index.save(folder / f"{count}.ann")
    same = (folder / "1.ann").read_bytes() == (folder / "2.ann").read_bytes()
    assert index is not None
    for _ in range(max(rounds, 5)):
        for count in (1, 2):
            start = time.perf_counter()
            answers[count] = index.search(queries, K, ef=EF, threads=count)
            seconds.setdefault(("batch search", count), []).append(time.perf_counter() - start)
    equal = all(np.array_equal(getattr(answers[1], part), getattr(answers[2], part)) for part in ("ids", "scores"))
    for what, alike in (("build", same), ("batch search", equal)):
        one, two = (median(seconds[what, count]) for count in (1, 2))
        ratio = median(a / b for a, b in zip(seconds[what, 1], seconds[what, 2], strict=True))
        told = "the same bytes" if alike else "NOT THE SAME BYTES"
        print(f"{what}: 1 thread {one:.2f} s, 2 threads {two:.2f} s, ratio {ratio:.2f} (wanted: 1.8), {told}")


def memory(base: Rows, metric: str) -> None:
    raw = base.nbytes
    for refine, wanted in (("float32", 1.5), ("float16", 0.85)):
        parts = built(base, metric, 1, refine=refine).stats().memory
        inside = {name: int(size) for name, size in parts.items() if name != "total"}
        total = int(parts.get("total", sum(inside.values())))
        each = ", ".join(f"{name} {size / len(base):.1f}" for name, size in inside.items())
        print(f"refine {refine}: {total / len(base):.0f} bytes a vector, {total / raw:.3f} of raw (wanted: {wanted})")
        print(f"  {each}")


def fresh(base: Rows, queries_file: Path, metric: str, rounds: int, folder: Path) -> None:
    file = folder / "open.ann"
    built(base, metric).save(file)
    for mode in ("mapped", "memory"):
        runs = []
        for _ in range(max(rounds, 5)):
            command = [sys.executable, "-c", FRESH, str(file), str(queries_file), mode]
            told = subprocess.run(command, capture_output=True, text=True, check=True).stdout
            runs.append([float(word) for word in told.split()])
        load, opening, first = (median(column) for column in zip(*runs, strict=True))
        total = median(sum(run) for run in runs)
        print(f"{mode}: import {load:.3f} + open {opening:.3f} + first query {first:.4f} = {total:.3f} s (wanted: 0.3)")


def exact(base: Rows, queries: Rows, metric: str, rounds: int) -> None:
    """Of one query the speed of memory counts; of a batch that of the products."""
    index = built(base, metric)
    lengths = np.square(base).sum(axis=1)

    def plain(some: Rows) -> NDArray[np.int64]:
        far = some @ base.T
        far = lengths - 2 * far if metric == "l2" else -far
        rows = np.argpartition(far, K, axis=1)[:, :K]
        order = np.take_along_axis(far, rows, axis=1).argsort(axis=1)
        return np.take_along_axis(rows, order, axis=1)

    for count in (1, 64):
        some = queries[:count]
        alike = np.mean([len(set(a) & set(b)) / K for a, b in zip(index.exact(some, K).ids, plain(some), strict=True)])
        ours, numpy = [], []
        for _ in range(max(rounds, 5)):
            ours.append(wall(lambda some=some: index.exact(some, K, threads=1)))
            numpy.append(wall(lambda some=some: plain(some)))
        rates = [base.nbytes * count / median(times) / 1e9 for times in (ours, numpy)]
        ratio = median(b / a for a, b in zip(ours, numpy, strict=True))
        what = "1 query" if count == 1 else f"{count} queries"
        print(
            f"exact, {what}: ours {rates[0]:.1f} GB/s, NumPy {rates[1]:.1f} GB/s, ratio {ratio:.2f}, agree {alike:.4f}"
        )


def main() -> None:
    parts = ("threads", "memory", "open", "exact")
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--vectors", type=Path, default=PROJECT / "runs" / "ann", help="folder of the .npy files")
    parser.add_argument("--set", choices=METRICS, default="deep112")
    parser.add_argument("--parts", nargs="+", choices=parts, default=parts)
    parser.add_argument("--queries", type=int, default=10_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--subset", type=int, default=200_000, help="first vectors of the base alone")
    options = parser.parse_args()
    files = [options.vectors / f"{options.set}-{what}.npy" for what in ("base", "queries")]
    if not all(file.exists() for file in files):
        raise SystemExit(f"{files[0]} is not there; make it: python benchmarks/ann/vectors.py --out {options.vectors}")
    base = np.array(np.load(files[0], mmap_mode="r")[: options.subset])
    queries, metric = np.load(files[1])[: options.queries], METRICS[options.set]
    print(f"{options.set}, {base.shape[0]} × {base.shape[1]}, {metric}")
    with tempfile.TemporaryDirectory() as folder:
        if "threads" in options.parts:
            threads(base, queries, metric, options.rounds, Path(folder))
        if "memory" in options.parts:
            memory(base, metric)
        if "open" in options.parts:
            fresh(base, files[1], metric, options.rounds, Path(folder))
        if "exact" in options.parts:
            exact(base, queries, metric, options.rounds)


if __name__ == "__main__":
    main()
