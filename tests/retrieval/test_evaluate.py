from __future__ import annotations

import tracemalloc
import warnings
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from sklearn.metrics import average_precision_score

from medalist.errors import SearchError
from medalist.retrieval import blocks, clusters, neighbours
from medalist.retrieval.blocks import Forbidden
from medalist.retrieval.evaluate import Figures, evaluate, nearest
from medalist.search import Index

Array = NDArray[Any]


def unit(rows: Array) -> NDArray[np.float32]:
    found: NDArray[np.float32] = (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)
    return found


def identities(queries: int, rows: int, people: int, dim: int = 16, seed: int = 0) -> tuple[Array, Array, Array, Array]:
    """Queries, their labels, gallery, its labels: people are points, their pictures lie around them."""
    rng = np.random.default_rng(seed)
    prototypes = rng.normal(size=(people, dim))
    labels = rng.integers(0, people, queries + rows)
    vectors = unit(prototypes[labels] + 0.5 * rng.normal(size=(queries + rows, dim)))
    return vectors[:queries], labels[:queries], vectors[queries:], labels[queries:]


def allowed_rows(query: int, rows: int, own: Array | None, codes: Any) -> list[int]:
    return [
        row
        for row in range(rows)
        if (own is None or own[query] != row) and all(asked[query] != of_row[row] for asked, of_row in codes)
    ]


def check_nearest(found: tuple[Array, Array], queries: Array, gallery: Array, k: int, own: Any, codes: Any) -> None:
    """Against every pair in float64; scores that float32 cannot tell apart may change places."""
    rows, scores = found
    assert rows.shape == scores.shape == (len(queries), k)
    assert rows.dtype == np.int64 and scores.dtype == np.float32
    for query in range(len(queries)):
        allowed = allowed_rows(query, len(gallery), own, codes)
        measured = gallery.astype(np.float64) @ queries[query].astype(np.float64)
        expected = np.sort(measured[allowed])[::-1][:k]
        count = len(expected)
        names = rows[query, :count].tolist()
        assert len(set(names)) == count and set(names) <= set(allowed)
        np.testing.assert_allclose(scores[query, :count], expected, atol=2e-6)
        np.testing.assert_allclose(measured[names], expected, atol=2e-6)
        assert (rows[query, count:] == -1).all() and (scores[query, count:] == -np.inf).all()
        same = np.diff(scores[query, :count]) == 0
        assert (np.diff(rows[query, :count])[same] > 0).all()  # ties by row


