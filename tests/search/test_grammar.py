from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from medalist.errors import SearchError
from medalist.search.filters import (
    All,
    Among,
    AnyOf,
    Box,
    Circle,
    Filter,
    HasId,
    Missing,
    Not,
    Polygon,
    Range,
    compile_filter,
)
from medalist.search.grammar import parse_where
from medalist.search.ids import INTEGERS, ROWS, STRINGS
from medalist.search.schema import FieldKind

BIG = 2**53
SCHEMA: dict[str, FieldKind] = {
    "species": "tag",
    "tags": "tag",
    "seen": "bool",
    "depth": "int",
    "weight": "float",
    "taken on": "datetime",
    "at": "datetime",
    "place": "geo",
    "geo": "geo",
    "camera": "id",
    "is": "int",
    "within": "geo",
    "missing": "tag",
}
WHALE = Among("species", ("whale",))
TRIANGLE = ((54.0, 9.0), (55.0, 9.0), (55.0, 11.0))


def day(*parts: int) -> datetime:
    return datetime(*parts, tzinfo=UTC)  # type: ignore[misc,arg-type]


@pytest.mark.parametrize(
    ("expression", "tree"),
    [
        ("species = whale", WHALE),
        ("species=whale", WHALE),
        ('"species" = "whale"', WHALE),
        ("species != whale", Not(WHALE)),
        ("species in [whale]", WHALE),
        ('species in [whale, "blue whale"]', Among("species", ("whale", "blue whale"))),
        ("species not in [whale, orca]", Not(Among("species", ("whale", "orca")))),
        ("not species in [whale]", Not(WHALE)),
        ("NOT (species = whale OR seen = TRUE)", Not(AnyOf((WHALE, Among("seen", (True,)))))),
        ("species = ''", Missing("species")),
        ("species != ''", Not(Missing("species"))),
        ("species in [whale, '']", AnyOf((WHALE, Missing("species")))),
        ("species = 'it\\'s a \"fox\"'", Among("species", ('it\'s a "fox"',))),
        ('species = "it\'s a \\"fox\\" \\\\"', Among("species", ('it\'s a "fox" \\',))),
        ("species = 7", Among("species", ("7",))),
        ("species = '7'", Among("species", ("7",))),
        ("species in [7, 7.0, 007]", Among("species", ("7", "7.0", "007"))),
        ("species = is or missing = missing", AnyOf((Among("species", ("is",)), Among("missing", ("missing",))))),
        ("species = true", Among("species", ("true",))),
        ("species = 'and'", Among("species", ("and",))),
        ("camera = 7", Among("camera", ("7",))),
        ("camera in [a:b/c.d-e+f_g, é]", Among("camera", ("a:b/c.d-e+f_g", "é"))),
        ("is = 7 and is is missing", All((Among("is", (7,)), Missing("is")))),
        ("depth is missing", Missing("depth")),
        ("depth IS NOT Missing", Not(Missing("depth"))),
        ("place is missing", Missing("place")),
        ("not depth is not missing", Missing("depth")),
        ("tags has all [a, b]", All((Among("tags", ("a",)), Among("tags", ("b",))))),
        ("tags has all [a]", Among("tags", ("a",))),
        ("tags has any [a, b]", Among("tags", ("a", "b"))),
        ("tags has none [a, b]", Not(Among("tags", ("a", "b")))),
        ("seen = true", Among("seen", (True,))),
        ("seen in [false, True]", Among("seen", (False, True))),
        ("seen != ''", Not(Missing("seen"))),
        ("a or b".replace("a", "seen = true").replace("b", "seen = false"),
         AnyOf((Among("seen", (True,)), Among("seen", (False,))))),
        # whole numbers, exactly
        ("depth < 200", Range("depth", lt=200)),
        ("depth <= 200", Range("depth", lte=200)),
        ("depth > 200", Range("depth", gt=200)),
        ("depth >= 200", Range("depth", gte=200)),
        ("depth < 2.5", Range("depth", lte=2)),
        ("depth <= 2.5", Range("depth", lte=2)),
        ("depth > 2.5", Range("depth", gte=3)),
        ("depth >= -2.5", Range("depth", gte=-2)),
        ("depth = 2e2", Among("depth", (200,))),
        ("depth = +200.0", Among("depth", (200,))),
        ("depth = 2.5", AnyOf(())),
        ("depth != 2.5", Not(AnyOf(()))),
        ("depth in [1, 2.5, 3]", Among("depth", (1, 3))),
        ("depth = ''", Missing("depth")),
        (f"depth = {BIG + 1}", Among("depth", (BIG + 1,))),
        (f"depth < {BIG + 1}.5", Range("depth", lte=BIG + 1)),
        (f"depth = {2**63}", AnyOf(())),
        (f"depth < {2**63}", Not(Missing("depth"))),
        (f"depth <= {2**63 - 1}", Range("depth", lte=2**63 - 1)),
        (f"depth > {2**63}", AnyOf(())),
        (f"depth > -{2**64}", Not(Missing("depth"))),
        (f"depth >= -{2**63}", Range("depth", gte=-(2**63))),
        ("depth < -2e30", AnyOf(())),
        ("depth between 10 and 200", Range("depth", gte=10, lte=200)),
        ("depth between 9.5 and 200.5", Range("depth", gte=10, lte=200)),
        ("depth between -1e30 and 200", Range("depth", lte=200)),
        ("depth between -1e30 and 1e30", Not(Missing("depth"))),
        ("depth between 1e30 and 200", AnyOf(())),
        ("depth not between 10 and 200", Not(Range("depth", gte=10, lte=200))),
        ("depth between 10 and 200 and seen = true", All((Range("depth", gte=10, lte=200), Among("seen", (True,))))),
        # floats
        ("weight < 0.1", Range("weight", lt=0.1)),
        ("weight = .5", Range("weight", gte=0.5, lte=0.5)),
        ("weight != -2", Not(Range("weight", gte=-2.0, lte=-2.0))),
        ("weight in [1, 2.5]", AnyOf((Range("weight", gte=1.0, lte=1.0), Range("weight", gte=2.5, lte=2.5)))),
        ("weight not in [1]", Not(Range("weight", gte=1.0, lte=1.0))),
        ("weight between 1e3 and 1E+4", Range("weight", gte=1000.0, lte=10000.0)),
        ("weight = ''", Missing("weight")),
        # moments
        ("at = 2026-01-31", Among("at", (day(2026, 1, 31),))),
        ("at >= 2026-01-31T10:00:00Z", Range("at", gte=day(2026, 1, 31, 10))),
        ("'taken on' < '2026-01-31 10:00'", Range("taken on", lt=day(2026, 1, 31, 10))),
        ("at > 2026-01-31T10:00:00.25+02:00", Range("at", gt=day(2026, 1, 31, 8, 0, 0, 250_000))),
        ("at <= 2026-01-31T10:00:00.000001", Range("at", lte=day(2026, 1, 31, 10, 0, 0, 1))),
        ("at between 2026-01-01 and '2026-02-01'", Range("at", gte=day(2026, 1, 1), lte=day(2026, 2, 1))),
        ("at in [2026-01-01, 0001-01-01]", Among("at", (day(2026, 1, 1), day(1, 1, 1)))),
        # places
        ("place within 50 km of 54.3,10.1", Circle("place", 54.3, 10.1, 50_000.0)),
        ("place within 50km of 54.3, 10.1", Circle("place", 54.3, 10.1, 50_000.0)),
        ("place WITHIN 0.5 M of -90 , +180", Circle("place", -90.0, 180.0, 0.5)),
        ("place within 1 mi of 0,0", Circle("place", 0.0, 0.0, 1609.344)),
        ("place within 1.5nmi of 0,0", Circle("place", 0.0, 0.0, 2778.0)),
        ("place not within 0 m of 0,0", Not(Circle("place", 0.0, 0.0, 0.0))),
        ("within within 1 m of 0,0", Circle("within", 0.0, 0.0, 1.0)),
        ("place in box 54,9 to 55,11", Box("place", 54.0, 9.0, 55.0, 11.0)),
        ("place in BOX -10.5,170 TO 20,-170", Box("place", -10.5, 170.0, 20.0, -170.0)),
        ("place not in box 1,1 to 1,1", Not(Box("place", 1.0, 1.0, 1.0, 1.0))),
        ("place in polygon (54,9 55,9 55,11)", Polygon("place", (TRIANGLE,))),
        ("place in polygon (54,9 55,9 55,11 54,9)", Polygon("place", ((*TRIANGLE, TRIANGLE[0]),))),
        ("place not in polygon(54,9 55,9 55,11)without(54,9 55,9 55,11)", Not(Polygon("place", (TRIANGLE, TRIANGLE)))),
        ("place in polygon (1,179 2,-179 3,179)", Polygon("place", (((1.0, 179.0), (2.0, -179.0), (3.0, 179.0)),))),
        # ids
        ("id = a", HasId(("a",))),
        ("id != a", Not(HasId(("a",)))),
        ("id in [7, -8]", HasId((7, -8))),
        ("id in [7, a]", HasId(("7", "a"))),
        ("id = '7'", HasId(("7",))),
        ("id = 007", HasId(("007",))),
        ("id not in [7]", Not(HasId((7,)))),
        ("id = ''", AnyOf(())),
        # joined
        (
            "species in [whale] and depth < 200 and geo within 50 km of 54.3,10.1",
            All((WHALE, Range("depth", lt=200), Circle("geo", 54.3, 10.1, 50_000.0))),
        ),
        (
            "id = d or species = whale and not depth < 200",
            AnyOf((HasId(("d",)), All((WHALE, Not(Range("depth", lt=200)))))),
        ),
        (
            "species = whale and (depth < 200 or id = d)",
            All((WHALE, AnyOf((Range("depth", lt=200), HasId(("d",)))))),
        ),
        ("not " * 64 + "species = whale", WHALE),
        ("(" * 64 + "species = whale" + ")" * 64, WHALE),
        ("species = whale" + " or species = whale" * 3000, AnyOf((WHALE,) * 3001)),
    ],
)  # fmt: skip
def test_what_an_expression_means(expression: str, tree: Filter) -> None:
    assert parse_where(expression, SCHEMA) == tree


