from __future__ import annotations

import math
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from fractions import Fraction
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from medalist.errors import SearchError
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
from medalist.search.schema import FieldKind
from medalist.search.twin import TwinIndex
from medalist.search.twin_filters import EARTH_RADIUS, boxed, enclosed, means, near

from .filter_cases import Case, cases, conditions, every_kind, rows, values

BIG = 2**53
SCHEMA: dict[str, FieldKind] = {
    "tags": "tag",
    "seen": "bool",
    "depth": "int",
    "weight": "float",
    "at": "datetime",
    "place": "geo",
    "camera": "id",
}
JANUARY = datetime(2026, 1, 31, tzinfo=UTC)
ROWS: list[dict[str, Any]] = [
    {
        "tags": ["a", "b"],
        "seen": True,
        "depth": 100,
        "weight": 0.5,
        "at": JANUARY,
        "place": (54.0, 10.0),
        "camera": "7",
    },
    {"tags": ["b"], "seen": False, "depth": BIG + 1, "weight": float(BIG), "at": JANUARY + timedelta(microseconds=1)},
    {"tags": "c", "depth": -3, "weight": -0.0, "place": (0.0, 180.0), "camera": "007"},
    {"tags": [], "seen": None, "weight": float("nan")},
]
NAMES = ["p", "q", "r", "s"]
OLDEST = datetime(1, 1, 1, tzinfo=UTC)


def twin(metric: Any = "l2", **options: Any) -> TwinIndex:
    """The rows above, at 0, 1, 2, 3 on a line."""
    made = TwinIndex(1, metric, fields=SCHEMA, **options)
    made.add(NAMES, [[0.0], [1.0], [2.0], [3.0]] if metric != "cosine" else [[1.0], [2.0], [-1.0], [3.0]], ROWS)
    return made


@pytest.mark.parametrize(
    ("one", "names"),
    [
        (All(()), "pqrs"),
        (AnyOf(()), ""),
        (F.tags == "b", "pq"),
        (F.tags != "b", "rs"),
        (F.tags.any("a", "c"), "pr"),
        (F.tags.all("a", "b"), "p"),
        (F.tags.none("a", "c"), "qs"),
        (Among("tags", ()), ""),
        (Among("tags", ("b",), beyond=True), "pr"),
        (Among("tags", ("a", "b"), beyond=True), "r"),
        (Among("tags", (), beyond=True), "pqr"),
        (F.tags.missing(), "s"),
        (F.camera == "7", "p"),
        (F.camera.any("7", "007"), "pr"),
        (F.camera.missing(), "qs"),
        (F.seen == True, "p"),  # noqa: E712
        (F.seen.any(True, False), "pq"),
        (F.seen != True, "qrs"),  # noqa: E712
        (F.depth == BIG, ""),
        (F.depth == BIG + 1, "q"),
        (F.depth < BIG + 1, "pr"),
        (F.depth <= float(BIG), "pr"),
        (F.depth > float(BIG), "q"),
        (F.depth > 99.5, "pq"),
        (F.depth.between(-3, 100), "pr"),
        (Range("depth", gt=-3, lte=100), "p"),
        (F.depth.between(100, -3), ""),
        (~(F.depth < 200), "qs"),
        (F.depth < 2**70, "pqr"),
        (F.weight == 0, "r"),
        (F.weight == 0.5, "p"),
        (F.weight < BIG + 1, "pqr"),
        (F.weight >= 0, "pqr"),
        (F.weight.missing(), "s"),
        (F.at == "2026-01-31", "p"),
        (F.at > JANUARY, "q"),
        (F.at >= np.datetime64("2026-01-31T00:00:00"), "pq"),
        (F.at.any(JANUARY, OLDEST), "p"),
        (F.at < datetime(2026, 1, 31, 1, tzinfo=UTC), "pq"),
        (F.place.within(54.0, 10.0, metres=0), "p"),
        (F.place.within(0.0, -180.0, metres=0), "r"),
        (F.place.within(0.0, 0.0, metres=3e7), "pr"),
        (F.place.box(south=0, west=170, north=60, east=-170), "r"),
        (F.place.box(south=0, west=-180, north=60, east=-170), "r"),
        (F.place.polygon([(-1, 179), (1, 179), (1, -179), (-1, -179)]), "r"),
        (~F.place.missing(), "pr"),
        (has_id(["q", "nobody"]), "q"),
        (has_id([]), ""),
        (AtLeast(2, (F.tags == "b", F.depth == 100, F.seen == False)), "pq"),  # noqa: E712
        (AtLeast(0, ()), "pqrs"),
        (AtLeast(-1, (AnyOf(()),)), "pqrs"),
        (AtLeast(1, ()), ""),
        ((F.tags == "b") & ((F.depth < 200) | F.place.missing()), "pq"),
    ],
)
def test_what_a_filter_means(one: Filter, names: str) -> None:
    made = twin()
    hits = made.exact([0.0], 4, where=one)
    assert "".join(hits.ids.tolist()) == names and int(hits.counts) == len(names)
    assert "".join(made.scroll(one).ids.tolist()) == names
    assert made.count(one) == len(names)


