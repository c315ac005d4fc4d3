"""Search under filters: the grid of share × tie to the query × kind of filter, ours and every peer that can say it.

python benchmarks/ann/filters.py [--set deep112] [--only medalist numpy] [--cells few] [--queries 100] [--minutes 2]
python benchmarks/ann/filters.py --show runs/ann/filters-deep112.json       (tables and pictures of an earlier run)

What the fields and filters are: `filter_cells.py`. k = 10, one thread, each library in a process of its own on one
processor. The filter is given to each call, so its evaluation is in the time; where a library takes only masks NumPy
makes one for each call, and the time without that is noted as well ("bare"). Single queries have a filter of their own
where it is tied to the query; a batch is 32 queries near each other that share a filter. QPS is queries per CPU second.

Ours runs with its default parameters. For each cell a peer is given the fastest setting of a short ladder that reaches
a recall@10 of 0.95, of those answers that fulfil the filter, against the exact truth; where none does, the setting of
the highest recall is told as [recall @ QPS] and is no rival. `--minutes` is the time of each library for all cells,
without its build and the truth (which is kept in the folder for the next run). Results are written after each cell; a
library that is measured again takes the place of its earlier results in the same file.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import multiprocessing
import os
import pickle
import shutil
import sys
import tempfile
from collections.abc import Iterator
from datetime import UTC, datetime
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

if __name__ in ("__main__", "__mp_main__"):
    threads = ("OMP", "OPENBLAS", "MKL", "NUMBA", "RAYON")
    os.environ.update({f"{library}_NUM_THREADS": "1" for library in threads})  # before NumPy reads it

import filter_measure
import numpy as np
from filter_cells import SHARES, Cell, cells, name_of
from filter_tables import show
from run import METRICS, PROJECT, machine, vector_files, write

import medalist

PEERS = {
    "medalist": ("medalist", "filter_peers", "Ours"),
    "numpy": ("numpy", "filter_peers", "Plain"),
    "faiss-ivf": ("faiss", "filter_peers", "FaissIvf"),
    "faiss-fastscan": ("faiss", "filter_peers", "FaissFastScan"),
    "faiss-hnsw": ("faiss", "filter_peers", "FaissHnsw"),
    "hnswlib": ("hnswlib", "filter_peers", "Hnswlib"),
    "qdrant-edge": ("qdrant_edge", "filter_services", "Qdrant"),
    "zvec": ("zvec", "filter_services", "Zvec"),
    "lancedb": ("lancedb", "filter_lance", "Lance"),
}
"""By name: module of the library, module and class of its adapter."""
UNABLE = {"usearch": "its Python interface takes no filter"}
PACKAGES = {"faiss": "faiss-cpu", "qdrant_edge": "qdrant-edge-py"}


def grid_file(options: argparse.Namespace, base_file: Path, queries_file: Path, wanted: list[Cell]) -> Path:
    """Fields, filters and truth, made where they are not kept from an earlier run."""
    code = b"".join(
        Path(module.__file__ or "").read_bytes() for module in (sys.modules["filter_cells"], filter_measure)
    )
    stamp = base_file.stat()
    key = (stamp.st_size, stamp.st_mtime_ns, options.subset, options.queries, wanted, hashlib.sha1(code).hexdigest())
    file: Path = options.out / f"{options.set}-filters-{hashlib.sha1(repr(key).encode()).hexdigest()[:10]}.pickle"
    if not file.exists():
        for old in options.out.glob(f"{options.set}-filters-*.pickle"):
            old.unlink()
        print("making fields, filters and truth", file=sys.stderr, flush=True)
        vectors = np.ascontiguousarray(np.load(base_file, mmap_mode="r")[: options.subset])
        metric = METRICS[options.set]
        grid = filter_measure.made_grid(vectors, np.load(queries_file), metric, options.queries, wanted)
        grid.world.vectors = vectors[:0]
        unfinished = file.with_suffix(".unfinished")
        unfinished.write_bytes(pickle.dumps(grid))
        unfinished.replace(file)
    return file


def measured(job: dict[str, Any], log: Path) -> Iterator[tuple[str, Any]]:
    """What the child tells, piece by piece; ("failed", why) where it dies or is silent for the job's limit."""
    spawn = multiprocessing.get_context("spawn")
    mine, theirs = spawn.Pipe(duplex=False)
    process = spawn.Process(target=filter_measure.child, args=(theirs, job, str(log)))
    process.start()
    theirs.close()
    try:
        while True:
            if not mine.poll(job["limit"]):
                yield "failed", f"silent for {job['limit']:.0f} s"
                break
            told = mine.recv()
            if told is None:
                break
            yield told
    except EOFError:
        process.join()
        lines = [line for line in log.read_text(encoding="utf-8", errors="replace").splitlines() if line.strip()]
        yield "failed", f"exit code {process.exitcode}; {(lines or ['no message'])[-1].strip()[:200]}"
    finally:
        process.join(10)
        if process.is_alive():
            process.kill()
            process.join()


