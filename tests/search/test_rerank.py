from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from medalist.search import Index
from medalist.search.rerank import affinities, augment_gallery, diffusion, expand_queries, k_reciprocal

Vectors = NDArray[np.float32]


def unit(values: Any) -> Vectors:
    values = np.asarray(values, np.float64)
    return (values / np.linalg.norm(values, axis=1, keepdims=True)).astype(np.float32)


def drawn(count: int, dim: int, seed: int) -> Vectors:
    return unit(np.random.default_rng(seed).normal(size=(count, dim)))


def near(queries: Vectors, gallery: Vectors, k: int, own: bool = False) -> tuple[NDArray[np.int64], Vectors]:
    """The k nearest by the core, and where `own` each row's self is left out."""
    index = Index(gallery.shape[1])
    index.add(None, gallery)
    hits = index.exact(queries, k + own)
    if not own:
        return hits.ids, hits.scores
    order = np.argsort(hits.ids == np.arange(len(queries))[:, None], axis=1, kind="stable")[:, :k]
    return np.take_along_axis(hits.ids, order, axis=1), np.take_along_axis(hits.scores, order, axis=1)


def mean_average_precision(
    order: NDArray[np.int64], of_query: NDArray[np.int64], of_gallery: NDArray[np.int64]
) -> float:
    total = []
    for row, who in zip(order, of_query, strict=True):
        right = of_gallery[row[row >= 0]] == who
        precision = np.cumsum(right) / np.arange(1, len(right) + 1)
        total.append((precision * right).sum() / (of_gallery == who).sum())
    return float(np.mean(total))


# ----------------------------------------------------------------------------- query expansion and gallery augmentation


def slow_expansion(queries: Vectors, gallery: Vectors, count: int, alpha: float) -> NDArray[np.float64]:
    expanded = []
    for query in queries.astype(np.float64):
        cosines = gallery.astype(np.float64) @ query
        total = query.copy()
        for row in np.argsort(-cosines)[:count]:
            if cosines[row] > 0:
                total += cosines[row] ** alpha * gallery[row]
        expanded.append(total / np.linalg.norm(total))
    return np.array(expanded)


@given(st.integers(0, 10**6), st.integers(1, 12), st.sampled_from([0.0, 0.5, 3.0, 20.0]))
def test_expansion_is_that_of_its_slow_twin(seed: int, count: int, alpha: float) -> None:
    queries, gallery = drawn(5, 4, seed), drawn(9, 4, seed + 1)
    rows, scores = near(queries, gallery, count)  # padded where count is above 9
    found = expand_queries(queries, gallery, rows, scores, alpha)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, slow_expansion(queries, gallery, count, alpha), atol=2e-6)


def test_expansion_by_hand() -> None:
    query, gallery = unit([[1, 0]]), unit([[0.6, 0.8], [-1, 0.1], [0, 1]])
    rows, scores = np.array([[0, 2, 1, -1]]), np.array([[0.6, 0.0, -0.995, -np.inf]], np.float32)
    np.testing.assert_allclose(
        expand_queries(query, gallery, rows, scores, 2.0), unit([[1 + 0.36 * 0.6, 0.36 * 0.8]]), atol=1e-6
    )
    # alpha 0: the plain mean, and still without those on the other side
    np.testing.assert_allclose(expand_queries(query, gallery, rows, scores, 0.0), unit([[1.6, 0.8]]), atol=1e-6)
    nothing = expand_queries(query, gallery, np.empty((1, 0), np.int64), np.empty((1, 0), np.float32), 3.0)
    np.testing.assert_array_equal(nothing, query)


def test_the_higher_alpha_the_less_is_mixed_in() -> None:
    queries, gallery = drawn(20, 8, 3), drawn(50, 8, 4)
    rows, scores = near(queries, gallery, 5)
    moved = [
        float(np.einsum("qd,qd->q", queries, expand_queries(queries, gallery, rows, scores, alpha)).mean())
        for alpha in (0.0, 1.0, 3.0, 20.0)
    ]
    assert moved == sorted(moved) and moved[-1] > 0.97 > moved[0]


