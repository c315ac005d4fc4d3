"""The graph: recall, the recall that was asked for, reachability, and bytes that nothing but the input changes."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from collections.abc import Callable
from functools import cache
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from medalist.search import Index
from medalist.search._ann import kernel_sets

METRICS = ("cosine", "ip", "l2")
N, DIM, ASKED = 4000, 24, 600
FEW = 1024
"""Vectors up to which there is no graph."""


@cache
def made(metric: Any, spread: str) -> tuple[Index, NDArray[np.float32], NDArray[np.int64]]:
    """An index, queries that it does not hold, and the ids of their true neighbours."""
    rng = np.random.default_rng(11)
    if spread == "normal":
        x = rng.normal(size=(N + ASKED, DIM))
    elif spread == "clusters":
        centres = 3 * rng.normal(size=(40, DIM))
        x = centres[rng.integers(0, 40, N + ASKED)] + rng.normal(size=(N + ASKED, DIM))
    else:
        x = np.tanh(rng.normal(size=(N + ASKED, 4)) @ rng.normal(size=(4, DIM))) + 0.05 * rng.normal(
            size=(N + ASKED, DIM)
        )
    x = x.astype(np.float32)
    order = np.argsort(x[:N, 0])  # as files often are: in an order
    index = Index(DIM, metric)
    index.add(None, x[:N][order])
    return index, x[N:], index.exact(x[N:], 10).ids


def recall(index: Index, queries: NDArray[np.float32], truth: NDArray[np.int64], **how: Any) -> float:
    found = index.search(queries, truth.shape[1], **how).ids
    same = [len({*a} & {*b}) for a, b in zip(found.tolist(), truth.tolist(), strict=True)]
    return sum(same) / truth.size


@pytest.mark.parametrize("spread", ["normal", "clusters", "low"])
@pytest.mark.parametrize("metric", METRICS)
def test_recall_does_not_fall_when_ef_grows(metric: str, spread: str) -> None:
    index, queries, truth = made(metric, spread)
    curve = [recall(index, queries, truth, ef=ef) for ef in (10, 15, 22, 33, 50, 75, 110, 160, 240, 400, 1000, N)]
    assert all(later >= earlier - 0.002 for earlier, later in pairwise(curve)), curve
    assert curve[-1] >= 0.999 and curve[0] < 1, curve


@pytest.mark.parametrize("aim", [0.8, 0.9, 0.95, 0.99])
@pytest.mark.parametrize("spread", ["normal", "clusters", "low"])
@pytest.mark.parametrize("metric", METRICS)
def test_the_recall_asked_for_is_given(metric: str, spread: str, aim: float) -> None:
    index, queries, truth = made(metric, spread)
    assert recall(index, queries, truth, recall=aim) >= aim - 0.01
    assert recall(index, queries, truth[:, :1], recall=aim) >= aim - 0.01


@pytest.mark.parametrize("metric", METRICS)
def test_rows_that_are_not_linked_yet_do_not_hide_the_others(metric: Any) -> None:
    x = np.random.default_rng(21).normal(size=(3300, DIM)).astype(np.float32)
    index = Index(DIM, metric)
    index.add(None, x[:2000])
    index.add(None, x[2000:2900])
    assert index.stats().linked == 2000
    truth = index.exact(x[2900:], 10).ids
    for aim in (0.9, 0.95, 0.99):
        assert recall(index, x[2900:], truth, recall=aim) >= aim - 0.02
    index.add(None, x[2900:3100])
    assert index.stats().linked == 3100
    truth = index.exact(x[3100:], 10).ids
    assert recall(index, x[3100:], truth, recall=0.95) >= 0.93


def test_without_a_wish_the_recall_is_as_documented() -> None:
    index, queries, truth = made("cosine", "normal")
    assert index.search(queries).ids.tolist() == index.search(queries, recall=0.95).ids.tolist()
    assert recall(index, queries, truth) >= 0.94


def test_queries_from_elsewhere_find_their_neighbours() -> None:
    rng = np.random.default_rng(5)
    for metric in METRICS:
        index, _, _ = made(metric, "low")
        elsewhere = (2 * rng.normal(size=(300, DIM)) + 1).astype(np.float32)
        assert recall(index, elsewhere, index.exact(elsewhere, 10).ids, ef=400) >= 0.9


@pytest.mark.parametrize("metric", METRICS)
def test_adding_later_finds_as_much(metric: Any) -> None:
    _, queries, _ = made(metric, "normal")
    rng = np.random.default_rng(2)
    x = rng.normal(size=(3000, DIM)).astype(np.float32)
    x[1500:] += 0.5  # not as the first were
    index = Index(DIM, metric)
    for part in (x[:1], x[1:40], x[40:1500], x[1500:1501], x[1501:2900], x[2900:]):
        index.add(None, part)
        assert index.search(x[len(index) - 1], 1).ids.tolist() == [len(index) - 1] or metric == "ip"
    truth = index.exact(queries, 10).ids
    assert recall(index, queries, truth, ef=100) >= 0.93
    assert recall(index, queries, truth, ef=3000) >= 0.999


# ------------------------------------------------------------------------------------------------------ reachability


def vectors_of(index: Index) -> NDArray[np.float32]:
    return index.vectors(index.ids())


def links_of(index: Index) -> NDArray[np.int64]:
    """The links of each row, padded with -1."""
    links = np.empty((len(index), index.stats().degree), np.int64)
    index._core.links(links)
    return links


def arrived(index: Index) -> NDArray[np.bool_]:
    """Which rows a search can arrive at: by the links, with an equal one, or as those that are not linked yet."""
    links, start = links_of(index), index._core.stats()["seeds"]
    seen = np.zeros(len(index), bool)
    seen[index.stats().linked :] = True
    seen[start] = True
    front = np.asarray(start, np.int64)
    while len(front):
        ahead = np.unique(links[front])
        front = ahead[(ahead >= 0) & ~seen[ahead]]
        seen[front] = True
    vectors = vectors_of(index)
    _, group = np.unique(vectors, axis=0, return_inverse=True)
    group = group.reshape(-1)
    return np.bincount(group, seen)[group] > 0


@pytest.mark.parametrize("kind", ["ties", "sorted", "clusters", "low", "twice", "equal", "scaled", "spiky"])
@pytest.mark.parametrize("metric", METRICS)
def test_every_vector_can_be_arrived_at(metric: Any, kind: str, drawn_vectors: Callable[..., Any]) -> None:
    assert_arrived(drawn_vectors(kind, 1300, 9, 5), metric, 1)


@pytest.mark.parametrize("kind", ["normal", "clusters", "twice"])
def test_every_vector_added_later_can_be_arrived_at(kind: str, drawn_vectors: Callable[..., Any]) -> None:
    for n, dim, parts in ((60, 3, 2), (1100, 4, 40), (2700, 2, 2)):
        assert_arrived(drawn_vectors(kind, n, dim, n), "l2", parts)


def assert_arrived(vectors: NDArray[np.float32], metric: Any, parts: int) -> None:
    n, index = len(vectors), Index(vectors.shape[1], metric)
    for rows in np.array_split(vectors, parts):
        index.add(None, rows)
    links = links_of(index)
    assert links.shape[0] == n and links.min(initial=0) >= -1 and links.max(initial=0) < n
    assert not (links == np.arange(n)[:, None]).any()  # none to itself
    assert all(len({*row}) == len(row) for row in ([to for to in row if to >= 0] for row in links.tolist()))
    assert arrived(index).all() and index.stats().reachable == n
    assert (index.stats().linked > 0) == (n > FEW)


def test_every_vector_of_the_large_ones_can_be_arrived_at() -> None:
    for metric in METRICS:
        for spread in ("normal", "clusters", "low"):
            assert arrived(made(metric, spread)[0]).all()


def test_a_hundred_far_islands() -> None:
    rng = np.random.default_rng(4)
    x = (1e4 * rng.normal(size=(100, 1, 8)) + rng.normal(size=(100, 20, 8))).reshape(-1, 8).astype(np.float32)
    index = Index(8, "l2")
    index.add(None, x)
    assert arrived(index).all()
    found = index.search(x, 1, recall=0.99).ids.ravel()
    assert (found == np.arange(2000)).mean() >= 0.98


# ------------------------------------------------------------------------------------------------------ determinism

BUILD = """
import hashlib, json, pathlib, sys, tempfile
import numpy as np
from medalist.search import Index

