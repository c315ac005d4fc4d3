from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from threadpoolctl import threadpool_info, threadpool_limits

from medalist.retrieval import blocks
from medalist.retrieval.blocks import FREE, Answer, Best, Forbidden, above, exact, room_for, workers

Array = NDArray[Any]
NONE = -np.inf


def grid(rng: np.random.Generator, count: int, dim: int = 4) -> NDArray[np.float32]:
    """Vectors of small whole numbers: their products are exact in float32, and many of them tie."""
    return rng.integers(-2, 3, (count, dim)).astype(np.float32)


def allowed(query: int, rows: int, forbidden: Forbidden) -> list[int]:
    return [
        row
        for row in range(rows)
        if (forbidden.own is None or forbidden.own[query] != row)
        and all(of_query[query] != of_row[row] for of_query, of_row in forbidden.codes)
    ]


def check(found: Answer, queries: Array, gallery: Array, forbidden: Forbidden = FREE) -> None:
    """Against a sort of all products: the same scores, of rows that have them, equal ones by row."""
    rows, scores = found
    for query in range(len(queries)):
        line = (gallery @ queries[query]).tolist()
        products = {row: line[row] for row in allowed(query, len(gallery), forbidden)}
        expected = sorted(products.values(), reverse=True)[: rows.shape[1]]
        names = rows[query, : len(expected)].tolist()
        assert scores[query, : len(expected)].tolist() == expected == [products[name] for name in names]
        assert len(set(names)) == len(names)
        assert names == sorted(names, key=lambda name: (-products[name], name))
        assert (rows[query, len(expected) :] == -1).all() and (scores[query, len(expected) :] == NONE).all()