# ---------------------------------------------------------------------------------------------------- places, by hand


def test_circles_on_the_sphere() -> None:
    degree = EARTH_RADIUS * math.pi / 180  # along a meridian, or the equator
    assert near((10.0, 20.0), (11.0, 20.0), degree * 1.0000001)
    assert not near((10.0, 20.0), (11.0, 20.0), degree * 0.9999999)
    assert near((0.0, 179.5), (0.0, -179.5), degree * 1.0000001)
    assert not near((0.0, 179.5), (0.0, -179.5), degree * 0.9999999)
    # over the pole: from 80 north at 0 to 80 north at 180 are 20 degrees
    assert near((80.0, 0.0), (80.0, 180.0), 20.000001 * degree)
    assert not near((80.0, 0.0), (80.0, 180.0), 19.999999 * degree)
    # on the 60th parallel: 2 asin(cos 60 sin 0.5) = 2 asin(0.00436326775) = 0.00872656318 = 0.49999525 degrees
    assert near((60.0, 0.0), (60.0, 1.0), 0.4999953 * degree) and not near((60.0, 0.0), (60.0, 1.0), 0.4999952 * degree)
    # a pole is one place whatever its longitude, and so are both names of the antimeridian
    assert near((90.0, 0.0), (90.0, 123.0), 0) and near((-90.0, -180.0), (-90.0, 90.0), 0)
    assert near((33.0, 180.0), (33.0, -180.0), 0) and not near((90.0, 0.0), (-90.0, 0.0), 2e7)
    assert near((90.0, 0.0), (-90.0, 0.0), math.pi * EARTH_RADIUS) and near((0.0, 0.0), (0.0, 180.0), 1e300)


def test_boxes() -> None:
    assert boxed((1.0, 2.0), 1, 2, 1, 2) and not boxed((1.0, 2.25), 1, 2, 1, 2)
    for longitude in (-180.0, 180.0):
        assert boxed((0.0, longitude), -1, 170, 1, 180) and boxed((0.0, longitude), -1, -180, 1, -170)
        assert boxed((0.0, longitude), -1, 170, 1, -170) and boxed((0.0, longitude), -1, 180, 1, 180)
        assert boxed((0.0, longitude), -1, 180, 1, -180) and not boxed((0.0, longitude), -1, -179, 1, 179)
    assert not boxed((0.0, 0.0), -1, 170, 1, -170) and not boxed((2.0, 175.0), -1, 170, 1, -170)
    assert boxed((90.0, 33.0), 80, 30, 90, 40) and not boxed((90.0, 50.0), 80, 30, 90, 40)  # by its degrees


SQUARE = ((0.0, 0.0), (0.0, 10.0), (10.0, 10.0), (10.0, 0.0))
HOLE = ((2.0, 2.0), (2.0, 8.0), (8.0, 8.0), (8.0, 2.0), (2.0, 2.0))
ACROSS = ((-1.0, 179.0), (1.0, 179.0), (1.0, -179.0), (-1.0, -179.0))


