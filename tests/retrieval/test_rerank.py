from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from medalist.retrieval.pool import Pool
from medalist.retrieval.rerank import SecondLook, expanded
from medalist.retrieval.settings import RankConfig

Array = NDArray[Any]
NONE = -np.inf


def config(**values: Any) -> RankConfig:
    return RankConfig.model_validate(values)


def unit(rows: Any) -> NDArray[np.float32]:
    rows = np.asarray(rows, np.float64)
    found: NDArray[np.float32] = (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)
    return found


def crowd(count: int, seed: int = 0) -> NDArray[np.float32]:
    """Unit vectors around five points, the same ones for every seed."""
    around = np.random.default_rng(99).normal(size=(5, 4))
    rng = np.random.default_rng(seed)
    return unit(around[rng.integers(0, 5, count)] + 0.5 * rng.normal(size=(count, 4)))


def pool_of(vectors: Any, codes: Any = None, threads: int = 1) -> Pool:
    found = unit(vectors)
    return Pool(found, np.full(len(found), -1) if codes is None else np.array(codes, np.int64), 1.0, threads)


# ------------------------------------------------------------------------------------------ expansion and augmentation


def test_nothing_asked_nothing_done() -> None:
    pool, queries = pool_of(crowd(5)), crowd(2, 1)
    found, same = expanded(queries, np.full(2, -1), pool, config())
    assert found is queries and same is pool


def test_expansion_by_hand() -> None:
    pool = pool_of([[0.6, 0.8], [0.8, 0.6], [-1, 0.1]], [1, 2, 2])
    asking = unit([[1, 0], [1, 0], [1, 0]])
    found, same = expanded(asking, np.array([-1, 2, 7]), pool, config(expand=2, alpha=1.0))
    assert same is pool
    both = [1 + 0.6 * 0.6 + 0.8 * 0.8, 0.6 * 0.8 + 0.8 * 0.6]
    # The second query may not see rows 1 and 2.
    np.testing.assert_allclose(found, unit([both, [1 + 0.36, 0.48], both]), atol=1e-6)


def test_augmentation_by_hand() -> None:
    pool = pool_of([[1, 0], [0.6, 0.8], [0, 1]], [3, 3, 4])
    queries = unit([[1, 0]])
    found, other = expanded(queries, np.array([3]), pool, config(augment_gallery=1, alpha=2.0))
    assert found is queries and other.codes is pool.codes and (other.recall, other.threads) == (1.0, 1)
    # Neighbours whatever their codes; all rows are replaced at once, by the vectors as they were.
    mixed = [[1 + 0.36 * 0.6, 0.36 * 0.8], [0.6, 0.8 + 0.64], [0.64 * 0.6, 1 + 0.64 * 0.8]]
    np.testing.assert_allclose(other.vectors, unit(mixed), atol=1e-6)
    np.testing.assert_array_equal(pool.vectors, unit([[1, 0], [0.6, 0.8], [0, 1]]))


def slow_expanded(queries: Array, hidden: Array, gallery: Array, count: int, alpha: float) -> Array:
    mixed = []
    for query, unseen in zip(queries.astype(np.float64), hidden, strict=True):
        cosines = np.where(unseen, -2, gallery.astype(np.float64) @ query)
        total = query.copy()
        for row in np.argsort(-cosines)[:count]:
            total += max(cosines[row], 0) ** alpha * gallery[row] if cosines[row] > 0 else 0
        mixed.append(total)
    return unit(mixed)


@pytest.mark.parametrize(("augment", "expand"), [(3, 0), (0, 4), (2, 3), (50, 50)])
@pytest.mark.parametrize("alpha", [0.0, 3.0])
def test_both_are_those_of_loops(augment: int, expand: int, alpha: float) -> None:
    """The gallery first, then the queries over what it has become."""
    rng = np.random.default_rng(augment)
    codes, asking = rng.integers(0, 4, 20), rng.integers(-1, 5, 9)
    pool, queries = pool_of(crowd(20), codes), crowd(9, 1)
    steps = config(augment_gallery=augment, expand=expand, alpha=alpha)
    found, other = expanded(queries, asking, pool, steps)
    gallery = slow_expanded(pool.vectors, np.eye(20, dtype=bool), pool.vectors, augment, alpha)
    np.testing.assert_allclose(other.vectors, gallery, atol=3e-6)
    wanted = slow_expanded(queries, asking[:, np.newaxis] == codes, gallery, expand, alpha)
    np.testing.assert_allclose(found, wanted, atol=3e-6)
    assert found.dtype == other.vectors.dtype == np.float32


