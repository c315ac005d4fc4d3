from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from medalist.errors import SearchError
from medalist.retrieval import neighbours
from medalist.retrieval.blocks import FREE, Forbidden, room_for
from medalist.retrieval.neighbours import searching
from medalist.search import Index

Array = NDArray[Any]


def unit(rows: Array) -> NDArray[np.float32]:
    found: NDArray[np.float32] = (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)
    return found


def crowd(count: int, seed: int, dim: int = 8) -> NDArray[np.float32]:
    """Unit vectors around thirty points, the same ones for every seed."""
    around = np.random.default_rng(99).normal(size=(30, dim))
    rng = np.random.default_rng(seed)
    return unit(around[rng.integers(0, 30, count)] + 0.5 * rng.normal(size=(count, dim)))


def asked(queries: Any, gallery: Any, k: int, **options: Any) -> tuple[Array, Array]:
    with searching(queries, gallery, k, **{"threads": 1, **options}) as search:
        return search.answer(slice(0, len(queries)))


def check(found: tuple[Array, Array], queries: Array, gallery: Array, forbidden: Forbidden = FREE) -> None:
    """Against all cosines in float64; those that float32 cannot tell apart may change places."""
    rows, scores = found
    assert rows.dtype == np.int64 and scores.dtype == np.float32 and rows.shape == scores.shape
    for query in range(len(queries)):
        free = np.flatnonzero(~forbidden.met(np.array([query]), np.arange(len(gallery))))
        cosines = gallery.astype(np.float64) @ queries[query].astype(np.float64)
        expected = np.sort(cosines[free])[::-1][: rows.shape[1]]
        count = len(expected)
        names = rows[query, :count].tolist()
        assert len(set(names)) == count and set(names) <= set(free.tolist())
        np.testing.assert_allclose(scores[query, :count], expected, atol=2e-6)
        np.testing.assert_allclose(cosines[names], expected, atol=2e-6)
        assert (rows[query, count:] == -1).all() and (scores[query, count:] == -np.inf).all()


def recall(truth: Array, found: Array) -> float:
    return float(np.mean([np.isin(a, b).mean() for a, b in zip(truth, found, strict=True)]))


QUERIES, GALLERY = crowd(60, 1), crowd(1500, 2)
RULES = Forbidden(np.arange(60) - 1, ((np.arange(60) % 4, np.arange(1500) % 9),))


@pytest.fixture(scope="module")
def index() -> Index:
    made = Index(8)
    made.add(None, GALLERY, threads=1)
    return made


# --------------------------------------------------------------------------------------------------------------- exact


def test_by_hand() -> None:
    gallery = np.array([[0, 1], [1, 0], [0.6, 0.8]], np.float64)
    rows, scores = asked([[1, 0], [0, 1]], gallery, 2)
    assert rows.tolist() == [[1, 2], [0, 2]]
    np.testing.assert_allclose(scores, [[1, 0.6], [1, 0.8]], atol=1e-7)
    rows, _ = asked([[1, 0], [0, 1]], gallery, 2, forbidden=Forbidden(own=np.array([1, -1])))
    assert rows.tolist() == [[2, 0], [0, 2]]


@given(st.integers(0, 10**6), st.integers(0, 6), st.integers(0, 20), st.integers(1, 25), st.booleans())
def test_few_pairs_are_compared_exactly(seed: int, q: int, n: int, k: int, forbid: bool) -> None:
    rng = np.random.default_rng(seed)
    queries, gallery = (unit(rng.choice([-1.0, 1.0], (count, 4))) for count in (q, n))
    rules = Forbidden(rng.integers(-1, n, q), ((rng.integers(0, 3, q), rng.integers(0, 2, n)),)) if forbid else FREE
    with searching(queries, gallery, k, threads=1, forbidden=rules) as search:
        assert search.how == "exact" and search.k == min(k, max(n, 1))
        check(search.answer(slice(0, q)), queries, gallery, rules)


def test_parts_are_the_whole_and_are_written_where_they_are_wanted() -> None:
    with searching(QUERIES, GALLERY, 5, threads=2, forbidden=RULES) as search:
        rows, scores = search.answer(slice(0, 60))
        into = room_for(60, 5)
        for part in (slice(40, 60), slice(0, 40), slice(7, 7)):
            some = into[0][part], into[1][part]
            assert search.answer(part, some) is some
    np.testing.assert_array_equal(into[0], rows)
    # On some processors the matrix library sums blocks of another shape in another order.
    np.testing.assert_allclose(into[1], scores, rtol=2e-7)
    check((rows, scores), QUERIES, GALLERY, RULES)


