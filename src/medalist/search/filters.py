"""Filters: a tree of conditions on the fields of rows. Searches, counts and deletions use it to choose rows.

    F.species.any("whale", "seal") & (F.depth < 200) & F.place.within(54.3, 10.1, metres=50_000) & ~has_id([3, 7])

`F.name` is a field. `F["odd name"]` is a field whose name is no Python identifier or begins with an underscore.
Comparisons of a field make conditions; `&`, `|` and `~` join them. These operators bind tighter than `<` and `==`, so
comparisons need parentheses. A row without a value in a field matches no condition on this field except `missing()`;
therefore it matches every `~condition`. A filter does not know the schema: names, kinds and values are checked by
`compile_filter`.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, NoReturn, Protocol

import numpy as np

from medalist.errors import SearchError
from medalist.search.schema import Schema

Ring = tuple[tuple[float, float], ...]
"""The corners (latitude, longitude) of a polygon's border in degrees; the last may repeat the first."""

_HINT = "a filter is neither true nor false: join filters by & | ~ with brackets around comparisons"


class Filter:
    """A condition, or several joined conditions. Frozen and hashable; two filters written the same are equal."""

    __slots__ = ("_compiled",)  # the program that asking.program made last: a cache, not part of the value

    def __and__(self, other: object) -> Filter:
        """Match rows that both filters match; `a & b & c` is one `All` of three."""
        return NotImplemented if not isinstance(other, Filter) else All(_each(All, self) + _each(All, other))

    def __or__(self, other: object) -> Filter:
        """Match rows that at least one of the two filters matches; `a | b | c` is one `AnyOf` of three."""
        return NotImplemented if not isinstance(other, Filter) else AnyOf(_each(AnyOf, self) + _each(AnyOf, other))

    def __invert__(self) -> Filter:
        """Match all other rows; rows without a value in its field are among them."""
        return self.one if isinstance(self, Not) else Not(self)

    def __bool__(self) -> bool:
        raise TypeError(f"{_HINT}, (F.a == 1) & ~(F.b < 2); for 1 <= F.a <= 2 write F.a.between(1, 2)")


def _each(join: type[All] | type[AnyOf], one: Filter) -> tuple[Filter, ...]:
    return one.each if isinstance(one, join) else (one,)


@dataclass(frozen=True, slots=True)
class All(Filter):
    """Rows that match every filter in `each`; all rows where `each` is empty."""

    each: tuple[Filter, ...]


@dataclass(frozen=True, slots=True)
class AnyOf(Filter):
    """Rows that match at least one filter in `each`; no row where `each` is empty."""

    each: tuple[Filter, ...]


@dataclass(frozen=True, slots=True)
class Not(Filter):
    """All rows that do not match the filter `one`."""

    one: Filter


@dataclass(frozen=True, slots=True)
class AtLeast(Filter):
    """Rows that match at least `least` filters in `each`; all rows where `least` is 0 or less."""

    least: int
    each: tuple[Filter, ...]


@dataclass(frozen=True, slots=True)
class Among(Filter):
    """Rows that have at least one of the values; with `beyond`, rows that have at least one value besides them.

    For every kind of field except geo. A datetime may be given in every form that the index accepts, also as ISO text.
    """

    field: str
    values: tuple[object, ...]
    beyond: bool = False


@dataclass(frozen=True, slots=True)
class Range(Filter):
    """Rows whose value is within all given bounds; at least one is given. For int, float and datetime fields.

    Numbers are compared exactly: the bounds of an int field may be fractions, infinities and integers of any size.
    """

    field: str
    gt: object = None
    gte: object = None
    lt: object = None
    lte: object = None


@dataclass(frozen=True, slots=True)
class Circle(Filter):
    """Rows within `metres` of a place (latitude, longitude in degrees); the border is included."""

    field: str
    latitude: float
    longitude: float
    metres: float


@dataclass(frozen=True, slots=True)
class Box(Filter):
    """Rows between two latitudes and two longitudes in degrees, borders included.

    Where west > east, the box crosses the antimeridian.
    """

    field: str
    south: float
    west: float
    north: float
    east: float


