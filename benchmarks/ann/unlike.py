"""Recall of queries that are unlike the stored vectors, with the estimate of it and without, and what it costs.

    python benchmarks/ann/unlike.py --vectors 20000

Recall and rows compared are the same on any machine. `without` leaves out the estimate and what it mends.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

from medalist.search import Hits, Index

DIM, AIMS = 96, (0.8, 0.95, 0.99)
KINDS = {
    "members": (0.0, 0.0),
    "turned away": (1.6, 0.0),
    "turned far away": (4.0, 0.0),
    "far away, with noise": (4.0, 0.5),
    "noise": (0.0, 2.0),
    "noise alone": (0.0, 50.0),
}
"""How far queries are moved into one direction, and how much noise they have."""


def cone(n: int, seed: int, turned: float, noise: float) -> np.ndarray[Any, np.dtype[np.float32]]:
    """Return unit vectors of clusters of different density, moved and with noise."""
    shape, rng = np.random.default_rng(1), np.random.default_rng(seed)
    centres, basis = shape.normal(size=(20, DIM)), shape.normal(size=(12, DIM)) / 3
    spread, aside = 0.2 * np.exp(0.7 * shape.normal(size=20)), shape.normal(size=DIM)
    of = rng.integers(0, 20, n)
    x = centres[of] + spread[of, None] * (rng.normal(size=(n, 12)) @ basis) + turned * aside
    x += noise * rng.normal(size=x.shape)
    return (x / np.linalg.norm(x, axis=1, keepdims=True)).astype(np.float32)


def recall(found: Hits, truth: Hits) -> float:
    """Return the share of the nearest that were found."""
    return float(np.minimum((found.scores >= truth.scores[:, -1:]).sum(axis=1), 10).mean() / 10)


def main() -> None:
    """Print a line for each kind of queries and each target."""
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("--vectors", type=int, default=20_000)
    options.add_argument("--queries", type=int, default=300)
    chosen = options.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "x.ann"
        index = Index(DIM)
        index.add(None, cone(chosen.vectors, 2, 0.0, 0.0))
        index.save(path)
        for kind, (turned, noise) in KINDS.items():
            queries = cone(chosen.queries, 3, turned, noise)
            truth = index.exact(queries)
            for aim in AIMS:
                told = []
                for estimated in (False, True):
                    opened = Index.open(path)
                    if not estimated:
                        opened._reached.told = lambda hits, *_: hits  # type: ignore[method-assign]
                    began = time.process_time()
                    found = opened.search(queries, recall=aim)
                    seconds = time.process_time() - began
                    assert found.cost is not None
                    told.append(f"{recall(found, truth):.3f} ({found.cost.mean():.0f} rows, {seconds:.2f} s)")
                print(f"{kind}, aim {aim}: without {told[0]}; with {told[1]}, estimate {found.recall_estimate}")


if __name__ == "__main__":
    main()
