from __future__ import annotations

import importlib.util
import json
import math
import operator
import random
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from medalist.errors import SearchError
from medalist.search import filter_as_json, filter_json
from medalist.search.filter_json import from_json, to_json
from medalist.search.filters import (
    All,
    Among,
    AnyOf,
    AtLeast,
    Box,
    Circle,
    F,
    Filter,
    HasId,
    Missing,
    Not,
    Polygon,
    Range,
    compile_filter,
    has_id,
)


def load(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(f"{__name__}_{name}", Path(__file__).with_name(f"{name}.py"))
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # where dataclasses and pickle look for it
    spec.loader.exec_module(module)
    return module


fuzz = load("fuzz_filter")
twins = load("test_filters")

OPERATORS = {"gt": "gt", "gte": "ge", "lt": "lt", "lte": "le"}
MOMENT = datetime(2015, 1, 1, tzinfo=UTC)


# ---------------------------------------------------------------------------- what the language says, row by row


def means(query: Any, row: dict[str, Any]) -> bool:
    """A filter or a condition of the language on a row, straight from Qdrant's documentation."""
    if "key" in query:
        return condition(query, row.get(query["key"]))
    if "has_id" in query:
        return row["id"] in query["has_id"]
    for name in ("is_empty", "is_null"):
        if name in query:
            return row.get(query[name]["key"]) is None

    def several(clause: str) -> list[bool]:
        found = query.get(clause)
        return [means(one, row) for one in ([found] if isinstance(found, dict) else found or [])]

    least = query.get("min_should")
    return (
        all(several("must"))
        and not any(several("must_not"))
        and (any(several("should")) or not several("should"))
        and (least is None or sum(means(one, row) for one in least["conditions"]) >= least["min_count"])
    )


def moment(text: str) -> datetime:
    found = datetime.fromisoformat(text)
    return found if found.tzinfo else found.replace(tzinfo=UTC)


def condition(query: dict[str, Any], value: Any) -> bool:
    for name in ("is_empty", "is_null"):
        if name in query:
            return bool((value is None) == query[name])
    if value is None:
        return False
    if "match" in query:
        match = query["match"]
        values = value if isinstance(value, list) else [value]
        if "except" in match:
            return any(one not in match["except"] for one in values)
        return any(one in match.get("any", [match.get("value")]) for one in values)
    if "range" in query:
        bounds = {name: moment(bound) if isinstance(bound, str) else bound for name, bound in query["range"].items()}
        return all(getattr(operator, OPERATORS[name])(value, bound) for name, bound in bounds.items())
    if "geo_radius" in query:
        centre = query["geo_radius"]["center"]
        return bool(twins.region(Circle("", centre["lat"], centre["lon"], query["geo_radius"]["radius"]), value))
    if "geo_bounding_box" in query:
        top, bottom = query["geo_bounding_box"]["top_left"], query["geo_bounding_box"]["bottom_right"]
        return bool(twins.region(Box("", bottom["lat"], top["lon"], top["lat"], bottom["lon"]), value))
    polygon = query["geo_polygon"]
    given_rings = [ring["points"] for ring in (polygon["exterior"], *polygon.get("interiors", []))]
    rings = [[(place["lat"], place["lon"]) for place in ring] for ring in given_rings]
    unclosed = tuple(tuple(ring[: -1 if ring[0] == ring[-1] else None]) for ring in rings)
    return bool(twins.region(Polygon("", unclosed), value))


# ------------------------------------------------------------------------------------------------------- reading

WHALE, DEEP = Among("species", ("whale",)), Range("depth", gte=200)
WHALES: dict[str, Any] = {"key": "species", "match": {"value": "whale"}}
DEEPS: dict[str, Any] = {"key": "depth", "range": {"gte": 200}}
SQUARE = ((0, 0), (0, 1), (1, 1), (1, 0))
POINTS = [{"lat": lat, "lon": lon} for lat, lon in SQUARE]
NONE: Any = None

READ: dict[str, tuple[Any, Filter]] = {
    "nothing": ({}, All(())),
    "empty-clauses": ({"must": [], "should": [], "must_not": []}, All(())),
    "null-clauses": ({"must": None, "min_should": None}, All(())),
    "must": ({"must": [WHALES, DEEPS]}, All((WHALE, DEEP))),
    "one-condition": ({"must": WHALES}, WHALE),
    "should": ({"should": [WHALES, DEEPS]}, AnyOf((WHALE, DEEP))),
    "must-not": ({"must_not": [WHALES, DEEPS]}, All((Not(WHALE), Not(DEEP)))),
    "must-not-one": ({"must_not": WHALES}, Not(WHALE)),
    "min-should": (
        {"min_should": {"conditions": [WHALES, DEEPS], "min_count": 2}},
        AtLeast(2, (WHALE, DEEP)),
    ),
    "must-and-should": ({"must": [WHALES], "should": [DEEPS, WHALES]}, All((WHALE, AnyOf((DEEP, WHALE))))),
    "all-four": (
        {
            "must_not": DEEPS,
            "min_should": {"conditions": [], "min_count": 1},
            "should": DEEPS,
            "must": [{"should": [WHALES, {}]}],
        },
        All((AnyOf((WHALE, All(()))), AnyOf((DEEP,)), AtLeast(1, ()), Not(DEEP))),
    ),
    "nested": ({"must_not": [{"must": [WHALES, DEEPS]}]}, Not(All((WHALE, DEEP)))),
    "any": ({"must": {"key": "a.b", "match": {"any": [1, 2]}}}, Among("a.b", (1, 2))),
    "any-of-none": ({"must": {"key": "a", "match": {"any": []}}}, Among("a", ())),
    "except": ({"must": {"key": "a", "match": {"except": ["x"]}}}, Among("a", ("x",), beyond=True)),
    "bool": ({"must": {"key": "a", "match": {"value": False}}}, Among("a", (False,))),
    "nulls-beside": ({"must": {"key": "a", "match": {"value": 1, "any": None}, "range": None}}, Among("a", (1,))),
    "range": ({"must": {"key": "a", "range": {"gt": 0.5, "lte": 10**30, "lt": None}}}, Range("a", gt=0.5, lte=10**30)),
    "dates": (
        {"must": {"key": "a", "range": {"gte": "2015-01-01", "lt": "2015-01-01T02:00:00.000001+02:00"}}},
        Range("a", gte=MOMENT, lt=MOMENT + timedelta(microseconds=1)),
    ),
    "a-datetime": ({"must": {"key": "a", "range": {"gte": MOMENT}}}, Range("a", gte=MOMENT)),
    "circle": (
        {"must": {"key": "a", "geo_radius": {"center": {"lon": 2, "lat": 1.5}, "radius": 3}}},
        Circle("a", 1.5, 2, 3),
    ),
    "box": (
        {
            "must": {
                "key": "a",
                "geo_bounding_box": {"top_left": {"lat": 4, "lon": 170}, "bottom_right": {"lat": 3, "lon": -170}},
            }
        },
        Box("a", 3, 170, 4, -170),
    ),
    "polygon": ({"must": {"key": "a", "geo_polygon": {"exterior": {"points": POINTS}}}}, Polygon("a", (SQUARE,))),
    "polygon-closed-with-hole": (
        {
            "must": {
                "key": "a",
                "geo_polygon": {
                    "exterior": {"points": [*POINTS, POINTS[0]]},
                    "interiors": [{"points": POINTS[:3]}],
                },
            }
        },
        Polygon("a", (SQUARE, SQUARE[:3])),
    ),
    "is-empty": ({"must": {"is_empty": {"key": "a"}}}, Missing("a")),
    "is-null": ({"must": {"is_null": {"key": "a"}}}, Missing("a")),
    "is-empty-beside-key": ({"must": {"key": "a", "is_empty": True}}, Missing("a")),
    "is-null-false": ({"must": {"key": "a", "is_null": False}}, Not(Missing("a"))),
    "has-id": ({"must_not": {"has_id": [1, 2]}}, Not(HasId((1, 2)))),
    "has-text-id": ({"must": {"has_id": ["a"]}}, HasId(("a",))),
}


@pytest.mark.parametrize("name", READ)
def test_reads(name: str) -> None:
    query, meant = READ[name]
    assert from_json(query) == meant
    if name != "a-datetime":
        assert from_json(json.dumps(query)) == meant
    assert from_json(to_json(meant)) == meant or name == "nulls-beside"


def test_a_dict_is_left_as_it_was() -> None:
    query = {"must": [{"key": "depth", "match": {"value": 1}, "range": None}], "must_not": [{"must": []}]}
    before = json.dumps(query)
    from_json(query)
    assert json.dumps(query) == before


@pytest.mark.parametrize("seed", range(5))
def test_means_what_the_language_says(seed: int) -> None:
    """Filters of all clauses together on rows that stand at the values of the conditions."""
    rng = random.Random(seed)
    values: dict[str, list[Any]] = {
        "species": [["whale"], ["seal", "whale"], ["other"], ["Ж"]],
        "flag": [True, False],
        "depth": [1, -2, 9, 10, 200, 201],
        "score": [0.25, 0.5, 1e300, -1e30, math.inf],
        "seen": [MOMENT, datetime(2026, 1, 31, 10, 0, 0, 500_000, UTC), MOMENT - timedelta(1)],
        "place": [(54.3, 10.1), (0.0, 175.0), (4.5, 1.5), (9.0, 5.0)],
        "animal": ["a1", "a3"],
        "odd name.": [0, 1],
    }
    found = set()
    for _ in range(150):
        query = fuzz.good_filter(rng)
        one = from_json(query)
        assert from_json(to_json(one)) == one
        compile_filter(one, fuzz.SCHEMA, 1)
        for _ in range(4):
            row = {name: rng.choice(of) for name, of in values.items() if rng.random() < 0.7}
            row["id"] = rng.choice([3, 4])
            found.add(means(query, row))
            assert twins.holds(one, row) == means(query, row), (query, row)
    assert found == {True, False}


@given(twins.FILTERS, st.lists(twins.ROWS, min_size=3, max_size=6))
def test_every_tree_can_be_written(one: Filter, rows: list[dict[str, Any]]) -> None:
    """It means the same in the language's own words, when read again, and when written once more."""
    written = to_json(one)
    again = from_json(json.dumps(written, allow_nan=False))
    assert from_json(to_json(again)) == again
    compile_filter(again, fuzz.SCHEMA, 1)
    for row in rows:
        assert means(written, row) == twins.holds(one, row) == twins.holds(again, row), (one, written, row)


def test_writes_what_a_person_would() -> None:
    one = (F.species.any("whale", "seal")) & (F.depth < 200) & ~has_id([3]) & ~F.seen.missing()
    assert to_json(one) == {
        "must": [{"key": "species", "match": {"any": ["whale", "seal"]}}, {"key": "depth", "range": {"lt": 200}}],
        "must_not": [{"has_id": [3]}, {"is_empty": {"key": "seen"}}],
    }
    assert to_json(F.flag == True) == {"must": [{"key": "flag", "match": {"value": True}}]}  # noqa: E712
    assert to_json(F.score == 0.5) == {"must": [{"key": "score", "range": {"gte": 0.5, "lte": 0.5}}]}
    assert to_json(F.seen > MOMENT) == {"must": [{"key": "seen", "range": {"gt": "2015-01-01T00:00:00Z"}}]}
    assert to_json(F.seen > "2015-01-01") == to_json(F.seen > MOMENT)
    assert to_json(F.depth < math.inf) == {"must": [{"key": "depth", "range": {"lte": 1.7976931348623157e308}}]}
    assert to_json(F.depth <= math.inf) == {"must_not": [{"is_empty": {"key": "depth"}}]}
    square = {"must": [{"key": "place", "geo_polygon": {"exterior": {"points": [*POINTS, POINTS[0]]}}}]}
    assert to_json(F.place.polygon(SQUARE)) == square


def test_what_cannot_be_written() -> None:
    deep: Filter = WHALE
    for level in range(70):
        deep = Not(deep) if level % 2 else AnyOf((deep,))
    wrong: tuple[Any, ...] = (
        Range("a"),
        Range("a", gt=math.nan),
        Range("a", gt="soon"),
        Among("a", (math.nan,)),
        AtLeast(1.5, ()),  # type: ignore[arg-type]
        Polygon("a", ()),
        Circle("a", 0, math.nan, 1),
        Circle("a", 0, 0, math.inf),
        Box("a", -91, 0, 0, 0),
        deep,
        "a",
        None,
    )
    for one in wrong:
        with pytest.raises(SearchError, match=r"^filter"):
            to_json(one)


# -------------------------------------------------------------------------------------------------------- refusing


def key(**operators: Any) -> dict[str, Any]:
    return {"must": [WHALES, {"key": "a", **operators}]}


OPERATORS_ALLOWED = "match, range, geo_radius, geo_bounding_box, geo_polygon, is_empty, is_null"
CENTER = {"lat": 1, "lon": 2}
REFUSED: dict[str, tuple[Any, str]] = {
    "unknown-clause": ({"mast": []}, "filter: unknown key 'mast'; allowed: must, should, min_should, must_not"),
    "request": ({"filter": {}}, "filter: unknown key 'filter'; allowed: must"),
    "bare-condition": (
        WHALES,
        "filter: a condition outside of a clause; allowed: clauses of conditions",
    ),
    "bare-has-id": ({"has_id": [1]}, "filter: a condition outside of a clause"),
    "no-object": ([], "filter: a list is no object; allowed: an object of must"),
    "number": (5, "filter: 5 is no object"),
    "clause": ({"must": 5}, "filter, must: 5 is no list; allowed: a list of conditions, or one condition"),
    "clause-of-text": ({"should": ["a"]}, "filter, should[0]: 'a' is no object"),
    "nested-clause": ({"must": [{"must_not": [{"should": 1}]}]}, "filter, must[0].must_not[0].should: 1 is no list"),
    "empty-name": ({"must": [{"nested": {}}]}, "filter, must[0]: unknown key 'nested'; allowed: key with match"),
    "values-count": (key(values_count={"gt": 1}), "filter, must[1]: unknown key 'values_count'; allowed: key, match"),
    "text": (key(match={"text": "a"}), "filter, must[1].match: unknown key 'text'; allowed: value, any, except"),
    "no-operator": (key(), f"filter, must[1]: no operator; allowed: exactly one of {OPERATORS_ALLOWED} beside key"),
    "two-operators": (key(match={}, range={}), "filter, must[1]: 2 operators (match, range); allowed: exactly one of"),
    "key-and-clause": (key(must=[]), "filter, must[1]: unknown key 'must'; allowed: key, match"),
    "key-and-has-id": (key(has_id=[1]), "filter, must[1]: unknown key 'has_id'"),
    "two-conditions": (
        {"must": [{"has_id": [1], "is_empty": {"key": "a"}}]},
        "unknown key 'is_empty'; allowed",
    ),
    "has-id-and-clause": ({"must": {"has_id": [1], "must": []}}, "filter, must: unknown key 'must'; allowed: has_id"),
    "null-has-id": ({"must": {"has_id": None}}, "filter, must: no has_id; allowed: an object of has_id"),
    "key-is-number": ({"must": {"key": 5, "range": {"gt": 1}}}, "filter, must.key: 5; allowed: the name of a field"),
    "key-is-null": ({"must": {"key": None, "range": {"gt": 1}}}, "filter, must: no key"),
    "match-empty": (key(match={}), "filter, must[1].match: empty; allowed: exactly one of value, any, except"),
    "match-two": (key(match={"any": [1], "value": 1}), "filter, must[1].match: 2 of them (any, value)"),
    "match-list": (key(match=["a"]), "filter, must[1].match: a list is no object"),
    "match-float": (
        key(match={"value": 0.5}),
        "filter, must[1].match.value: 0.5; allowed: a text, an integer",
    ),
    "match-object": (key(match={"value": {}}), "filter, must[1].match.value: a dict; allowed: a text"),
    "match-large": (key(match={"value": 2**63}), "filter, must[1].match.value: 9223372036854775808; allowed"),
    "any-no-list": (key(match={"any": "a"}), "filter, must[1].match.any: 'a' is no list; allowed: a list of texts"),
    "any-mixed": (key(match={"any": ["a", 1]}), "filter, must[1].match.any[1]: 1; allowed: texts alone, or integers"),
    "any-bool": (key(match={"any": [1, True]}), "filter, must[1].match.any[1]: True"),
    "except-null": (key(match={"except": [None]}), "filter, must[1].match.except[0]: None"),
    "range-empty": (key(range={}), "filter, must[1].range: no bound; allowed: at least one of gt, gte, lt, lte"),
    "range-null": (key(range={"gt": None}), "filter, must[1].range: no bound"),
    "range-key": (key(range={"from": 1}), "filter, must[1].range: unknown key 'from'; allowed: gt, gte, lt, lte"),
    "range-text": (
        key(range={"gte": "soon"}),
        "filter, must[1].range.gte: 'soon' is no datetime; allowed: a",
    ),
    "range-nanoseconds": (key(range={"gte": "2020-01-01T00:00:00.123456789Z"}), "is no datetime; allowed"),
    "range-leap-second": (key(range={"gte": "2016-12-31T23:59:60Z"}), "is no datetime; allowed"),
    "range-bool": (
        key(range={"gte": True}),
        "filter, must[1].range.gte: True; allowed: a finite number, or",
    ),
    "range-nan": (key(range={"gte": math.nan}), "filter, must[1].range.gte: nan; allowed: a finite number"),
    "range-list": (key(range={"gte": [1]}), "filter, must[1].range.gte: a list; allowed"),
    "range-huge": (key(range={"lt": 10**400}), "filter, must[1].range.lt: an integer of 1329 bits; allowed"),
    "range-mixed": (key(range={"gt": 1, "lt": "2020-01-01"}), "filter, must[1].range: numbers and datetimes; allowed"),
    "radius-missing": (
        key(geo_radius={"center": CENTER}),
        "filter, must[1].geo_radius: no radius; allowed: an",
    ),
    "radius-negative": (
        key(geo_radius={"center": CENTER, "radius": -1}),
        "filter, must[1].geo_radius.radius: -1; allowed: metres, a finite number of at least 0",
    ),
    "latitude": (
        key(geo_radius={"center": {"lat": 91, "lon": 0}, "radius": 1}),
        "filter, must[1].geo_radius.center.lat: 91; allowed: degrees from -90 to 90",
    ),
    "longitude": (
        key(geo_radius={"center": {"lat": 0, "lon": "1"}, "radius": 1}),
        "filter, must[1].geo_radius.center.lon: '1'; allowed: degrees from -180 to 180",
    ),
    "corner": (key(geo_bounding_box={"top_left": CENTER}), "filter, must[1].geo_bounding_box: no bottom_right"),
    "upside-down": (
        key(geo_bounding_box={"top_left": CENTER, "bottom_right": {"lat": 2, "lon": 3}}),
        "filter, must[1].geo_bounding_box: bottom_right.lat 2 is above top_left.lat 1",
    ),
    "two-points": (
        key(geo_polygon={"exterior": {"points": POINTS[:2]}}),
        "filter, must[1].geo_polygon.exterior.points: 2 places; allowed: at least 3",
    ),
    "hole": (
        key(geo_polygon={"exterior": {"points": POINTS}, "interiors": [{"points": POINTS}, {"points": [1]}]}),
        "filter, must[1].geo_polygon.interiors[1].points[0]: 1 is no object; allowed: an object of lat, lon",
    ),
    "is-empty-text": (
        {"must": {"is_empty": "a"}},
        "filter, must.is_empty: 'a' is no object; allowed: an object",
    ),
    "is-empty-number": (key(is_empty=1), "filter, must[1].is_empty: 1; allowed: true or false"),
    "has-id-float": ({"must": {"has_id": [1, 1.5]}}, "filter, must.has_id[1]: 1.5 is no id; allowed: integers of 64"),
    "has-id-one": ({"must": {"has_id": 1}}, "filter, must.has_id: 1 is no list; allowed: a list of ids"),
    "min-should-list": ({"min_should": [WHALES]}, "filter, min_should: a list is no object"),
    "min-count": ({"min_should": {"conditions": []}}, "filter, min_should: no min_count"),
    "min-count-0": (
        {"min_should": {"conditions": [], "min_count": 0}},
        "filter, min_should.min_count: 0; allowed: a whole number, at least 1",
    ),
    "min-conditions": (
        {"min_should": {"conditions": [{"key": "a"}], "min_count": 1}},
        "filter, min_should.conditions[0]: no operator",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_refuses(name: str) -> None:
    query, says = REFUSED[name]
    with pytest.raises(SearchError) as caught:
        from_json(query)
    line = str(caught.value)
    assert says in line and line.isprintable() and "allowed: " in line and len(line) < 400, line


TEXTS: dict[str, tuple[str, str]] = {
    "empty": ("", "filter: no JSON: Expecting value, line 1, column 1; expected a filter such as"),
    "cut": ('{"must": [', "filter: no JSON: Expecting value, line 1, column 11"),
    "behind": ("{} {}", "filter: no JSON: Extra data, line 1, column 4"),
    "number": ("5", "filter: 5 is no object"),
    "twice": ('{"must": [], "must": []}', "filter: the key 'must' is there twice; allowed: each key once"),
    "twice-below": (
        '{"must": [{"key": "a", "range": {"gt": 1, "gt": 2}}]}',
        "filter, must[0].range: the key 'gt' is there twice",
    ),
    "twice-in-condition": ('{"must": {"key": "a", "key": "a", "match": {"value": 1}}}', "filter, must: the key 'key'"),
    "nan": ('{"must": {"key": "a", "range": {"gt": NaN}}}', "filter, must.range.gt: nan; allowed: a finite number"),
    "infinity": ('{"must": {"key": "a", "range": {"lt": -Infinity}}}', "filter, must.range.lt: -inf; allowed"),
    "1e400": ('{"must": {"key": "a", "range": {"lt": 1e400}}}', "filter, must.range.lt: inf; allowed"),
    "long-integer": (
        '{"must": {"key": "a", "match": {"value": ' + "9" * 10_000 + "}}}",
        "must.match.value: inf",
    ),
    "deep": ("[" * 100_000, "filter: JSON nested more than 64 deep"),
    "deep-filters": ('{"must":' * 65 + "{}" + "}" * 65, "nested more than 64 deep; allowed: 64 levels of filters"),
    "deep-value": ('{"must": {"key": ' + "[" * 500 + "]" * 500 + ', "is_empty": true}}', "filter, must.key: a list"),
    "new-line": ('{"a\\nb\\u2028": 1}', r"unknown key 'a\nb\u2028'"),
}


@pytest.mark.parametrize("name", TEXTS)
def test_refuses_text(name: str) -> None:
    text, says = TEXTS[name]
    with pytest.raises(SearchError) as caught:
        from_json(text)
    line = str(caught.value)
    assert says in line and line.isprintable() and len(line) < 500, line


def test_depth_and_letters_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    levels = 64
    assert from_json('{"must":' * (levels - 1) + "{}" + "}" * (levels - 1)) == All(())
    around: dict[str, Any] = {}
    around["must"] = around
    with pytest.raises(SearchError, match=r"^filter, must\.must.*\.\.\..*nested more than 64 deep"):
        from_json(around)
    monkeypatch.setattr(filter_json, "MOST_LETTERS", 10)
    with pytest.raises(SearchError, match="11 letters of JSON, more than 10"):
        from_json('{"must":[]}')


def test_both_modules_nest_alike() -> None:
    assert filter_json.MOST_NESTED == filter_as_json.MOST_NESTED == 64


# --------------------------------------------------------------------------------------------------------- fuzzing


def test_every_condition_of_the_fuzzer_is_good() -> None:
    for one in fuzz.CONDITIONS:
        assert fuzz.accepts(json.dumps({"must": [one]})) is not None, one


def test_changed_filters_are_read_or_refused() -> None:
    accepted, refused = fuzz.run(2000, seed=1)
    assert accepted > 50 and refused > 500


def test_the_fuzzer_can_fail(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(_text: str) -> Filter:
        raise RecursionError

    monkeypatch.setattr(fuzz, "from_json", broken)
    with pytest.raises(AssertionError, match="text 0 of seed 7"):
        fuzz.run(1, seed=7)
