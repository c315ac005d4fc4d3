"""Strategies of Hypothesis for schemas, rows of fields, filters and whole cases, to check the index by its twin.

    from .filter_cases import cases

Values are few, so that filters meet rows, and awkward: ends of int64, neighbours that a float64 does not tell apart,
years 1 and 9999, poles, the antimeridian by both of its names, texts beyond ASCII. All places are multiples of 1/4
degree: borders of boxes and edges of polygons are met exactly. Of circles see CIRCLES.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
from hypothesis import strategies as st
from numpy.typing import NDArray

from medalist.search.filters import (
    All,
    Among,
    AnyOf,
    AtLeast,
    Box,
    Circle,
    Filter,
    HasId,
    Missing,
    Not,
    Polygon,
    Range,
)
from medalist.search.schema import KINDS, FieldKind

BIG = 2**53
TEXTS = ("a", "b", "c", "B", "é", "\N{WHALE}", "a b", "\0", "x" * 300)
WHOLES = (0, 1, -1, 2, 3, 7, BIG, BIG + 1, -BIG - 1, 2**63 - 1, -(2**63))
REALS = (0.0, 0.5, -0.5, 1.0, 2.0, 1e-300, -1e300, 1e300, float(BIG), 5e-324, float("inf"), float("-inf"))
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
MOMENTS = (
    EPOCH,
    EPOCH - timedelta(microseconds=1),
    datetime(2026, 1, 31, tzinfo=UTC),
    datetime(2026, 1, 31, 10, 0, 0, 1, tzinfo=UTC),
    datetime(1, 1, 1, tzinfo=UTC),
    datetime(9999, 12, 31, 23, 59, 59, 999_999, tzinfo=UTC),
)
LATITUDES = (-90.0, -89.75, -45.0, -0.25, 0.0, 0.25, 10.0, 45.0, 54.25, 89.75, 90.0)
LONGITUDES = (-180.0, -179.75, -170.0, -90.0, -0.25, 0.0, 0.25, 10.0, 90.0, 170.0, 179.75, 180.0)
NAMES = ("a", "b", "c", "odd name", "ß", "ID")
CIRCLES = (0.0, 1.0, 30_000.0, 1_234_567.0, 9_876_543.0, 19_900_000.0, 3e7, 1e300)
"""Radii in metres, of which no border lies within a millimetre of places above, but 0, which is exact."""

places = st.tuples(st.sampled_from(LATITUDES), st.sampled_from(LONGITUDES))
nearby = st.tuples(st.integers(-8, 8).map(lambda n: n / 4), st.integers(-8, 8).map(lambda n: 180 + n / 4)).map(
    lambda place: (place[0], place[1] - 360 if place[1] > 180 else place[1])
)
"""Places by the antimeridian at the equator, close enough to lie in one polygon's reach."""


def schemas() -> st.SearchStrategy[dict[str, FieldKind]]:
    """Up to five fields of any kinds; none as well."""
    return st.dictionaries(st.sampled_from(NAMES), st.sampled_from(KINDS), max_size=5)


def every_kind() -> dict[str, FieldKind]:
    """One field of each kind, called by it."""
    return {f"a {kind}": kind for kind in KINDS}


def values(kind: FieldKind) -> st.SearchStrategy[Any]:
    """A value of a row, not missing."""
    strategies: dict[str, st.SearchStrategy[Any]] = {
        "tag": st.lists(st.sampled_from(TEXTS), min_size=1, max_size=3) | st.sampled_from(TEXTS),
        "id": st.sampled_from(TEXTS),
        "bool": st.booleans(),
        "int": st.sampled_from(WHOLES),
        "float": st.sampled_from(REALS) | st.just(-0.0),
        "datetime": st.sampled_from(MOMENTS),
        "geo": places | nearby,
    }
    return strategies[kind]


def missing(kind: FieldKind) -> st.SearchStrategy[Any]:
    """A value that means none."""
    ways: dict[str, list[Any]] = {"tag": [None, []], "float": [None, float("nan")]}
    return st.sampled_from(ways.get(kind, [None]))


def rows(schema: Mapping[str, FieldKind], n: int) -> st.SearchStrategy[list[dict[str, Any]]]:
    """n rows, in which fields are there, missing, or not mentioned."""
    cells = {name: values(kind) | values(kind) | missing(kind) for name, kind in schema.items()}
    return st.lists(st.fixed_dictionaries({}, optional=cells), min_size=n, max_size=n)


def rings() -> st.SearchStrategy[tuple[tuple[float, float], ...]]:
    """A ring that goes around no pole: any corners within 180 degrees of longitude, crossing itself or not."""

    def ring(told: tuple[list[tuple[float, int]], float, bool]) -> tuple[tuple[float, float], ...]:
        corners, west, closed = told
        found = [(latitude, (west + step / 4 + 180) % 360 - 180) for latitude, step in corners]
        return (*found, found[0]) if closed else tuple(found)

    steps = st.integers(0, 12) | st.integers(0, 719)
    corners = st.tuples(st.sampled_from(LATITUDES) | st.integers(-8, 8).map(lambda n: n / 4), steps)
    told = st.lists(corners, min_size=3, max_size=6, unique=True).filter(lambda each: each[0] != each[-1])
    return st.tuples(told, st.sampled_from((-180.0, -179.0, 178.5, 0.0, -2.0, 90.0)), st.booleans()).map(ring)


