from __future__ import annotations

import copy
import math
import pickle
import struct
from datetime import UTC, date, datetime, timedelta, timezone
from fractions import Fraction
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from medalist.errors import SearchError
from medalist.search import filter_program
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

SCHEMA: dict[str, Any] = {
    "species": "tag",
    "flag": "bool",
    "depth": "int",
    "score": "float",
    "seen": "datetime",
    "place": "geo",
    "animal": "id",
}
INT64 = 2**63
NAN = float("nan")
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def micros(moment: datetime) -> int:
    return (moment - EPOCH) // timedelta(microseconds=1)


# -------------------------------------------------------------------------- twins: a tree and a program, row by row


def holds(one: Filter, row: dict[str, Any]) -> bool:
    """What a filter says about a row: fields by name, the id as "id"; datetimes as datetime."""
    if isinstance(one, All):
        return all(holds(each, row) for each in one.each)
    if isinstance(one, AnyOf):
        return any(holds(each, row) for each in one.each)
    if isinstance(one, AtLeast):
        return sum(holds(each, row) for each in one.each) >= one.least
    if isinstance(one, Not):
        return not holds(one.one, row)
    if isinstance(one, HasId):
        return row["id"] in one.ids
    value = row.get(one.field)  # type: ignore[attr-defined]
    if isinstance(one, Missing):
        return value is None
    if value is None:
        return False
    if isinstance(one, Among):
        return any((each in one.values) != one.beyond for each in (value if isinstance(value, list) else [value]))
    if isinstance(one, Range):
        return (
            (one.gt is None or value > one.gt)
            and (one.gte is None or value >= one.gte)
            and (one.lt is None or value < one.lt)
            and (one.lte is None or value <= one.lte)
        )
    return region(one, value)


def region(one: Any, place: tuple[float, float]) -> bool:
    """Any function of all numbers of a region will do: that they arrive is what is tested here."""
    if isinstance(one, Circle):
        return math.dist(place, (one.latitude, one.longitude)) * 111_000 <= one.metres
    if isinstance(one, Box):
        across = one.west > one.east
        west, east = place[1] >= one.west, place[1] <= one.east
        return one.south <= place[0] <= one.north and ((west or east) if across else (west and east))
    turned = sum(a[0] * b[1] - a[1] * b[0] for ring in one.rings for a, b in pairwise(ring))
    return bool((turned + place[0] + place[1]) % 7.0 < 3)


class Program:
    """A slow reader of the bytes of src/ann/filter.hpp, which gives back a tree of plain values."""

    def __init__(self, data: bytes):
        self.data, self.at = data, 0
        self.tree = self.filter(1)
        assert self.at == len(data)

    def take(self, form: str) -> Any:
        (value,) = struct.unpack_from("<" + form, self.data, self.at)
        self.at += struct.calcsize("<" + form)
        return value

    def filter(self, depth: int) -> Filter:
        assert depth <= 64
        what = self.take("B")
        if what in (0, 1, 3):
            least = self.take("I") if what == 3 else 0
            each = tuple(self.filter(depth + 1) for _ in range(self.take("I")))
            return AtLeast(least, each) if what == 3 else AnyOf(each) if what else All(each)
        if what == 2:
            return Not(self.filter(depth + 1))
        if what == 10:
            end = self.take("I") + self.at
            kind, zero, count = self.take("I"), self.take("I"), self.take("Q")
            assert not zero
            ids: tuple[Any, ...] = tuple(self.take("q") for _ in range(count))
            if kind == 2:
                start = self.at
                ids = tuple(
                    self.data[start + low : start + high].decode() for low, high in zip((0, *ids), ids, strict=False)
                )
                self.at = end
            assert self.at == end
            return HasId(ids)
        name = list(SCHEMA)[self.take("I")]
        kind = SCHEMA[name]
        if what in (4, 5):
            assert kind in ("tag", "id", "bool", "int", "datetime")
            return Among(name, tuple(self.value(kind) for _ in range(self.take("I"))), what == 5)
        if what == 6:
            assert kind in ("int", "datetime", "float")
            form = "d" if kind == "float" else "q"
            low, high = self.take(form), self.take(form)
            assert not math.isnan(low) and not math.isnan(high)
            return Range(name, gte=low, lte=high)
        if what == 11:
            return Missing(name)
        assert kind == "geo"
        if what == 7:
            return Circle(name, *(self.take("d") for _ in range(3)))
        if what == 8:
            return Box(name, *(self.take("d") for _ in range(4)))
        assert what == 9
        rings = (range(self.take("I")) for _ in range(self.take("I")))
        return Polygon(name, tuple(tuple((self.take("d"), self.take("d")) for _ in ring) for ring in rings))

    def value(self, kind: str) -> Any:
        if kind not in ("tag", "id"):
            return self.take("q")
        size = self.take("I")
        self.at += size
        return self.data[self.at - size : self.at].decode()