@dataclass(frozen=True, slots=True)
class Polygon(Filter):
    """Rows inside the first ring and not inside the other rings, which are holes; rows on an edge of any ring match.

    Each edge takes the shorter way around the earth.
    """

    field: str
    rings: tuple[Ring, ...]


@dataclass(frozen=True, slots=True)
class HasId(Filter):
    """Rows that have one of these ids: all integers, or all texts."""

    ids: tuple[int | str, ...]


@dataclass(frozen=True, slots=True)
class Missing(Filter):
    """Rows without a value in the field."""

    field: str


class _Comparable(Protocol):
    """The type of a value that the six comparison operators take; they refuse None."""


class Field:
    """A field, known by its name only. Its methods and comparisons return filters. `F` makes it."""

    __slots__ = ("_name",)
    __hash__ = None  # type: ignore[assignment]  # == returns a filter, so a field cannot be a key of a dict

    def __init__(self, name: str):
        self._name = name

    def __repr__(self) -> str:
        return f"F[{self._name!r}]"

    def __eq__(self, value: _Comparable) -> Filter:  # type: ignore[override]
        """Match rows that have this value; a row with several tags must have it among them."""
        return Among(self._name, (self._value("==", value),))

    def __ne__(self, value: _Comparable) -> Filter:  # type: ignore[override]
        """Match rows that do not have this value; rows without any value match too."""
        return Not(Among(self._name, (self._value("!=", value),)))

    def __lt__(self, value: _Comparable) -> Filter:
        """Match rows whose value is below this one; rows without a value do not match."""
        return Range(self._name, lt=self._value("<", value))

    def __le__(self, value: _Comparable) -> Filter:
        """Match rows whose value is below or equal to this one."""
        return Range(self._name, lte=self._value("<=", value))

    def __gt__(self, value: _Comparable) -> Filter:
        """Match rows whose value is above this one; rows without a value do not match."""
        return Range(self._name, gt=self._value(">", value))

    def __ge__(self, value: _Comparable) -> Filter:
        """Match rows whose value is above or equal to this one."""
        return Range(self._name, gte=self._value(">=", value))

    def between(self, low: _Comparable, high: _Comparable) -> Filter:
        """Match rows whose value is from `low` to `high`, both included; no row where low > high."""
        return Range(self._name, gte=self._value("between", low), lte=self._value("between", high))

    def any(self, *values: Any) -> Filter:
        """Match rows with at least one of the values. Give them as single arguments, or as one list, set or array."""
        return Among(self._name, self._values("any", values))

    def all(self, *values: Any) -> Filter:
        """Match rows that have all of the values; useful for tags, of which a row can have several."""
        return All(tuple(Among(self._name, (value,)) for value in self._values("all", values)))

    def none(self, *values: Any) -> Filter:
        """Match rows that have none of the values; rows without any value match too."""
        return Not(Among(self._name, self._values("none", values)))

    def within(self, latitude: float, longitude: float, *, metres: float) -> Filter:
        """Match rows within `metres` of a place (latitude, longitude in degrees); the border is included."""
        return Circle(self._name, *_plain_numbers(latitude, longitude, metres))

    def box(self, *, south: float, west: float, north: float, east: float) -> Filter:
        """Match rows in a box, in degrees, borders included. Where west > east, the box crosses the antimeridian."""
        return Box(self._name, *_plain_numbers(south, west, north, east))

    def polygon(self, points: Iterable[Sequence[float]], holes: Iterable[Iterable[Sequence[float]]] = ()) -> Filter:
        """Match rows inside a ring of at least 3 corners (latitude, longitude) and in none of the holes.

        Edges count as inside. The last corner of a ring may repeat the first. A ring may cross the antimeridian. A ring
        that goes around a pole is refused by `compile_filter`.
        """
        return Polygon(self._name, (self._ring(points), *(self._ring(hole) for hole in holes)))

    def missing(self) -> Filter:
        """Match rows without a value in this field."""
        return Missing(self._name)

    def _value(self, operator: str, value: object) -> object:
        """Check one value. A NumPy scalar becomes a Python value, so that it can be hashed and written as JSON."""
        if value is None:
            raise SearchError(f"filter: {self!r} {operator} None; rows without a value: {self!r}.missing()")
        if isinstance(value, Field):
            raise SearchError(f"filter: {self!r} {operator} {value!r}: fields are compared with values alone")
        if isinstance(value, list | tuple | set | frozenset | dict | np.ndarray):
            kind = type(value).__name__
            raise SearchError(f"filter: {self!r} {operator} a {kind}; one of several values: {self!r}.any(...)")
        return _plain(value)

    def _values(self, operator: str, values: tuple[Any, ...]) -> tuple[object, ...]:
        if len(values) == 1 and isinstance(values[0], list | tuple | set | frozenset | range | np.ndarray):
            given = values[0]
            if not isinstance(given, np.ndarray):
                values = tuple(given)
            elif given.ndim != 1:
                raise SearchError(f"filter: {self!r}.{operator} of an array of shape {list(given.shape)}, expected [n]")
            else:
                values = tuple(given if given.dtype.kind in "mM" else given.tolist())
        return tuple(self._value(operator, value) for value in values)

    def _ring(self, points: Iterable[Sequence[float]]) -> Ring:
        try:
            pairs = [tuple(point) for point in points]
        except TypeError:
            pairs = [()]
        if any(len(pair) != 2 for pair in pairs):
            raise SearchError(f"filter: {self!r}.polygon: expected places (latitude, longitude): [(54.3, 10.1), ...]")
        return tuple((_plain(latitude), _plain(longitude)) for latitude, longitude in pairs)

    def _misused(self, _other: object = None) -> NoReturn:
        raise TypeError(f"{self!r} alone is no filter; {_HINT}, such as (F.a == 1) & (F.b < 2)")

    __and__ = __rand__ = __or__ = __ror__ = __invert__ = __bool__ = __contains__ = _misused


