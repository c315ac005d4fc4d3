"""The index against its twin, which compares with every vector in float64."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, Phase, example, given, settings
from hypothesis import strategies as st

from medalist.search import Index
from medalist.search.twin import TwinIndex

KINDS = ("normal", "ties", "sorted", "clusters", "low", "twice", "equal", "scaled", "offset", "spiky")
DIMS = (1, 2, 3, 5, 8, 15, 16, 17, 31, 32, 33, 64, 100, 127, 128, 129, 257, 512, 768, 1536)
METRICS = ("cosine", "ip", "l2")
ORACLE = settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


def both(vectors: Any, metric: Any, ids: Any = None, parts: int = 1, **options: Any) -> tuple[Index, TwinIndex]:
    """The same in both, added in parts."""
    made = Index(vectors.shape[1], metric, **options), TwinIndex(vectors.shape[1], metric, **options)
    for index in made:
        for rows in np.array_split(np.arange(len(vectors)), parts):
            index.add(None if ids is None else [ids[row] for row in rows], vectors[rows])  # type: ignore[attr-defined]
    return made


@ORACLE
@given(
    st.sampled_from(METRICS),
    st.sampled_from(DIMS),
    st.sampled_from((0, 1, 2, 3, 10, 33, 100, 300)) | st.integers(0, 300),
    st.sampled_from(KINDS),
    st.sampled_from(KINDS),
    st.integers(1, 4),
    st.sampled_from((0, 1, 2, 10, 17, 350)),
    st.integers(0, 2**32),
)
@example("l2", 1536, 300, "normal", "normal", 1, 10, 0)
@example("cosine", 1, 300, "normal", "normal", 2, 10, 0)
@example("ip", 128, 300, "scaled", "spiky", 3, 350, 0)
def test_any_index_against_its_twin(
    drawn_vectors: Callable[..., Any],
    compared: Callable[..., None],
    share_found: Callable[..., float],
    metric: Any,
    dim: int,
    n: int,
    kind: str,
    asked: str,
    parts: int,
    k: int,
    seed: int,
) -> None:
    vectors = drawn_vectors(kind, n, dim, seed)
    # of the same kind, of another, and members themselves
    queries = np.concatenate(
        [drawn_vectors(kind, 4, dim, seed + 1), drawn_vectors(asked, 4, dim, seed + 2), vectors[:3]]
    )
    index, twin = both(vectors, metric, parts=parts)
    assert len(index) == len(twin) == n
    compared(index.exact(queries, k), twin, queries, k)
    compared(index.exact(queries, k, threads=3), twin, queries, k)
    hits = index.search(queries, k)
    assert hits.counts.tolist() == [min(n, k)] * len(queries)
    assert (np.diff(hits.scores[:, :n], axis=1) <= 0).all()
    # a walk that may keep all of them finds all of them
    everything = index.search(queries, max(n, 1), ef=max(n, 1))
    assert all(sorted(ids) == sorted(range(n)) for ids in everything.ids[:, :n].tolist())
    compared(everything, twin, queries, max(n, 1))
    if n and k:
        assert share_found(hits, twin, queries) >= 0.8
        assert share_found(index.search(queries, k, recall=0.99), twin, queries) >= 0.9


@settings(ORACLE, max_examples=6, phases=(Phase.explicit, Phase.reuse, Phase.generate))
@given(
    st.sampled_from(METRICS),
    st.sampled_from((1, 2, 3, 8, 15, 16, 17, 33, 64, 100, 129, 300)),
    st.integers(1025, 1600),
    st.sampled_from(KINDS),
    st.sampled_from(KINDS),
    st.integers(1, 3),
    st.integers(0, 2**32),
)
@example("l2", 512, 1100, "normal", "normal", 1, 0)
@example("cosine", 1, 1300, "normal", "normal", 2, 0)
@example("ip", 64, 1300, "scaled", "spiky", 1, 0)
@example("l2", 2, 2100, "equal", "equal", 2, 0)
@example("cosine", 3, 1025, "low", "normal", 1, 0)
def test_any_graph_against_the_twin(
    drawn_vectors: Callable[..., Any],
    compared: Callable[..., None],
    share_found: Callable[..., float],
    metric: Any,
    dim: int,
    n: int,
    kind: str,
    asked: str,
    parts: int,
    seed: int,
) -> None:
    everything, far = drawn_vectors(kind, n + 30, dim, seed), drawn_vectors(asked, 6, dim, seed + 2)
    vectors, near = everything[:-30], everything[-30:]
    index, twin = both(vectors, metric, parts=parts)
    stats = index.stats()
    assert stats.linked > 0 and stats.reachable == n
    assert stats.duplicates <= n - len(np.unique(vectors, axis=0)) or metric == "cosine"
    compared(index.exact(far, 10), twin, far, 10)
    for queries in (near, far, vectors[:6]):
        hits = index.search(queries, 10)
        assert (hits.counts == 10).all() and (np.diff(hits.scores, axis=1) <= 0).all()
        compared(index.search(queries[:3], n, ef=n), twin, queries[:3], n)
    # asked as the members are distributed, the recall that was asked for; from elsewhere, a wide beam finds many
    assert share_found(index.search(near, 10), twin, near) >= (0.85 if kind != "sorted" else 0.75)
    assert share_found(index.search(far, 10, ef=n // 2), twin, far) >= 0.6


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("refine", ["float32", "float16"])
def test_integers_are_compared_exactly(metric: Any, refine: Any, drawn_vectors: Callable[..., Any]) -> None:
    """Small integers have no rounding under l2 and ip: answers are the twin's, ties and all."""
    vectors, queries = drawn_vectors("ties", 400, 20, 1), drawn_vectors("ties", 40, 20, 2)
    index, twin = both(vectors, metric, refine=refine)
    found, truth = index.exact(queries, 30), twin.exact(queries, 30)
    np.testing.assert_allclose(found.scores, truth.scores, rtol=1e-3 if metric == "cosine" else 1e-6)
    if metric != "cosine":
        np.testing.assert_array_equal(found.ids, truth.ids)


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("dim", [7, 128])
def test_float16_is_off_by_its_rounding_alone(metric: Any, dim: int, drawn_vectors: Callable[..., Any]) -> None:
    vectors, queries = drawn_vectors("normal", 300, dim, 1), drawn_vectors("normal", 20, dim, 2)
    index, twin = both(vectors, metric, refine="float16")
    found, truth = index.exact(queries, 10), twin.exact(queries, 10)
    np.testing.assert_allclose(found.scores, truth.scores, rtol=2e-4, atol=2e-4)
    assert np.mean(found.ids == truth.ids) > 0.97
    plain = TwinIndex(dim, metric)
    plain.add(None, vectors)
    assert np.mean(found.ids == plain.exact(queries, 10).ids) > 0.9


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("copies", [1000, 999])
def test_a_thousand_copies_neither_trap_the_walk_nor_vanish(
    metric: Any, copies: int, drawn_vectors: Callable[..., Any], compared: Callable[..., None]
) -> None:
    rng = np.random.default_rng(3)
    one = drawn_vectors("normal", 1, 24, 5)
    others = drawn_vectors("normal", 1500, 24, 6)
    vectors = np.concatenate([np.repeat(one, copies, axis=0), others])[rng.permutation(copies + 1500)]
    index, twin = both(vectors, metric)
    same = np.flatnonzero((vectors == one).all(axis=1))
    assert index.stats().duplicates == copies - 1
    assert index.stats().reachable == len(vectors)
    near = one + 0.01 * drawn_vectors("normal", 5, 24, 7)
    for query in (one, near):
        compared(index.exact(query, copies + 5), twin, query, copies + 5)
        hits = index.search(query, copies, ef=copies)
        if metric != "ip":
            assert all(ids == same.tolist() for ids in hits.ids.tolist())  # all of them, in the order of adding
            assert all(ids == same[:10].tolist() for ids in index.search(query, 10).ids.tolist())
    far = drawn_vectors("normal", 50, 24, 8)
    truth = twin.exact(far, 10)
    hits = index.search(far, 10, recall=0.95)
    assert np.mean([len({*a} & {*b}) for a, b in zip(hits.ids.tolist(), truth.ids.tolist(), strict=True)]) >= 9.3