def compiled(one: Filter, id_kind: int = 1) -> Filter:
    """A filter as its program says it."""
    return Program(compile_filter(one, SCHEMA, id_kind)).tree


# ----------------------------------------------------------------------------------------------------- building


def test_signs_and_methods_build_the_tree() -> None:
    cases: list[tuple[Filter, Filter]] = [
        (F.species == "whale", Among("species", ("whale",))),
        (F.species != "whale", Not(Among("species", ("whale",)))),
        (F.species.any("a", "b"), Among("species", ("a", "b"))),
        (F.species.any(["a", "b"]), Among("species", ("a", "b"))),
        (F.species.any(), Among("species", ())),
        (F.depth.any(np.array([1, 2])), Among("depth", (1, 2))),
        (F.species.all("a", "b"), All((Among("species", ("a",)), Among("species", ("b",))))),
        (F.species.none("a", "b"), Not(Among("species", ("a", "b")))),
        (F.depth < 200, Range("depth", lt=200)),
        (F.depth <= 200, Range("depth", lte=200)),
        (F.depth > 200, Range("depth", gt=200)),
        (F.depth >= 200, Range("depth", gte=200)),
        (200 > F.depth, Range("depth", lt=200)),  # noqa: SIM300
        (F.depth.between(10, 200), Range("depth", gte=10, lte=200)),
        (F.depth.missing(), Missing("depth")),
        (F["odd name"] == 1, Among("odd name", (1,))),
        (F["any"].any("x"), Among("any", ("x",))),
        (F.missing.missing(), Missing("missing")),
        (F.place.within(1, 2, metres=3), Circle("place", 1, 2, 3)),
        (F.place.box(south=1, west=2, north=3, east=4), Box("place", 1, 2, 3, 4)),
        (
            F.place.polygon([(0, 0), [0, 1], (1, 1)], holes=[np.array([[0.1, 0.1], [0.1, 0.2], [0.2, 0.2]])]),
            Polygon("place", (((0, 0), (0, 1), (1, 1)), ((0.1, 0.1), (0.1, 0.2), (0.2, 0.2)))),
        ),
        (has_id([3, 7]), HasId((3, 7))),
        (has_id(np.array(["a", "b"])), HasId(("a", "b"))),
        (has_id(range(2)), HasId((0, 1))),
    ]
    for built, meant in cases:
        assert built == meant and hash(built) == hash(meant), (built, meant)
        assert pickle.loads(pickle.dumps(built)) == meant and copy.deepcopy(built) == meant


def test_joining_flattens() -> None:
    a, b, c, d = (Missing(name) for name in "abcd")
    assert (a & b & (c & d)) == All((a, b, c, d))
    assert (a | b | (c | d)) == AnyOf((a, b, c, d))
    assert (a & b | c & d) == AnyOf((All((a, b)), All((c, d))))
    assert (~a) == Not(a) and ~~a is a
    assert (~(a & b)) == Not(All((a, b)))


def test_numpy_scalars_become_pythons() -> None:
    built = (F.depth == np.int8(3), F.score < np.float32(0.5), F.flag == np.True_, F.species == np.str_("a"))
    values = [one.values[0] if isinstance(one, Among) else one.lt for one in built]  # type: ignore[attr-defined]
    assert [type(value) for value in values] == [int, float, bool, str]
    assert compiled(F.seen == np.datetime64("1970-01-01T00:00:01")) == Among("seen", (1_000_000,))
    assert compiled(F.seen.any(np.array(["1970-01-02"], "M8[ns]"))) == Among("seen", (86_400_000_000,))


