from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from medalist.errors import SearchError
from medalist.retrieval.pool import Pool

Array = NDArray[Any]
NONE = -np.inf


def unit(rows: Any) -> NDArray[np.float32]:
    rows = np.asarray(rows, np.float64)
    found: NDArray[np.float32] = (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)
    return found


def pool_of(vectors: Any, codes: Any, threads: int = 1) -> Pool:
    return Pool(unit(vectors), np.array(codes, np.int64), 1.0, threads)


def check(found: tuple[Array, Array], queries: Array, gallery: Array, hidden: Array, k: int) -> None:
    """Against loops; hidden: bool[Q, N]. Equally near rows stand in the order of the gallery."""
    rows, scores = found
    assert rows.shape == scores.shape == (len(queries), k) and rows.dtype == np.int64 and scores.dtype == np.float32
    for query in range(len(queries)):
        seen = np.flatnonzero(~hidden[query])
        cosines = gallery.astype(np.float64) @ queries[query].astype(np.float64)
        expected = np.sort(cosines[seen])[::-1][:k]
        names = rows[query, : len(expected)]
        assert set(names.tolist()) <= set(seen.tolist()) and len(set(names.tolist())) == len(names)
        np.testing.assert_allclose(cosines[names], expected, atol=2e-6)
        np.testing.assert_allclose(scores[query, : len(names)], expected, atol=2e-6)
        assert (np.diff(names)[np.diff(scores[query, : len(names)]) == 0] > 0).all()
        assert (rows[query, len(names) :] == -1).all() and (scores[query, len(names) :] == NONE).all()


def test_by_hand() -> None:
    pool = pool_of([[1, 0], [0, 1], [0.6, 0.8], [1, 0]], [5, 5, 2, 7])
    assert len(pool) == 4
    assert [pool.rows_of(code).tolist() for code in (5, 2, 7, 0, 99, -1)] == [[0, 1], [2], [3], [], [], []]
    rows, scores = pool.near(unit([[1, 0], [1, 0], [1, 0]]), np.array([5, 2, 3]), 3)
    assert rows.tolist() == [[3, 2, -1], [0, 3, 1], [0, 3, 2]]
    np.testing.assert_allclose(scores, np.array([[1, 0.6, NONE], [1, 1, 0], [1, 1, 0.6]]), atol=1e-7)
    rows, scores = pool.neighbours(4)  # whatever the codes
    assert rows.tolist() == [[3, 2, 1, -1], [2, 0, 3, -1], [1, 0, 3, -1], [0, 2, 1, -1]]
    cosines = [[1, 0.6, 0, NONE], [0.8, 0, 0, NONE], [0.8, 0.6, 0.6, NONE], [1, 0.6, 0, NONE]]
    np.testing.assert_allclose(scores, np.array(cosines), atol=1e-7)


@given(st.integers(0, 10**6), st.integers(0, 8), st.integers(1, 20), st.integers(1, 24), st.booleans())
def test_near_and_neighbours_are_those_of_loops(seed: int, q: int, n: int, k: int, ties: bool) -> None:
    rng = np.random.default_rng(seed)

    def draw(count: int) -> Array:
        return unit(rng.choice([-1.0, 1.0], (count, 4)) if ties else rng.normal(size=(count, 4)))

    pool, queries = pool_of(draw(n), rng.integers(0, 4, n)), draw(q)
    codes = rng.integers(-1, 5, q)
    check(pool.near(queries, codes, k), queries, pool.vectors, codes[:, np.newaxis] == pool.codes, k)
    check(pool.neighbours(k), pool.vectors, pool.vectors, np.eye(n, dtype=bool), k)
    for code in range(-1, 5):
        assert pool.rows_of(code).tolist() == [row for row in range(n) if pool.codes[row] == code]


def test_a_pool_that_hides_nothing() -> None:
    pool, queries = pool_of(np.eye(3), [-1, -1, -1]), unit(np.eye(3)[:2])
    rows, _ = pool.near(queries, np.array([-1, -1]), 5)
    assert rows[:, :3].tolist() == [[0, 1, 2], [1, 0, 2]] and (rows[:, 3:] == -1).all()
    assert pool.rows_of(-1).tolist() == []


@pytest.mark.parametrize("rows", [0, 1])
def test_pools_of_none_and_of_one(rows: int) -> None:
    pool = pool_of(np.ones((rows, 3)), [4] * rows)
    found = pool.near(unit(np.ones((2, 3))), np.array([4, 4]), 2)
    assert (found[0] == -1).all() and (found[1] == NONE).all()
    assert pool.neighbours(2)[0].tolist() == [[-1, -1]] * rows and pool.rows_of(4).tolist() == list(range(rows))


def test_threads_change_nothing() -> None:
    rng = np.random.default_rng(0)
    vectors, codes = rng.normal(size=(300, 6)), rng.integers(0, 9, 300)
    queries, asking = unit(rng.normal(size=(200, 6))), rng.integers(-1, 9, 200)
    one, three = (pool_of(vectors, codes, threads) for threads in (1, 3))
    for first, second in zip(one.near(queries, asking, 7), three.near(queries, asking, 7), strict=True):
        np.testing.assert_array_equal(first, second)
    for first, second in zip(one.neighbours(7), three.neighbours(7), strict=True):
        np.testing.assert_array_equal(first, second)


def test_vectors_that_do_not_fit() -> None:
    pool = pool_of(np.eye(3), [0, 1, 2])
    with pytest.raises(SearchError, match=r"queries: shape \[1, 2\], expected \[n, 3\]"):
        pool.near(unit([[1, 0]]), np.array([0]), 1)
    with pytest.raises(SearchError, match=r"codes of queries: int64\[2\], expected integers \[1\]"):
        pool.near(unit([[1, 0, 0]]), np.array([0, 1]), 1)
    with pytest.raises(SearchError, match="queries, row 0: nan in column 0"):
        pool.near(np.full((1, 3), np.nan, np.float32), np.array([0]), 1)


def test_codes_below_zero_hide_nothing_even_beside_codes_that_do() -> None:
    pool = Pool(np.eye(3, dtype=np.float32), np.array([-1, -1, 0]), 1.0, 1)
    alone = pool.near(pool.vectors[:2], np.array([-1, -1]), 3)[0]
    beside = pool.near(pool.vectors[:2], np.array([-1, 0]), 3)[0]
    assert beside[0].tolist() == alone[0].tolist()
    assert beside[1].tolist() == [1, 0, -1]