def test_kinds_of_values() -> None:
    """1 == True == 1.0 in Python, so what equal trees hide."""
    for expression, kind in [("depth = 1", int), ("seen = true", bool), ("at = 2026-01-01", datetime)]:
        found = parse_where(expression, SCHEMA)
        assert isinstance(found, Among) and type(found.values[0]) is kind
    found = parse_where("weight < 1", SCHEMA)
    assert isinstance(found, Range) and type(found.lt) is float
    found = parse_where("depth < 1.0", SCHEMA)
    assert isinstance(found, Range) and type(found.lt) is int


@pytest.mark.parametrize("kind", [INTEGERS, STRINGS], ids=["integers", "strings"])
def test_ids_of_a_known_kind(kind: int) -> None:
    strings = kind == STRINGS
    assert parse_where("id in [7, 8]", SCHEMA, kind) == HasId(("7", "8") if strings else (7, 8))
    assert parse_where("id in [07, 1e1]", SCHEMA, kind) == HasId(("07", "1e1") if strings else (7, 10))
    # no id at all is no mistake, and nobody's
    nobody = f"id in ['', {'x' * 1025}, 'a\0b']" if strings else f"id in [{2**63}, -{2**63 + 1}]"
    assert parse_where(nobody, SCHEMA, kind) == AnyOf(())
    assert parse_where("id in [7, a]", SCHEMA, ROWS) == HasId(("7", "a"))
    if not strings:
        for value in ("a", "'7'", "7.5"):
            with pytest.raises(
                SearchError, match="character 11: ids of this index are whole numbers; this value is no whole number"
            ):
                parse_where(f"id in [7, {value}]", SCHEMA, kind)