@pytest.mark.parametrize(
    "wrong",
    [
        lambda: 10 < F.depth < 20,
        lambda: F.depth == 1 and F.depth == 2,
        lambda: not F.depth.missing(),
        lambda: bool(F.depth == 1),
        lambda: F.depth == 1 & F.score == 2,
        lambda: F.flag & (F.depth == 1),
        lambda: (F.depth == 1) | F.flag,
        lambda: ~F.flag,
        lambda: "a" in F.species,
    ],
    ids=["chain", "and", "not", "bool", "precedence", "field-and", "or-field", "inverted-field", "in"],
)
def test_words_and_bare_fields_say_what_to_write(wrong: Any) -> None:
    with pytest.raises(TypeError, match=r"& \| ~ with brackets"):
        wrong()


def test_chains_hint_at_between() -> None:
    with pytest.raises(TypeError, match=r"F\.a\.between\(1, 2\)"):
        assert 10 < F.depth < 20


def test_f_is_no_container() -> None:
    fields: Any = F
    for wrong in (
        lambda: list(fields),
        lambda: "a" in fields,
        lambda: fields[1],
        lambda: {F.a},
        lambda: Missing("a") & "b",
    ):
        with pytest.raises(TypeError):
            wrong()
    with pytest.raises(AttributeError, match=r'F\["_x"\]'):
        F._x  # noqa: B018
    assert repr(F["a b"]) == "F['a b']" and repr(F) == "F" and not hasattr(F, "__wrapped__")
    with pytest.raises((AttributeError, TypeError)):
        Missing("a").field = "b"  # type: ignore[misc]


@pytest.mark.parametrize(
    ("build", "says"),
    [
        (lambda: F.depth == None, "F['depth'] == None; rows without a value: F['depth'].missing()"),  # noqa: E711
        (lambda: F.depth != None, "missing()"),  # noqa: E711
        (lambda: F.depth < None, "missing()"),
        (lambda: F.depth.any(1, None), "missing()"),
        (lambda: F.depth < F.score, "fields are compared with values alone"),
        (lambda: F.depth == [1, 2], "F['depth'].any(...)"),
        (lambda: F.depth.any([[1]]), "F['depth'].any(...)"),
        (lambda: F.depth.any(np.zeros((2, 2))), "shape [2, 2]"),
        (lambda: F.place.polygon(np.arange(3)), "places (latitude, longitude)"),
        (lambda: F.place.polygon([(1, 2, 3)] * 3), "places (latitude, longitude)"),
        (lambda: has_id("abc"), "has_id of str"),
        (lambda: has_id(5), "has_id of int"),  # type: ignore[arg-type]
    ],
)
def test_what_cannot_be_built(build: Any, says: str) -> None:
    with pytest.raises(SearchError) as caught:
        build()
    assert says in str(caught.value)


# ----------------------------------------------------------------------------------------------------- programs


def test_the_bytes_by_hand() -> None:
    pack = struct.pack
    assert compile_filter(All(()), SCHEMA, 0) == b"\0\0\0\0\0"
    assert compile_filter(AnyOf((Missing("species"),)), SCHEMA, 0) == pack("<BIBI", 1, 1, 11, 0)
    assert compile_filter(Not(Missing("animal")), SCHEMA, 0) == pack("<BBI", 2, 11, 6)
    assert compile_filter(AtLeast(9, (All(()),)), SCHEMA, 0) == pack("<BII", 3, 2, 1) + b"\0\0\0\0\0"
    assert compile_filter(F.species.any("a", "Ж"), SCHEMA, 0) == pack("<BIII1sI2s", 4, 0, 2, 1, b"a", 2, "Ж".encode())
    assert compile_filter(Among("depth", (-1, 2), True), SCHEMA, 0) == pack("<BIIqq", 5, 2, 2, -1, 2)
    assert compile_filter(F.flag == True, SCHEMA, 0) == pack("<BIIq", 4, 1, 1, 1)  # noqa: E712
    assert compile_filter(F.depth < 2.5, SCHEMA, 0) == pack("<BIqq", 6, 2, -INT64, 2)
    assert compile_filter(F.score == 2.5, SCHEMA, 0) == pack("<BIdd", 6, 3, 2.5, 2.5)
    assert compile_filter(F.place.within(1, 2, metres=3), SCHEMA, 0) == pack("<BIddd", 7, 5, 1, 2, 3)
    assert compile_filter(F.place.box(south=1, west=2, north=3, east=4), SCHEMA, 0) == pack("<BIdddd", 8, 5, 1, 2, 3, 4)
    ring = [(0, 0), (0, 1), (1, 1)]
    bytes_of_ring = pack("<Idddddd", 3, 0, 0, 0, 1, 1, 1)
    assert compile_filter(F.place.polygon(ring), SCHEMA, 0) == pack("<BII", 9, 5, 1) + bytes_of_ring
    assert compile_filter(has_id([5, -1]), SCHEMA, 1) == pack("<BIIIQqq", 10, 32, 1, 0, 2, 5, -1)
    assert compile_filter(has_id(["a", "bc"]), SCHEMA, 2) == pack("<BIIIQqq3s", 10, 35, 2, 0, 2, 1, 3, b"abc")