def line_of(told: dict[str, Any]) -> str:
    if "left" in told:
        return str(told["left"])
    more = f", guard {told['guard']:.2f}, {told['plans']}" if "plans" in told else f", {told['setting']}"
    batch = f", batch {told['batch']['qps']:.0f}" if told.get("batch") else ""
    return f"recall {told['recall']:.3f}, {told['qps']:.0f} a second{batch}{more}"


def asked() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--vectors", type=Path, default=PROJECT / "runs" / "ann", help="folder of the .npy files")
    parser.add_argument("--data", type=Path, help="folder of image folders, where vectors are still to be made")
    parser.add_argument("--out", type=Path, help="folder of the results (default: that of the vectors)")
    parser.add_argument("--set", choices=METRICS, default="deep112")
    parser.add_argument("--only", nargs="+", choices=PEERS, default=list(PEERS))
    parser.add_argument("--skip", nargs="+", choices=PEERS, default=[])
    parser.add_argument("--cells", choices=("all", "few"), default="all", help="few: three shares, four kinds")
    parser.add_argument("--queries", type=int, default=100, help="single queries of a cell")
    parser.add_argument("--subset", type=int, default=200_000, help="first vectors of the base alone")
    parser.add_argument("--minutes", type=float, default=2, help="of each library, for all cells")
    parser.add_argument("--limit", type=float, default=1500, help="seconds for a build or a cell")
    parser.add_argument("--cpu", type=int, help="processor to run on (default: the last one)")
    parser.add_argument("--show", type=Path, help="a results file to print and draw again")
    options = parser.parse_args()
    options.out = options.out or options.vectors
    return options


def record_of(options: argparse.Namespace, file: Path, wanted: list[Cell], grid: filter_measure.Grid) -> dict[str, Any]:
    """The record to go on with: that of the file where it is of the same grid, else a new one."""
    told = {
        name_of(cell): {
            "cell": cell,
            "matches": float(np.mean(grid.cells[cell].matches)),
            "near": grid.cells[cell].near,
        }
        for cell in wanted
    }
    new = {"set": options.set, "subset": options.subset, "queries": options.queries, "cells": told}
    new = json.loads(json.dumps(new))
    if file.exists():
        old: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
        if all(old.get(key) == value for key, value in new.items()):
            return old
    return {**new, "peers": {}, "absent": {}}


def main() -> None:
    options = asked()
    if options.show:
        show(json.loads(options.show.read_text(encoding="utf-8")), options.show)
        return
    out: Path = options.out
    (out / "logs").mkdir(parents=True, exist_ok=True)
    base_file, queries_file = vector_files(options.set, options.vectors, options.data)
    options.subset = min(options.subset, len(np.load(base_file, mmap_mode="r")))
    few = [cell for cell in cells() if cell[0] in SHARES[::3] and cell[2] in ("tag", "and", "range", "geo")]
    wanted = few if options.cells == "few" else cells()
    grid = grid_file(options, base_file, queries_file, wanted)
    file = out / f"filters-{options.set}.json"
    record = record_of(options, file, wanted, pickle.loads(grid.read_bytes()))
    record.update(date=datetime.now(UTC).isoformat(timespec="seconds"), machine=machine())
    record["absent"] = {name: why if find_spec(name) else "not installed" for name, why in UNABLE.items()}
    cpu = options.cpu
    if cpu is None and hasattr(os, "sched_getaffinity"):
        cpu = max(os.sched_getaffinity(0))
    scratch = Path(tempfile.mkdtemp(dir=out))
    job = {
        "base": str(base_file), "grid": str(grid), "subset": options.subset, "folder": str(scratch), "cpu": cpu,
        "seconds": 60 * options.minutes, "limit": options.limit,
    }  # fmt: skip
    try:
        for name in (name for name in options.only if name not in options.skip):
            library, module, kind = PEERS[name]
            if find_spec(library) is None:
                record["absent"][name] = "not installed"
                continue
            package = medalist.__version__ if library == "medalist" else version(PACKAGES.get(library, library))
            result = record["peers"][name] = {"version": package, "minutes": options.minutes, "cells": {}}
            this = {**job, "name": name, "module": module, "class": kind}
            for what, told in measured(this, out / "logs" / f"filters-{options.set}-{name}.log"):
                if what == "built":
                    result.update(told)
                    print(f"{name}: built in {told['build_cpu']:.0f} s", file=sys.stderr, flush=True)
                elif what == "failed":
                    result["failed"] = told
                    print(f"{name}: {told}", file=sys.stderr, flush=True)
                else:
                    result["cells"][what] = told
                    print(f"{name}, {what}: {line_of(told)}", file=sys.stderr, flush=True)
                write(record, file)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    show(record, file)


if __name__ == "__main__":
    main()