@pytest.fixture
def small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Everything is split many times over."""
    monkeypatch.setattr(blocks, "GROUP", 64)
    monkeypatch.setattr(blocks, "CHUNK", 32)
    monkeypatch.setattr(blocks, "WAITING", 256)


@pytest.fixture
def always_cells(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("FEW_QUERIES", "FEW_ROWS", "FEW_PRODUCTS"):
        monkeypatch.setattr(neighbours, name, 0)
    monkeypatch.setattr(neighbours, "TOO_MUCH", 1.0)
    monkeypatch.setattr(clusters, "BLOCK", 1 << 12)
    monkeypatch.setattr(clusters, "TABLE", (1 << 12, 1 << 12))


# --------------------------------------------------------------------------------------------------------- nearest

CASES = st.fixed_dictionaries(
    {
        "queries": st.integers(0, 9),
        "rows": st.integers(0, 40),
        "k": st.integers(1, 50),
        "seed": st.integers(0, 10**6),
        "ties": st.booleans(),
        "own": st.booleans(),
        "rules": st.integers(0, 2),
        "threads": st.integers(1, 3),
    }
)


@given(CASES)
def test_nearest_is_brute_force(case: dict[str, Any]) -> None:
    rng = np.random.default_rng(case["seed"])
    q, n = case["queries"], case["rows"]
    draw = (lambda m: rng.choice([-1.0, 1.0], (m, 4))) if case["ties"] else (lambda m: rng.normal(size=(m, 4)))
    queries, gallery = unit(draw(q)), unit(draw(n))
    own = rng.integers(-1, n, q) if case["own"] else None
    codes = tuple((rng.integers(0, 4, q), rng.integers(0, 3, n)) for _ in range(case["rules"]))
    rules = Forbidden(own, codes)
    found = nearest(queries, gallery, case["k"], forbidden=rules, threads=case["threads"])
    check_nearest(found, queries, gallery, case["k"], own, codes)


@pytest.mark.usefixtures("small_blocks")
@pytest.mark.parametrize("k", [1, 7, 40])
@pytest.mark.parametrize("order", ["random", "worst first", "equal"])
def test_many_blocks(k: int, order: str) -> None:
    queries, _, gallery, _ = identities(150, 300, 20)
    if order == "worst first":  # each block of rows beats all before it
        gallery = gallery[np.argsort(gallery @ queries[0])]
    elif order == "equal":
        gallery = np.repeat(gallery[:3], 100, axis=0)
    own = np.arange(150)
    codes = ((np.arange(150) % 5, np.arange(300) % 7),)
    found = nearest(queries, gallery, k, forbidden=Forbidden(own, codes), threads=2)
    check_nearest(found, queries, gallery, k, own, codes)


@pytest.mark.usefixtures("always_cells", "small_blocks")
@pytest.mark.parametrize("k", [1, 10])
@pytest.mark.parametrize("forbid", [False, True])
def test_cells_reach_their_recall(k: int, forbid: bool) -> None:
    queries, _, gallery, _ = identities(300, 2000, 100)
    codes = ((np.arange(300) % 3, np.arange(2000) % 3),) if forbid else ()
    own = np.arange(300) if forbid else None
    with neighbours.searching(queries, gallery, k, recall=0.99, forbidden=Forbidden(own, codes), threads=2) as search:
        assert search.how == "clusters at recall 0.99" and search.clusters is not None
        assert search.reach > -np.inf
        rows, scores = search.answer(slice(0, 300))
    truth, _ = nearest(queries, gallery, k, recall=1, forbidden=Forbidden(own, codes))
    assert np.mean([np.isin(a, b).mean() for a, b in zip(truth, rows, strict=True)]) >= 0.99
    for query, line in enumerate(rows):
        assert set(line.tolist()) <= set(allowed_rows(query, 2000, own, codes)) and len(set(line.tolist())) == k
    np.testing.assert_allclose(scores, np.einsum("qd,qkd->qk", queries, gallery[rows]), atol=2e-6)
    again = nearest(queries, gallery, k, recall=0.99, forbidden=Forbidden(own, codes), threads=1)
    np.testing.assert_array_equal(again[0], rows)


@pytest.mark.usefixtures("always_cells")
def test_cells_ask_less_than_all() -> None:
    queries, _, gallery, _ = identities(500, 4000, 200)
    with blocks.workers(1) as pool:
        made = clusters.make_coarse_clusters(gallery, 64, pool)
        assert sorted(made.rows.tolist()) == list(range(4000))
        for cell in (0, 63):
            members = gallery[made.rows[made.starts[cell] : made.starts[cell + 1]]]
            np.testing.assert_allclose(made.means[cell], members.mean(axis=0), atol=1e-5)
            exclusion = np.sqrt(np.square(members - members.mean(axis=0)).sum(axis=1).mean())
            assert made.spread[cell] == pytest.approx(max(exclusion, clusters.NARROWEST), abs=1e-4)
        wide = clusters.how_far(queries, gallery, made, 10, 0.999, pool)
        narrow = clusters.how_far(queries, gallery, made, 10, 0.8, pool)
    assert narrow[1] < wide[1] < 1 and narrow[0] > wide[0]


@pytest.mark.usefixtures("always_cells")
@pytest.mark.parametrize("gallery", ["equal", "one", "two"])
def test_cells_of_awkward_galleries(gallery: str) -> None:
    queries, _, rows, _ = identities(40, 100, 5)
    rows = {"equal": np.repeat(rows[:1], 100, axis=0), "one": rows[:1], "two": rows[:2]}[gallery]
    check_nearest(nearest(queries, rows, 3, recall=0.99), queries, rows, 3, None, ())


@pytest.fixture(scope="module")
def people() -> tuple[Array, Array, Array, Array, Index]:
    queries, mine, gallery, theirs = identities(200, 3000, 300)
    index = Index(16)
    index.add(None, gallery, threads=1)
    return queries, mine, gallery, theirs, index


@pytest.mark.parametrize("forbid", [False, True])
def test_a_given_index(people: tuple[Array, Array, Array, Array, Index], forbid: bool) -> None:
    queries, mine, gallery, theirs, index = people
    own = np.arange(200) - 1
    codes = ((mine, theirs), (np.arange(200) % 2, np.where(np.arange(3000) < 2900, 2, 1)))
    rules = Forbidden(own, codes) if forbid else None
    rows, scores = nearest(queries, gallery, 10, recall=0.95, index=index, forbidden=rules, threads=1)
    truth, best = nearest(queries, gallery, 10, recall=1, forbidden=rules)
    assert np.mean([np.isin(a, b).mean() for a, b in zip(truth, rows, strict=True)]) >= 0.95
    assert (rows >= 0).all() and (scores <= best + 2e-6).all()
    for query, line in enumerate(rows) if forbid else ():
        assert set(line.tolist()) <= set(allowed_rows(query, 3000, own, codes))


def test_an_index_that_cannot_reach_the_recall_is_left_aside(
    people: tuple[Array, Array, Array, Array, Index],
) -> None:
    queries, _, gallery, _, index = people
    found = nearest(queries[:20], gallery, 2900, recall=0.9999999, index=index)
    check_nearest(found, queries[:20], gallery, 2900, None, ())


def test_wrong_indexes(people: tuple[Array, Array, Array, Array, Index]) -> None:
    queries, _, gallery, _, index = people
    for options, words in (({"dim": 8}, "expected 3000 vectors of 16"), ({"dim": 16, "metric": "l2"}, "cosine")):
        with pytest.raises(SearchError, match=words):
            nearest(queries, gallery, 5, index=Index(**options))  # type: ignore[arg-type]
    named = Index(16)
    named.add([f"p{row}" for row in range(3000)], gallery, threads=1)
    with pytest.raises(SearchError, match="ids are not the rows"):
        nearest(queries, gallery, 5, index=named)
    with pytest.raises(SearchError, match="other vectors"):
        nearest(queries, gallery[::-1].copy(), 5, index=index)


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (lambda q, g: (q[:, :8], g), r"queries: shape \[5, 8\], expected \[n, 16\]"),
        (lambda q, g: (q, g * 2), "gallery, row 0: length 2, expected unit"),
        (lambda q, g: (q, np.where(np.arange(9)[:, None] == 3, np.nan, g)), "gallery, row 3: nan in column 0"),
        (lambda q, g: (q * (np.arange(5)[:, None] != 4), g), "queries, row 4: a zero vector"),
        (lambda q, g: (q, g[0]), "gallery: shape"),
        (lambda q, g: (q.astype(str), g), "queries: dtype"),
    ],
)
def test_wrong_vectors(spoil: Any, words: str) -> None:
    queries, _, gallery, _ = identities(5, 9, 2)
    with pytest.raises(SearchError, match=words):
        nearest(*spoil(queries, gallery), 3)


@pytest.mark.parametrize(
    ("rules", "words"),
    [
        (Forbidden(np.array([0, 1])), "own: int64"),
        (Forbidden(np.array([0, 1, 2, 9, -1])), "query 3: row 9 of a gallery of 9"),
        (Forbidden(None, ((np.arange(5), np.arange(5)),)), "codes of rows"),
        (Forbidden(None, ((np.arange(5.0), np.arange(9)),)), "codes of queries"),  # type: ignore[arg-type]
    ],
)
def test_wrong_rules(rules: Forbidden, words: str) -> None:
    queries, _, gallery, _ = identities(5, 9, 2)
    with pytest.raises(SearchError, match=words):
        nearest(queries, gallery, 3, forbidden=rules)


# -------------------------------------------------------------------------------------------------------- evaluate


def loops(
    queries: Array, mine: Array, gallery: Array, theirs: Array, own: Any, junk: Any, exclusion: Any
) -> dict[str, float]:
    """The figures over full rankings, query by query."""
    lines: dict[str, list[float]] = {}
    for query in range(len(queries)):
        order = np.argsort(-(gallery.astype(np.float64) @ queries[query]), kind="stable")
        kept = [
            row
            for row in order
            if (own is None or own[query] != row)
            and (junk is None or not (mine[query] == theirs[row] and junk[0][query] == junk[1][row]))
            and (exclusion is None or exclusion[0][query] != exclusion[1][row])
        ]
        hits = np.array([theirs[row] == mine[query] for row in kept], bool)
        right = int(hits.sum())
        if not right:
            lines.setdefault("unanswerable", []).append(1)
            continue
        precision = np.cumsum(hits) / np.arange(1, len(hits) + 1)
        values = {f"recall@{k}": float(hits[:k].any()) for k in (1, 5)}
        values |= {f"map@{k}": float((precision * hits)[:k].sum() / min(right, k)) for k in (1, 5)}
        values["map@r"] = float((precision * hits)[:right].sum() / right)
        values["r_precision"] = float(hits[:right].mean())
        values["mrr"] = float(1 / (hits.argmax() + 1))
        for name, value in values.items():
            lines.setdefault(name, []).append(value)
    unanswerable = len(lines.pop("unanswerable", []))
    return {**{name: float(np.mean(values)) for name, values in lines.items()}, "unanswerable": unanswerable}


@given(
    st.integers(0, 10**6),
    st.sampled_from(["none", "own", "junk", "apart", "own junk", "own junk apart"]),
    st.booleans(),
)
def test_evaluate_is_loops(seed: int, what: str, text: bool) -> None:
    rng = np.random.default_rng(seed)
    gallery = unit(rng.normal(size=(25, 6)))
    queries = unit(np.concatenate([gallery[:5], rng.normal(size=(6, 6))]))
    mine, theirs = rng.integers(0, 5, 11), rng.integers(0, 4, 25)
    mine[:5] = theirs[:5]
    cameras = rng.integers(0, 3, 11), rng.integers(0, 2, 25)
    rooms = rng.integers(0, 5, 11), rng.integers(0, 6, 25)
    own = np.where(np.arange(11) < 5, np.arange(11), -1) if "own" in what else None
    junk, exclusion = cameras if "junk" in what else None, rooms if "apart" in what else None
    expected = loops(queries, mine, gallery, theirs, own, junk, exclusion)
    labels = [np.array([f"who{label}" for label in side]) for side in (mine, theirs)] if text else [mine, theirs]
    found = evaluate(
        queries, labels[0], gallery, labels[1], ks=(1, 5), own=own, junk=junk, exclusion=exclusion, threads=1
    )
    assert found.how == "exact" and found.queries == 11 and found.cut == 0
    assert found.unanswerable == expected.pop("unanswerable")
    assert found.values == pytest.approx(expected)


def test_map_is_scikit_learns() -> None:
    queries, mine, gallery, theirs = identities(30, 60, 4)
    found = evaluate(queries, mine, gallery, theirs, ks=(60,))
    expected = np.mean(
        [average_precision_score(theirs == who, gallery @ q) for q, who in zip(queries, mine, strict=True)]
    )
    assert found.values["map@60"] == pytest.approx(float(expected), abs=1e-6)


def test_map_at_r_is_that_of_pytorch_metric_learning() -> None:
    torch = pytest.importorskip("torch")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        accuracy = pytest.importorskip("pytorch_metric_learning.utils.accuracy_calculator")
        inference = pytest.importorskip("pytorch_metric_learning.utils.inference")
    vectors, labels, _, _ = identities(120, 1, 8)
    calculator = accuracy.AccuracyCalculator(
        include=("mean_average_precision_at_r", "r_precision", "precision_at_1"),
        k="max_bin_count",
        device=torch.device("cpu"),
        knn_func=inference.CustomKNN(__import__("pytorch_metric_learning.distances").distances.CosineSimilarity()),
    )
    given_ = [torch.from_numpy(array) for array in (vectors, labels)]
    theirs = calculator.get_accuracy(*given_, *given_, ref_includes_query=True)
    ours = evaluate(vectors, labels, vectors, labels, own=np.arange(120)).values
    assert ours["map@r"] == pytest.approx(theirs["mean_average_precision_at_r"], abs=1e-5)
    assert ours["r_precision"] == pytest.approx(theirs["r_precision"], abs=1e-5)
    assert ours["recall@1"] == pytest.approx(theirs["precision_at_1"], abs=1e-5)


def test_more_right_rows_than_are_looked_at(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("medalist.retrieval.evaluate.DEEPEST", 10)
    vectors = unit(np.ones((30, 3)))
    labels = np.zeros(30, int)
    found = evaluate(vectors, labels, vectors, labels, ks=(1,), depth=1, own=np.arange(30))
    assert found.cut == 30 and found.values["map@r"] == pytest.approx(10 / 29) and found.values["recall@1"] == 1


def test_blocks_of_queries_and_progress(monkeypatch: pytest.MonkeyPatch) -> None:
    queries, mine, gallery, theirs = identities(50, 80, 6)
    whole = evaluate(queries, mine, gallery, theirs, nmi=True)
    monkeypatch.setattr("medalist.retrieval.evaluate.AT_ONCE", 700)
    steps: list[tuple[int, int]] = []
    parts = evaluate(queries, mine, gallery, theirs, nmi=True, progress=lambda *at: steps.append(at))
    assert parts.values == pytest.approx(whole.values) and 0 < whole.values["nmi"] <= 1
    assert len(steps) > 5 and steps[-1] == (50, 50)
    rows, _ = nearest(queries, gallery, 20, progress=lambda *at: steps.append(at))
    assert steps[-1] == (50, 50) and rows.shape == (50, 20)


@pytest.mark.parametrize("way", ["exact", "clusters", "graph"])
def test_the_answer_is_held_once_and_for_figures_in_parts(
    way: str, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> None:
    if way == "clusters":
        request.getfixturevalue("always_cells")
    monkeypatch.setattr(blocks, "GROUP", 128)
    for module, name in ((blocks, "WAITING"), (blocks, "MERGED"), (clusters, "BLOCK"), (neighbours, "MOST_FETCHED")):
        monkeypatch.setattr(module, name, 1 << 14)
    monkeypatch.setattr(clusters, "TABLE", (1 << 16, 1 << 16))
    monkeypatch.setattr("medalist.retrieval.evaluate.AT_ONCE", 1 << 16)
    monkeypatch.setattr("medalist.retrieval.evaluate.JUDGED", 1 << 14)
    queries, mine, gallery, theirs = identities(6000, 400, 10, dim=4)
    index = Index(4) if way == "graph" else None
    if index is not None:
        index.add(None, gallery, threads=1)
    options: Any = {"recall": 1 if way == "exact" else 0.8, "index": index, "threads": 1}
    peaks: list[int] = []
    tracemalloc.start()
    try:
        for ask in (
            lambda: nearest(queries, gallery, 100, **options),
            lambda: evaluate(queries, mine, gallery, theirs, depth=100, **options),
        ):
            tracemalloc.reset_peak()
            before = tracemalloc.get_traced_memory()[0]
            ask()
            peaks.append(tracemalloc.get_traced_memory()[1] - before)
    finally:
        tracemalloc.stop()
    whole = 6000 * 100 * 12
    assert whole <= peaks[0] < 1.8 * whole and peaks[1] < 0.7 * whole


def test_nobody_is_in_the_gallery() -> None:
    queries, mine, gallery, theirs = identities(4, 6, 2)
    assert evaluate(queries, mine + 10, gallery, theirs) == Figures({}, 4, 4, 0, "exact")
    assert evaluate(queries, mine, gallery[:0], theirs[:0]) == Figures({}, 4, 4, 0, "exact")
    assert evaluate(queries[:0], mine[:0], gallery, theirs) == Figures({}, 0, 0, 0, "exact")


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"query_labels": np.zeros(3, int)}, "queries: shape .* for 3 labels"),
        ({"gallery_labels": np.zeros(3, int)}, "gallery: shape .* for 3 labels"),
        ({"gallery_labels": np.array(["a"] * 6)}, "labels: .*expected integers"),
        ({"query_labels": np.zeros(4)}, "labels: float64"),
        ({"own": np.array([0, 1, 2, 6])}, "own: expected a row 0..5"),
        ({"own": np.array([0.0, 1, 2, 3])}, "own: expected a row"),
        ({"ks": (0,)}, "ks=0"),
        ({"depth": 0}, "depth=0"),
        ({"recall": 0.0}, "recall=0"),
        ({"junk": (np.zeros(4), np.zeros(6))}, "junk: float64"),
    ],
)
def test_wrong_arguments(change: dict[str, Any], words: str) -> None:
    queries, mine, gallery, theirs = identities(4, 6, 2)
    arguments: dict[str, Any] = {"query_labels": mine, "gallery_labels": theirs, **change}
    with pytest.raises(SearchError, match=words):
        evaluate(queries, gallery=gallery, **arguments)