TEXTS = st.text(st.sampled_from("abЖ"), min_size=1, max_size=2)
SMALL = st.integers(-4, 4)
REALS = st.sampled_from([-math.inf, -1.5, -0.0, 0.0, 5e-324, 0.5, 1.0, 2.0, 1e308, math.inf])
MOMENTS = st.integers(-3, 3).map(lambda step: EPOCH + timedelta(microseconds=step))
WHOLE_BOUNDS = st.one_of(SMALL, st.sampled_from([-0.5, 0.0, 1.5, 3.0, -math.inf, math.inf, 10**30, -(10**30), 1e25]))
PLACES = st.tuples(st.integers(-3, 3), st.integers(-3, 3))


def ranges(field: str, bounds: Any) -> Any:
    names = ("gt", "gte", "lt", "lte")
    given_bounds = st.dictionaries(st.sampled_from(names), bounds, min_size=1)
    return given_bounds.map(lambda found: Range(field, **found))


def amongs(field: str, values: Any) -> Any:
    return st.builds(Among, st.just(field), st.lists(values, max_size=4).map(tuple), st.booleans())


CONDITIONS = st.one_of(
    amongs("species", TEXTS),
    amongs("animal", TEXTS),
    amongs("flag", st.booleans()),
    amongs("depth", SMALL),
    amongs("score", REALS),
    amongs("seen", MOMENTS),
    ranges("depth", WHOLE_BOUNDS),
    ranges("score", st.one_of(REALS, SMALL, st.sampled_from([10**400, -(10**400), 2**53 + 1]))),
    ranges("seen", MOMENTS),
    st.sampled_from(list(SCHEMA)).map(Missing),
    st.lists(SMALL, max_size=3).map(lambda ids: HasId(tuple(ids))),
    st.builds(Circle, st.just("place"), SMALL, SMALL, st.sampled_from([0, 1.5, 1e5, 3e5])),
    st.tuples(SMALL, SMALL, SMALL, SMALL).map(lambda b: Box("place", min(b[0], b[2]), b[1], max(b[0], b[2]), b[3])),
    st.lists(st.lists(PLACES, min_size=3, max_size=5, unique=True), min_size=1, max_size=2).map(
        lambda rings: Polygon("place", tuple(map(tuple, rings)))
    ),
)
FILTERS = st.recursive(
    CONDITIONS,
    lambda inner: st.one_of(
        st.lists(inner, max_size=3).map(lambda each: All(tuple(each))),
        st.lists(inner, max_size=3).map(lambda each: AnyOf(tuple(each))),
        st.tuples(st.integers(-1, 4), st.lists(inner, max_size=3)).map(lambda two: AtLeast(two[0], tuple(two[1]))),
        inner.map(Not),
    ),
    max_leaves=6,
)
ROWS = st.fixed_dictionaries(
    {"id": SMALL},
    optional={
        "species": st.lists(TEXTS, min_size=1, max_size=3),
        "animal": TEXTS,
        "flag": st.booleans(),
        "depth": SMALL,
        "score": REALS,
        "seen": MOMENTS,
        "place": PLACES,
    },
)


@given(FILTERS, st.lists(ROWS, min_size=3, max_size=6))
def test_the_program_means_what_the_tree_means(one: Filter, rows: list[dict[str, Any]]) -> None:
    program = compiled(one)
    for row in rows:
        plain = {**row, "seen": micros(row["seen"])} if "seen" in row else row
        assert holds(program, plain) == holds(one, row), (one, program, row)


BOUNDS = st.one_of(
    st.integers(), st.floats(allow_nan=False), st.sampled_from([2**53 + 1, -(2**53) - 1, 10**400, -(10**400)])
)