def test_a_gallery_of_one_that_nobody_may_see() -> None:
    pool, queries = pool_of(np.ones((1, 3)), [4]), unit(np.eye(3)[:2])
    found, same = expanded(queries, np.array([4, 4]), pool, config(augment_gallery=3, expand=3))
    np.testing.assert_allclose(found, queries)
    assert same is pool


# --------------------------------------------------------------------------------------------------------- second look


def looked(
    pool: Pool, asking: Any, own: Any, candidates: int, **rerank: Any
) -> tuple[tuple[Array, Array], tuple[Array, Array]]:
    """The first look, and the second; a query never sees its own row."""
    own = np.array(own, np.int64)
    codes = np.where(own >= 0, own, -2)
    hiding = Pool(pool.vectors, np.arange(len(pool)), pool.recall, pool.threads)
    first = hiding.near(asking, codes, candidates)
    second = SecondLook.made(pool, asking, own, config(rerank=rerank))
    assert second is not None
    return first, second.ranked(np.arange(len(asking)), *first)


def nearest_first(points: Array) -> tuple[Array, Array]:
    """All cosines, and for each point all others by them; it comes first itself."""
    cosines = points.astype(np.float64) @ points.astype(np.float64).T
    order = np.argsort(-(cosines + 9 * np.eye(len(points))), axis=1, kind="stable")
    return cosines, order


def dense_reciprocal(points: Array, k1: int, k2: int, weight: float) -> Array:
    """1 - the final distance of all pairs of points, as matrices of the paper's sets (arXiv 1701.08398)."""
    cosines, order = nearest_first(points)
    place = np.argsort(order, axis=1)

    def mutual(k: int) -> Array:
        return np.maximum(place, place.T) <= k

    wide, half = mutual(k1), mutual(round(k1 / 2))
    common = (wide[:, np.newaxis] & half).sum(axis=2)
    joins = wide & (common > 2 / 3 * half.sum(axis=1))
    sets = np.where(wide | (joins.astype(int) @ half > 0), np.exp(cosines - 1), 0)
    sets /= sets.sum(axis=1, keepdims=True)
    mean = sets[order[:, :k2]].mean(axis=1)
    smaller = np.minimum(mean[:, np.newaxis], mean).sum(axis=2)
    likeness = smaller / np.maximum(mean[:, np.newaxis], mean).sum(axis=2)
    return np.asarray((1 - weight) * likeness + weight * cosines)


def test_no_second_look() -> None:
    pool = pool_of(crowd(4))
    assert SecondLook.made(pool, crowd(1, 1), np.array([-1]), config()) is None


@pytest.mark.parametrize("own", [[-1] * 6, [3, 0, 9, 4, 29, 11], [5, -1, 7, -1, -1, 2]], ids=["out", "in", "mixed"])
@pytest.mark.parametrize(("k1", "k2"), [(6, 3), (3, 5), (1, 1)])
def test_k_reciprocal_is_that_of_matrices(own: list[int], k1: int, k2: int) -> None:
    """Queries that are not in the gallery are points beside it, and help one another."""
    pool, strangers = pool_of(crowd(30)), crowd(6, 1)
    queries = np.array([pool.vectors[row] if row >= 0 else strangers[at] for at, row in enumerate(own)])
    outside = [at for at, row in enumerate(own) if row < 0]
    points = np.concatenate([pool.vectors, queries[outside]])
    asks = [row if row >= 0 else 30 + outside.index(at) for at, row in enumerate(own)]
    first, (rows, scores) = looked(pool, queries, own, 12, kind="k_reciprocal", k1=k1, k2=k2, weight=0.3)
    expected = dense_reciprocal(points, k1, k2, 0.3)
    for query, ask in enumerate(asks):
        assert set(rows[query].tolist()) == set(first[0][query].tolist())
        np.testing.assert_allclose(scores[query], expected[ask, rows[query]], atol=3e-6)
        assert (np.diff(scores[query]) <= 0).all()


