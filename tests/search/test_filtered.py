"""Searches, counts, facets and pages with filters: the index against its twin."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from functools import cache
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from medalist.errors import SearchError
from medalist.search import Index
from medalist.search.filter_json import to_json
from medalist.search.filters import All, Among, AnyOf, AtLeast, F, Filter, HasId, Range, has_id
from medalist.search.schema import FieldKind
from medalist.search.twin import TwinIndex

from .filter_cases import BIG, Case, cases, every_kind, filters
from .pairs import PLANS, all_pages, as_text, assert_same_answers, assert_same_rows, both, compare, some_rows, sound

ORACLE = settings(
    deadline=None, max_examples=15, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large]
)


def built(case: Case, parts: int = 1) -> tuple[Any, TwinIndex]:
    """A case in both, added in parts."""
    index, twin = both(case.vectors.shape[1], case.metric, case.schema)
    for rows in np.array_split(np.arange(len(case.vectors)), parts):
        ids = None if case.ids is None else [case.ids[row] for row in rows]
        for one in (index, twin):
            one.add(ids, case.vectors[rows], [case.rows[row] for row in rows])
    return index, twin


# ------------------------------------------------------------------------------------------------------- small ones


@ORACLE
@given(cases(), st.integers(1, 3))
def test_the_nearest_that_a_filter_means(case: Case, parts: int) -> None:
    index, twin = built(case, parts)
    queries, k, each = case.queries, case.k, case.filters
    for plan in PLANS:
        for where in (each[0], each, [None, *each[1:]], None):
            hits = index.search(queries, k, where=where, plan=plan, ef=100)
            compare(hits, twin, queries, k, where)
            assert sound(hits, twin, queries, k, where) == 1.0
    compare(index.exact(queries, k, where=each, threads=2), twin, queries, k, each)
    single = index.search(queries[1], k, where=each[1])
    assert single.ids.tolist() == index.search(queries, k, where=each).ids[1].tolist()
    assert single.plans.shape == single.cost.shape == single.counts.shape == ()


@ORACLE
@given(cases(), st.integers(1, 3), st.integers(1, 5))
def test_counts_facets_and_pages(case: Case, parts: int, limit: int) -> None:
    index, twin = built(case, parts)
    assert_same_rows(index, twin)
    for where in (None, case.filters[0]):
        assert_same_answers(index, twin, where, limit)


@ORACLE
@given(cases())
def test_every_way_to_say_a_filter(case: Case) -> None:
    index, twin = built(case)
    for one in case.filters:
        count, ids = twin.count(one), index.exact(case.queries, case.k, where=one).ids.tolist()
        spoken = to_json(one)
        for said in (one, spoken, json.dumps(spoken), as_text(one, case.schema)):
            if said is not None:
                assert index.count(said) == count, said
                assert index.exact(case.queries, case.k, where=said).ids.tolist() == ids
                assert index.exact(case.queries, case.k, where=[said, one, None]).ids.tolist()[:2] == ids[:2]


@ORACLE
@given(cases(), st.integers(1, 3), st.data())
def test_groups(case: Case, per: int, data: st.DataObject) -> None:
    """Small whole vectors: exact under ip and l2, so that answers are the same to the last tie."""
    case = Case(**{**vars(case), "metric": data.draw(st.sampled_from(("ip", "l2")))})
    index, twin = built(case, 2)
    for name, kind in case.schema.items():
        if kind == "geo":
            with pytest.raises(SearchError, match="geo"):
                index.search(case.queries, 3, group_by=name)
            continue
        for where in (None, case.filters):
            how = {"where": where, "group_by": name, "per": per}
            truth = twin.exact(case.queries, case.k, **how)
            for plan in PLANS:
                hits = index.search(case.queries, case.k, plan=plan, ef=100, **how)
                assert hits.ids.tolist() == truth.ids.tolist()
                assert hits.counts.tolist() == truth.counts.tolist()
                np.testing.assert_allclose(hits.scores, truth.scores, rtol=1e-6)


@ORACLE
@given(cases(), st.data())
def test_scores_as_a_bound(case: Case, data: st.DataObject) -> None:
    case = Case(**{**vars(case), "metric": data.draw(st.sampled_from(("ip", "l2")))})
    index, twin = built(case)
    bound = data.draw(st.integers(-9, 9) | st.sampled_from((-2.5, -1e300, 1e300, float("inf"), float("-inf"), 1e-9)))
    for where in (None, case.filters[0]):
        truth = twin.exact(case.queries, case.k, where=where, min_score=bound)
        for plan in PLANS:
            hits = index.search(case.queries, case.k, where=where, min_score=bound, plan=plan, ef=100)
            assert hits.ids.tolist() == truth.ids.tolist() and hits.counts.tolist() == truth.counts.tolist()
        for how in ({"min_score": bound}, {"max_distance": bound}):
            found, true = index.within(case.queries[0], where=where, **how), twin.within(
                case.queries[0], where=where, **how
            )  # fmt: skip
            assert found.ids.tolist() == true.ids.tolist() and found.ids.dtype.kind == true.ids.dtype.kind
            assert int(found.counts) == len(found.ids) and int(found.cost) == twin.count(where)
            np.testing.assert_allclose(found.scores, true.scores, rtol=1e-6)


@ORACLE
@given(cases(), st.data())
def test_recommendations(case: Case, data: st.DataObject) -> None:
    index, twin = built(case)
    ids = twin.ids().tolist()
    if not ids:
        with pytest.raises(SearchError, match="no positive id"):
            index.recommend([])
        return
    good = data.draw(st.lists(st.sampled_from(ids), min_size=1, max_size=3))
    bad = data.draw(st.lists(st.sampled_from(ids), max_size=2))
    for where in (None, case.filters[0]):
        try:
            truth = twin.recommend(good, bad, case.k, where=where)
        except SearchError:  # examples that cancel out
            with pytest.raises(SearchError):
                index.recommend(good, bad, case.k, where=where)
            return
        hits = index.recommend(good, bad, case.k, where=where)
        assert hits.ids.shape == (case.k,) and int(hits.counts) == int(truth.counts)
        count = int(hits.counts)
        np.testing.assert_allclose(hits.scores[:count], truth.scores[:count], rtol=1e-5, atol=1e-5)
        found = hits.ids[:count].tolist()
        assert len({*found}) == count and not {*found} & {*good, *bad}
        assert {*found} <= {ids[row] for row in twin._chosen(where)}


# --------------------------------------------------------------------------------------- many rows: graph, lists, bits

SCHEMA: dict[str, FieldKind] = {**every_kind(), "n": "int", "x": "float", "when": "datetime", "where": "geo"}
N, LATE, DIM = 2400, 250, 12
START = datetime(2020, 1, 1, tzinfo=UTC)


class RememberingTwin(TwinIndex):
    """What was looked up once, of rows that stay."""

    chosen: dict[str, list[int]]

    def _chosen(self, where: Any) -> list[int]:
        key = repr(where)
        if key not in self.chosen:
            self.chosen[key] = super()._chosen(where)
        return self.chosen[key]


@cache
def large(metric: Any) -> tuple[Any, TwinIndex, Any]:
    """An index with a graph, and rows behind it; its twin; and queries."""
    rng = np.random.default_rng(5)
    x = rng.normal(size=(N + 8, DIM)).astype(np.float32)
    x[100:140] = x[99]
    rows = some_rows(rng, SCHEMA, N)
    for at, row in enumerate(rows):
        row |= {"n": at % 1000, "x": float(x[at, 0]), "when": START + timedelta(hours=at)}
        row["where"] = (float(rng.uniform(-90, 90)), float(rng.uniform(-180, 180)))
    index, twin = Index(DIM, metric, fields=SCHEMA), RememberingTwin(DIM, metric, fields=SCHEMA)
    twin.chosen = {}
    names = [f"r{at}" for at in range(N)]
    for one in (index, twin):
        one.add(names[: N - LATE], x[: N - LATE], rows[: N - LATE])
        one.add(names[N - LATE :], x[N - LATE : N], rows[N - LATE :])
    assert 0 < index.stats().linked < N
    return index, twin, x[N:]


@settings(ORACLE, max_examples=5, phases=(Phase.explicit, Phase.reuse, Phase.generate))
@given(st.sampled_from(("cosine", "ip", "l2")), st.data())
def test_any_filter_on_many_rows(metric: Any, data: st.DataObject) -> None:
    index, twin, queries = large(metric)
    names = [f"r{at}" for at in (0, 7, 99, 100, N - 1)]
    one, other = data.draw(st.tuples(filters(SCHEMA, names), filters(SCHEMA, names)))
    assert index.count(one) == twin.count(one)
    assert all_pages(index, 1500, where=one)[:50] == all_pages(twin, N, where=one)[:50]
    assert index.facet("a tag", one) == twin.facet("a tag", one)
    asked, where = queries[:3], [one, other, one]
    compare(index.exact(asked, 10, where=where), twin, asked, 10, where)
    for plan in PLANS:
        for k in (1, 25):
            found = sound(index.search(asked, k, where=where, plan=plan), twin, asked, k, where)
            assert found >= 0.5 or k == 1


OF_ALL_SORTS: dict[str, Filter] = {
    "half": F.n < 500,
    "tenth": F.n < 100,
    "hundredth": F.n.between(500, 509),
    "thousandth": F.n == 7,
    "far": F.x < -1,
    "near": F.x > 1,
    "not": ~(F.n < 100),
    "or": (F.n < 50) | (F.n > 950),
    "and": (F.n < 500) & (F["a bool"] == True),  # noqa: E712
    "at least": AtLeast(2, (F.n < 400, F.n > 200, F["a tag"] == "a")),
    "tag": F["a tag"] == "a",
    "box": F.where.box(south=-45, west=90, north=45, east=-90),
    "circle": F.where.within(80, 0, metres=4_000_000),
    "time": F.when < START + timedelta(days=30),
    "ids": has_id([f"r{at}" for at in range(0, N, 7)]),
    "copies": has_id([f"r{at}" for at in range(95, 145)]),
    "late": F.n.between(0, 999) & (F.when >= START + timedelta(hours=N - LATE)),
    "everything": All(()),
    "nothing": AnyOf(()),
}


@pytest.mark.parametrize("plan", PLANS, ids=str)
@pytest.mark.parametrize("metric", ["cosine", "ip", "l2"])
def test_recall_among_what_a_filter_means(metric: Any, plan: Any) -> None:
    index, twin, queries = large(metric)
    shares = {}
    for name, one in OF_ALL_SORTS.items():
        hits = index.search(queries, 10, where=one, plan=plan)
        shares[name] = sound(hits, twin, queries, 10, one)
        if plan in ("exact", "scan"):
            assert set(hits.plans.tolist()) <= {"exact", "scan"}
            assert plan == "scan" or set(hits.plans.tolist()) == {"exact"}
    bad = {name: found for name, found in shares.items() if found < (0.95 if plan != "exact" else 1)}
    if plan in (None, "exact", "scan"):
        assert bad == {}
    else:  # forced, wherever that leads
        assert np.mean(list(shares.values())) >= 0.9


def test_k_above_the_matches_finds_all_of_them() -> None:
    index, twin, queries = large("l2")
    for plan in PLANS:
        for one in (OF_ALL_SORTS["hundredth"], OF_ALL_SORTS["copies"], OF_ALL_SORTS["tenth"], OF_ALL_SORTS["nothing"]):
            assert sound(index.search(queries, 400, where=one, plan=plan), twin, queries, 400, one) == 1.0


def test_plans_and_costs_are_told() -> None:
    index, twin, queries = large("cosine")
    few, half = OF_ALL_SORTS["thousandth"], OF_ALL_SORTS["half"]
    assert set(index.search(queries, 10, where=few).plans.tolist()) == {"exact"}
    assert index.search(queries, 10, where=few).cost.tolist() == [twin.count(few)] * 8
    assert index.exact(queries, 10, where=half).cost.tolist() == [twin.count(half)] * 8
    scans = index.search(queries, 10, where=half, plan="scan")
    assert set(scans.plans.tolist()) == {"scan"} and (scans.cost >= twin.count(half)).all()
    each = [few, half, None, AnyOf(()), few, half, None, AnyOf(())]
    mixed = index.search(queries, 10, where=each)
    for row, one in enumerate(each):
        alone = index.search(queries[row], 10, where=one)
        assert alone.ids.tolist() == mixed.ids[row].tolist()
        assert one is None or (str(alone.plans), int(alone.cost)) == (mixed.plans[row], mixed.cost[row])


def test_threads_do_not_change_filtered_answers() -> None:
    index, _, queries = large("l2")
    many = np.repeat(queries, 6, axis=0)
    where = [one for one in list(OF_ALL_SORTS.values())[:6] for _ in range(8)]
    for plan in PLANS:
        one, three = (index.search(many, 10, where=where, plan=plan, threads=threads) for threads in (1, 3))
        for part in ("ids", "scores", "counts", "plans", "cost"):
            np.testing.assert_array_equal(getattr(one, part), getattr(three, part))


@pytest.mark.parametrize("metric", ["cosine", "ip", "l2"])
def test_groups_of_many_rows(metric: Any) -> None:
    index, twin, queries = large(metric)
    for name in ("a bool", "an id" if "an id" in SCHEMA else "a id", "n", "a int", "a datetime", "a float"):
        for where in (None, OF_ALL_SORTS["half"]):
            hits = index.exact(queries, 12, where=where, group_by=name, per=2)
            truth = twin.exact(queries, 12, where=where, group_by=name, per=2)
            np.testing.assert_allclose(hits.scores, truth.scores, atol=1e-4)
            assert hits.counts.tolist() == truth.counts.tolist()
            assert np.mean(hits.ids == truth.ids) > 0.95
            walked = index.search(queries, 12, where=where, group_by=name, per=2)
            assert walked.counts.tolist() == truth.counts.tolist()
            for ids in walked.ids.tolist():
                values = [row.get(name) for row in index.get([one for one in ids if one])]
                assert all(values.count(value) <= 2 for value in values if value is not None)


@pytest.mark.parametrize("metric", ["cosine", "ip", "l2"])
def test_all_within_the_worst_of_some_answers(metric: Any) -> None:
    """A bound as it is shown finds what was shown."""
    index, _, queries = large(metric)
    for query in queries:
        hits = index.exact(query, 60)
        for how in ({"min_score": hits.scores[-1]}, {"max_distance": hits.distances[-1]}):
            found = index.within(query, **how)
            assert found.ids[:60].tolist() == hits.ids.tolist() and int(found.counts) >= 60
            assert (found.scores[60:] == hits.scores[-1]).all() or (found.distances[60:] == hits.distances[-1]).all()
        assert index.search(query, 200, min_score=hits.scores[-1]).counts >= 55


# ---------------------------------------------------------------------------------------------- equivalent questions


SAME: dict[str, list[Any]] = {
    "range and values": [
        F.n.between(10, 19),
        (F.n >= 10) & (F.n < 20),
        F.n.any(*range(10, 20)),
        AnyOf(tuple(F.n == at for at in range(10, 20))),
        "n >= 10 and n < 20",
        "n between 10 and 19",
        "n in [10, 11, 12, 13, 14, 15, 16, 17, 18, 19]",
        {"must": [{"key": "n", "range": {"gte": 10, "lt": 20}}]},
        '{"must": [{"key": "n", "match": {"any": [10, 11, 12, 13, 14, 15, 16, 17, 18, 19]}}]}',
        {"should": [{"key": "n", "match": {"value": at}} for at in range(10, 20)]},
    ],
    "twice not": [F.n < 300, ~~(F.n < 300), ~(F.n >= 300) & ~F.n.missing(), "not (not (n < 300))"],
    "of Morgan": [~((F.n < 300) & (F.x > 0)), ~(F.n < 300) | ~(F.x > 0)],
    "shared out": [
        (F.n < 300) & ((F.x > 0) | (F["a tag"] == "a")),
        ((F.n < 300) & (F.x > 0)) | ((F.n < 300) & (F["a tag"] == "a")),
    ],
    "with everything": [F.n < 300, All((F.n < 300, All(()))), AnyOf((F.n < 300, AnyOf(()))), AtLeast(1, (F.n < 300,))],
    "some of": [AtLeast(1, (F.n < 9, F.n > 990)), (F.n < 9) | (F.n > 990), ~AtLeast(2, (~(F.n < 9), ~(F.n > 990)))],
    "whole numbers": [F.n < 10, F.n <= 9, F.n < 9.5, Range("n", lt=10.0), ~(F.n > 9) & ~F.n.missing()],
    "large numbers": [F["a int"] == BIG + 1, F["a int"].between(BIG + 1, BIG + 1), "'a int' = 9007199254740993"],
    "ids": [
        has_id(["r5", "r77"]),
        HasId(("r77", "r5", "r5", "nobody")),
        "id in [r77, r5]",
        {"must": [{"has_id": ["r5", "r77"]}]},
    ],
    "tags": [F["a tag"].any("a", "b"), (F["a tag"] == "a") | (F["a tag"] == "b"), "'a tag' has any [a, b]"],
    "no tags": [F["a tag"].none("a", "b"), ~F["a tag"].any("a", "b"), "'a tag' not in [a, b]"],
    "all tags": [F["a tag"].all("a", "b"), (F["a tag"] == "a") & (F["a tag"] == "b")],
    "others": [Among("n", (3, 4), beyond=True), ~F.n.any(3, 4) & ~F.n.missing()],
    "moments": [
        F.when < datetime(2020, 1, 3, tzinfo=UTC),
        F.when < "2020-01-03",
        "when < 2020-01-03T00:00:00Z",
        F.when.any(*[START + timedelta(hours=at) for at in range(48)]),
    ],
    "the whole earth": [~F.where.missing(), F.where.box(south=-90, west=-180, north=90, east=180)],
    "the antimeridian": [
        F.where.box(south=-10, west=170, north=10, east=-170),
        F.where.box(south=-10, west=170, north=10, east=180) | F.where.box(south=-10, west=-180, north=10, east=-170),
    ],
    "the pole": [
        F.where.box(south=80, west=-180, north=90, east=180),
        F.where.box(south=80, west=-180, north=90, east=0) | F.where.box(south=80, west=0, north=90, east=180),
    ],
}


@pytest.mark.parametrize("name", SAME)
def test_equal_questions_have_equal_answers(name: str) -> None:
    index, twin, queries = large("cosine")
    first, *others = SAME[name]
    count = twin.count(first)
    ids, pages = index.exact(queries, 30, where=first).ids.tolist(), all_pages(index, 500, where=first)
    default = index.search(queries, 30, where=first)
    assert index.count(first) == count == len(pages) and (count > 0 or name == "the antimeridian")
    for one in others:
        assert index.count(one) == count, one
        assert index.exact(queries, 30, where=one).ids.tolist() == ids
        assert all_pages(index, 500, where=one) == pages
        again = index.search(queries, 30, where=one)
        assert again.ids.tolist() == default.ids.tolist() and again.plans.tolist() == default.plans.tolist()
        assert again.cost.tolist() == default.cost.tolist()


def test_an_index_without_fields_has_ids_to_ask_for() -> None:
    index = Index(2, "l2")
    index.add([5, 6, 7], [[1, 0], [2, 0], [3, 0]])
    assert index.search([0, 0], 3, where=has_id([7, 6, 9])).ids.tolist() == [6, 7, -1]
    assert index.count("id != 6") == 2 and index.fields == {}
    assert index.scroll("id in [5, 7]").ids.tolist() == [5, 7]
    with pytest.raises(SearchError, match="no field 'depth'"):
        index.count("depth < 3")