def test_expansion_in_blocks_is_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    queries, gallery = drawn(17, 6, 5), drawn(40, 6, 6)
    rows, scores = near(queries, gallery, 4)
    whole = expand_queries(queries, gallery, rows, scores, 3.0)
    monkeypatch.setattr("medalist.search.rerank._BLOCK", 60)
    np.testing.assert_allclose(expand_queries(queries, gallery, rows, scores, 3.0), whole, atol=1e-7)


def test_augmentation_leaves_each_row_its_own_weight() -> None:
    gallery = drawn(12, 4, 7)
    rows, scores = near(gallery, gallery, 3, own=True)
    assert not (rows == np.arange(12)[:, None]).any()
    expected = []
    for row, vector in enumerate(gallery.astype(np.float64)):
        cosines = gallery @ vector
        cosines[row] = -2
        best = np.argsort(-cosines)[:3]
        expected.append(vector + sum(max(cosines[at], 0) ** 3 * gallery[at] for at in best))
    np.testing.assert_allclose(augment_gallery(gallery, rows, scores, 3.0), unit(expected), atol=2e-6)


# ------------------------------------------------------------------------------------------------------- k-reciprocal


def slow_k_reciprocal(points: Vectors, query: int, other: int, k1: int, k2: int, weight: float) -> float:
    """1 - the final distance between two points, by sets and loops, as sections 3.2 to 3.4 of the paper have it."""
    cosines = points.astype(np.float64) @ points.T.astype(np.float64)
    np.fill_diagonal(cosines, 3)
    ranked = np.argsort(-cosines, axis=1, kind="stable")
    np.fill_diagonal(cosines, 1)

    def reciprocal(point: int, k: int) -> set[int]:
        return {other for other in ranked[point, : k + 1].tolist() if point in ranked[other, : k + 1]}

    def encoding(point: int) -> dict[int, float]:
        members = reciprocal(point, k1)
        grown = set(members)
        for candidate in members:
            half = reciprocal(candidate, round(k1 / 2))
            if len(half & members) > 2 / 3 * len(half):
                grown |= half
        weights = {member: np.exp(-(1 - cosines[point, member])) for member in grown}
        return {member: value / sum(weights.values()) for member, value in weights.items()}

    def averaged(point: int) -> dict[int, float]:
        around = [encoding(one) for one in ranked[point, :k2].tolist()]
        return {key: sum(one.get(key, 0) for one in around) / len(around) for one in around for key in one}

    mine, theirs = averaged(query), averaged(other)
    keys = set(mine) | set(theirs)
    smaller = sum(min(mine.get(key, 0), theirs.get(key, 0)) for key in keys)
    larger = sum(max(mine.get(key, 0), theirs.get(key, 0)) for key in keys)
    return float(1 - ((1 - weight) * (1 - smaller / larger) + weight * (1 - cosines[query, other])))