@pytest.mark.parametrize("metric", METRICS)
def test_only_copies(metric: Any) -> None:
    index = Index(16, metric)
    for _ in range(3):
        index.add(None, np.ones((700, 16)))
    hits = index.search(np.ones((2, 16)), 2000)
    assert hits.ids.tolist() == [list(range(2000))] * 2 and len(set(hits.scores.ravel().tolist())) == 1
    assert index.search(np.ones(16), 5).ids.tolist() == index.exact(np.ones(16), 5).ids.tolist() == [0, 1, 2, 3, 4]


def test_copies_under_other_ids_are_all_found(compared: Callable[..., None], drawn_vectors: Callable[..., Any]) -> None:
    vectors = drawn_vectors("twice", 120, 12, 0)
    for ids in ([f"n{row:03}" for row in range(120)], [10**15 - row for row in range(120)]):
        index, twin = both(vectors, "l2", ids=ids, parts=3)
        compared(index.search(vectors[:20], 120, ef=120), twin, vectors[:20], 120)
        compared(index.exact(vectors[:20], 7), twin, vectors[:20], 7)


def test_zero_and_opposite_vectors_where_they_are_allowed(compared: Callable[..., None]) -> None:
    rng = np.random.default_rng(0)
    half = rng.normal(size=(50, 9)).astype(np.float32)
    vectors = np.concatenate([half, -half, np.zeros((3, 9), np.float32)])
    queries = np.concatenate([half[:4], np.zeros((1, 9), np.float32)])
    for metric in ("ip", "l2"):
        index, twin = both(vectors, metric)
        compared(index.exact(queries, 103), twin, queries, 103)
        compared(index.search(queries, 103, ef=103), twin, queries, 103)


@pytest.mark.parametrize("scale", [1e-15, 1e-6, 1e6, 1e15])
@pytest.mark.parametrize("metric", METRICS)
def test_any_scale(
    scale: float, metric: Any, share_found: Callable[..., float], drawn_vectors: Callable[..., Any]
) -> None:
    vectors = drawn_vectors("normal", 1500, 16, 1) * np.float32(scale)
    queries = drawn_vectors("normal", 20, 16, 2) * np.float32(scale)
    index, twin = both(vectors, metric)
    assert np.isfinite(index.exact(queries, 10).scores).all()
    np.testing.assert_allclose(index.exact(queries, 10).scores, twin.exact(queries, 10).scores, rtol=1e-4, atol=1e-35)
    assert share_found(index.search(queries, 10), twin, queries) > 0.85