def _plain(value: Any) -> Any:
    """A NumPy scalar as a Python value; datetime64 stays, because its range is wider than that of Python's datetime."""
    return value.item() if isinstance(value, np.generic) and value.dtype.kind not in "mM" else value


def _plain_numbers(*values: float) -> tuple[float, ...]:
    return tuple(_plain(value) for value in values)


class _Fields:
    """The type of `F`: `F.name` and `F["any name"]` return a Field."""

    __slots__ = ()
    __iter__ = None  # without this, `in` and loops would ask for the fields 0, 1, 2, ... instead of failing

    def __getattr__(self, name: str) -> Field:
        if name.startswith("_"):  # copy, pickle and notebooks ask every object for such attributes
            raise AttributeError(f'F.{name}: fields that begin with an underscore are written F["{name}"]')
        return Field(name)

    def __getitem__(self, name: str) -> Field:
        if not isinstance(name, str):
            raise TypeError(f"F[...]: the name of a field is a text, not {type(name).__name__}")
        return Field(name)

    def __repr__(self) -> str:
        return "F"


F = _Fields()
"""The fields: `F.depth < 200`, `F["odd name"] == "x"`."""


def has_id(ids: Iterable[int | str]) -> Filter:
    """Return the filter of rows that have one of these ids: a list or an array, all integers or all texts."""
    if isinstance(ids, str | bytes) or not isinstance(ids, Iterable):
        raise SearchError(f"filter: has_id of {type(ids).__name__}; expected a list or an array of ids: has_id([3, 7])")
    return HasId(tuple(_plain(value) for value in (ids.tolist() if isinstance(ids, np.ndarray) else ids)))


def compile_filter(filter: Filter, schema: Schema, id_kind: int) -> bytes:
    """Check every condition against the schema and return the program that the core runs (`src/ann/filter.hpp`).

    `id_kind` is the kind of the index's ids: 0 row numbers, 1 integers, 2 texts. Raises SearchError for unknown fields,
    operators that the field's kind does not have, values of another type, NaN, places that are not valid, more than 64
    levels of nesting, and more than 1,000,000 values and conditions. The error names in one line the field, the
    operator and what is allowed.
    """
    from medalist.search.filter_program import program_of  # imported here: it imports the classes above

    return program_of(filter, schema, id_kind)