@pytest.mark.parametrize(
    ("place", "rings", "inside"),
    [
        ((5.0, 5.0), (SQUARE,), True),
        ((5.0, 5.0), (SQUARE[::-1],), True),
        ((5.0, 5.0), ((*SQUARE, SQUARE[0]),), True),
        ((5.0, 10.0), (SQUARE,), True),
        ((10.0, 10.0), (SQUARE,), True),
        ((5.0, 10.25), (SQUARE,), False),
        ((10.0, 10.25), (SQUARE,), False),
        ((0.0, -0.25), (SQUARE,), False),
        ((0.0, 370.0 - 360), (SQUARE,), True),
        ((5.0, 5.0), (SQUARE, HOLE), False),
        ((2.0, 5.0), (SQUARE, HOLE), True),
        ((1.0, 5.0), (SQUARE, HOLE), True),
        ((5.0, 20.0), (SQUARE, ((4.0, 19.0), (6.0, 19.0), (5.0, 21.0))), False),
        ((0.0, 180.0), (ACROSS,), True),
        ((0.0, -180.0), (ACROSS,), True),
        ((0.0, -179.0), (ACROSS,), True),
        ((0.0, 178.75), (ACROSS,), False),
        ((0.0, 0.0), (ACROSS,), False),
        # a triangle: on the line between (0, 0) and (3, 9), and beside it by the least that a float tells
        ((1.0, 3.0), (((0.0, 0.0), (3.0, 9.0), (3.0, 0.0)),), True),
        ((1.0, math.nextafter(3.0, 4)), (((0.0, 0.0), (3.0, 9.0), (3.0, 0.0)),), False),
        ((1.0, math.nextafter(3.0, 2)), (((0.0, 0.0), (3.0, 9.0), (3.0, 0.0)),), True),
        # a bow tie, whose halves meet in (2, 2): both are inside by even-odd
        ((2.0, 1.0), (((0.0, 0.0), (4.0, 0.0), (0.0, 4.0), (4.0, 4.0)),), True),
        ((1.0, 3.5), (((0.0, 0.0), (4.0, 0.0), (0.0, 4.0), (4.0, 4.0)),), True),
        ((2.0, 2.0), (((0.0, 0.0), (4.0, 0.0), (0.0, 4.0), (4.0, 4.0)),), True),
        ((1.0, 2.0), (((0.0, 0.0), (4.0, 0.0), (0.0, 4.0), (4.0, 4.0)),), False),
        ((3.0, 2.0), (((0.0, 0.0), (4.0, 0.0), (0.0, 4.0), (4.0, 4.0)),), False),
        # a ray along an edge or through a corner counts it once
        ((1.0, 0.0), (((0.0, -2.0), (1.0, -1.0), (0.0, 2.0), (3.0, 0.0)),), True),
        # the pole's latitude is a line like any other
        ((90.0, 5.0), (((80.0, 0.0), (90.0, 0.0), (90.0, 10.0), (80.0, 10.0)),), True),
        ((90.0, 20.0), (((80.0, 0.0), (90.0, 0.0), (90.0, 10.0), (80.0, 10.0)),), False),
        # an edge of just 180 degrees goes the way that its numbers say
        ((0.0, 0.0), (((0.0, -90.0), (0.0, 90.0), (50.0, 0.0)),), True),
        ((0.0, 135.0), (((0.0, -90.0), (0.0, 90.0), (50.0, 0.0)),), False),
    ],
)
def test_polygons(place: tuple[float, float], rings: Any, inside: bool) -> None:
    assert enclosed(place, rings) == inside


@given(st.data())
def test_convex_rings_against_half_planes(data: st.DataObject) -> None:
    """Corners on an ellipse in turn: inside is left of every edge."""
    steps = data.draw(st.lists(st.integers(0, 359), min_size=3, max_size=8, unique=True).map(sorted))
    centre = data.draw(st.sampled_from([0.0, 100.0, 180.0, -175.0]))
    corners = [(round(10 * math.sin(math.radians(s)), 2), round(10 * math.cos(math.radians(s)), 2)) for s in steps]
    ring = tuple((y, (centre + x + 180) % 360 - 180) for y, x in corners)
    y, x = data.draw(st.integers(-44, 44)) / 4, data.draw(st.integers(-44, 44)) / 4
    flat = [
        (Fraction(lon if abs(lon - centre) < 90 else lon + math.copysign(360, centre)), Fraction(lat))
        for lat, lon in ring
    ]
    at = (Fraction(centre) + Fraction(x), Fraction(y))
    sides = [
        (x2 - x1) * (at[1] - y1) - (y2 - y1) * (at[0] - x1)
        for (x1, y1), (x2, y2) in zip(flat, [*flat[1:], flat[0]], strict=True)
    ]
    assert enclosed((y, (centre + x + 180) % 360 - 180), (ring,)) == (min(sides) >= 0)