TAG = "expected =, !=, in, has or is after 'species' (tag), found "
INT = "expected =, !=, <, <=, >, >=, in, between or is after 'depth' (int), found "
GEO = "expected within, in or is after 'place' (geo), found "


@pytest.mark.parametrize(
    ("expression", "at", "words"),
    [
        ("", 1, "expected the name of a field, not or (, found the end"),
        ("   ", 4, "expected the name of a field, not or (, found the end"),
        ("species", 8, TAG + "the end"),
        ("species = ", 11, "expected a value, found the end"),
        ("species == whale", 10, "expected a value, found '='"),
        ("species whale", 9, TAG + "'whale'"),
        ("species 'is' missing", 9, TAG + "'is'"),
        ("species = whale depth < 3", 17, "expected and, or, or the end, found 'depth'"),
        ("species = whale and", 20, "expected the name of a field, not or (, found the end"),
        ("species = and", 11, "expected a value, found 'and'"),
        ("in = 3", 1, "expected the name of a field, not or (, found 'in'"),
        ("(species = whale", 17, "expected ), found the end"),
        ("species = whale)", 16, "expected and, or, or the end, found ')'"),
        ("species in whale", 12, "expected [, found 'whale'"),
        ("species in box 1,1 to 2,2", 12, "expected [, found 'box'"),
        ("species in []", 13, "expected a value, found ']'"),
        ("species in [a b]", 15, "expected , or ], found 'b'"),
        ("species in [a,]", 15, "expected a value, found ']'"),
        ("species not whale", 13, "expected in, found 'whale'"),
        ("depth not < 3", 11, "expected in or between, found '<'"),
        ("place not = 3", 11, "expected within or in, found '='"),
        ("species = 'whale", 11, "a quote that is not closed"),
        ("species = a & id = b", 13, "'&' must be quoted"),
        ("kind = whale", 1, "no field 'kind'; there are: id, species, tags, seen, depth"),
        ("id = a and kind = whale", 12, "no field 'kind'"),
        ("Species = whale", 1, "no field 'Species'"),
        ("'a\nb' = whale", 1, "no field 'a\\nb'"),
        ("species < 3", 9, TAG + "'<'"),
        ("species between a and b", 9, TAG + "'between'"),
        ("species is", 11, "expected missing, found the end"),
        ("species is not whale", 16, "expected missing, found 'whale'"),
        ("species is empty", 12, "expected missing, found 'empty'"),
        ("species has [a]", 13, "expected all, any or none, found '['"),
        ("species has all a", 17, "expected [, found 'a'"),
        ("species = '\ud800'", 11, "'\\ud800' cannot be written in UTF-8"),
        ("depth has all [3]", 7, INT + "'has'"),
        ("depth within 3 m of 1,1", 7, INT + "'within'"),
        ("depth < deep", 9, "'depth' holds numbers; this value is no plain number"),
        ("depth = '200'", 9, "'depth' holds numbers; this value is no plain number"),
        ("depth < ''", 9, "'depth' holds numbers"),
        ("depth in [1, two]", 14, "'depth' holds numbers"),
        ("depth = ٣", 9, "'depth' holds numbers"),
        ("weight = 1e400", 10, "'weight' holds numbers"),
        ("weight = nan", 10, "'weight' holds numbers"),
        ("depth = 1e999999999", 9, "'depth' holds numbers"),
        ("depth between 3", 16, "expected and, found the end"),
        ("depth between 3, 4", 16, "expected and, found ','"),
        ("depth between 3 and", 20, "expected a value, found the end"),
        ("depth between 3 and four", 21, "'depth' holds numbers"),
        ("seen = 1", 8, "'seen' holds true and false; this value is neither"),
        ("seen = 'true'", 8, "'seen' holds true and false; this value is neither"),
        ("seen < true", 6, "expected =, !=, in or is after 'seen' (bool), found '<'"),
        ("at = 7", 6, "'at' holds datetimes; this value is no datetime; type 2026-01-31, 2026-01-31T10:00:00Z or"),
        ("at < 2026-02-30", 6, "'at' holds datetimes"),
        ("at < 20260230", 6, "'at' holds datetimes"),
        ("at < 2026-01-01T25:00", 6, "'at' holds datetimes"),
        ("at < 0001-01-01T00:00+05:00", 6, "'at' holds datetimes"),
        ("at < 2026-01-01T10:00:00.0000001", 6, "'at' holds datetimes"),
        ("at < 2026-01-01T10:00:00-24:00", 6, "'at' holds datetimes"),
        ("at < ２０２６-01-01", 6, "'at' holds datetimes"),
        ("place = 3", 7, GEO + "'='"),
        ("place in [3]", 10, "expected box or polygon, found '['"),
        ("place within km of 1,1", 14, "expected a length such as 50 km, found 'km'"),
        ("place within 50 of 1,1", 17, "expected m, km, mi or nmi, found 'of'"),
        ("place within 50 ft of 1,1", 17, "expected m, km, mi or nmi, found 'ft'"),
        ("place within -5 km of 1,1", 14, "a length is 0 or more"),
        ("place within -5km of 1,1", 14, "a length is 0 or more"),
        ("place within 5 km from 1,1", 19, "expected of, found 'from'"),
        ("place within 5 km of x,1", 22, "expected a latitude in degrees, found 'x'"),
        ("place within 5 km of 1 1", 24, "expected ,, found '1'"),
        ("place within 5 km of 1,", 24, "expected a longitude in degrees, found the end"),
        ("place within 5 km of 91,1", 22, "latitude 91 is not within -90 and 90"),
        ("place within 5 km of 1,-180.5", 24, "longitude -180.5 is not within -180 and 180"),
        ("place in box 1,1 2,2", 18, "expected to, found '2'"),
        ("place in box 5,1 to 4.5,2", 21, "north 4.5 lies south of 5; a box is south,west to north,east"),
        ("place in polygon 1,1", 18, "expected (, found '1'"),
        ("place in polygon ()", 19, "expected a latitude in degrees, found ')'"),
        ("place in polygon (1,1 2,2)", 18, "a ring has 3 corners or more"),
        ("place in polygon (1,1 2,2 1,1)", 18, "a ring has 3 corners or more"),
        ("place in polygon (1,1 2,2, 3,3)", 26, "expected a corner such as 54.3,10.1, or ), found ','"),
        ("place in polygon (1,1 2,2 3,1", 30, "expected a corner such as 54.3,10.1, or ), found the end"),
        ("place in polygon (80,0 80,120 80,-120)", 18, "a ring that goes around a pole"),
        ("place in polygon (1,1 2,2 3,1) without (1,1)", 40, "a ring has 3 corners or more"),
        ("id < 3", 4, "expected =, != or in after 'id' (the row's own), found '<'"),
        ("id is missing", 4, "expected =, != or in after 'id' (the row's own), found 'is'"),
        ("(" * 70 + "id = a", 66, "nested more than 64 deep"),
        ("not " * 70 + "id = a", 261, "nested more than 64 deep"),
        ("id =\n&", 6, "'&' must be quoted"),
    ],
)
def test_mistakes_point_at_their_character(expression: str, at: int, words: str) -> None:
    with pytest.raises(SearchError, match=re.escape(f"--where, character {at}: {words}")) as caught:
        parse_where(expression, SCHEMA)
    assert "»" in str(caught.value) and str(caught.value).isprintable()