@pytest.mark.parametrize("name", ["gt", "gte", "lt", "lte"])
@given(
    st.one_of(
        st.integers(), st.floats(allow_nan=False), st.sampled_from([INT64, -INT64, INT64 - 1, 2**53 + 1, 10**400])
    ),
    st.integers(-3, 3),
)
def test_bounds_of_ints_are_exact(name: str, bound: float, step: int) -> None:
    """At every integer around the bound and at the ends, as Python compares integers and floats: exactly."""
    found = compiled(Range("depth", **{name: bound}))
    near = round(Fraction(bound)) + step if abs(bound) < math.inf else 0
    for value in {min(max(near, -INT64), INT64 - 1), -INT64, INT64 - 1, 0}:
        row = {"depth": value}
        assert holds(found, row) == holds(Range("depth", **{name: bound}), row)


@pytest.mark.parametrize("name", ["gt", "gte", "lt", "lte"])
@given(BOUNDS)
def test_bounds_of_floats_are_exact(name: str, bound: float) -> None:
    found = compiled(Range("score", **{name: bound}))
    near = min(max(bound, -1.7976931348623157e308), 1.7976931348623157e308)
    around = [float(near), math.nextafter(near, math.inf), math.nextafter(near, -math.inf)]
    for value in (*around, 0.0, math.inf, -math.inf, 5e-324, -5e-324):
        row = {"score": value}
        assert holds(found, row) == holds(Range("score", **{name: bound}), row)


@pytest.mark.parametrize(
    ("one", "low", "high"),
    [
        (F.depth < 2.5, -INT64, 2),
        (F.depth > 2.5, 3, INT64 - 1),
        (F.depth <= -2.5, -INT64, -3),
        (F.depth < 10**30, -INT64, INT64 - 1),
        (F.depth <= math.inf, -INT64, INT64 - 1),
        (F.depth > 10**30, 1, 0),
        (F.depth < -(10**30), 1, 0),
        (F.depth < -INT64, 1, 0),
        (F.depth >= INT64 - 1, INT64 - 1, INT64 - 1),
        (F.depth > INT64 - 1, 1, 0),
        (F.depth > math.inf, 1, 0),
        (F.depth < 9007199254740993, -INT64, 9007199254740992),
        (F.score < 1, -math.inf, math.nextafter(1, 0)),
        (F.score > math.inf, 1.0, 0.0),
        (F.score >= math.inf, math.inf, math.inf),
        (F.score < math.inf, -math.inf, 1.7976931348623157e308),
        (F.score < -math.inf, 1.0, 0.0),
        (F.score >= -0.0, 0.0, math.inf),
        (F.score == 10**400, 1.0, 0.0),
        (F.score == 2**53 + 1, 1.0, 0.0),
        (F.seen > "1970-01-01", 1, 253_402_300_799_999_999 + 0 * INT64),
    ],
    ids=lambda value: f"{value!r:.70}" if isinstance(value, Filter) else "",
)
def test_bounds_by_hand(one: Filter, low: float, high: float) -> None:
    found = compiled(one)
    assert isinstance(found, Range)
    if found.field == "seen":
        assert found.gte == low
    else:
        assert (found.gte, found.lte) == (low, high)
        assert math.copysign(1, found.gte) == math.copysign(1, low)  # type: ignore[arg-type]


def test_datetimes_of_every_sort() -> None:
    moment = datetime(2020, 1, 2, 3, tzinfo=UTC)
    same = [
        moment,
        moment.astimezone(timezone(timedelta(hours=5))),
        moment.replace(tzinfo=None),
        "2020-01-02T03:00:00Z",
        "2020-01-02T05:00:00+02:00",
        np.datetime64("2020-01-02T03", "h"),
    ]
    assert {compile_filter(F.seen >= value, SCHEMA, 0) for value in same} == {
        struct.pack("<BIqq", 6, 4, micros(moment), INT64 - 1)
    }
    assert compiled(F.seen == date(1970, 1, 2)) == Among("seen", (86_400_000_000,))


def test_ids_of_an_id_field_may_be_ints() -> None:
    assert compiled(F.animal.any(17, "b")) == Among("animal", ("17", "b"))


def test_many_values() -> None:
    wholes = tuple(range(-500, 500))
    assert compiled(Among("depth", wholes)) == Among("depth", wholes)
    texts = tuple(f"t{number}" for number in range(1000))
    assert compiled(Among("species", texts)) == Among("species", texts)
    assert compiled(HasId(wholes)) == HasId(wholes)
    assert compiled(F.depth.any(np.arange(40.0))) == Among("depth", tuple(range(40)))
    with pytest.raises(SearchError, match="64 bits"):
        compile_filter(Among("depth", (*wholes, INT64)), SCHEMA, 0)