# ------------------------------------------------------------------------------------------------------------- writing


def test_upserts_replace_vector_and_fields_and_come_last() -> None:
    made = twin()
    made.upsert(["q", "t"], [[0.0], [0.0]], [{"depth": 5}, {"tags": "new"}])
    assert len(made) == 5 and made.get(["q", "t", "p"])[:2] == [{"depth": 5}, {"tags": ["new"]}]
    assert made.exact([0.0], 9).ids.tolist() == ["p", "q", "t", "r", "s", "", "", "", ""]
    assert made.vectors(["t", "r"]).tolist() == [[0.0], [2.0]]
    with pytest.raises(SearchError, match="there already"):
        made.add(["q"], [[0.0]])
    with pytest.raises(SearchError, match="twice"):
        made.upsert(["z", "z"], [[0.0], [1.0]])
    with pytest.raises(SearchError, match="integers and strings"):
        made.upsert([1], [[0.0]])
    with pytest.raises(SearchError, match="needs the ids"):
        made.upsert(None, [[0.0]])  # type: ignore[arg-type]
    with pytest.raises(SearchError, match="depth"):
        made.add(["z"], [[0.0]], {"depth": [1.5]})
    with pytest.raises(SearchError, match="field 'deep'"):
        made.add(["z"], [[0.0]], {"deep": [1]})
    assert len(made) == 5


def test_row_numbers_are_not_used_again() -> None:
    made = TwinIndex(1, "l2")
    made.add(None, [[0.0], [1.0], [2.0]])
    assert made.delete([1, 77]) == 1
    made.add(None, [[1.0]])
    assert made.scroll().ids.tolist() == [0, 2, 3]
    made.upsert([2], [[9.0]])
    made.add(None, [[1.0]])
    assert made.scroll().ids.tolist() == [0, 2, 3, 5]


def test_deleting() -> None:
    made = twin()
    assert made.delete(where=F.tags == "b") == 2 and made.scroll().ids.tolist() == ["r", "s"]
    assert made.delete(ids=["p", "s"]) == 1 and len(made) == 1
    assert made.delete(ids=[]) == 0 and made.delete(where=All(())) == 1 and len(made) == 0
    assert made.exact([0.0], 2).ids.tolist() == ["", ""] and made.count() == 0
    with pytest.raises(SearchError, match="either ids= or where="):
        made.delete()
    with pytest.raises(SearchError, match="either ids= or where="):
        made.delete(["p"], where=All(()))
    with pytest.raises(SearchError, match="twice"):
        made.delete(["p", "p"])


def test_setting_fields() -> None:
    made = twin()
    assert made.set_fields({"depth": [1, None], "tags": [["z", "y"], []]}, ids=["q", "p"]) == 2
    assert made.get(["q"])[0]["depth"] == 1 and made.get(["q"])[0]["tags"] == ["y", "z"]
    assert "depth" not in made.get(["p"])[0] and made.get(["p"])[0]["weight"] == 0.5
    assert made.set_fields({"seen": True, "camera": None}, where=F.weight <= 0.5) == 2
    assert made.count(F.seen == True) == 2 and made.count(F.camera.missing()) == 4  # noqa: E712
    assert made.set_fields([{"seen": False}, {"depth": 8}], ids=["r", "s"]) == 2
    assert "seen" not in made.get(["s"])[0] and made.get(["r"])[0]["seen"] is False  # a list tells all its keys
    assert made.set_fields({"depth": 7}, where=AnyOf(())) == 0
    with pytest.raises(SearchError, match="not in the index"):
        made.set_fields({"depth": [7]}, ids=["nobody"])
    with pytest.raises(SearchError, match="2 values for 1 rows"):
        made.set_fields({"depth": [7, 8]}, ids=["p"])
    with pytest.raises(SearchError, match="'nobody' is not in the index"):
        made.get(["p", "nobody"])