def test_the_mark_stands_before_the_character() -> None:
    with pytest.raises(SearchError) as caught:
        parse_where("species = whale\n  and   kind = 3", SCHEMA)
    assert str(caught.value).endswith(": species = whale and »kind = 3")


# ---------------------------------------------------------------------------------------------------- hostile input


def test_too_long_and_too_deep() -> None:
    with pytest.raises(SearchError, match="100001 letters, more than 100000"):
        parse_where("a" * 100_001, SCHEMA)
    for filler in ("a", "(", "[", "not ", '"', "'\\", "1", "species in [", "é", "\n", "depth < 1 and ", "\0", "1,1 "):
        with pytest.raises(SearchError) as caught:
            parse_where((filler * 100_000)[:100_000], SCHEMA)
        assert len(str(caught.value)) < 1000
    long = "species in [" + ",".join(["a"] * 49_000) + "]"
    found = parse_where(long, SCHEMA)
    assert isinstance(found, Among) and len(found.values) == 49_000


def test_the_tree_is_no_deeper_than_the_core_takes() -> None:
    def nested(n: int) -> str:
        return "seen = true or (seen = true and (" * n + "seen = true" + "))" * n

    assert compile_filter(parse_where(nested(31), SCHEMA), SCHEMA, 0)  # 63 levels
    assert compile_filter(parse_where("not (" + nested(31) + ")", SCHEMA), SCHEMA, 0)
    with pytest.raises(SearchError, match=r"character 1: nested more than 64 deep"):
        parse_where(nested(32), SCHEMA)
    with pytest.raises(SearchError, match="character 66: nested more than 64 deep"):
        parse_where("(" * 65 + "seen = true" + ")" * 65, SCHEMA)


