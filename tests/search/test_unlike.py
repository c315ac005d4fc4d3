"""Queries that are unlike the stored vectors: a recall target is reached for them too, or they are told."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from medalist.errors import SearchError
from medalist.search import Hits, Index

N, DIM = 6000, 96
Floats = NDArray[np.float32]


def cone(n: int, seed: int, turned: float) -> Floats:
    """Return unit vectors [n, DIM] of clusters of different density, moved by `turned` into one direction."""
    shape, rng = np.random.default_rng(1), np.random.default_rng(seed)
    centres, basis = shape.normal(size=(20, DIM)), shape.normal(size=(12, DIM)) / 3
    spread, aside = 0.2 * np.exp(0.7 * shape.normal(size=20)), shape.normal(size=DIM)
    of = rng.integers(0, 20, n)
    x = centres[of] + spread[of, None] * (rng.normal(size=(n, 12)) @ basis) + turned * aside
    return (x / np.linalg.norm(x, axis=1, keepdims=True)).astype(np.float32)


def recall(found: Hits, truth: Hits) -> float:
    k = found.scores.shape[1]
    return float(np.minimum((found.scores >= truth.scores[:, -1:]).sum(axis=1), k).mean() / k)


@pytest.fixture(scope="module")
def index() -> Index:
    made = Index(DIM, fields={"n": "int"})
    made.add(None, cone(N, 2, 0), {"n": np.arange(N)})
    return made


def told(hits: Hits) -> tuple[NDArray[np.bool_], NDArray[np.float32]]:
    assert hits.unlike is not None and hits.farness is not None
    return hits.unlike, hits.farness


@pytest.mark.parametrize("turned", [0.3, 0.8, 1.6, 4.0])
@pytest.mark.parametrize("how", [{}, {"where": "n >= 100"}, {"where": "n < 3000"}], ids=str)
def test_a_recall_target_holds_for_queries_from_elsewhere(turned: float, how: Any, index: Index) -> None:
    queries = cone(150, 3, turned)
    for aim in (0.95, 0.99):
        for k in (1, 10):
            truth = index.exact(queries, k, where=how.get("where"))
            assert recall(index.search(queries, k, recall=aim, **how), truth) >= aim - 0.03


def test_queries_from_elsewhere_are_told_and_members_are_not(index: Index) -> None:
    unlike, farness = told(index.search(cone(300, 4, 0), recall=0.95))
    assert unlike.mean() <= 0.02 and farness.shape == (300,) and farness.dtype == np.float32 and (farness > 0).all()
    unlike, farness = told(index.search(cone(300, 4, 1.6), recall=0.95))
    assert unlike.mean() >= 0.9 and np.median(farness) > 1.5
    one = index.search(cone(1, 4, 4.0)[0])
    assert told(one)[0].shape == () and bool(told(one)[0])
    assert told(index.search(cone(3, 4, 1.6), ef=20))[0].any()  # told, and not walked wider
    assert index.exact(cone(3, 4, 1.6)).farness is not None and not told(index.exact(cone(3, 4, 1.6)))[0].any()


def test_members_cost_what_they_did_and_others_more(index: Index) -> None:
    def cost(turned: float, **how: Any) -> float:
        found = index.search(cone(300, 5, turned), **how).cost
        assert found is not None
        return float(found.mean())

    ef = index._core.ef_for(0.95, 10)
    assert cost(0, recall=0.95) <= 1.1 * cost(0, ef=ef)
    assert cost(1.6, recall=0.95) > 1.5 * cost(1.6, ef=ef)


def test_an_answer_depends_neither_on_threads_nor_on_the_other_queries(index: Index, tmp_path: Path) -> None:
    queries = np.concatenate([cone(40, 6, 0), cone(40, 6, 1.6)])
    together = index.search(queries, 5, recall=0.99)
    index.save(tmp_path / "x.ann")
    for again in (
        index.search(queries, 5, recall=0.99, threads=3),
        Index.open(tmp_path / "x.ann").search(queries, 5, recall=0.99),
    ):
        for name in ("ids", "scores", "plans", "cost", "farness"):
            np.testing.assert_array_equal(getattr(again, name), getattr(together, name))
    for row in range(0, 80, 7):
        np.testing.assert_array_equal(index.search(queries[row], 5, recall=0.99).ids, together.ids[row])


def test_a_file_of_an_earlier_version_is_measured_when_it_is_opened(
    index: Index, tmp_path: Path, taken_apart: Any, put_together: Any
) -> None:
    index.save(tmp_path / "x.ann")
    sections = taken_apart((tmp_path / "x.ann").read_bytes())
    assert len(sections.pop("outer")) == 8
    (tmp_path / "old.ann").write_bytes(put_together(sections))
    queries = cone(50, 7, 0.8)
    old, new = Index.open(tmp_path / "old.ann"), index.search(queries, recall=0.95)
    np.testing.assert_array_equal(told(old.search(queries, recall=0.95))[1], told(new)[1])
    for bytes_ in (b"\xff" * 8, b"\0" * 4):
        (tmp_path / "bad.ann").write_bytes(put_together({**sections, "outer": bytes_}))
        with pytest.raises(SearchError, match="outer"):
            Index.open(tmp_path / "bad.ann")


@pytest.mark.parametrize("metric", ["l2", "ip"])
def test_other_metrics_hold_the_target_too(metric: Any) -> None:
    index = Index(DIM, metric)
    index.add(None, 3 * cone(3000, 8, 0))
    for turned in (0.0, 1.6):
        queries = 5 * cone(100, 9, turned)
        assert recall(index.search(queries, recall=0.95), index.exact(queries)) >= 0.92


def test_a_calibrated_index_walks_as_wide_as_the_sample_needs(index: Index, tmp_path: Path) -> None:
    index.save(tmp_path / "x.ann")
    own = Index.open(tmp_path / "x.ann")
    queries, others = cone(200, 10, 1.6), cone(200, 11, 1.6)
    before = own.search(others, recall=0.95)
    table = own.calibrate(queries)
    assert [row.ef for row in table] == sorted({row.ef for row in table}) and 0 < table[0].at_10 <= table[-1].at_10
    found = own.search(others, recall=0.95)
    assert recall(found, own.exact(others)) >= 0.92
    assert told(found)[0].mean() > 0.9 and found.cost is not None and before.cost is not None
    assert set(found.plans.tolist() if found.plans is not None else []) <= {"walk", "exact"}
    assert own.search(cone(1, 12, 8.0), recall=0.95).plans is not None


@pytest.mark.parametrize(
    ("queries", "words"),
    [
        (np.zeros((0, DIM)), "give an array"),
        (np.ones(DIM), "give an array"),
        (np.zeros((3, DIM)), "queries, row 0: a zero vector"),
        (np.ones((3, 4)), "expected"),
    ],
)
def test_a_sample_that_cannot_be_used_is_refused(queries: Any, words: str, index: Index) -> None:
    with pytest.raises(SearchError, match=words):
        index.calibrate(queries)


def test_a_small_index_needs_no_calibration() -> None:
    small = Index(4)
    small.add(None, np.eye(4))
    assert small.calibrate(np.ones((2, 4)))[-1].at_10 == 1.0
    assert small.search(np.ones(4), 2).ids.shape == (2,)


def extreme(n: int, seed: int) -> Floats:
    """Return queries that lie far from all members, and nearly as far from each as from the next."""
    rng = np.random.default_rng(seed)
    x = cone(n, seed, 4.0) + 0.5 * rng.normal(size=(n, DIM)).astype(np.float32)
    return (x / np.linalg.norm(x, axis=1, keepdims=True)).astype(np.float32)


@pytest.mark.parametrize("aim", [0.8, 0.95, 0.99])
@pytest.mark.parametrize("how", [{}, {"where": "n >= 100"}, {"min_score": -0.9}, {"plan": "walk"}], ids=str)
def test_what_unlike_queries_got_is_told_by_an_estimate(aim: float, how: Any, index: Index, tmp_path: Path) -> None:
    index.save(tmp_path / "x.ann")
    own = Index.open(tmp_path / "x.ann")
    for queries in (cone(200, 20, 1.6), extreme(200, 21)):
        found = own.search(queries, recall=aim, **how)
        exact = {name: value for name, value in how.items() if name != "plan"}
        got = recall(found, own.exact(queries, **exact))
        assert found.recall_estimate is not None and abs(found.recall_estimate - got) <= 0.06
        assert got >= aim - 0.03 or "plan" in how