# ------------------------------------------------------------------------------------------------------------- reading


def test_facets() -> None:
    made = twin()
    assert list(made.facet("tags").items()) == [("b", 2), ("a", 1), ("c", 1)]
    assert made.facet("tags", F.seen == True, limit=1) == {"a": 1}  # noqa: E712
    assert list(made.facet("seen").items()) == [(False, 1), (True, 1)]
    assert list(made.facet("weight")) == [0.0, 0.5, float(BIG)]
    assert made.facet("at", F.depth == 100) == {JANUARY: 1}
    for field, words in (("place", "geo"), ("nothing", "unknown")):
        with pytest.raises(SearchError, match=words):
            made.facet(field)


def test_pages_in_order() -> None:
    made = TwinIndex(1, "l2", fields={"n": "int", "t": "datetime", "x": "tag"})
    made.add(
        [5, 3, 9, 1, 7], np.zeros((5, 1)), {"n": [2, None, 1, 2, None], "t": [JANUARY, None, OLDEST, JANUARY, OLDEST]}
    )

    def all_pages(**how: Any) -> list[list[int]]:
        page = made.scroll(**how)
        found = [page.ids.tolist()]
        while page.cursor is not None:
            page = made.scroll(**how, cursor=page.cursor)
            found.append(page.ids.tolist())
        return found

    assert all_pages(limit=2) == [[1, 3], [5, 7], [9]]
    assert all_pages(limit=5) == [[1, 3, 5, 7, 9]]
    assert all_pages(limit=1, order_by="n") == [[9], [1], [5], [3], [7]]
    assert all_pages(limit=2, order_by="n", descending=True) == [[1, 5], [9, 3], [7]]
    assert all_pages(limit=3, order_by="t") == [[7, 9, 1], [5, 3]]
    assert all_pages(limit=2, where=F.n == 2) == [[1, 5]]
    assert all_pages(where=AnyOf(())) == [[]]
    # what was read last may go, and others come: the next page begins behind its place
    first = made.scroll(order_by="n", limit=2)
    made.delete(ids=[1])
    made.add([0, 2], np.zeros((2, 1)), {"n": [1, 2]})
    assert made.scroll(order_by="n", limit=2, cursor=first.cursor).ids.tolist() == [2, 5]
    assert first.fields == [{"n": 1, "t": OLDEST}, {"n": 2, "t": JANUARY}]
    cursors: list[Any] = ["", "{}", "[]", '[null,false,[false,0,"a"]]', first.cursor, 7]
    for cursor in cursors:
        with pytest.raises(SearchError, match="cursor"):
            made.scroll(cursor=cursor)
    arguments: list[Any] = [{"order_by": "x"}, {"order_by": "id"}, {"limit": 0}, {"descending": True}]
    for wrong in arguments:
        with pytest.raises(SearchError):
            made.scroll(**wrong)


# ----------------------------------------------------------------------------------------------------------- searching


def test_filters_in_the_search() -> None:
    made = twin()
    json: Any = {"must": [{"key": "depth", "range": {"lt": 200}}]}
    for where in (F.depth < 200, json, '{"must": [{"key": "depth", "range": {"lt": 200}}]}'):
        assert made.search([0.0], 3, where=where).ids.tolist() == ["p", "r", ""]
    each = made.search([[0.0], [0.0], [3.0]], 2, where=[F.tags == "b", None, AnyOf(())], plan="walk")
    assert each.ids.tolist() == [["p", "q"], ["p", "q"], ["", ""]] and each.counts.tolist() == [2, 2, 0]
    assert made.search([0.0], 2, where="depth < 200 and not id = p").ids.tolist() == ["r", ""]
    assert each.plans is not None and each.plans.tolist() == ["exact"] * 3
    assert each.cost is not None and each.cost.tolist() == [2, 4, 0]
    with pytest.raises(SearchError, match="1 filters for one query"):
        made.search([0.0], 1, where=[None])
    with pytest.raises(SearchError, match="--where, character 9: 'depth' holds numbers"):
        made.count("depth < deep")
    with pytest.raises(SearchError, match="1 filters for 2 queries"):
        made.search([[0.0], [1.0]], 1, where=[None])
    with pytest.raises(SearchError, match="where: int"):
        made.search([0.0], 1, where=7)  # type: ignore[arg-type]
    with pytest.raises(SearchError, match="no field 'deep'"):
        made.search([0.0], 1, where=F.deep < 3)
    with pytest.raises(SearchError, match="plan='fast'"):
        made.search([0.0], 1, plan="fast")


