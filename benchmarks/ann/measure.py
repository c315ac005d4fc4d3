"""One library in its process: build, memory, and the passes over its settings."""

from __future__ import annotations

import ctypes
import gc
import multiprocessing
import os
import sys
import tempfile
import time
from multiprocessing.connection import Connection
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import peers
from adapter import MODES, Peer
from numpy.typing import NDArray
from truth import padded, recall


def resident() -> int:
    """Bytes of this process in memory, after giving back what is free."""
    gc.collect()
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


def one_pass(peer: Peer, mode: str, queries: NDArray[np.float32]) -> tuple[float, Any]:
    """CPU seconds and answers."""
    if mode == "batch":
        start = time.process_time()
        found = peer.many(queries)
        return time.process_time() - start, found
    ask, each = peer.one, list(queries)
    start = time.process_time()
    found = [ask(query) for query in each]
    return time.process_time() - start, found


def measure(job: dict[str, Any]) -> dict[str, Any]:
    """Build and curve of one library: the work of a child process."""
    name, metric, subset = job["name"], job["metric"], job["subset"]
    if job["cpu"] is not None:
        os.sched_setaffinity(0, {job["cpu"]})
    peers.load(name)
    with tempfile.TemporaryDirectory(dir=job["folder"]) as folder:
        peers.warm(name, metric, Path(folder))
        before = resident()
        base = np.array(np.load(job["base"], mmap_mode="r")[:subset])
        shape = base.shape
        start, wall = time.process_time(), time.perf_counter()
        peer = peers.build(name, base, metric, Path(folder))
        build, wall = time.process_time() - start, time.perf_counter() - wall
        del base
        memory = resident() - before
        kept = np.load(job["base"], mmap_mode="r")[:subset]
        queries = np.load(job["queries"])[: job["asked"]]
        points = curve(peer, kept, queries, np.load(job["tenth"]), metric, job["repeats"])
    return {
        "shape": shape,
        "parameters": peer.parameters,
        "build_cpu": build,
        "build_wall": wall,
        "memory": memory,
        "points": points,
    }


def curve(
    peer: Peer,
    base: NDArray[np.float32],
    queries: NDArray[np.float32],
    tenth: NDArray[np.float64],
    metric: str,
    repeats: int,
) -> list[dict[str, Any]]:
    modes = MODES if peer.many is not None else MODES[:1]
    points: list[dict[str, Any]] = []
    for setting in peer.settings:
        for mode in modes:
            peer.tune(setting)
            one_pass(peer, mode, queries[:50])
            seconds, found = one_pass(peer, mode, queries)
            reached = recall(padded(found, len(queries)), base, queries, tenth, metric)
            points.append({"setting": setting, "mode": mode, "recall": reached, "passes": [len(queries) / seconds]})
        if not isinstance(setting, tuple) and all(point["recall"] > 0.999 for point in points[-len(modes) :]):
            break  # one knob: wider ones can only be slower
    worth = [point for point in points if is_worth(point, points)]
    for _ in range(repeats - 1):
        for point in worth:
            peer.tune(point["setting"])
            seconds, _ = one_pass(peer, point["mode"], queries)
            point["passes"].append(len(queries) / seconds)
    for point in points:
        point["qps"] = median(point["passes"])
    return points


def is_worth(point: dict[str, Any], points: list[dict[str, Any]]) -> bool:
    """Whether a point may be on the envelope: none at its recall or above is clearly faster."""
    rivals = [other for other in points if other["mode"] == point["mode"] and other["recall"] >= point["recall"]]
    return all(other["passes"][0] <= 1.2 * point["passes"][0] for other in rivals)


def child(pipe: Connection, job: dict[str, Any], log: str) -> None:
    """Entry of the process: what a library prints goes to the log."""
    target = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644)
    os.dup2(target, 1)
    os.dup2(target, 2)
    pipe.send(measure(job))
    pipe.close()
    sys.stdout.flush()
    os._exit(0)  # some libraries crash while they are taken down; the answer is out


def run_one(job: dict[str, Any], log: Path, limit: float) -> dict[str, Any]:
    """The child's answer, or {"failed": why}."""
    spawn = multiprocessing.get_context("spawn")
    ours, theirs = spawn.Pipe(duplex=False)
    process = spawn.Process(target=child, args=(theirs, job, str(log)))
    process.start()
    theirs.close()
    try:
        answer = ours.recv() if ours.poll(limit) else {"failed": f"not done after {limit:.0f} s"}
    except EOFError:
        process.join()
        lines = [line for line in log.read_text(encoding="utf-8", errors="replace").splitlines() if line.strip()]
        answer = {"failed": f"exit code {process.exitcode}; {(lines or ['no message'])[-1].strip()[:200]}"}
    process.join(10)
    if process.is_alive():
        process.kill()
        process.join()
    return answer
