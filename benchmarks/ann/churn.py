"""An index whose vectors go and come back, ten times over: does it still find them, and does it grow?

python benchmarks/ann/churn.py [--vectors runs/ann] [--set deep112] [--subset 200000] [--rounds 10] [--parts ...]

halves   each round deletes half of the vectors, by ids and by a filter in turns, and brings them back in batches under
         the same ids; between the batches a few searches look whether anything deleted is answered
updates  each round replaces a tenth of the vectors, drawn at random: they swap their places among each other
fields   each round changes the fields of a tenth of the vectors, by ids and by a filter; counts beside NumPy's

After each round: recall@10 against the exact neighbours, at a fixed width of the walk, as `search` aims by itself, and
under a filter that means a tenth; bytes of the index, and what the process holds more than before the index was made.
Beside these an index that was built at once from the same rows in a process of its own. Wanted: a recall that falls by
at most 0.01, and memory at most 1.2 times as much, as the index stands after the last round and after optimize().
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import time
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

if __name__ == "__main__":
    os.environ.update({f"{library}_NUM_THREADS": "1" for library in ("OMP", "OPENBLAS", "MKL")})  # NumPy reads it

import numpy as np
from measure import resident
from numpy.typing import NDArray
from truth import cached_truth, recall, true_tenth

from medalist.search import Index
from medalist.search.filters import F, Filter
from medalist.search.schema import FieldKind

PROJECT = Path(__file__).parent.parent.parent
METRICS = {"sift": "l2", "deep112": "cosine", "deep320": "cosine"}
PARTS = ("halves", "updates", "fields")
SCHEMA: dict[str, FieldKind] = {"half": "int", "kind": "tag", "level": "int"}
K, WIDTH, BATCH = 10, 60, 5000
WORST_DROP, MOST_MEMORY = 0.01, 1.2

Rows = NDArray[np.float32]
Numbers = NDArray[np.int64]


@dataclass(frozen=True)
class Seen:
    """Recalls at a fixed width, by default, and under a filter; bytes by part; bytes of the process since before."""

    recalls: tuple[float, float, float]
    memory: dict[str, int]
    grown: int
    dead: int

    @property
    def total(self) -> int:
        return sum(self.memory.values())

    def told(self) -> str:
        recalls = " ".join(f"{one:.4f}" for one in self.recalls)
        sizes = f"{self.total / 1e6:.1f} MB + process {(self.grown - self.total) / 1e6:+.1f}"
        return f"recall {recalls}; index {sizes}, dead {self.dead}"


@dataclass
class Trial:
    """An index beside what must be in it: the base's row behind each id, and the fields of each id."""

    base: Rows
    queries: Rows
    metric: str
    tenths: NDArray[np.float64]
    threads: int
    rng: np.random.Generator = field(default_factory=lambda: np.random.default_rng(0))
    before: int = field(default_factory=resident)
    row_of: Numbers = field(init=False)
    half: Numbers = field(init=False)
    kind: Numbers = field(init=False)
    level: Numbers = field(init=False)
    index: Index = field(init=False)

    def __post_init__(self) -> None:
        n = len(self.base)
        self.row_of, self.half = np.arange(n), self.rng.integers(0, 100, n)
        self.kind, self.level = self.rng.integers(0, 10, n), self.rng.integers(0, 100, n)
        self.index = Index(self.base.shape[1], self.metric, fields=SCHEMA)  # type: ignore[arg-type]
        self.put(np.arange(n))

    def put(self, ids: Numbers, update: bool = False) -> None:
        tags = [f"kind{number}" for number in self.kind[ids]]
        columns = {"half": self.half[ids], "kind": tags, "level": self.level[ids]}
        write = self.index.upsert if update else self.index.add
        write(ids, self.base[self.row_of[ids]], columns, threads=self.threads)

    def look(self, gone: Numbers, where: Filter | None) -> None:
        """Some searches beside the changes: nothing deleted, nothing unmeant, nothing twice, and never too few."""
        some = self.queries[self.rng.integers(0, len(self.queries), 20)]
        hits = self.index.search(some, K, where=where)
        bad = np.isin(hits.ids, gone).any() or (hits.counts < min(K, self.index.count(where))).any()
        if bad or any(len(set(row.tolist())) < K for row in hits.ids[hits.counts == K]):
            raise SystemExit(f"where {where}: an answer was deleted, came twice, or is missing: {hits.ids}")

    def halves(self, number: int) -> None:
        if number % 2:
            gone = np.sort(self.rng.permutation(len(self.base))[: len(self.base) // 2])
            count = self.index.delete(gone, threads=self.threads)
        else:
            drawn = self.rng.permutation(100)[:50].tolist()
            gone = np.flatnonzero(np.isin(self.half, drawn))
            count = self.index.delete(where=F.half.any(*drawn), threads=self.threads)
        if count != len(gone) or len(self.index) != len(self.base) - len(gone):
            raise SystemExit(f"{count} deleted, not {len(gone)}")
        back = self.rng.permutation(gone)
        for start in range(0, len(back), BATCH):
            for where in (None, F.kind == "kind3"):
                self.look(back[start:], where)
            self.put(back[start : start + BATCH])

    def updates(self, _number: int) -> None:
        some = self.rng.permutation(len(self.base))[: len(self.base) // 10]
        self.row_of[some] = self.row_of[self.rng.permutation(some)]
        for start in range(0, len(some), BATCH // 5):
            self.put(some[start : start + BATCH // 5], update=True)

    def fields(self, number: int) -> None:
        """A tenth of the vectors by their ids, and those of one value by a filter."""
        some = self.rng.permutation(len(self.base))[: len(self.base) // 10]
        self.level[some] = self.rng.integers(0, 100, len(some))
        self.index.set_fields({"level": self.level[some]}, ids=some)
        meant = (self.level >= 40) & (self.level < 42) & (self.kind != 3)
        self.kind[meant] = number % 10
        kind = f"kind{number % 10}"
        self.index.set_fields({"kind": kind}, where=F.level.between(40, 41) & ~(F.kind == "kind3"))
        for low in range(0, 100, 9):
            for term, mask in (
                (F.level < low, self.level < low),
                (F.level.between(low, low + 20) & (F.kind == kind), self._both(low, number)),
                (~(F.kind == kind) | (F.half >= low), (self.kind != number % 10) | (self.half >= low)),
            ):
                if self.index.count(term) != mask.sum():
                    raise SystemExit(f"{term}: {self.index.count(term)} rows, not {mask.sum()}")

    def _both(self, low: int, number: int) -> NDArray[np.bool_]:
        return np.asarray((self.level >= low) & (self.level <= low + 20) & (self.kind == number % 10), bool)

    def seen(self) -> Seen:
        """The filter's true neighbours are those of the base's rows that it means."""
        found = []
        for width in (WIDTH, None):
            hits = self.index.search(self.queries, K, ef=width, threads=self.threads)
            found.append(recall(self.row_of[hits.ids], self.base, self.queries, self.tenths, self.metric))
        meant = np.flatnonzero(self.half < 10)
        some = self.queries[:300]
        hits = self.index.search(some, K, where=F.half < 10, threads=self.threads)
        if not np.isin(hits.ids, meant).all():
            raise SystemExit(f"an answer that half < 10 does not mean: {hits.ids}")
        rows = np.sort(self.row_of[meant])
        places = np.searchsorted(rows, self.row_of[hits.ids])
        inside = self.base[rows]
        found.append(recall(places, inside, some, true_tenth(inside, some, self.metric), self.metric))
        stats = self.index.stats()
        memory = {name: size for name, size in stats.memory.items() if name != "total"}
        return Seen((found[0], found[1], found[2]), memory, resident() - self.before, stats.dead)


def run(part: str, options: argparse.Namespace) -> list[Seen]:
    """In a process of its own: after each round, and after optimize(). "fresh": that of all rows at once."""
    file = options.vectors / f"{options.set}-base.npy"
    base = np.array(np.load(file, mmap_mode="r")[: options.subset])
    queries = np.load(options.vectors / f"{options.set}-queries.npy")[: options.queries]
    tenths = cached_truth(file, len(base), queries, METRICS[options.set])
    trial = Trial(base, queries, METRICS[options.set], tenths, options.threads)
    if part == "fresh":
        trial.index.optimize(threads=options.threads)
        return [trial.seen()]
    seen = []
    for number in range(options.rounds):
        start = time.perf_counter()
        getattr(trial, part)(number)
        seconds = time.perf_counter() - start
        seen.append(trial.seen())
        print(f"  {part} {number + 1}, {seconds:.1f} s: {seen[-1].told()}", flush=True)
    trial.index.optimize(threads=options.threads)
    return [*seen, trial.seen()]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--vectors", type=Path, default=PROJECT / "runs" / "ann", help="folder of the .npy files")
    parser.add_argument("--set", choices=METRICS, default="deep112")
    parser.add_argument("--subset", type=int, default=200_000, help="first vectors of the base alone")
    parser.add_argument("--queries", type=int, default=1000)
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=PARTS)
    parser.add_argument("--threads", type=int, default=2, help="that link and search")
    options = parser.parse_args()
    if not (options.vectors / f"{options.set}-base.npy").exists():
        raise SystemExit(f"no vectors; make them: python benchmarks/ann/vectors.py --out {options.vectors}")
    fork = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, fork, max_tasks_per_child=1) as pool:
        (fresh,) = pool.submit(run, "fresh", options).result()
        print(f"built at once: {fresh.told()}", flush=True)
        missed = False
        for part in options.parts:
            *rounds, tidy = pool.submit(run, part, options).result()
            for what, seen in (("last round", rounds[-1]), ("worst round", None), ("optimize()d", tidy)):
                those = rounds if seen is None else [seen]
                drop = max(a - b for one in those for a, b in zip(fresh.recalls, one.recalls, strict=True))
                ratio = max(one.total for one in those) / fresh.total
                process = max(one.grown for one in those) / fresh.grown
                good = drop <= WORST_DROP and ratio <= MOST_MEMORY and process <= MOST_MEMORY
                missed = missed or not good
                print(
                    f"{part}, {what}: recall falls by {drop:+.4f} (wanted: {WORST_DROP}), memory {ratio:.3f}, of the "
                    f"process {process:.3f} (wanted: {MOST_MEMORY}){'' if good else '  MISSED'}",
                    flush=True,
                )
            sizes = ((name, size, fresh.memory.get(name, 0)) for name, size in rounds[-1].memory.items())
            print("  " + ", ".join(f"{name} {size / 1e6:.1f} MB, fresh {new / 1e6:.1f}" for name, size, new in sizes))
    raise SystemExit(missed)


if __name__ == "__main__":
    main()