@pytest.mark.parametrize(("k1", "k2", "weight"), [(6, 3, 0.3), (4, 1, 0.0), (9, 4, 0.5), (1, 1, 0.2), (40, 6, 0.3)])
@pytest.mark.parametrize("block", [2**24, 50])
def test_k_reciprocal_is_that_of_its_slow_twin(
    k1: int, k2: int, weight: float, block: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("medalist.search.rerank._BLOCK", block)
    points = unit(np.random.default_rng(1).normal(size=(5, 3)).repeat(6, 0) + 0.4 * drawn(30, 3, 2))
    rows, _ = near(points, points, max(k1, k2), own=True)
    asks = np.array([0, 7, 29])
    candidates, scores = near(points[asks], points, 12)
    candidates[:, 0] = -1  # itself
    scores[:, 0] = -np.inf
    candidates[1, 9:], scores[1, 9:] = -1, -np.inf
    found = k_reciprocal(points, rows, asks, candidates, scores, k1=k1, k2=k2, weight=weight)
    assert found.dtype == np.float32
    for at, query in enumerate(asks):
        for column, other in enumerate(candidates[at].tolist()):
            if other < 0:
                assert found[at, column] == -np.inf
            else:
                expected = slow_k_reciprocal(points, query, other, k1, k2, weight)
                assert found[at, column] == pytest.approx(expected, abs=2e-6)


def test_weight_1_gives_the_cosines_back() -> None:
    points = drawn(40, 5, 3)
    rows, _ = near(points, points, 8, own=True)
    asks = np.arange(0, 40, 7)
    candidates, scores = near(points, points, 20, own=True)
    found = k_reciprocal(points, rows, asks, candidates[asks], scores[asks], k1=8, k2=3, weight=1.0)
    np.testing.assert_array_equal(found, scores[asks])


def test_a_query_without_candidates_is_no_error() -> None:
    points = drawn(10, 3, 4)
    rows, _ = near(points, points, 4, own=True)
    none, scores = np.full((2, 3), -1), np.full((2, 3), -np.inf, np.float32)
    found = k_reciprocal(points, rows, np.array([0, 1]), none, scores, k1=4, k2=2, weight=0.3)
    assert (found == -np.inf).all()


# ---------------------------------------------------------------------------------------------------------- diffusion


def slow_diffusion(
    gallery: Vectors, query: NDArray[np.float64], k: int, entries: int, alpha: float, power: float
) -> NDArray[np.float64]:
    """f of the paper's closed form, dense."""
    count = len(gallery)
    cosines = gallery.astype(np.float64) @ gallery.T.astype(np.float64)
    np.fill_diagonal(cosines, -2)
    nearest = [set(np.argsort(-row)[:k].tolist()) for row in cosines]
    joins = np.zeros((count, count))
    for one in range(count):
        for other in nearest[one]:
            if one in nearest[other]:
                joins[one, other] = max(cosines[one, other], 0) ** power
    degree = joins.sum(axis=1)
    scale = np.array([value**-0.5 if value else 0 for value in degree])
    spread = scale[:, None] * joins * scale[None]
    to_query = gallery.astype(np.float64) @ query
    start = np.zeros(count)
    for row in np.argsort(-to_query)[:entries]:
        start[row] = max(to_query[row], 0) ** power
    return np.linalg.solve(np.eye(count) - alpha * spread, start)


@pytest.mark.parametrize("alpha", [0.5, 0.9, 0.99])
def test_diffusion_is_that_of_its_slow_twin(alpha: float) -> None:
    gallery, queries = drawn(40, 3, 5), drawn(4, 3, 6)
    rows, scores = near(gallery, gallery, 6, own=True)
    graph = affinities(rows, scores, 3.0)
    assert (abs(graph - graph.T) > 1e-12).nnz == 0
    assert np.abs(np.linalg.eigvalsh(graph.toarray())).max() < 1 + 1e-9
    candidates, cosines = near(queries, gallery, 40)
    flow = diffusion(graph, candidates, cosines, entries=5, alpha=alpha, power=3.0)
    for at, query in enumerate(queries.astype(np.float64)):
        expected = slow_diffusion(gallery, query, 6, 5, alpha, 3.0)
        np.testing.assert_allclose(flow[at], expected[candidates[at]], atol=1e-5)


def test_alpha_near_0_leaves_all_at_the_entries_in_their_order() -> None:
    gallery, queries = drawn(30, 3, 7), drawn(3, 3, 8)
    rows, scores = near(gallery, gallery, 5, own=True)
    candidates, cosines = near(queries, gallery, 12)
    flow = diffusion(affinities(rows, scores, 2.0), candidates, cosines, entries=4, alpha=1e-12, power=2.0)
    np.testing.assert_allclose(flow[:, :4], cosines[:, :4].astype(float) ** 2, atol=1e-6)
    np.testing.assert_allclose(flow[:, 4:], 0, atol=1e-6)


def test_what_no_flow_reaches_and_what_is_padded() -> None:
    rows, scores = np.array([[1], [0], [-1], [-1]]), np.array([[0.99], [0.99], [-np.inf], [-np.inf]], np.float32)
    graph = affinities(rows, scores, 3.0)
    candidates = np.array([[0, 1, 2, -1], [3, -1, -1, -1]])
    cosines = np.array([[1, 0.99, 0, -np.inf], [-0.5, -np.inf, -np.inf, -np.inf]], np.float32)
    flow = diffusion(graph, candidates, cosines, entries=1, alpha=0.9, power=3.0)
    assert flow[0, 0] > flow[0, 1] > 0.5 and flow[0, 2] == 0 and flow[0, 3] == -np.inf
    assert flow[1].tolist() == [0, -np.inf, -np.inf, -np.inf]


def test_one_sided_neighbours_are_not_joined() -> None:
    graph = affinities(np.array([[1], [2], [1]]), np.array([[0.5], [0.9], [0.9]], np.float32), 1.0)
    assert graph.toarray().nonzero()[0].tolist() == [1, 2]


# ----------------------------------------------------------------------------------------------- what each is good for


def arcs(per_class: int, noise: float) -> tuple[Vectors, NDArray[np.int64], Vectors, NDArray[np.int64]]:
    """Three classes that are long bent arcs, so that a query's class reaches far beyond what is near it."""
    rng = np.random.default_rng(9)
    vectors, classes = [], []
    for who in range(3):
        angle = rng.uniform(0, 2.4, per_class)
        tilt = np.full(per_class, (who - 1) * 0.55)
        arc = np.stack([np.cos(angle) * np.cos(tilt), np.sin(angle) * np.cos(tilt), np.sin(tilt)], axis=1)
        vectors.append(arc + noise * rng.normal(size=arc.shape))
        classes.append(np.full(per_class, who))
    points, of = unit(np.concatenate(vectors)), np.concatenate(classes)
    asks = np.arange(0, len(points), 8)
    rest = np.setdiff1d(np.arange(len(points)), asks)
    return points[rest], of[rest], points[asks], of[asks]


def clusters() -> tuple[Vectors, NDArray[np.int64], Vectors, NDArray[np.int64]]:
    rng = np.random.default_rng(10)
    of = np.repeat(np.arange(20), 13)
    points = unit(unit(rng.normal(size=(20, 24)))[of] + 0.25 * rng.normal(size=(len(of), 24)))
    asks = np.arange(0, len(of), 13)
    rest = np.setdiff1d(np.arange(len(of)), asks)
    return points[rest], of[rest], points[asks], of[asks]


def plain(gallery: Vectors, queries: Vectors) -> NDArray[np.int64]:
    return near(queries, gallery, len(gallery))[0]


def by_expansion(gallery: Vectors, queries: Vectors) -> NDArray[np.int64]:
    rows, scores = near(queries, gallery, 5)
    return plain(gallery, expand_queries(queries, gallery, rows, scores, 3.0))


def by_augmentation(gallery: Vectors, queries: Vectors) -> NDArray[np.int64]:
    rows, scores = near(gallery, gallery, 5, own=True)
    return plain(augment_gallery(gallery, rows, scores, 3.0), queries)


def by_k_reciprocal(gallery: Vectors, queries: Vectors) -> NDArray[np.int64]:
    points = np.concatenate([gallery, queries])
    rows, _ = near(points, points, 12, own=True)
    candidates, scores = near(queries, gallery, len(gallery))
    asks = len(gallery) + np.arange(len(queries))
    final = k_reciprocal(points, rows, asks, candidates, scores, k1=12, k2=4, weight=0.3)
    return np.take_along_axis(candidates, np.argsort(-final, axis=1, kind="stable"), axis=1)


def by_diffusion(gallery: Vectors, queries: Vectors) -> NDArray[np.int64]:
    rows, scores = near(gallery, gallery, 10, own=True)
    candidates, cosines = near(queries, gallery, len(gallery))
    flow = diffusion(affinities(rows, scores, 3.0), candidates, cosines, entries=5, alpha=0.99, power=3.0)
    return np.take_along_axis(candidates, np.argsort(-flow, axis=1, kind="stable"), axis=1)


@pytest.mark.parametrize(
    ("how", "data", "gain"),
    [
        (by_expansion, clusters(), 0.02),
        (by_augmentation, clusters(), 0.02),
        (by_k_reciprocal, clusters(), 0.02),
        (by_diffusion, clusters(), 0.02),
        (by_diffusion, arcs(150, 0.03), 0.2),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_each_finds_more(how: Callable[[Vectors, Vectors], NDArray[np.int64]], data: Any, gain: float) -> None:
    gallery, of_gallery, queries, of_query = data
    before = mean_average_precision(plain(gallery, queries), of_query, of_gallery)
    after = mean_average_precision(how(gallery, queries), of_query, of_gallery)
    assert 0.3 < before < 1 - gain
    assert after > before + gain
