"""Nearest neighbours of many queries against a chunked torch product and topk: time, recall, memory.

python benchmarks/embedding/evaluation.py [--vectors DIR] [--queries 20000] [--rows 200000] [--k 10 100] [--rounds 3]

Vectors are DIR/deep112-base.npy and -queries.npy, as benchmarks/ann/vectors.py makes them; where they hold fewer
queries than wanted, the rest are base vectors that leave the gallery's end, or noisy copies of its rows where the
gallery needs all. Without --vectors they are made up: identities of 10 pictures, each a random direction of 112
components with noise of half its length.

nothing   `nearest(queries, gallery, k, recall=0.999)` with nothing built before, against the best of some chunk sizes
          of torch, on the same threads, in turns in one process; recall is that of all queries
index     the same against an index that exists (its build is told beside), at recall 0.99
memory    a fresh process that loads the vectors and asks, for each k by `nearest` and by `evaluate` to that depth: its
          peak above what it had before, over the vectors' bytes
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medalist.retrieval.evaluate import evaluate, nearest
from medalist.search import Index
from medalist.search.checks import processors

Rows = NDArray[np.float32]
CHUNKS = (128, 512, 1024)
"""Queries of a chunk of torch's: the fastest on the first 2,048 queries is taken."""


def unit(rows: NDArray[Any]) -> Rows:
    scaled: Rows = (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)
    return scaled


def load(folder: Path | None, queries: int, rows: int) -> tuple[Rows, Rows]:
    """Queries and gallery."""
    rng = np.random.default_rng(0)
    if folder is None:
        people = unit(rng.normal(size=((queries + rows) // 10 + 1, 112)))
        who = rng.integers(0, len(people), queries + rows)
        noise = rng.standard_normal((queries + rows, 112), np.float32)
        noise *= 0.5 / np.sqrt(112, dtype=np.float32)
        noise += people[who]
        vectors = unit(noise)
        return vectors[:queries].copy(), vectors[queries:].copy()
    base = np.load(folder / "deep112-base.npy", mmap_mode="r")
    asked = np.load(folder / "deep112-queries.npy")[:queries]
    gallery = np.array(base[:rows])
    missing = queries - len(asked)
    if missing > 0:
        spare = np.array(base[rows : rows + missing])
        copies = gallery[rng.integers(0, len(gallery), missing - len(spare))]
        copies = unit(copies + 0.3 * rng.standard_normal(copies.shape, np.float32) / np.sqrt(112, dtype=np.float32))
        asked = np.concatenate([asked, spare, copies])
    return asked, gallery


def wall(work: Callable[[], object]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def by_torch(queries: Rows, gallery: Rows, k: int, chunk: int) -> NDArray[np.int64]:
    import torch

    asked, transposed = torch.from_numpy(queries), torch.from_numpy(gallery).T
    with torch.inference_mode():
        parts = [(asked[at : at + chunk] @ transposed).topk(k, dim=1)[1] for at in range(0, len(asked), chunk)]
    found: NDArray[np.int64] = torch.cat(parts).numpy()
    return found


def recall(truth: NDArray[np.int64], found: NDArray[np.int64]) -> float:
    return float(np.mean([np.isin(a, b).mean() for a, b in zip(truth, found, strict=True)]))


def compare(queries: Rows, gallery: Rows, k: int, rounds: int, index: Index | None) -> None:
    chunk = min(CHUNKS, key=lambda size: wall(lambda: by_torch(queries[:2048], gallery, k, size)))
    aim, wanted = (0.999, 1.5) if index is None else (0.99, 5.0)
    ours: list[float] = []
    theirs: list[float] = []
    for _ in range(rounds):
        start = time.perf_counter()
        found, _ = nearest(queries, gallery, k, recall=aim, index=index)
        ours.append(time.perf_counter() - start)
        start = time.perf_counter()
        truth = by_torch(queries, gallery, k, chunk)
        theirs.append(time.perf_counter() - start)
    ratio = median(b / a for a, b in zip(ours, theirs, strict=True))
    what = "nothing built" if index is None else "index given"
    print(
        f"{what}, k={k}: ours {median(ours):.2f} s, torch in chunks of {chunk} {median(theirs):.2f} s, "
        f"ratio {ratio:.2f} (wanted: {wanted:g}) at recall {recall(truth, found):.5f} (aim: {aim:g})",
        flush=True,
    )


def peak() -> int:
    """Bytes of the largest resident set so far. Not getrusage: that knows the largest of the parent, too."""
    lines = Path("/proc/self/status").read_text(encoding="utf-8").splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM"))


def memory(options: argparse.Namespace) -> None:
    """Runs in a process of its own."""
    rng = np.random.default_rng(0)
    few = unit(rng.normal(size=(64, 112)))
    nearest(few, few, 3)  # libraries have their buffers
    evaluate(few, np.arange(64), few, np.arange(64))
    before = peak()
    queries = np.load(options.memory[0])
    gallery = np.load(options.memory[1])
    loaded = peak()
    k = options.k[0]
    if options.way == "nearest":
        nearest(queries, gallery, k)
    else:
        people = len(gallery) // 10 + 1
        labels = [rng.integers(0, people, len(side)) for side in (queries, gallery)]
        evaluate(queries, labels[0], gallery, labels[1], depth=k)
    size = queries.nbytes + gallery.nbytes
    print(
        f"memory, {options.way}, k={k}: vectors {size / 1e6:.0f} MB, loaded {(loaded - before) / size:.2f}, "
        f"at the peak {(peak() - before) / size:.2f} of them (wanted: below 2)"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--vectors", type=Path, help="folder of deep112-base.npy and deep112-queries.npy")
    parser.add_argument("--queries", type=int, default=20_000)
    parser.add_argument("--rows", type=int, default=200_000)
    parser.add_argument("--k", type=int, nargs="+", default=[10, 100])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument(
        "--parts", nargs="+", choices=("nothing", "index", "memory"), default=("nothing", "index", "memory")
    )
    parser.add_argument("--memory", nargs=2, type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--way", choices=("nearest", "evaluate"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.memory:
        memory(options)
        return
    import tempfile

    import torch

    torch.set_num_threads(processors())
    queries, gallery = load(options.vectors, options.queries, options.rows)
    load_now = ", ".join(f"{value:.1f}" for value in os.getloadavg())
    print(
        f"{len(queries)} queries, gallery {gallery.shape}, {processors()} threads, load before {load_now}", flush=True
    )
    if "nothing" in options.parts:
        for k in options.k:
            compare(queries, gallery, k, options.rounds, None)
    if "index" in options.parts:
        index = Index(gallery.shape[1])
        print(f"build of the index: {wall(lambda: index.add(None, gallery)):.1f} s", flush=True)
        for k in options.k:
            compare(queries, gallery, k, options.rounds, index)
    if "memory" in options.parts:
        with tempfile.TemporaryDirectory() as folder:
            files = [str(Path(folder, name)) for name in ("queries.npy", "gallery.npy")]
            np.save(files[0], queries)
            np.save(files[1], gallery)
            for k, way in ((k, way) for k in options.k for way in ("nearest", "evaluate")):
                command = [sys.executable, __file__, "--memory", *files, "--k", str(k), "--way", way]
                print(subprocess.run(command, capture_output=True, text=True, check=True).stdout, end="", flush=True)


if __name__ == "__main__":
    main()