def test_the_most_corners() -> None:
    corners = " ".join(f"{row % 80},{row % 90}" for row in range(10_001))
    with pytest.raises(SearchError, match="character 18: a polygon of 10001 corners, more than 10000"):
        parse_where(f"place in polygon ({corners})", SCHEMA)


@given(
    st.lists(
        st.sampled_from(
            ["species", "depth", "at", "place", "id", "seen", "weight", "is", "in", "not", "(", ")", "[", "]"]
        )
        | st.sampled_from(["=", "<", ",", "and", "or", "has", "all", "within", "km", "of", "box", "polygon", "to"])
        | st.sampled_from(["between", "missing", "1", "2026-01-31", "'x'", "1e99", "-1", "without", "any", "!="])
        | st.text(max_size=3),
        max_size=14,
    )
)
def test_any_words_are_a_filter_or_one_line(words: list[str]) -> None:
    try:
        assert isinstance(parse_where(" ".join(words), SCHEMA), Filter)
    except SearchError as error:
        assert str(error).isprintable() and str(error).startswith("--where")
        str(error).encode()


@given(st.text(max_size=30) | st.text(alphabet="ab ()[]=<>!,'\"\\1.-\n\0é\ud800", max_size=30))
def test_any_text_is_a_filter_or_one_line(text: str) -> None:
    try:
        parse_where(text, SCHEMA)
    except SearchError as error:
        assert str(error).isprintable()


