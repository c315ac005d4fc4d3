from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from medalist.retrieval import clusters
from medalist.retrieval.blocks import FREE, Forbidden, exact, room_for, workers
from medalist.retrieval.clusters import CoarseClusters, cluster_count, how_far, make_coarse_clusters, search_clusters

Array = NDArray[Any]


def unit(rows: Array) -> NDArray[np.float32]:
    found: NDArray[np.float32] = (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)
    return found


def crowd(count: int, dim: int = 8, points: int = 12, seed: int = 0) -> NDArray[np.float32]:
    """Unit vectors that lie around some points; those of one number of points lie around the same ones."""
    around = np.random.default_rng(99).normal(size=(points, dim))
    rng = np.random.default_rng(seed)
    return unit(around[rng.integers(0, points, count)] + 0.4 * rng.normal(size=(count, dim)))


def made(gallery: NDArray[np.float32], count: int, threads: int = 1, seed: int = 0) -> CoarseClusters:
    with workers(threads) as pool:
        return make_coarse_clusters(gallery, count, pool, seed)


def check_clusters(found: CoarseClusters, gallery: Array) -> None:
    """Each row is in one cluster; means and spreads are those of loops."""
    count = len(found.means)
    assert sorted(found.rows.tolist()) == list(range(len(gallery)))
    assert found.starts[0] == 0 and found.starts[-1] == len(gallery) and len(found.starts) == count + 1
    for cluster in range(count):
        rows = found.rows[found.starts[cluster] : found.starts[cluster + 1]]
        assert (found.of_row[rows] == cluster).all() and (np.diff(rows) > 0).all()
        members = gallery[rows].astype(np.float64)
        mean = members.mean(axis=0) if len(rows) else np.zeros(gallery.shape[1])
        np.testing.assert_allclose(found.means[cluster], mean, atol=1e-6)
        wide = np.sqrt(np.square(members - mean).sum(axis=1).mean()) if len(rows) else 1.0
        assert found.spread[cluster] == pytest.approx(max(wide, clusters.NARROWEST), abs=1e-3)
    assert found.means.dtype == found.spread.dtype == np.float32 and found.of_row.dtype == np.int32


@pytest.mark.parametrize(
    ("gallery", "count"),
    [(1, 4), (4, 4), (16, 8), (10_000, 256), (20_000, 256), (10**6, 2048), (10**8, 16384), (10**12, 16384)],
)
def test_about_twice_the_root_of_the_gallery(gallery: int, count: int) -> None:
    assert cluster_count(gallery) == count


# ------------------------------------------------------------------------------------------------------------- k-means


@pytest.mark.parametrize("seed", [0, 1])
def test_clusters_are_those_of_loops(seed: int) -> None:
    gallery = crowd(500)
    check_clusters(made(gallery, 16, seed=seed), gallery)


