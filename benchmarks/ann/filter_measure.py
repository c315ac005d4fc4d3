"""One library under all filters of the grid: the work of a child process, cell by cell."""

from __future__ import annotations

import math
import os
import pickle
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib import import_module
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import numpy as np
from adapter import K, Rows
from filter_cells import SEED, Cell, World, made_world, name_of, squares, truth
from numpy.typing import NDArray
from truth import distances

from medalist.search.filters import Among, Filter, Range

WANTED = 0.95
THEMES, EACH = 4, 32
"""Batches of a cell, and queries of each: a query whose filter is taken, and those nearest to it."""
AGAIN = 4
"""Settings that are tried again with more time, from the fastest on, until one holds the recall."""
LEAST = 3
"""Queries of a trial at least, however long they take."""


@dataclass
class Asked:
    """What a cell asks: single queries with a filter and a limit each, and batches that share a filter."""

    filters: list[Filter]
    matches: list[int]
    last: list[float]
    near: float
    batches: list[list[float]]


@dataclass
class Grid:
    """Everything that the libraries are asked, and the truth; `vectors` of the world are put in after loading."""

    world: World
    metric: str
    queries: Rows
    themes: list[Rows]
    cells: dict[Cell, Asked]


def made_grid(vectors: Rows, queries: Rows, metric: str, count: int, wanted: list[Cell]) -> Grid:
    """Fields, filters and truth. `queries` are all there are; `count` of them, chosen at random, are asked singly."""
    world = made_world(vectors)
    some = queries[np.random.default_rng(SEED).permutation(len(queries))[:count]]
    themes = [queries[np.argsort(squares(one[None], queries)[0], kind="stable")[:EACH]] for one in some[:THEMES]]
    lengths = np.square(vectors).sum(axis=1)
    orders, *theirs = (
        [np.argsort(lengths - 2 * (vectors @ one)).astype(np.int32) for one in block] for block in (some, *themes)
    )
    grid = Grid(world, metric, some, themes, {})
    for cell in wanted:
        filters, masks = [], []
        for number, one in enumerate(some):
            again = number and cell[1] == "independent"
            filters.append(filters[0] if again else world.filter(cell, one))
            masks.append(masks[0] if again else np.packbits(world.mask(filters[-1])))
        told = [np.unpackbits(mask, count=len(vectors)).view(np.bool_) for mask in masks]
        known = [truth(vectors, *of, metric) for of in zip(orders, some, told, strict=True)]
        batches = [
            [truth(vectors, order, one, mask, metric)[0] for order, one in zip(of, theme, strict=True)]
            for of, theme, mask in zip(theirs, themes, told, strict=False)
        ]
        matches = [int(np.count_nonzero(mask)) for mask in told]
        near = float(np.mean([near for _, near in known]))
        grid.cells[cell] = Asked(filters, matches, [last for last, _ in known], near, batches)
    return grid


def hits(grid: Grid, query: Rows, filter_mask: Any, last: float, found: Any) -> tuple[int, int]:
    """How many answers fulfil the filter and are at most as far as the last true one; how many there are at all."""
    rows = np.unique(np.asarray(found, np.int64).reshape(-1))
    rows = rows[(rows >= 0) & (rows < len(grid.world.vectors))]
    rows = rows[filter_mask[rows]]
    some = grid.world.vectors[rows].astype(np.float64)
    far = distances(query.astype(np.float64)[None], some[None], grid.metric)[0]
    return int((far <= last + 1e-6 * max(last, 1e-3)).sum()), len(rows)


@dataclass
class Trial:
    """Seconds of all calls and of the part that is not the making of masks, and how good the answers were."""

    setting: Any
    asked: int = 0
    seconds: float = 0.0
    bare: float = 0.0
    right: int = 0
    wanted: int = 0
    short: int = 0

    @property
    def recall(self) -> float:
        return self.right / self.wanted if self.wanted else 1.0

    def told(self) -> dict[str, Any]:
        return {
            "setting": self.setting,
            "recall": self.recall,
            "qps": self.asked / self.seconds,
            "bare": self.asked / max(self.bare, 1e-9),
            "asked": self.asked,
            "short": self.short,
        }