def test_thresholds_and_groups() -> None:
    made = twin()
    assert made.search([0.0], 4, min_score=-2).ids.tolist() == ["p", "q", "r", ""]
    assert made.search([0.0], 4, min_score=math.inf).counts == 0
    assert made.search([0.0], 4, min_score=-1e300).counts == 4
    made.upsert(["r", "s"], [[2.0], [3.0]], {"camera": ["7", None]})
    made.add(["u", "v"], [[4.0], [5.0]], {"camera": [None, "7"]})
    assert made.search([0.0], 6, group_by="camera").ids.tolist() == ["p", "q", "s", "u", "", ""]
    assert made.search([0.0], 6, group_by="camera", per=2).ids.tolist() == ["p", "q", "r", "s", "u", ""]
    assert made.search([0.0], 2, group_by="camera", where=~F.camera.missing()).ids.tolist() == ["p", ""]
    for wrong in (
        {"group_by": "nothing"},
        {"group_by": "place"},
        {"per": 0},
        {"min_score": math.nan},
        {"min_score": "1"},
    ):
        with pytest.raises(SearchError):
            made.search([0.0], 1, **wrong)


def test_everything_within() -> None:
    made = twin()
    assert made.within([1.0], max_distance=1).ids.tolist() == ["q", "p", "r"]
    assert made.within([1.0], min_score=-1.0, where=F.tags == "b").scores.tolist() == [0, -1]
    assert made.within([9.0], max_distance=1).ids.shape == (0,)
    cosine = twin("cosine")
    assert cosine.within([5.0], max_distance=0).ids.tolist() == ["p", "q", "s"]
    assert cosine.within([5.0], max_distance=2).ids.tolist() == ["p", "q", "s", "r"]
    assert twin("ip").within([2.0], max_distance=-4).ids.tolist() == ["s", "r"]
    for wrong in ({}, {"min_score": 1, "max_distance": 1}, {"min_score": math.nan}):
        with pytest.raises(SearchError):
            made.within([1.0], **wrong)
    with pytest.raises(SearchError, match="one query"):
        made.within([[1.0]], min_score=0)


def test_recommendations() -> None:
    made = twin()
    assert made.recommend(["p", "q"], k=3).ids.tolist() == ["r", "s", ""]
    assert made.recommend(["p", "q"], k=3).scores.tolist() == [-1.5, -2.5, -np.inf]
    # mean of r and s is 2.5; further from q by 1.5: 4
    assert made.recommend(["r", "s"], ["q"], 1).ids.tolist() == ["p"]
    assert made.recommend(["r", "s"], ["q"], 1).scores.tolist() == [-4.0]
    assert made.recommend(["p"], where=F.depth.missing(), k=2).ids.tolist() == ["s", ""]
    for wrong, words in (([], "one positive"), (["nobody"], "not in the index")):
        with pytest.raises(SearchError, match=words):
            made.recommend(wrong)
    with pytest.raises(SearchError, match="cancel out"):
        twin("cosine").recommend(["p", "r"])


# --------------------------------------------------------------------------------------------------------------- laws

LAWS = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])


def built(case: Case) -> TwinIndex:
    made = TwinIndex(case.vectors.shape[1], case.metric, fields=case.schema)
    made.add(case.ids, case.vectors, case.rows)
    return made


