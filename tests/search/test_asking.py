"""What is asked: arguments of every kind that fit or do not, the forms of ids, filters and cursors."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

from medalist.errors import SearchError
from medalist.search import Index
from medalist.search.asking import batch_of, bounds
from medalist.search.filters import F, has_id
from medalist.search.schema import FieldKind
from medalist.search.twin import TwinIndex

HUGE = 10**5000
NAN = float("nan")
FIELDS: dict[str, FieldKind] = {"n": "int", "t": "tag", "x": "float", "when": "datetime", "where": "geo", "ok": "bool"}
Q = [1.0, 0.0]
BOTH = pytest.mark.parametrize("kind", [Index, TwinIndex])


def filled(kind: Any = Index, ids: Any = (3, 1, 2), metric: Any = "l2") -> Any:
    index = kind(2, metric, fields=FIELDS)
    rows = [
        {
            "n": 5,
            "t": ["a", "b"],
            "x": 0.5,
            "when": datetime(2026, 1, 31, tzinfo=UTC),
            "where": (54.0, 10.0),
            "ok": True,
        },
        {"n": 7, "t": "b"},
        {"x": -1.0},
    ]
    index.add(ids, [[1, 0], [0, 1], [1, 1]], rows)
    return index


WRONG: dict[str, tuple[Callable[[Any], Any], str]] = {
    "get of nobody": (lambda one: one.get([3, 9]), "ids: 9 is not in the index"),
    "get of a text": (lambda one: one.get("3"), "ids: str"),
    "get of a float": (lambda one: one.get([1.0]), "ids, row 0: 1.0"),
    "get of None": (lambda one: one.get(None), "ids, row 0: None"),
    "get of a huge number": (lambda one: one.get(HUGE), "ids, row 0: an int of 16610 bits"),
    "get of a list of lists": (lambda one: one.get([[3]]), "ids, row 0"),
    "get of a matrix": (lambda one: one.get(np.array([[3, 1]])), "ids: shape [1, 2]"),
    "get of a dict": (lambda one: one.get({3: 1}), "ids, row 0"),
    "vectors of nobody": (lambda one: one.vectors([9, 3]), "ids: 9 is not in the index"),
    "vectors of texts": (lambda one: one.vectors(["3"]), "ids: str"),
    "where a number": (lambda one: one.count(3), "where: int, expected"),
    "where bytes": (lambda one: one.count(b"n < 3"), "where: bytes, expected"),
    "where a field": (lambda one: one.count(F.n), "where: Field, expected"),
    "where an unknown field": (lambda one: one.count(F.depth < 3), "depth"),
    "where of another kind": (lambda one: one.count(F.t < 3), "t"),
    "where a huge number": (lambda one: one.count(F.n == HUGE), "an integer of 16610 bits"),
    "where broken JSON": (lambda one: one.count('{"must": '), "filter"),
    "where no JSON of a filter": (lambda one: one.count({"may": []}), "may"),
    "where broken words": (lambda one: one.count("n <"), "character"),
    "where empty words": (lambda one: one.count(""), "--where"),
    "where ids of texts": (lambda one: one.count(has_id(["3"])), "has_id: strings given"),
    "a list of filters for one query": (lambda one: one.search(Q, where=[F.n < 3]), "1 filters for one query"),
    "too few filters": (lambda one: one.search([Q, Q], where=[F.n < 3]), "1 filters for 2 queries"),
    "no filters": (lambda one: one.exact([Q, Q], where=[]), "0 filters for 2 queries"),
    "a wrong one of several": (lambda one: one.search([Q, Q], where=[F.n < 3, 7]), "where: int"),
    "an array of filters": (lambda one: one.search([Q], where=np.array([1])), "where: ndarray"),
    "a list to count": (lambda one: one.count([F.n < 3]), "where: list"),
    "an unknown plan": (lambda one: one.search(Q, plan="fast"), "plan='fast': expected one of 'exact', 'scan', 'walk'"),
    "a plan of none": (lambda one: one.search(Q, plan=3), "plan=3"),
    "min_score NaN": (lambda one: one.search(Q, min_score=NAN), "min_score: not a number"),
    "min_score a text": (lambda one: one.exact(Q, min_score="1"), "min_score='1': expected a number"),
    "min_score several": (lambda one: one.search(Q, min_score=[1, 2]), "min_score=[1, 2]"),
    "min_score huge": (lambda one: one.search(Q, min_score=HUGE), "min_score=an int of 16610 bits"),
    "groups of nothing": (lambda one: one.search(Q, group_by="depth"), "unknown"),
    "groups of a list": (lambda one: one.search(Q, group_by=["n"]), "unknown"),
    "groups of places": (lambda one: one.search(Q, group_by="where"), "geo"),
    "per 0": (lambda one: one.search(Q, group_by="n", per=0), "per=0: expected 1 to"),
    "per half": (lambda one: one.search(Q, group_by="n", per=0.5), "per=0.5"),
    "per huge": (lambda one: one.exact(Q, group_by="n", per=HUGE), "per=an int"),
    "within nothing": (lambda one: one.within(Q), "give min_score= or max_distance="),
    "within both": (lambda one: one.within(Q, min_score=1, max_distance=1), "give min_score= or max_distance="),
    "within a text": (lambda one: one.within(Q, max_distance="1"), "max_distance='1'"),
    "within NaN": (lambda one: one.within(Q, max_distance=NAN), "max_distance: not a number"),
    "within of two": (lambda one: one.within([Q, Q], min_score=1), "one query"),
    "within of another width": (lambda one: one.within([1.0], min_score=1), "queries: shape [1]"),
    "within of NaN": (lambda one: one.within([1.0, NAN], min_score=1), "queries, row 0: nan in column 1"),
    "recommend nothing": (lambda one: one.recommend([]), "positive id"),
    "recommend nobody": (lambda one: one.recommend([9]), "9 is not in the index"),
    "recommend not nobody": (lambda one: one.recommend([3], [9]), "9 is not in the index"),
    "recommend texts": (lambda one: one.recommend([3], ["a"]), "ids: str"),
    "recommend k": (lambda one: one.recommend([3], k=-1), "k=-1"),
    "recommend wrong plan": (lambda one: one.recommend([3], plan="x"), "plan='x'"),
    "facet of nothing": (lambda one: one.facet("depth"), "unknown"),
    "facet of places": (lambda one: one.facet("where"), "geo"),
    "facet of a number": (lambda one: one.facet(3), "unknown"),
    "facet limit": (lambda one: one.facet("n", limit=0), "limit=0: expected 1 to"),
    "facet huge limit": (lambda one: one.facet("n", None, HUGE), "limit=an int"),
    "scroll by nothing": (lambda one: one.scroll(order_by="depth"), "unknown"),
    "scroll by tags": (lambda one: one.scroll(order_by="t"), "order_by"),
    "scroll by places": (lambda one: one.scroll(order_by="where"), "order_by"),
    "scroll down ids": (lambda one: one.scroll(descending=True), "give order_by="),
    "scroll limit": (lambda one: one.scroll(limit=0), "limit=0"),
    "scroll half": (lambda one: one.scroll(limit=1.5), "limit=1.5"),
    "scroll huge": (lambda one: one.scroll(limit=HUGE), "limit=an int"),
    "scroll cursor": (lambda one: one.scroll(cursor="nonsense"), "cursor"),
    "scroll cursor of none": (lambda one: one.scroll(cursor=7), "cursor"),
    "delete nothing": (lambda one: one.delete(), "delete: give"),
    "delete both": (lambda one: one.delete([3], where=F.n < 3), "delete: give"),
    "delete texts": (lambda one: one.delete("3"), "ids: str"),
    "delete twice": (lambda one: one.delete([3, 3]), "ids"),
    "delete several filters": (lambda one: one.delete(where=[F.n < 3]), "where: list"),
    "delete threads": (lambda one: one.delete([3], threads=0), "threads=0"),
    "set nowhere": (lambda one: one.set_fields({"n": [1]}), "set_fields: give"),
    "set everywhere": (lambda one: one.set_fields({"n": 1}, ids=[3], where=F.n < 3), "set_fields: give"),
    "set nothing": (lambda one: one.set_fields(None, ids=[3]), "set_fields: no values"),
    "set nobody": (lambda one: one.set_fields({"n": [1]}, ids=[9]), "9 is not in the index"),
    "set twice": (lambda one: one.set_fields({"n": [1, 2]}, ids=[3, 3]), "ids"),
    "set too many": (lambda one: one.set_fields({"n": [1, 2]}, ids=[3]), "field 'n': 2 values for 1 rows"),
    "set unknown": (lambda one: one.set_fields({"depth": [1]}, ids=[3]), "unknown"),
    "set a wrong value": (lambda one: one.set_fields({"n": ["x"]}, ids=[3]), "field 'n', row 0: 'x' is no int"),
    "set a column by filter": (lambda one: one.set_fields({"n": [1]}, where=F.n < 9), "field 'n'"),
    "set rows by filter": (lambda one: one.set_fields([{"n": 1}], where=F.n < 9), "give one value by name"),
    "add there": (lambda one: one.add([8, 1], [Q, Q]), "ids"),
    "add twice": (lambda one: one.add([8, 8], [Q, Q]), "ids"),
    "add texts": (lambda one: one.add(["a"], [Q]), "ids"),
    "add no numbers": (lambda one: one.add(["a", 1], [Q, Q]), "row 1: 1 among strings"),
    "add rows that collide": (lambda one: one.add(None, [Q, Q, Q]) or one.add([5], [Q]) or one.add(None, [Q]), "ids"),
    "add too few fields": (lambda one: one.add([8], [Q], {"n": []}), "field 'n': 0 values for 1 rows"),
    "add too many dicts": (lambda one: one.add([8], [Q], [{}, {}]), "fields: 2 dicts for 1 rows"),
    "add no fields": (lambda one: one.add([8], [Q], 5), "fields: int"),
    "add an unknown field": (lambda one: one.add([8], [Q], {"depth": [1]}), "unknown"),
    "add a huge value": (lambda one: one.add([8], [Q], {"n": [HUGE]}), "field 'n', row 0: an int of 16610 bits"),
    "upsert rows": (lambda one: one.upsert(None, [Q]), "ids: None"),
    "upsert twice": (lambda one: one.upsert([8, 8], [Q, Q]), "ids"),
    "upsert texts": (lambda one: one.upsert(["a"], [Q]), "ids"),
}


@BOTH
@pytest.mark.parametrize("name", WRONG)
def test_what_is_refused_changes_nothing(name: str, kind: Any) -> None:
    ask, words = WRONG[name]
    index = filled(kind)
    with pytest.raises(SearchError) as caught:
        ask(index)
    line = str(caught.value)
    assert "\n" not in line and len(line) < 400
    if kind is Index:
        words = "ids: strings given" if words == "ids: str" else words
        assert words in line
    if name != "add rows that collide":
        assert index.ids().tolist() == [3, 1, 2] and index.get([1]) == [{"n": 7, "t": ["b"]}]


@BOTH
def test_forms_of_ids(kind: Any) -> None:
    index = filled(kind)
    expected = index.get([1, 3])
    for ids in ((1, 3), np.array([1, 3]), range(1, 4, 2), torch.tensor([1, 3]), pd.Series([1, 3]), np.int8([1, 3])):
        assert index.get(ids) == expected
        np.testing.assert_array_equal(index.vectors(ids), [[0, 1], [1, 0]])
    for one in (1, np.int64(1), np.uint8(1)):
        assert index.get(one) == expected[:1] and one in index
        assert index.recommend(one, k=1).ids.tolist() == [2]
    assert index.get([1, 1]) == [expected[0]] * 2 and index.get([]) == [] and index.vectors([]).shape == (0, 2)
    for other in (None, "1", 1.0, True, [1], [], HUGE, 9, NAN, b"1"):
        assert other not in index
    assert index.delete(range(5, 9)) == 0 and index.delete([]) == 0 and index.delete(np.array([1, 9])) == 1
    named = filled(kind, ["a", "b", "é"])
    assert named.get("é") == named.get(np.str_("é")) == named.get(np.array(["é"])) == [{"x": -1.0}]
    assert named.delete("a") == 1 and "a" not in named and 3 not in named and "" not in named and "\0" not in named


def test_batches_of_ids() -> None:
    assert batch_of("ab", 2)[0] == ["ab"] and batch_of(("a", "b"), 2)[0] == ["a", "b"]
    assert batch_of([], 2)[0].tolist() == [] and batch_of([], 0)[0].tolist() == []
    with pytest.raises(SearchError, match="integers given, but the index has strings"):
        batch_of([1], 2)
    with pytest.raises(SearchError, match="strings given, but the index has integers"):
        batch_of(["a"], 0)


@BOTH
def test_ids_after_the_last_one_left(kind: Any) -> None:
    """An index that is empty again goes on with the ids it had, or takes others."""
    index = filled(kind)
    index.delete([1, 2, 3])
    assert len(index) == 0 and index.search(Q, 2).counts == 0 and index.facet("n") == {} and index.ids().shape == (0,)
    index.add([1, 3], [Q, Q])
    assert index.ids().tolist() == [1, 3]


def test_bounds_of_scores_and_distances() -> None:
    assert bounds(0.1, None, "cosine")[0] == np.float32(0.1)
    assert bounds(None, 3, "l2") == (-3.0, 3.0) and bounds(None, -3, "ip") == (3.0, -3.0)
    assert bounds(None, 1e300, "l2") == (-np.inf, np.inf) and bounds(-1e300, None, "l2")[0] == -np.inf
    least, furthest = bounds(None, 0.25, "cosine")
    assert 0.749 < least < 0.75 and furthest == 0.25


# ----------------------------------------------------------------------------------------------------------- cursors


def cursor(*told: Any) -> str:
    return base64.urlsafe_b64encode(json.dumps(told).encode()).decode()


@pytest.mark.parametrize("ids", [[3, 1, 2], ["a", "b", "c"]], ids=["integers", "strings"])
def test_cursors_that_scroll_did_not_give(ids: Any) -> None:
    index = filled(ids=ids)
    last = index.ids()[0].item()
    plain, ordered = index.scroll(limit=1).cursor, index.scroll(order_by="n", limit=1).cursor
    assert plain is not None and ordered is not None
    odd: list[Any] = [None, 1.5, True, [last], 2**70, "", "x" * 2000, "\0", 7 if isinstance(last, str) else "a"]
    wrong: list[Any] = ["", "x", "é", "\ud800", "====", plain[:-3], cursor(), cursor(None, False, None), cursor({}), 7]
    wrong += [cursor(None, False, None, value) for value in odd]
    wrong += [cursor(None, False, 5, last), cursor(None, True, None, last), ordered]
    wrong += [base64.urlsafe_b64encode(text).decode() for text in (b"[" * 100_000, b"[" + b"9" * 5000 + b"]", b"\xff")]
    of_n = [cursor("n", False, value, last) for value in (-1, 2**64, 0.5, "1", True)]
    for how, each in (({}, wrong), ({"order_by": "n"}, [*of_n, plain])):
        for one in each:
            with pytest.raises(SearchError, match=r"^cursor: [^\n]*begin without a cursor$"):
                index.scroll(cursor=one, **how)  # type: ignore[arg-type]
    # one that could have been given: of a row that is gone, or of any value
    for value in (0, 2**64 - 1, None):
        page = index.scroll(order_by="n", cursor=cursor("n", False, value, last))
        assert len(page.ids) <= 3


@BOTH
def test_pages_of_one(kind: Any) -> None:
    index = filled(kind)
    told, onward = [], None
    for _ in range(3):
        page = index.scroll(order_by="n", descending=True, limit=1, cursor=onward)
        told += page.ids.tolist()
        onward = page.cursor
    assert told == [1, 3, 2] and onward is None
    assert index.scroll(limit=3).cursor is None and index.scroll("n > 99").ids.shape == (0,)


@BOTH
def test_facets_worked_out_by_hand(kind: Any) -> None:
    index = filled(kind)
    assert index.facet("t") == {"b": 2, "a": 1} and list(index.facet("t")) == ["b", "a"]
    assert index.facet("t", F.n == 7) == {"b": 1} and index.facet("t", None, 1) == {"b": 2}
    assert list(index.facet("x").items()) == [(-1.0, 1), (0.5, 1)]
    assert index.facet("ok") == {True: 1} and next(iter(index.facet("ok"))) is True
    assert index.facet("when") == {datetime(2026, 1, 31, tzinfo=UTC): 1}


@BOTH
def test_changed_fields_worked_out_by_hand(kind: Any) -> None:
    index = filled(kind)
    assert index.set_fields({"n": [None, 8]}, ids=[3, 1]) == 2
    assert index.set_fields([{"t": "z"}, {"x": 2.0}], ids=[1, 2]) == 2  # a field that some rows tell is of all of them
    assert index.get([1, 2]) == [{"n": 8, "t": ["z"]}, {"x": 2.0}]
    assert index.set_fields({"ok": False, "t": ["q", "p"]}, where=F.n.missing()) == 2
    assert [sorted(row["t"]) for row in index.get([3, 2])] == [["p", "q"]] * 2 and index.count("ok = false") == 2
    assert index.set_fields({}, ids=[3]) == 1 and index.set_fields({"n": 1}, where="n > 99") == 0
    assert index.upsert([1], [[5, 5]]) is None and index.get(1) == [{}] and index.ids().tolist() == [3, 2, 1]