class Runner:
    """Asks one library the queries of one cell."""

    def __init__(self, peer: Any, grid: Grid, cell: Cell) -> None:
        self.peer, self.grid, self.cell, self.asked = peer, grid, cell, grid.cells[cell]
        self._prepared: dict[int, Any] = {}
        self._masks: dict[int, NDArray[np.bool_]] = {}

    def prepared(self, number: int) -> Any:
        at = 0 if self.cell[1] == "independent" else number
        if at not in self._prepared:
            self._prepared[at] = self.peer.prepare(self.asked.filters[at])
        return self._prepared[at]

    def mask(self, number: int) -> NDArray[np.bool_]:
        at = 0 if self.cell[1] == "independent" else number
        if at not in self._masks:
            self._masks[at] = self.grid.world.mask(self.asked.filters[at])
        return self._masks[at]

    def trial(self, setting: Any, seconds: float) -> Trial:
        """Single queries, one after another, for as long as there is time."""
        end, out, answers = time.perf_counter() + seconds, Trial(setting), []
        for number, query in enumerate(self.grid.queries):
            if number >= LEAST and time.perf_counter() > end:
                break
            answers.append(self.call(out, lambda made, one=query: self.peer.one(one, made, setting), number))
        for number, answer in enumerate(answers):  # afterwards: it would push the vectors out of the processor's cache
            self.mark(out, number, [self.grid.queries[number]], [self.asked.last[number]], [answer])
        return out

    def batch(self, setting: Any, seconds: float) -> Trial | None:
        """Batches that share a filter; None where the library has no call for them."""
        if self.peer.many is None:
            return None
        end, out, answers = time.perf_counter() + seconds, Trial(setting), []
        for number, theme in enumerate(self.grid.themes):
            if number and time.perf_counter() > end:
                break
            answers.append(self.call(out, lambda made, some=theme: self.peer.many(some, made, setting), number))
        for number, found in enumerate(answers):
            self.mark(out, number, self.grid.themes[number], self.asked.batches[number], found)
        return out

    def call(self, out: Trial, ask: Callable[[Any], Any], number: int) -> Any:
        """One call, timed in its two parts."""
        prepared = self.prepared(number)
        start = time.process_time()
        made = self.peer.evaluate(prepared)
        middle = time.process_time()
        found = ask(made)
        done = time.process_time()
        out.seconds += done - start
        out.bare += done - middle
        return found

    def mark(self, out: Trial, number: int, queries: Any, lasts: list[float], found: Any) -> None:
        """Count the right answers of a call under the filter of a query."""
        wanted = min(K, self.asked.matches[number])
        for query, last, answer in zip(queries, lasts, found, strict=True):
            right, given = hits(self.grid, query, self.mask(number), last, answer)
            out.asked += 1
            out.right += min(right, wanted)
            out.wanted += wanted
            out.short += given < wanted


def tuned(runner: Runner, seconds: float) -> dict[str, Any]:
    """The fastest setting of any mode that reaches the recall, or the one of the highest recall, and its batches."""
    if runner.prepared(0) is None:
        return {"left": "cannot say it"}
    trials: list[Trial] = []
    for ladder in runner.peer.ladders:
        low, high = 0, len(ladder) - 1
        share = 0.6 * seconds / len(runner.peer.ladders) / math.ceil(math.log2(len(ladder) + 1))
        while low <= high:
            middle = (low + high) // 2
            trials.append(runner.trial(ladder[middle], share))
            low, high = (low, middle - 1) if trials[-1].recall >= WANTED else (middle + 1, high)
    chosen = max(trials, key=lambda trial: trial.recall)
    for trial in sorted((trial for trial in trials if trial.recall >= WANTED), key=pace)[:AGAIN]:
        again = runner.trial(trial.setting, 0.25 * seconds)
        chosen = again if again.asked >= trial.asked else trial
        if chosen.recall >= WANTED:  # of more queries it may be less
            break
    together = runner.batch(chosen.setting, 0.15 * seconds)
    return {**chosen.told(), "batch": together.told() if together else None}