# ------------------------------------------------------------------------------------------- written and read again

TEXTS = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=8) | st.sampled_from(
    ["7", "or", '"', "\\"]
)
WHOLE = st.integers(-(2**63), 2**63 - 1) | st.integers(-3, 3)
FLOATS = st.floats(-1e30, 1e30).map(lambda value: 0.0 if abs(value) < 1e-30 else value)
MOMENTS = st.datetimes(datetime(1, 1, 2), datetime(9999, 12, 30)).map(lambda value: value.replace(tzinfo=UTC))
LATITUDES = st.floats(-90, 90).map(lambda value: round(value, 7))
LONGITUDES = st.floats(-180, 180).map(lambda value: round(value, 7))
CORNERS = st.tuples(LATITUDES, LONGITUDES)
RINGS = st.lists(st.tuples(LATITUDES, st.floats(-80, 80)), min_size=3, max_size=5, unique=True).map(
    lambda ring: tuple((latitude, round(longitude, 7)) for latitude, longitude in ring)
).filter(lambda ring: ring[0] != ring[-1])  # fmt: skip


def among(field: str, values: st.SearchStrategy[Any]) -> st.SearchStrategy[Filter]:
    return st.lists(values, min_size=1, max_size=3).map(lambda each: Among(field, tuple(each)))


def ranges(field: str, values: st.SearchStrategy[Any]) -> st.SearchStrategy[Filter]:
    one = st.tuples(st.sampled_from(["gt", "gte", "lt", "lte"]), values).map(lambda pair: Range(field, **dict([pair])))
    return one | st.tuples(values, values).map(lambda pair: Range(field, gte=pair[0], lte=pair[1]))