def test_depth_at_its_bound() -> None:
    def nested(levels: int, last: Filter) -> Filter:
        for level in range(levels):
            last = Not(last) if level % 2 else AnyOf((last,))
        return last

    for last, taken in (
        (F.depth == 1, 1),
        (F.score == 1, 1),
        (F.score.any(1, 2), 2),
        (Among("score", (1,), True), 4),
    ):
        compiled(nested(64 - taken, last))
        with pytest.raises(SearchError, match="nested more than 64 deep"):
            compile_filter(nested(65 - taken, last), SCHEMA, 0)
    with pytest.raises(SearchError, match="nested more than 64 deep"):
        compile_filter(nested(100_000, F.depth == 1), SCHEMA, 0)


def test_at_most_so_many_values(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(filter_program, "MOST_PARTS", 10)
    compiled(F.depth.any(range(9)))
    ring = [(0, 0), (0, 1), (1, 1)]
    for one in (
        F.depth.any(range(10)),
        F.species.any([*"abcdefghij"]),
        F.score.any(range(10)),
        has_id(range(10)),
        F.place.polygon(ring, [ring, ring, ring]),
        All((F.flag.missing(),) * 10),
    ):
        with pytest.raises(SearchError, match="more than 10 values and conditions"):
            compile_filter(one, SCHEMA, 0)


RING = [(0.0, 0.0), (0.0, 10.0), (10.0, 10.0)]


@pytest.mark.parametrize(
    "points",
    [
        RING,
        [*RING, RING[0]],
        [(0, 170), (0, -170), (10, 180)],
        [(0, 0), (0, 180), (10, 0)],
        [(0, 0), (1, 1), (0, 0), (1, 1)],
    ],
    ids=["open", "closed", "antimeridian", "half-way-round", "a-line"],
)
def test_polygons_that_are_taken(points: Any) -> None:
    assert compiled(F.place.polygon(points)) == Polygon("place", (tuple(points),))


EVERY_KIND = "allowed: == != any all none (match), missing (is_empty)"


ERRORS: list[tuple[Any, str]] = [
    (F.specis == "a", "no field 'specis'; did you mean 'species'?; fields: 'species', 'flag'"),
    (F.xyzzy < 1, "filter, < <= > >= between (range): no field 'xyzzy'; fields: 'species'"),
    (F.id == 1, "has_id([...])"),
    (Missing(5), "no field 5"),  # type: ignore[arg-type]
    (F.species < "b", f"'species' is of the kind tag, which has no < <= > >= between (range); {EVERY_KIND}"),
    (F.animal >= 1, EVERY_KIND),
    (F.flag < 1, EVERY_KIND),
    (Among("place", (1,)), "allowed: within (geo_radius), box (geo_bounding_box), polygon (geo_polygon), missing"),
    (F.place < 1, "'place' is of the kind geo"),
    (F.depth.within(1, 2, metres=3), "'depth' is of the kind int, which has no within (geo_radius)"),
    (F.depth.box(south=0, west=0, north=0, east=0), "no box (geo_bounding_box)"),
    (F.depth.polygon(RING), "no polygon (geo_polygon)"),
    (F.species == 5, "field 'species': 5 is no str"),
    (F.species == "", "field 'species': an empty string"),
    (F.species == "\ud800", "cannot be written in UTF-8"),
    (F.species.any("a", b"b"), "allowed: texts"),
    (F.flag == 1, "field 'flag': 1 is no bool"),
    (F.flag == "true", "field 'flag': 'true' is no bool"),
    (F.depth == True, "field 'depth': True is a bool"),  # noqa: E712
    (F.depth == "5", "field 'depth': '5' is no int"),
    (F.depth == 2.5, "field 'depth': 2.5 is not a whole number"),
    (F.depth == INT64, "9223372036854775808 does not fit into 64 bits; allowed: whole numbers from -2**63"),
    (F.depth == NAN, "missing()"),
    (F.depth == 10**5000, "an integer of 16610 bits"),
    (F.species == 10**5000, "an integer of 16610 bits"),
    (F.flag == 10**5000, "an integer of 16610 bits"),
    (F.seen == 10**5000, "an integer of 16610 bits"),
    (F.seen < 10**5000, "an integer of 16610 bits"),
    (F.depth < NAN, "'depth', < <= > >= between (range): nan is no number; allowed: numbers, not NaN"),
    (F.depth < "5", "'5' is no number"),
    (F.depth < True, "True is no number"),
    (Range("depth"), "'depth', < <= > >= between (range): no bound; allowed: gt, gte, lt, lte"),
    (F.score < "5", "'5' is no number"),
    (F.score == NAN, "nan is no number"),
    (F.score == "5", "'score', == != any all none (match): '5' is no number"),
    (F.seen < 5, "filter, < <= > >= between (range): field 'seen': 5 is no moment"),
    (F.seen == "soon", "filter, == != any all none (match): field 'seen': 'soon' is no date"),
    (F.seen >= np.datetime64("NaT"), "no moment"),
    (Among("seen", ([1],)), "a list does not fit; allowed: datetimes"),
    (F.place.within(91, 0, metres=1), "'place', within (geo_radius): latitude 91; allowed: degrees from -90 to 90"),
    (F.place.within(0, -181, metres=1), "longitude -181; allowed: degrees from -180 to 180"),
    (F.place.within(0, math.nan, metres=1), "longitude nan"),
    (F.place.within(0, "1", metres=1), "longitude '1'"),  # type: ignore[arg-type]
    (F.place.within(True, 1, metres=1), "latitude True"),
    (F.place.within(0, 0, metres=-1), "metres -1; allowed: a finite number of metres, at least 0"),
    (F.place.within(0, 0, metres=math.inf), "metres inf"),
    (F.place.within(0, 0, metres=math.nan), "metres nan"),
    (F.place.within(0, 0, metres=10**400), "metres an integer of 1329 bits"),
    (F.place.within(0, 0, metres=None), "metres None"),  # type: ignore[arg-type]
    (F.place.box(south=2, west=0, north=1, east=0), "south 2.0 is above north 1.0; allowed: south <= north"),
    (F.place.box(south=-91, west=0, north=1, east=0), "south -91"),
    (F.place.box(south=0, west=0, north=1, east=180.5), "east 180.5"),
    (F.place.polygon(RING[:2]), "'place', polygon (geo_polygon): the ring has 2 places; allowed: at least 3"),
    (F.place.polygon([*RING[:2], RING[0]]), "the ring has 2 places"),
    (F.place.polygon([]), "the ring has 0 places"),
    (F.place.polygon(RING, [RING[:1]]), "hole 1 has 1 places"),
    (F.place.polygon(RING, [[(0, 0), (0, 1), (100, 0)]]), "hole 1, place 2, latitude 100"),
    (F.place.polygon(RING * 3334), "10,002 places in 1 rings; allowed: one ring and its holes, at most 10,000"),
    (Polygon("place", ()), "0 places in 0 rings"),
    (F.place.polygon([(80, 0), (80, 120), (80, -120)]), "the ring goes around a pole"),
    (has_id([1, "a"]), "filter, has_id: ids, row 1: 'a' among integers"),
    (HasId((1.5,)), "filter, has_id: ids, row 0: 1.5"),  # type: ignore[arg-type]
    (has_id([INT64]), "does not fit"),
    (has_id(["a"]), "filter, has_id: strings given; allowed: integers"),
    (AtLeast(1.5, ()), "AtLeast of 1.5"),  # type: ignore[arg-type]
    ("species = a", "'species = a' is no filter; write a condition such as F"),
    (Not(F.depth), "a Field is no filter"),  # type: ignore[arg-type]
    (None, "None is no filter"),
]


@pytest.mark.parametrize(("one", "says"), ERRORS, ids=[f"{at}-{says[:30]}" for at, (_, says) in enumerate(ERRORS)])
def test_errors_name_field_operator_and_what_is_allowed(one: Any, says: str) -> None:
    with pytest.raises(SearchError) as caught:
        compile_filter(one, SCHEMA, 1)
    line = str(caught.value)
    assert says in line and line.startswith("filter") and line.isprintable() and len(line) < 500, line


def test_ids_fit_the_index() -> None:
    for ids, kind in (([1], 0), ([1], 1), (["a"], 2), (["a"], 0), ([], 0), ([], 1), ([], 2)):
        assert compiled(has_id(ids), kind) == HasId(tuple(ids))
    with pytest.raises(SearchError, match="integers given; allowed: strings"):
        compile_filter(has_id([1]), SCHEMA, 2)