def dense_diffusion(gallery: Array, query: Array, k: int, entries: int, alpha: float, power: float) -> Array:
    """The closed form over the whole gallery (arXiv 1611.05113)."""
    cosines, order = nearest_first(gallery)
    place = np.argsort(order, axis=1)
    joins = np.where((np.maximum(place, place.T) <= k) & (place > 0), np.maximum(cosines, 0) ** power, 0)
    scale = np.array([value**-0.5 if value > 0 else 0 for value in joins.sum(axis=1)])
    towards = gallery.astype(np.float64) @ query
    start = np.zeros(len(gallery))
    start[np.argsort(-towards)[:entries]] = np.maximum(np.sort(towards)[::-1][:entries], 0) ** power
    solved = np.linalg.solve(np.eye(len(gallery)) - alpha * scale[:, np.newaxis] * joins * scale, start)
    return np.asarray(solved)


@pytest.mark.parametrize(("k", "entries", "alpha"), [(5, 3, 0.9), (2, 50, 0.5), (50, 1, 0.99)])
def test_diffusion_orders_as_the_closed_form_does(k: int, entries: int, alpha: float) -> None:
    pool, queries = pool_of(crowd(30)), crowd(5, 1)
    rerank = {"kind": "diffusion", "k": k, "queries": entries, "alpha": alpha, "power": 2.0}
    first, (rows, scores) = looked(pool, queries, [-1] * 5, 30, **rerank)
    np.testing.assert_array_equal(scores, first[1])  # the same cosines, dealt out anew
    for query, found in zip(queries.astype(np.float64), rows, strict=True):
        assert sorted(found.tolist()) == list(range(30))
        flow = dense_diffusion(pool.vectors, query, k, entries, alpha, 2.0)[found]
        assert (np.diff(flow) <= 1e-5).all()


def test_what_nothing_reaches_keeps_the_order_of_the_cosines() -> None:
    """Only row 0 is an entry, and joined with row 3 alone; rows 1 and 2 are joined with one another."""
    pool = pool_of([[1, 0, 0], [0, 1, 0], [0, 1, 0.1], [1, 0, 0.7]])
    _, (rows, scores) = looked(pool, unit([[1, 0.9, 0]]), [-1], 4, kind="diffusion", k=1, queries=1)
    assert rows.tolist() == [[0, 3, 1, 2]]
    assert (np.diff(scores) <= 0).all()


@pytest.mark.parametrize("rerank", [{"kind": "k_reciprocal"}, {"kind": "diffusion"}], ids=str)
def test_padding_stays_behind(rerank: dict[str, Any]) -> None:
    pool, queries = pool_of(crowd(4)), crowd(3, 1)
    first, (rows, scores) = looked(pool, queries, [0, 1, -1], 6, **rerank)
    assert (rows >= 0).sum(axis=1).tolist() == [3, 3, 4]
    for line, values, before in zip(rows, scores, first[0], strict=True):
        count = int((line >= 0).sum())
        assert set(line[:count].tolist()) == set(before[:count].tolist())
        assert (line[count:] == -1).all() and (values[count:] == NONE).all() and np.isfinite(values[:count]).all()


@pytest.mark.parametrize("rerank", [{"kind": "k_reciprocal"}, {"kind": "diffusion"}], ids=str)
@pytest.mark.parametrize("rows", [0, 1])
def test_a_gallery_of_none_and_of_one(rerank: dict[str, Any], rows: int) -> None:
    pool, queries = pool_of(np.eye(3)[:rows].reshape(rows, 3)), unit(np.eye(3)[:2])
    _, (found, scores) = looked(pool, queries, [-1, -1], 1, **rerank)
    assert found.tolist() == [[0 if rows else -1]] * 2
    assert np.isfinite(scores).all() == bool(rows)


@pytest.mark.parametrize("rerank", [{"kind": "k_reciprocal", "k1": 4}, {"kind": "diffusion", "k": 4}], ids=str)
def test_some_of_the_queries_and_more_threads_change_nothing(rerank: dict[str, Any]) -> None:
    queries, own = crowd(6, 1), np.array([5, -1, 7, -1, -1, 2])
    found = []
    for threads in (1, 3):
        pool = pool_of(crowd(30), threads=threads)
        first = pool.near(queries, own, 8)
        second = SecondLook.made(pool, queries, own, config(rerank=rerank))
        assert second is not None
        found.append(second.ranked(np.arange(6), *first))
        some = np.array([4, 0])
        part = second.ranked(some, first[0][some], first[1][some])
        np.testing.assert_array_equal(part[0], found[-1][0][some])
        np.testing.assert_array_equal(part[1], found[-1][1][some])
    for one, three in zip(*found, strict=True):
        np.testing.assert_array_equal(one, three)