LEAVES: st.SearchStrategy[Filter] = st.one_of(
    among("species", TEXTS),
    among("camera", TEXTS),
    among("seen", st.booleans()),
    among("depth", WHOLE),
    among("at", MOMENTS),
    ranges("depth", WHOLE),
    ranges("weight", FLOATS),
    ranges("taken on", MOMENTS),
    st.sampled_from(list(SCHEMA)).map(Missing),
    st.tuples(CORNERS, st.floats(0, 1e8)).map(
        lambda told: Circle("place", *told[0], 0.0 if told[1] < 1e-30 else told[1])
    ),
    st.tuples(CORNERS, CORNERS).map(
        lambda told: Box("place", min(told[0][0], told[1][0]), told[0][1], max(told[0][0], told[1][0]), told[1][1])
    ),
    st.lists(RINGS, min_size=1, max_size=3).map(lambda rings: Polygon("geo", tuple(rings))),
    st.lists(WHOLE, min_size=1, max_size=3).map(lambda ids: HasId(tuple(ids))),
    st.lists(TEXTS.filter(lambda text: "\0" not in text), min_size=1, max_size=3).map(lambda ids: HasId(tuple(ids))),
)
TREES = st.recursive(
    LEAVES,
    lambda inner: st.one_of(
        inner.map(lambda one: ~one),
        st.lists(inner, min_size=2, max_size=3).map(lambda each: All(tuple(each))),
        st.lists(inner, min_size=2, max_size=3).map(lambda each: AnyOf(tuple(each))),
    ),
    max_leaves=8,
)


def told(value: Any) -> str:
    if isinstance(value, str):
        return '"' + value.replace("\\", "\\\\").replace('"', '\\"') + '"'
    if isinstance(value, datetime):
        return value.astimezone(UTC).isoformat().replace("+00:00", "Z")
    return str(value).lower() if isinstance(value, bool) else repr(value)


def corner(place: tuple[float, float]) -> str:
    return f"{place[0]!r},{place[1]!r}"


def written(tree: Filter) -> str:
    """A tree in the words of the grammar."""
    match tree:
        case All(each):
            return " and ".join(f"({written(one)})" for one in each)
        case AnyOf(each):
            return " or ".join(f"({written(one)})" for one in each)
        case Not(one):
            return f"not ({written(one)})"
        case HasId(ids):
            return f"id in [{', '.join(map(told, ids))}]"
        case Circle(field, latitude, longitude, metres):
            return f"{told(field)} within {metres!r} m of {latitude!r},{longitude!r}"
        case Box(field, south, west, north, east):
            return f"{told(field)} in box {south!r},{west!r} to {north!r},{east!r}"
        case Polygon(field, rings):
            parts = ["(" + " ".join(map(corner, ring)) + ")" for ring in rings]
            return f"{told(field)} in polygon {' without '.join(parts)}"
        case Missing(field):
            return f"{told(field)} is missing"
        case Among(field, (value,)):
            return f"{told(field)} = {told(value)}"
        case Among(field, values):
            return f"{told(field)} in [{','.join(map(told, values))}]"
        case Range(field, None, low, None, high) if low is not None and high is not None:
            return f"{told(field)} between {told(low)} and {told(high)}"
        case Range(field):
            sign, value = next(
                (sign, value)
                for sign, value in ((">", tree.gt), (">=", tree.gte), ("<", tree.lt), ("<=", tree.lte))
                if value is not None
            )
            return f"{told(field)} {sign} {told(value)}"
    raise AssertionError(tree)


@given(TREES)
def test_a_tree_written_down_is_read_again(tree: Filter) -> None:
    text = written(tree)
    assert parse_where(text, SCHEMA) == tree
    assert compile_filter(tree, SCHEMA, ROWS)
    assert parse_where(text.replace(" and ", " AND ") if '"' not in text else f"\t({text})\n", SCHEMA) == tree


@given(MOMENTS, st.integers(-1439, 1439))
def test_a_moment_is_the_same_at_any_offset(moment: datetime, minutes: int) -> None:
    sign = "-" if minutes < 0 else "+"
    local = (moment + timedelta(minutes=minutes)).replace(tzinfo=None)
    text = f"{local.isoformat()}{sign}{abs(minutes) // 60:02}:{abs(minutes) % 60:02}"
    assert parse_where(f"at = {text}", SCHEMA) == Among("at", (moment,))