def test_enough_rounds_bring_each_row_to_its_nearest_mean(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(clusters, "ROUNDS", 60)
    gallery = crowd(300)
    found = made(gallery, 8)
    cosines = gallery @ unit(found.means).T
    own = cosines[np.arange(300), found.of_row]
    np.testing.assert_allclose(own, cosines.max(axis=1), atol=1e-5)


def test_k_means_sees_a_part_and_all_rows_find_their_cluster(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(clusters, "PER_CLUSTER", 4)
    monkeypatch.setattr(clusters, "BLOCK", 64)
    gallery = crowd(500)
    check_clusters(made(gallery, 8), gallery)


@pytest.mark.parametrize("rows", [1, 2, 3])
def test_fewer_rows_than_clusters(rows: int) -> None:
    gallery = crowd(rows)
    found = made(gallery, 8)
    check_clusters(found, gallery)
    assert np.count_nonzero(np.diff(found.starts)) <= rows
    assert set(found.spread[np.diff(found.starts) == 0].tolist()) == {1.0}


def test_equal_rows_and_rows_that_cancel_out() -> None:
    equal = np.repeat(crowd(1), 50, axis=0)
    found = made(equal, 4)
    check_clusters(found, equal)
    assert np.diff(found.starts).tolist() == [50, 0, 0, 0] and found.spread[0] == np.float32(clusters.NARROWEST)
    opposite = np.array([[1, 0], [-1, 0]], np.float32)
    one = made(opposite, 1)
    assert one.means.tolist() == [[0, 0]] and one.spread.tolist() == [1]


def test_seed_and_threads() -> None:
    gallery = crowd(400)
    one, again, other = made(gallery, 16), made(gallery, 16, threads=3), made(gallery, 16, seed=5)
    for name in ("means", "spread", "rows", "starts"):
        np.testing.assert_array_equal(getattr(one, name), getattr(again, name))
    assert not np.array_equal(one.rows, other.rows)


# --------------------------------------------------------------------------------------------------------------- reach


def slow_reach(
    queries: Array, gallery: Array, cells: CoarseClusters, k: int, recall: float, forbidden: Forbidden
) -> tuple[Array, Array]:
    """How near each cluster is to each query in units of its spread, and for each true neighbour that of its cluster.

    Queries with fewer than k answers are left out.
    """
    lines, needed = [], []
    for at, query in enumerate(queries.astype(np.float64)):
        rows = np.flatnonzero(~forbidden.met(np.array([at]), np.arange(len(gallery)))).tolist()
        rows.sort(key=lambda row: -float(gallery[row] @ query))
        if len(rows) < k:
            continue
        last = float(gallery[rows[k - 1]] @ query)
        line = (cells.means.astype(np.float64) @ query - last) / cells.spread
        lines.append(line)
        needed.append(line[cells.of_row[rows[:k]]])
    return np.array(lines), np.array(needed)


@pytest.mark.parametrize("recall", [0.7, 0.95, 1.0])
@pytest.mark.parametrize("forbid", [False, True])
def test_the_reach_keeps_its_promise_on_what_it_measured(recall: float, forbid: bool) -> None:
    queries, gallery, k = crowd(80, seed=1), crowd(300), 5
    cells = made(gallery, 16)
    rules = Forbidden(np.arange(80), ((np.arange(80) % 3, np.arange(300) % 3),)) if forbid else FREE
    with workers(1) as pool:
        reach, asked = how_far(queries, gallery, cells, k, recall, pool, rules)
        again = how_far(queries, gallery, cells, k, recall, pool, rules, seed=7)
    assert again == (reach, asked)  # all queries are looked at, so the seed changes nothing
    line, needed = slow_reach(queries, gallery, cells, k, recall, rules)
    recalls = (needed >= reach - 1e-4).mean(axis=1)
    assert recalls.mean() - 2 * recalls.std() / np.sqrt(80) >= recall
    if recall == 1:
        assert reach == pytest.approx(needed.min(), abs=1e-4)
    sizes = np.diff(cells.starts)
    low, high = (float(((line >= reach + by) * sizes).sum(axis=1).mean() / 300) for by in (1e-4, -1e-4))
    assert low - 1e-6 <= asked <= high + 1e-6


def test_less_recall_asks_less() -> None:
    queries, gallery = crowd(200, seed=1), crowd(600)
    cells = made(gallery, 32)
    with workers(1) as pool:
        found = [how_far(queries, gallery, cells, 10, recall, pool) for recall in (0.6, 0.9, 0.999)]
    assert found[0][0] > found[1][0] >= found[2][0] and found[0][1] < found[1][1] <= found[2][1] <= 1


def test_a_sample_of_many_queries_is_enough(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(clusters, "SAMPLE", (50, 50))
    queries, gallery = crowd(400, seed=1), crowd(300)
    rules = Forbidden(np.arange(400) % 300, ((np.arange(400) % 3, np.arange(300) % 3),))
    cells = made(gallery, 16)
    with workers(1) as pool:
        one, again = (how_far(queries, gallery, cells, 5, 0.9, pool, rules, seed=3) for _ in range(2))
        other = how_far(queries, gallery, cells, 5, 0.9, pool, rules, seed=4)
        assert one == again != other
        chosen = np.sort(np.random.default_rng(3).choice(400, 50, replace=False))
        alone = how_far(queries[chosen], gallery, cells, 5, 0.9, pool, rules.of(chosen))
    assert one == alone  # their own rules go with them


def test_queries_that_find_fewer_than_k_ask_everything() -> None:
    queries, gallery = crowd(20, seed=1), crowd(40)
    cells = made(gallery, 4)
    nobody = Forbidden(codes=((np.zeros(20, np.int64), (np.arange(40) >= 3).astype(np.int64) - 1),))
    with workers(1) as pool:
        assert how_far(queries, gallery, cells, 41, 0.9, pool) == (-np.inf, 1.0)
        assert how_far(queries, gallery, cells, 38, 0.9, pool, nobody) == (-np.inf, 1.0)
        # Where some find k, these alone are measured.
        some = Forbidden(codes=((np.where(np.arange(20) < 10, 0, 5), np.zeros(40, np.int64)),))
        half = how_far(queries, gallery, cells, 5, 1.0, pool, some)
        assert half == pytest.approx(how_far(queries[10:], gallery, cells, 5, 1.0, pool), abs=1e-5)


# -------------------------------------------------------------------------------------------------------------- search


def searched(
    queries: Any, gallery: Any, cells: CoarseClusters, reach: float, k: int, rules: Forbidden = FREE, threads: int = 1
) -> tuple[Array, Array]:
    with workers(threads) as pool:
        into = room_for(len(queries), k)
        assert search_clusters(queries, gallery, cells, reach, into, pool, rules) is into
    return into


@pytest.fixture
def small_tables(monkeypatch: pytest.MonkeyPatch) -> None:
    """Queries fall into many groups, products into many blocks."""
    monkeypatch.setattr(clusters, "BLOCK", 256)
    monkeypatch.setattr(clusters, "TABLE", (512, 512))
    monkeypatch.setattr(clusters, "BATCH", 3)


RULES = Forbidden(np.arange(90), ((np.arange(90) % 4, np.arange(400) % 5),))


@pytest.mark.parametrize("rules", [FREE, RULES], ids=["free", "rules"])
@pytest.mark.parametrize("k", [1, 10, 400])
@pytest.mark.parametrize(("small", "count"), [(False, 64), (True, 16)])
def test_everything_in_reach_is_exact(
    rules: Forbidden, k: int, small: bool, count: int, request: pytest.FixtureRequest
) -> None:
    if small:
        request.getfixturevalue("small_tables")
    queries, gallery = crowd(90, seed=1), crowd(400)
    rows, scores = searched(queries, gallery, made(gallery, count), -np.inf, k, rules)
    with workers(1) as pool:
        expected = exact(queries, gallery, room_for(90, k), pool, rules)
    np.testing.assert_array_equal(rows, expected[0])
    np.testing.assert_allclose(scores, expected[1], atol=1e-6)


@pytest.mark.usefixtures("small_tables")
@pytest.mark.parametrize("rules", [FREE, RULES], ids=["free", "rules"])
@pytest.mark.parametrize("reach", [-0.5, 0.0, 0.3])
def test_at_least_what_is_in_reach_is_found(rules: Forbidden, reach: float) -> None:
    """The twin knows the true k-th best score; the search knows a lower one, and may only find more."""
    queries, gallery, k = crowd(90, seed=1), crowd(400), 10
    cells = made(gallery, 16)
    rows, scores = searched(queries, gallery, cells, reach, k, rules)
    products = gallery.astype(np.float64) @ queries.astype(np.float64).T
    with workers(1) as pool:
        last = exact(queries, gallery, room_for(90, k), pool, rules)[1]
    for query in range(90):
        near = (cells.means @ queries[query] - last[query, -1]) / cells.spread
        free = ~rules.met(np.array([query]), np.arange(400))
        wanted = free & (near[cells.of_row] >= reach + 1e-4)
        floor = np.sort(products[wanted, query])[::-1][:k]
        names = rows[query][rows[query] >= 0]
        assert free[names].all() and len(set(names.tolist())) == len(names) >= len(floor)
        np.testing.assert_allclose(scores[query, : len(names)], products[names, query], atol=1e-6)
        assert (scores[query, : len(floor)] >= floor - 1e-6).all() and (scores[query] <= last[query] + 1e-6).all()
        assert (np.diff(scores[query, : len(names)]) <= 0).all()


def test_the_recall_is_reached_and_threads_change_nothing() -> None:
    queries, gallery = crowd(200, seed=1), crowd(800)
    cells = made(gallery, 32)
    with workers(1) as pool:
        reach, asked = how_far(queries, gallery, cells, 5, 0.9, pool)
        truth, _ = exact(queries, gallery, room_for(200, 5), pool)
    assert asked < 1
    one, three = (searched(queries, gallery, cells, reach, 5, threads=threads) for threads in (1, 3))
    assert np.mean([np.isin(a, b).mean() for a, b in zip(truth, one[0], strict=True)]) >= 0.9
    for first, second in zip(one, three, strict=True):
        np.testing.assert_array_equal(first, second)


def test_equal_rows_empty_clusters_and_nobody_who_asks() -> None:
    gallery = np.repeat(crowd(2), 30, axis=0)
    cells = made(gallery, 16)  # at most two of them hold anything
    queries = crowd(7, seed=1)
    rows, scores = searched(queries, gallery, cells, -np.inf, 60)
    assert (np.sort(rows, axis=1) == np.arange(60)).all()
    same = np.diff(scores, axis=1) == 0
    assert (np.diff(rows, axis=1)[same] > 0).all()  # equal scores by row
    assert searched(queries[:0], gallery, cells, 0.0, 3)[0].shape == (0, 3)
    rows, scores = searched(
        queries, gallery, cells, -np.inf, 3, Forbidden(codes=((np.zeros(7, int), np.zeros(60, int)),))
    )
    assert (rows == -1).all() and (scores == -np.inf).all()
