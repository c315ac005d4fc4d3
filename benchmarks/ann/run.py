"""Our index and every peer that is installed, on the same real vectors, one thread, in one run.

python benchmarks/ann/run.py [--sets sift deep112] [--only medalist hnswlib] [--repeats 3] [--queries 2000]
python benchmarks/ann/run.py --show runs/ann/results.json        (tables and plots of an earlier run again)

Each library runs in a process of its own, one after another, tied to one processor, so that none can use a second
thread; a crash of one is noted and the run goes on. A pass answers all queries at one setting, either one after
another from a Python loop ("single") or in one call ("batch"); QPS is queries per CPU second of the whole process.
After a first pass over all settings those that cannot be on the upper envelope are dropped, and the rest is measured
until each has `--repeats` passes, settings taking turns; the median counts. recall@10 is the share of answers at most
as far as the true tenth neighbour (ties do no harm). QPS at a recall is read off the upper envelope of a library's own
points, log QPS linear in recall. Build is CPU seconds; memory is the growth of the resident set after the import of the
library, with everything freed that the library let go. Ratios are ours against theirs: above 1 we are faster.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import shutil
import sys
import tempfile
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

if __name__ in ("__main__", "__mp_main__"):
    threads = ("OMP", "OPENBLAS", "MKL", "NUMBA", "RAYON")
    os.environ.update({f"{library}_NUM_THREADS": "1" for library in threads})  # before NumPy reads it

import numpy as np
import peers
from adapter import MODES
from curves import TARGETS, points_of, qps_at, table, thousands
from measure import run_one
from plots import plot
from truth import cached_truth

PROJECT = Path(__file__).parent.parent.parent
METRICS = {"sift": "l2", "deep112": "cosine", "deep320": "cosine"}
NAMES = "names in the tables (svs-lvq8), or a library's for all its variants (scann)"


def machine() -> dict[str, Any]:
    lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines() if Path("/proc/cpuinfo").exists() else []
    fields = dict(line.split(":", 1) for line in reversed(lines) if ":" in line)
    fields = {key.strip(): value.strip() for key, value in fields.items()}
    flags = fields.get("flags", "").split()
    wide = "AVX-512" if "avx512f" in flags else "AVX2" if "avx2" in flags else "no AVX2"
    name = f"{fields.get('model name', platform.machine())} ({wide})"
    return {"processor": name, "processors": os.cpu_count(), "kernels": os.environ.get("MEDALIST_KERNELS", "best")}


def vector_files(name: str, folder: Path, data: Path | None) -> tuple[Path, Path]:
    files = folder / f"{name}-base.npy", folder / f"{name}-queries.npy"
    if not all(file.exists() for file in files):
        import vectors  # needs OpenCV, and torch for the deep ones

        return vectors.ensure(name, data or vectors.data_folder(), folder)
    return files


def measured(set_name: str, names: list[str], options: argparse.Namespace, scratch: Path) -> Iterator[tuple[str, Any]]:
    """(name, result) of the libraries on one set of vectors, each as soon as it is there."""
    metric = METRICS[set_name]
    base_file, queries_file = vector_files(set_name, options.vectors, options.data)
    queries = np.load(queries_file)[: options.queries]
    subset = min(options.subset, len(np.load(base_file, mmap_mode="r")))
    tenth = scratch / f"{set_name}-tenth.npy"
    np.save(tenth, cached_truth(base_file, subset, queries, metric))
    cpu = options.cpu
    if cpu is None and hasattr(os, "sched_getaffinity"):
        cpu = max(os.sched_getaffinity(0))
    for name in names:
        if not peers.fits(name, metric):
            continue
        job = {
            "name": name,
            "metric": metric,
            "subset": subset,
            "base": str(base_file),
            "queries": str(queries_file),
            "tenth": str(tenth),
            "asked": len(queries),
            "repeats": options.repeats,
            "folder": str(scratch),
            "cpu": cpu,
        }
        yield name, run_one(job, options.out / "logs" / f"{set_name}-{name}.log", options.limit)


def told(result: dict[str, Any]) -> str:
    """A result in a line."""
    if "failed" in result:
        return str(result["failed"])
    speeds = (f"{mode} {thousands(qps_at(points_of(result, mode), TARGETS[1]))}" for mode in MODES)
    return f"build {result['build_cpu']:.1f} s, QPS at {TARGETS[1]}: {', '.join(speeds)}"


def write(record: dict[str, Any], file: Path) -> None:
    unfinished = file.with_name(f"{file.name}.unfinished")
    unfinished.write_text(json.dumps(record, indent=1), encoding="utf-8")
    unfinished.replace(file)


def show(record: dict[str, Any], out: Path) -> None:
    """Print the tables and draw the plots of a record."""
    machine = record["machine"]
    print(f"{machine['processor']}, {machine['processors']} processors, {record['date']}; {record['versions']}")
    print(f"one thread, {record['queries']} queries, medians of {record['repeats']} passes\n")
    for name, results in record["sets"].items():
        shape = next((result["shape"] for result in results.values() if "shape" in result), ("?", "?"))
        title = f"{name}, {shape[0]} × {shape[1]}, {METRICS[name]}"
        print(f"### {title}\n\n{table(results)}\n")
        try:
            for mode in MODES:
                plot(results, f"{title}, {mode}", mode, out / f"{name}-{mode}.png")
        except ModuleNotFoundError:
            print(f"no matplotlib here; plot with `python {Path(__file__).name} --show results.json` where it is\n")
    if record["absent"]:
        print(f"not installed: {', '.join(record['absent'])}")


def chosen(parser: argparse.ArgumentParser, words: list[str]) -> list[str]:
    """Names in the tables, in the order asked for."""
    for word in words:
        if not peers.named(word):
            parser.error(f"no peer is called {word!r}; there are {', '.join(peers.PEERS)}")
    return list(dict.fromkeys(name for word in words for name in peers.named(word)))


def asked() -> argparse.Namespace:
    """The command line; `wanted` are the names that `only` and `skip` leave."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--vectors", type=Path, default=PROJECT / "runs" / "ann", help="folder of the .npy files")
    parser.add_argument("--data", type=Path, help="folder of image folders, where vectors are still to be made")
    parser.add_argument("--out", type=Path, help="folder of results.json and the plots (default: that of the vectors)")
    parser.add_argument("--sets", nargs="+", choices=METRICS, default=["sift", "deep112"])
    parser.add_argument("--only", nargs="+", metavar="PEER", default=list(peers.PEERS), help=NAMES)
    parser.add_argument("--skip", nargs="+", metavar="PEER", default=[], help=NAMES)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--queries", type=int, default=2000)
    parser.add_argument("--subset", type=int, default=10**9, help="first vectors of the base alone, for trials")
    parser.add_argument("--limit", type=float, default=3600, help="seconds for one library on one set")
    parser.add_argument("--cpu", type=int, help="processor to run on (default: the last one)")
    parser.add_argument("--show", type=Path, help="a results.json to print and plot again")
    options = parser.parse_args()
    options.out = options.out or options.vectors
    skipped = chosen(parser, options.skip)
    options.wanted = [name for name in chosen(parser, options.only) if name not in skipped]
    return options


def main() -> None:
    options = asked()
    if options.show:
        show(json.loads(options.show.read_text(encoding="utf-8")), options.show.parent)
        return
    out: Path = options.out
    (out / "logs").mkdir(parents=True, exist_ok=True)
    names = [name for name in options.wanted if peers.installed(name)]
    record: dict[str, Any] = {
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "machine": machine(),
        "versions": ", ".join(dict.fromkeys(peers.version_of(name) for name in names)),
        "absent": [name for name in options.wanted if name not in names],
        "queries": options.queries,
        "repeats": options.repeats,
        "sets": {},
    }
    scratch = Path(tempfile.mkdtemp(dir=out))
    try:
        for set_name in options.sets:
            results = record["sets"].setdefault(set_name, {})
            for name, result in measured(set_name, names, options, scratch):
                results[name] = result
                print(f"{set_name} {name}: {told(result)}", file=sys.stderr, flush=True)
                write(record, out / "results.json")
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    show(record, out)


if __name__ == "__main__":
    main()