def test_rules_that_forbid_nothing_are_none() -> None:
    for rules in (None, Forbidden(), FREE):
        with searching(QUERIES, GALLERY, 5, threads=1, forbidden=rules) as search:
            assert search.forbidden is FREE
    everything = Forbidden(codes=((np.zeros(60, np.int32), np.zeros(1500, np.uint8)),))
    rows, scores = asked(QUERIES, GALLERY, 5, forbidden=everything)
    assert (rows == -1).all() and (scores == -np.inf).all()


# ------------------------------------------------------------------------------------------------------------ the way


@pytest.fixture
def eager(monkeypatch: pytest.MonkeyPatch) -> None:
    """Clusters are tried for however few pairs."""
    for name in ("FEW_QUERIES", "FEW_ROWS", "FEW_PRODUCTS"):
        monkeypatch.setattr(neighbours, name, 0)
    monkeypatch.setattr(neighbours, "TOO_MUCH", 1.0)


@pytest.mark.usefixtures("eager")
@pytest.mark.parametrize("rules", [FREE, RULES], ids=["free", "rules"])
def test_many_pairs_are_asked_by_clusters(rules: Forbidden) -> None:
    truth, _ = asked(QUERIES, GALLERY, 5, recall=1, forbidden=rules)
    found = []
    for threads in (1, 2):
        with searching(QUERIES, GALLERY, 5, recall=0.9, threads=threads, forbidden=rules) as search:
            assert search.clusters is not None and search.how.endswith("at recall 0.9")
            found.append(search.answer(slice(0, 60)))
    for one, other in zip(*found, strict=True):
        np.testing.assert_array_equal(one, other)
    rows, scores = found[0]
    assert recall(truth, rows) >= 0.9
    np.testing.assert_allclose(scores, np.einsum("qd,qkd->qk", QUERIES, GALLERY[rows]), atol=2e-6)
    assert not rules.met(np.arange(60)[:, np.newaxis], rows).any()


@pytest.mark.usefixtures("eager")
@pytest.mark.parametrize(
    "limit", [{"FEW_QUERIES": 61}, {"FEW_ROWS": 1501}, {"FEW_PRODUCTS": 60 * 1500 * 8 + 1}, {"TOO_MUCH": 0.0}], ids=str
)
def test_each_limit_alone_makes_it_exact(limit: dict[str, float], monkeypatch: pytest.MonkeyPatch) -> None:
    def how() -> str:
        with searching(QUERIES, GALLERY, 5, recall=0.9, threads=1) as search:
            return search.how

    assert how() != "exact"
    for name, value in limit.items():
        monkeypatch.setattr(neighbours, name, value)
    assert how() == "exact"


@pytest.mark.usefixtures("eager")
def test_recall_1_is_exact(index: Index) -> None:
    with searching(QUERIES, GALLERY, 5, recall=1, index=index, threads=1) as search:
        assert search.how == "exact"
        check(search.answer(slice(0, 60)), QUERIES, GALLERY)


# --------------------------------------------------------------------------------------------------------------- graph


@pytest.mark.parametrize("rules", [FREE, RULES], ids=["free", "rules"])
def test_an_index_is_walked_to_the_recall(index: Index, rules: Forbidden) -> None:
    truth, best = asked(QUERIES, GALLERY, 5, recall=1, forbidden=rules)
    found = []
    for threads in (1, 3):
        with searching(QUERIES, GALLERY, 5, recall=0.9, index=index, threads=threads, forbidden=rules) as search:
            assert search.how == "graph at recall 0.9"
            found.append(search.answer(slice(0, 60)))
    for one, other in zip(*found, strict=True):
        np.testing.assert_array_equal(one, other)
    rows, scores = found[0]
    assert recall(truth, rows) >= 0.9 and (rows >= 0).all() and (scores <= best + 2e-6).all()
    assert not rules.met(np.arange(60)[:, np.newaxis], rows).any() and (np.diff(scores, axis=1) <= 0).all()


def test_walks_are_widened_until_they_reach_the_recall() -> None:
    """An index of too few links: the wider its walks, the more they find, and for a high recall all is compared."""
    rng = np.random.default_rng(0)
    gallery, queries = unit(rng.normal(size=(2000, 16))), unit(rng.normal(size=(60, 16)))
    poor = Index(16, degree=4, effort=8)
    poor.add(None, gallery, threads=1)
    truth, _ = asked(queries, gallery, 5, recall=1)
    reached = [recall(truth, asked(queries, gallery, 5, recall=aim, index=poor)[0]) for aim in (0.1, 0.5, 0.6, 0.999)]
    assert reached[0] < 0.55  # so the others were widened
    assert 0.5 <= reached[1] < reached[2] < reached[3] == 1 and reached[2] >= 0.6


def test_queries_of_the_gallery_find_k_others(index: Index) -> None:
    rules = Forbidden(own=np.arange(60))
    rows, _ = asked(GALLERY[:60], GALLERY, 5, recall=0.9, index=index, forbidden=rules)
    assert (rows >= 0).all() and not (rows == np.arange(60)[:, np.newaxis]).any()