rng = np.random.default_rng(9)
x = rng.normal(size=(1800, 21)).astype(np.float32)
x[300:500] = x[7]
q = rng.normal(size=(50, 21)).astype(np.float32)
made = {}
with tempfile.TemporaryDirectory() as folder:
    for metric in ("cosine", "ip", "l2"):
        for threads in map(int, sys.argv[1:]):
            index = Index(21, metric, seed=3)
            index.add(None, x[:1000], threads=threads)
            index.add(None, x[1000:], threads=threads)
            path = pathlib.Path(folder, "x")
            index.save(path)
            digest = hashlib.sha256(path.read_bytes()).hexdigest()
            hits = index.search(q, 10, ef=30, threads=threads)
            made[f"{metric} {threads}"] = [digest, hashlib.sha256(hits.ids.tobytes()).hexdigest()]
    made["kernels"] = index.stats().kernels
print(json.dumps(made))
"""


@cache
def built(kernels: str, *threads: int) -> dict[str, Any]:
    """Digests of files and answers, by metric and threads, built in a process of its own."""
    command = [sys.executable, "-c", BUILD, *map(str, threads)]
    environment = {**os.environ, "MEDALIST_KERNELS": kernels}
    ran = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    found: dict[str, Any] = json.loads(ran.stdout)
    assert found.pop("kernels") == kernels
    return found


def test_threads_do_not_change_a_byte() -> None:
    found = built(kernel_sets()[-1], 1, 2, 3)
    for metric in METRICS:
        assert found[f"{metric} 1"] == found[f"{metric} 2"] == found[f"{metric} 3"]


@pytest.mark.parametrize("kernels", kernel_sets()[:-1])
def test_kernels_do_not_change_a_byte(kernels: str) -> None:
    fastest = built(kernel_sets()[-1], 1, 2, 3)
    for name, (file, _) in built(kernels, 2).items():
        assert file == fastest[name][0], name


def digest(index: Index, folder: Path) -> str:
    index.save(folder / "index")
    return hashlib.sha256((folder / "index").read_bytes()).hexdigest()


def test_the_seed_and_the_parameters_change_the_graph(tmp_path: Path) -> None:
    x = np.random.default_rng(0).normal(size=(800, 16)).astype(np.float32)
    found = []
    for options in ({}, {"seed": 1}, {"degree": 8}, {"effort": 20}, {"refine": "float16"}, {}):
        index = Index(16, **options)  # type: ignore[arg-type]
        index.add(None, x)
        found.append(digest(index, tmp_path))
    assert found[0] == found[-1] and len(set(found)) == 5


def test_the_degree_is_kept() -> None:
    x = np.random.default_rng(0).normal(size=(1500, 16)).astype(np.float32)
    index = Index(16, degree=8, effort=40)
    index.add(None, x)
    stats = index.stats()
    assert (stats.degree, stats.effort) == (8, 40) and stats.degree_max <= 8
    assert arrived(index).all()