def boxes(field: str) -> st.SearchStrategy[Filter]:
    """Boxes, also across the antimeridian, without area, or of the whole earth."""
    sides = st.tuples(places | nearby, places | nearby)
    drawn = sides.map(
        lambda two: Box(field, min(two[0][0], two[1][0]), two[0][1], max(two[0][0], two[1][0]), two[1][1])
    )
    return drawn | st.just(Box(field, -90.0, -180.0, 90.0, 180.0))


def conditions(field: str, kind: FieldKind) -> st.SearchStrategy[Filter]:
    """A condition on a field, of any sort that its kind has."""
    if kind == "geo":
        circles = st.tuples(places | nearby, st.sampled_from(CIRCLES)).map(
            lambda told: Circle(field, *told[0], told[1])
        )
        polygons = st.lists(rings(), min_size=1, max_size=3).map(lambda each: Polygon(field, tuple(each)))
        return st.one_of(circles, boxes(field), polygons, st.just(Missing(field)))
    one = st.sampled_from({"tag": TEXTS, "id": TEXTS, "int": WHOLES, "float": REALS, "datetime": MOMENTS}.get(kind, ()))
    one = st.booleans() if kind == "bool" else one | st.just("nobody") if kind in ("tag", "id") else one
    among = st.builds(Among, st.just(field), st.lists(one, max_size=4).map(tuple), st.booleans())
    if kind in ("tag", "id", "bool"):
        return among | st.just(Missing(field))
    bound = one | st.sampled_from((0.5, -1.5, 2**63, -(2**70), BIG + 0.0)) if kind != "datetime" else one
    names = st.lists(st.sampled_from(("gt", "gte", "lt", "lte")), min_size=1, max_size=3, unique=True)
    ranges = st.tuples(names, bound, bound, bound).map(
        lambda told: Range(field, **dict(zip(told[0], told[1:], strict=False)))
    )
    return st.one_of(among, ranges, ranges, st.just(Missing(field)))


def has_ids(ids: Sequence[int | str]) -> st.SearchStrategy[Filter]:
    """Some of these ids, and one that nobody has."""
    nobody: int | str = "nobody" if ids and isinstance(ids[0], str) else -77
    return st.lists(st.sampled_from([*ids, nobody]), max_size=4).map(lambda each: HasId(tuple(each)))


def filters(schema: Mapping[str, FieldKind], ids: Sequence[int | str] = ()) -> st.SearchStrategy[Filter]:
    """Any filter on these fields and ids; everything and nothing among them."""
    leaves = [conditions(name, kind) for name, kind in schema.items()]
    everything: list[Filter] = [All(()), AnyOf(()), AtLeast(0, ()), AtLeast(1, ())]
    leaf = st.one_of(*leaves, *leaves, has_ids(ids), st.sampled_from(everything))

    def joined(inner: st.SearchStrategy[Filter]) -> st.SearchStrategy[Filter]:
        each = st.lists(inner, max_size=3).map(tuple)
        return st.one_of(
            inner.map(Not), each.map(All), each.map(AnyOf), st.builds(AtLeast, st.integers(-1, 4), each)
        )  # fmt: skip

    return st.recursive(leaf, joined, max_leaves=6)


@dataclass(frozen=True)
class Case:
    """Rows with ids and vectors float32[n, dim], queries float32[q, dim], a filter for each query, and k."""

    metric: Any
    schema: dict[str, FieldKind]
    ids: list[int] | list[str] | None
    rows: list[dict[str, Any]]
    vectors: NDArray[np.float32]
    queries: NDArray[np.float32]
    filters: list[Filter]
    k: int


@st.composite
def cases(draw: st.DrawFn, most: int = 24, queries: int = 3) -> Case:
    """Rows of a schema with small whole vectors, among which are ties, and questions; k may be above all matches."""
    schema = draw(schemas() | st.just(every_kind()))
    n = draw(st.sampled_from((0, 1, 2, most)) | st.integers(0, most))
    naming = draw(st.sampled_from(("rows", "integers", "strings")))
    ids: list[int] | list[str] | None = None
    if naming == "integers":
        ids = draw(
            st.lists(st.integers(-3, 3 * most) | st.integers(-(2**63), 2**63 - 1), min_size=n, max_size=n, unique=True)
        )
    elif naming == "strings":
        ids = draw(
            st.lists(
                st.sampled_from([f"n{i}" for i in range(2 * most)]) | st.just("é"), min_size=n, max_size=n, unique=True
            )
        )
    told = draw(rows(schema, n))
    rng = np.random.default_rng(draw(st.integers(0, 2**16)))
    dim = draw(st.sampled_from((1, 3, 16, 33)))
    vectors = rng.integers(-2, 3, (n, dim)).astype(np.float32)
    asked = rng.integers(-2, 3, (queries, dim)).astype(np.float32)
    for matrix in (vectors, asked):
        matrix[~matrix.any(axis=1), 0] = 1.0  # no zero vectors: cosine refuses them
    names: Sequence[int | str] = range(n) if ids is None else ids
    each = draw(st.lists(filters(schema, names), min_size=queries, max_size=queries))
    k = draw(st.sampled_from((0, 1, 2, 5, most + 9)))
    return Case(draw(st.sampled_from(("cosine", "ip", "l2"))), schema, ids, told, vectors, asked, each, k)