def pace(trial: Trial) -> float:
    return trial.seconds / trial.asked


def ours(runner: Runner, seconds: float) -> dict[str, Any]:
    """Recall, plans and cost of the default; its time against a forced scan of the matches, passes taking turns."""
    index, grid, asked = runner.peer.index, runner.grid, runner.asked
    first = runner.trial(None, math.inf)
    answers = [index.search(one, K, where=where) for one, where in zip(grid.queries, asked.filters, strict=True)]
    counted = [index.count(where) == count for where, count in list(zip(asked.filters, asked.matches, strict=True))[:8]]
    times: list[list[list[float]]] = []
    end = time.perf_counter() + 0.7 * seconds
    while len(times) < 3 or (len(times) < 15 and time.perf_counter() < end):
        times.append([[], []])
        for plan, row in zip((None, "scan"), times[-1], strict=True):
            for query, where in zip(grid.queries, asked.filters, strict=True):
                start = time.process_time()
                index.search(query, K, where=where, plan=plan)
                row.append(time.process_time() - start)
    each = np.median(np.array(times), axis=0).T
    together = [made for made in (runner.batch(None, math.inf) for _ in range(3)) if made]
    together.sort(key=pace)
    plans = Counter(str(answer.plans) for answer in answers)
    return {
        **first.told(),
        "qps": len(each) / each[:, 0].sum(),
        "bare": None,
        "plans": dict(plans.most_common()),
        "cost": float(np.mean([int(answer.cost) for answer in answers])),
        "guard": float(each[:, 0].sum() / each[:, 1].sum()),
        "guard_worst": float((each[:, 0] / each[:, 1]).max()),
        "miscounted": counted.count(False),
        "unequal": unequal(runner),
        "passes": len(times),
        "batch": together[len(together) // 2].told() if together else None,
    }


def unequal(runner: Runner) -> int:
    """Of eight queries how many are answered otherwise when a range is told as the set of its values."""
    where = runner.asked.filters[0]
    if runner.cell[1] != "independent" or not isinstance(where, Range):
        return 0
    values = Among(where.field, tuple(range(int(str(where.gte)), int(str(where.lt)))))
    index, some = runner.peer.index, runner.grid.queries[:8]
    both = [index.search(some, K, where=one).ids for one in (where, values)]
    return int((both[0] != both[1]).any(axis=1).sum())


def measure(job: dict[str, Any]) -> Iterator[tuple[str, Any]]:
    """("built", ...), then (name of a cell, result) of all cells, within about the job's seconds without the build."""
    if job["cpu"] is not None:
        os.sched_setaffinity(0, {job["cpu"]})
    grid: Grid = pickle.loads(Path(job["grid"]).read_bytes())
    grid.world.vectors = np.ascontiguousarray(np.load(job["base"], mmap_mode="r")[: job["subset"]])
    with tempfile.TemporaryDirectory(dir=job["folder"]) as folder:
        start = time.process_time()
        peer = getattr(import_module(job["module"]), job["class"])(grid.world, grid.metric, Path(folder))
        yield "built", {"parameters": peer.parameters, "build_cpu": time.process_time() - start}
        begin = time.perf_counter()
        for number, cell in enumerate(grid.cells):
            left = max(begin + job["seconds"] - time.perf_counter(), 0) / (len(grid.cells) - number)
            yield name_of(cell), (ours if job["name"] == "medalist" else tuned)(Runner(peer, grid, cell), left)


def child(pipe: Connection, job: dict[str, Any], log: str) -> None:
    """Entry of the process: what a library prints goes to the log."""
    target = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644)
    os.dup2(target, 1)
    os.dup2(target, 2)
    for told in measure(job):
        pipe.send(told)
    pipe.send(None)
    pipe.close()
    sys.stdout.flush()
    os._exit(0)  # some libraries crash while they are taken down; the answer is out