@pytest.fixture
def small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Everything is split many times over."""
    for name, value in {"GROUP": 64, "CHUNK": 16, "WAITING": 64, "MERGED": 50}.items():
        monkeypatch.setattr(blocks, name, value)


# ------------------------------------------------------------------------------------------------------ forbidden rows

BOTH = Forbidden(np.array([2, -1]), ((np.array([7, 8]), np.array([7, 8, 9])), (np.array([0, 5]), np.array([1, 1, 5]))))


def test_forbidden_by_hand() -> None:
    asked, rows = np.array([[0], [1]]), np.arange(3)
    assert BOTH.met(asked, rows).tolist() == [[True, False, True], [False, True, True]]
    assert BOTH.met(np.array([0, 1, 1]), np.array([1, 0, 2])).tolist() == [False, False, True]
    assert not FREE.met(asked, rows).any() and FREE.met(asked, rows).shape == (2, 3)


@pytest.mark.parametrize("some", [slice(1, 2), slice(0, 0), np.array([1, 0, 1])], ids=str)
def test_the_rules_of_some_queries(some: Any) -> None:
    asked = np.arange(2)[some]
    part = BOTH.of(some)
    found = part.met(np.arange(len(asked))[:, np.newaxis], np.arange(3))
    np.testing.assert_array_equal(found, BOTH.met(asked[:, np.newaxis], np.arange(3)))
    assert Forbidden(codes=BOTH.codes).of(some).own is None


# ------------------------------------------------------------------------------------------------------ the best so far


def offered(*found: tuple[int, int, float]) -> blocks.Found:
    asked, rows, scores = zip(*found, strict=True)
    return np.array(asked, np.uint16), np.array(rows, np.int64), np.array(scores, np.float32)


def test_the_best_by_hand() -> None:
    into = room_for(2, 2)
    assert into[0].tolist() == [[-1, -1]] * 2 and into[1].tolist() == [[NONE, NONE]] * 2
    into[0][:], into[1][:] = 9, 9  # what was there before does not count
    best = Best(into)
    best.offer(offered((0, 5, 0.5), (1, 6, 0.25), (0, 4, 0.75)))
    assert best.floor.tolist() == [NONE, NONE]  # they wait
    best.merge()
    assert best.floor.tolist() == [0.5, NONE]
    best.offer(offered((0, 3, 0.5), (0, 1, 0.75), (0, 2, 0.25)))
    best.rank()
    assert best.floor.tolist() == [0.75, NONE]
    assert into[0].tolist() == [[1, 4], [6, -1]]  # equal scores by row
    assert into[1].tolist() == [[0.75, 0.75], [0.25, NONE]]
    best.rank()
    assert into[0].tolist() == [[1, 4], [6, -1]]


@pytest.mark.usefixtures("small_blocks")
@pytest.mark.parametrize("threads", [0, 1, 3])
def test_many_offers_are_merged_as_they_come(threads: int) -> None:
    rng = np.random.default_rng(0)
    scores = rng.permutation(40 * 30).reshape(40, 30).astype(np.float32)
    into = room_for(40, 3)
    best = Best(into)
    with workers(max(threads, 1)) as pool:
        for row in range(30):
            who = np.flatnonzero(rng.random(40) < 0.8) if row % 3 else np.arange(40)
            scores[np.setdiff1d(np.arange(40), who), row] = NONE
            found = who.astype(np.uint16), np.full(len(who), row), scores[who, row]
            best.offer(found, pool if threads else None)
        assert best.floor.min() > NONE  # some were merged before the end
        best.rank(pool if threads else None)
    expected = np.argsort(-scores, axis=1)[:, :3]
    np.testing.assert_array_equal(into[0], expected)
    np.testing.assert_array_equal(into[1], np.take_along_axis(scores, expected, axis=1))


def test_nothing_offered() -> None:
    into = room_for(3, 2)
    best = Best(into)
    best.merge()
    best.rank()
    assert (into[0] == -1).all() and (into[1] == NONE).all()


def test_more_queries_than_sixteen_bits_number_are_refused() -> None:
    with pytest.raises(AssertionError):
        Best((np.zeros((blocks.MOST_QUERIES + 1, 1), np.int64), np.zeros((blocks.MOST_QUERIES + 1, 1), np.float32)))


def above_as_lists(scores: Any, floor: Any, who: Any, k: int, rows: Any, forbidden: Forbidden = FREE) -> list[Any]:
    best = Best(room_for(len(floor), k))
    best.floor[:] = floor
    found = above(np.array(scores, np.float32), best, np.array(who), np.array(rows), forbidden)
    assert [part.dtype for part in found] == [np.uint16, np.int64, np.float32]
    return sorted(zip(*(part.tolist() for part in found), strict=True))


def test_above_the_floor_by_hand() -> None:
    scores, floor = [[0.5, 0.25, 0.75], [0.5, 0.25, -1]], [9.0, 0.25, 0.5]
    # query 1 may not have row 20; query 2 has nothing above its floor, as equal is not above
    found = above_as_lists(scores, floor, [1, 2], 3, [10, 20, 30])
    assert found == [(1, 10, 0.5), (1, 30, 0.75)]
    codes = ((np.array([0, 1, 2]), np.where(np.arange(31) == 30, 1, 9)),)
    assert above_as_lists(scores, floor, [1, 2], 3, [10, 20, 30], Forbidden(codes=codes)) == [(1, 10, 0.5)]
    assert above_as_lists(np.empty((0, 3)), floor, np.empty(0, int), 3, [10, 20, 30]) == []
    assert above_as_lists([[np.nan, 0.5]], [0.0], [0], 2, [1, 2]) == [(0, 2, 0.5)]


def test_of_a_crowd_above_the_floor_the_best_are_taken() -> None:
    scores = np.array([[0.1, 0.5, 0.3, 0.4, 0.2, 0.6]], np.float32)
    rows = np.arange(6) + 10
    found = above_as_lists(scores, [NONE], [0], 2, rows)
    assert [(query, row) for query, row, _ in found] == [(0, 11), (0, 15)]
    own = Forbidden(own=np.array([15]))
    assert [row for _, row, _ in above_as_lists(scores, [NONE], [0], 2, rows, own)] == [11, 13]
    everything = Forbidden(codes=((np.array([3]), np.full(16, 3)),))
    assert above_as_lists(scores, [NONE], [0], 2, rows, everything) == []


# -------------------------------------------------------------------------------------------------------------- exact

CASES = st.fixed_dictionaries(
    {
        "queries": st.integers(0, 9),
        "rows": st.integers(0, 40),
        "k": st.integers(1, 45),
        "seed": st.integers(0, 10**6),
        "own": st.booleans(),
        "rules": st.integers(0, 2),
    }
)


@given(CASES)
def test_exact_is_a_sort_of_all_products(case: dict[str, Any]) -> None:
    rng = np.random.default_rng(case["seed"])
    q, n = case["queries"], case["rows"]
    queries, gallery = grid(rng, q), grid(rng, n)
    own = rng.integers(-1, n, q) if case["own"] else None
    forbidden = Forbidden(own, tuple((rng.integers(0, 4, q), rng.integers(0, 3, n)) for _ in range(case["rules"])))
    with workers(1) as pool:
        check(exact(queries, gallery, room_for(q, case["k"]), pool, forbidden), queries, gallery, forbidden)


@pytest.mark.usefixtures("small_blocks")
@pytest.mark.parametrize("k", [1, 5, 20])
@pytest.mark.parametrize("order", ["random", "worst first", "best first", "equal"])
def test_exact_over_many_blocks(k: int, order: str) -> None:
    rng = np.random.default_rng(k)
    queries, gallery = grid(rng, 130), grid(rng, 150)
    if order == "equal":
        gallery[:] = gallery[0]
    elif order != "random":
        gallery = gallery[np.argsort((gallery @ queries[0]) * (1 if order == "worst first" else -1))]
    forbidden = Forbidden(np.arange(130), ((np.arange(130) % 5, np.arange(150) % 7),))
    with workers(2) as pool:
        check(exact(queries, gallery, room_for(130, k), pool, forbidden), queries, gallery, forbidden)


@pytest.mark.parametrize("k", [1, 10])
def test_the_number_of_threads_changes_no_bit(k: int) -> None:
    rng = np.random.default_rng(1)
    queries = rng.normal(size=(300, 8)).astype(np.float32)
    gallery = rng.normal(size=(1500, 8)).astype(np.float32)
    gallery[700:1400] = gallery[:700]  # many ties for the last place
    answers = []
    for threads in (1, 2, 3, 1):
        with workers(threads) as pool:
            answers.append(exact(queries, gallery, room_for(300, k), pool))
    for rows, scores in answers[1:]:
        np.testing.assert_array_equal(rows, answers[0][0])
        np.testing.assert_array_equal(scores, answers[0][1])


def test_exact_writes_into_what_it_is_given() -> None:
    rng = np.random.default_rng(2)
    queries, gallery = grid(rng, 5), grid(rng, 9)
    rows, scores = room_for(5, 6)
    narrow = rows[:, :3], scores[:, :3]  # a part of a wider answer
    with workers(1) as pool:
        assert exact(queries, gallery, narrow, pool) is narrow
    check((rows[:, :3], scores[:, :3]), queries, gallery)
    assert (rows[:, 3:] == -1).all() and (scores[:, 3:] == NONE).all()


def test_all_rows_forbidden_or_none_there() -> None:
    queries = np.ones((2, 3), np.float32)
    for gallery in (np.ones((4, 3), np.float32), np.ones((0, 3), np.float32)):
        forbidden = Forbidden(codes=((np.zeros(2, np.int64), np.zeros(len(gallery), np.int64)),))
        with workers(1) as pool:
            rows, scores = exact(queries, gallery, room_for(2, 2), pool, forbidden)
        assert (rows == -1).all() and (scores == NONE).all()


def test_workers_keep_blas_to_one_thread_meanwhile() -> None:
    def blas() -> list[int]:
        return [library["num_threads"] for library in threadpool_info() if library["user_api"] == "blas"]

    with threadpool_limits(2, user_api="blas"):
        before = blas()
        with workers(2) as pool:
            assert set(blas()) <= {1} and list(pool.map(abs, (-1, 2))) == [1, 2]
        assert blas() == before and 1 not in before