@LAWS
@given(cases())
def test_laws_of_filters(case: Case) -> None:
    made = built(case)
    a, b, c = case.filters
    total = len(made)
    assert made.count() == made.count(All(())) == total and made.count(AnyOf(())) == 0
    assert made.count(a) + made.count(~a) == total
    assert made.count(a & b) + made.count(a | b) == made.count(a) + made.count(b)
    assert made._chosen(~(a & b)) == made._chosen(~a | ~b)
    assert made._chosen(AtLeast(2, (a, b, c))) == made._chosen((a & b) | (b & c) | (a & c))
    assert made._chosen(AtLeast(3, (a, b, c))) == made._chosen(a & b & c)
    hits = made.exact(case.queries, case.k, where=case.filters)
    assert hits.counts.tolist() == [min(case.k, made.count(one)) for one in case.filters]
    for one, ids in zip(case.filters, hits.ids.tolist(), strict=True):
        allowed = set(made.scroll(one, limit=99).ids.tolist())
        assert allowed.issuperset(ids[: min(case.k, len(allowed))])
    assert made.delete(where=a) + len(made) == total and made.count(a) == 0


@LAWS
@given(st.data())
def test_conditions_on_rows_without_a_value(data: st.DataObject) -> None:
    schema = every_kind()
    name, kind = data.draw(st.sampled_from(list(schema.items())))
    one = data.draw(conditions(name, kind))
    assert compile_filter(one, schema, 0)
    assert means(one, {}, 0) == isinstance(one, Missing)


@LAWS
@given(st.data())
def test_equal_questions_have_equal_answers(data: st.DataObject) -> None:
    """A value and the range of it, several values and each of them, all but them: on any rows."""
    kinds: dict[str, FieldKind] = {"int": "int", "float": "float", "datetime": "datetime"}
    made = TwinIndex(1, "l2", fields=kinds)
    n = data.draw(st.integers(0, 12))
    made.add(None, np.zeros((n, 1)), data.draw(rows(kinds, n)))
    for name, kind in kinds.items():
        low, high = data.draw(values(kind)), data.draw(values(kind))
        same = [Among(name, (low,)), Range(name, gte=low, lte=low), ~Range(name, gt=low) & Range(name, gte=low)]
        assert len({tuple(made._chosen(one)) for one in same}) == 1
        beyond = [Among(name, (low, high), beyond=True), ~Among(name, (low, high)) & ~Missing(name)]
        assert made._chosen(beyond[0]) == made._chosen(beyond[1])
        parts = made.count(Range(name, lt=low)) + made.count(same[0]) + made.count(Range(name, gt=low))
        assert parts == made.count(~Missing(name))


SMALL: list[tuple[Callable[[float], Filter], str]] = [
    (lambda far: Circle("g", 0.0, 0.0, far), "circle"),
    (lambda far: Box("g", -far / 1e5, -far / 1e5, far / 1e5, far / 1e5), "box"),
    (
        lambda far: Polygon(
            "g", (tuple((s * far / 1e5, t * far / 1e5) for s, t in ((-1, -1), (-1, 1), (1, 1), (1, -1))),)
        ),
        "polygon",
    ),
]


@pytest.mark.parametrize("make", [make for make, _ in SMALL], ids=[name for _, name in SMALL])
def test_larger_regions_hold_what_smaller_ones_hold(make: Callable[[float], Filter]) -> None:
    made = TwinIndex(1, "l2", fields={"g": "geo"})
    rng = np.random.default_rng(0)
    made.add(None, np.zeros((300, 1)), {"g": rng.uniform(-60, 60, (300, 2))})
    counts = [made._chosen(make(far)) for far in (1e3, 1e5, 1e6, 2e6, 4e6, 6e6)]
    assert all(set(small) <= set(large) for small, large in pairwise(counts))
    assert len(counts[0]) < len(counts[2]) < len(counts[-1])


def test_ids_are_compared_as_what_they_are() -> None:
    made = TwinIndex(1, "l2")
    made.add([1, 2], [[0.0], [1.0]])
    assert made.count(HasId((1, 7))) == 1 and made.count(Not(HasId((1, 7)))) == 1
    assert made.count(has_id(np.array([2, 1]))) == 2
    with pytest.raises(SearchError, match="strings given"):
        made.count(has_id(["1"]))