def test_what_is_fetched_at_once_changes_nothing(index: Index, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = asked(QUERIES, GALLERY, 5, recall=0.9, index=index, forbidden=RULES)
    monkeypatch.setattr(neighbours, "MOST_FETCHED", 20)
    for one, other in zip(whole, asked(QUERIES, GALLERY, 5, recall=0.9, index=index, forbidden=RULES), strict=True):
        np.testing.assert_array_equal(one, other)


def test_where_no_walk_reaches_the_recall_all_is_compared(index: Index) -> None:
    check(asked(QUERIES, GALLERY, 1400, recall=0.9999999, index=index), QUERIES, GALLERY)


def test_rules_may_take_nearly_all_rows_of_an_index(index: Index) -> None:
    """Query 0 has three allowed rows, query 1 none, query 2 all but itself."""
    codes = np.array([0, 0, 9]), np.where(np.arange(1500) < 3, 1, 0)
    others = np.array([8, 1, 9]), np.where(np.arange(1500) < 3, 1, 7)
    rules = Forbidden(np.array([-1, -1, 5]), (codes, others))
    found = asked(GALLERY[:3], GALLERY, 5, recall=0.9, index=index, forbidden=rules)
    check((found[0][:2], found[1][:2]), GALLERY[:2], GALLERY, rules)
    assert (found[0][1] == -1).all() and 5 not in found[0][2]


def test_small_and_equal_galleries_behind_an_index() -> None:
    for gallery in (GALLERY[:1], GALLERY[:3], np.repeat(GALLERY[:2], 40, axis=0)):
        made = Index(8)
        made.add(None, gallery, threads=1)
        check(asked(QUERIES[:5], gallery, 4, recall=0.9, index=made), QUERIES[:5], gallery)
    with searching(QUERIES[:0], GALLERY[:3], 4, recall=0.9, index=made, threads=1) as search:
        assert search.how == "exact" and search.answer(slice(0, 0))[0].shape == (0, 3)  # nobody asks: no check either


# ------------------------------------------------------------------------------------------------------------ refusals


def lengthened(by: float) -> Array:
    gallery = GALLERY.copy()
    gallery[7] *= by
    return gallery


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"k": 0}, "k=0: expected 1 to"),
        ({"k": 2.5}, "k=2.5: expected an integer"),
        ({"threads": 0}, "threads=0: expected 1 to 1024"),
        ({"recall": 0}, "recall=0: expected a number above 0, up to 1"),
        ({"recall": np.nan}, "recall=nan"),
        ({"gallery": GALLERY[0]}, r"gallery: shape \[8\], expected \[n, dim\]"),
        ({"gallery": GALLERY[:, :0]}, r"gallery: shape \[1500, 0\]"),
        ({"gallery": lengthened(1.01)}, "gallery, row 7: length 1.01, expected unit vectors; divide each"),
        ({"gallery": lengthened(np.nan)}, "gallery, row 7: nan in column 0"),
        ({"gallery": lengthened(np.inf)}, "gallery, row 7: -?inf in column 0"),
        ({"queries": QUERIES[:, :3]}, r"queries: shape \[60, 3\], expected \[n, 8\]"),
        ({"queries": QUERIES[3]}, r"queries: shape \[8\]"),
        ({"forbidden": Forbidden(np.zeros(59, int))}, r"forbidden, own: int64\[59\], expected integers \[60\]"),
        ({"forbidden": Forbidden(np.full(60, -2))}, "forbidden, own, query 0: row -2 of a gallery of 1500"),
        ({"forbidden": Forbidden(codes=((np.zeros(60), np.zeros(1500)),))}, "codes of queries: float64"),  # type: ignore[arg-type]
        ({"forbidden": Forbidden(codes=((np.zeros(60, int), np.zeros(60, int)),))}, r"codes of rows: int64\[60\]"),
        ({"index": Index(8)}, "expected 1500 vectors of 8, cosine"),
    ],
)
def test_what_is_refused(change: dict[str, Any], words: str) -> None:
    arguments: dict[str, Any] = {"queries": QUERIES, "gallery": GALLERY, "k": 5, **change}
    with pytest.raises(SearchError, match=words) as caught, searching(**arguments):
        pass
    assert "\n" not in str(caught.value)


def test_an_index_of_other_vectors_is_refused(index: Index) -> None:
    with pytest.raises(SearchError, match="other vectors than the gallery"):
        asked(QUERIES, np.ascontiguousarray(GALLERY[::-1]), 5, index=index)


def test_lengths_within_storage_error_pass() -> None:
    check(asked(QUERIES, lengthened(1.0005), 3), QUERIES, lengthened(1.0005))
