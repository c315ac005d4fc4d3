"""Filters: which rows a search, a count or a deletion means, as a tree of conditions on the rows' fields.

    F.species.any("whale", "seal") & (F.depth < 200) & F.place.within(54.3, 10.1, metres=50_000) & ~has_id([3, 7])

`F.name` is a field, `F["odd name"]` one whose name is no Python word or begins with an underscore. Comparisons of a
field make conditions; `&`, `|` and `~` join them, and since these bind tighter than `<` and `==`, comparisons stand in
brackets. A row without a value in a field fulfils no condition on it but `missing()`, and hence every `~condition`.
A filter knows no schema: names, kinds and values are checked by `compile_filter`.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, NoReturn, Protocol

import numpy as np

from medalist.errors import SearchError
from medalist.search.schema import Schema

Ring = tuple[tuple[float, float], ...]
"""Places (latitude, longitude) of a polygon's border; the last may repeat the first."""

_HINT = "a filter is neither true nor false: join filters by & | ~ with brackets around comparisons"


class Filter:
    """A condition, or some of them joined. Frozen and hashable; equal where it is written the same."""

    __slots__ = ("_compiled",)  # what asking.program made of it last; no part of its value

    def __and__(self, other: object) -> Filter:
        """Rows that both mean; `a & b & c` is one `All` of three."""
        return NotImplemented if not isinstance(other, Filter) else All(_each(All, self) + _each(All, other))

    def __or__(self, other: object) -> Filter:
        """Rows that one of them means; `a | b | c` is one `AnyOf` of three."""
        return NotImplemented if not isinstance(other, Filter) else AnyOf(_each(AnyOf, self) + _each(AnyOf, other))

    def __invert__(self) -> Filter:
        """All other rows, those without a value among them."""
        return self.one if isinstance(self, Not) else Not(self)

    def __bool__(self) -> bool:
        raise TypeError(f"{_HINT}, (F.a == 1) & ~(F.b < 2); for 1 <= F.a <= 2 write F.a.between(1, 2)")


def _each(join: type[All] | type[AnyOf], one: Filter) -> tuple[Filter, ...]:
    return one.each if isinstance(one, join) else (one,)


@dataclass(frozen=True, slots=True)
class All(Filter):
    """Rows that each of them means; of none: all rows."""

    each: tuple[Filter, ...]


@dataclass(frozen=True, slots=True)
class AnyOf(Filter):
    """Rows that at least one of them means; of none: no row."""

    each: tuple[Filter, ...]


@dataclass(frozen=True, slots=True)
class Not(Filter):
    """All rows that `one` does not mean."""

    one: Filter


@dataclass(frozen=True, slots=True)
class AtLeast(Filter):
    """Rows that at least `least` of them mean; 0 or less: all rows."""

    least: int
    each: tuple[Filter, ...]


@dataclass(frozen=True, slots=True)
class Among(Filter):
    """Rows that have at least one of the values; `beyond`: that have at least one value that is none of them.

    For every kind but geo. Datetimes are whatever the index takes as one, texts in ISO form among them.
    """

    field: str
    values: tuple[object, ...]
    beyond: bool = False


@dataclass(frozen=True, slots=True)
class Range(Filter):
    """Rows whose value is above and below all bounds that are given (at least one). For int, float and datetime.

    Compared exactly: an int field may have fractions and infinities as bounds, and integers of any size.
    """

    field: str
    gt: object = None
    gte: object = None
    lt: object = None
    lte: object = None


@dataclass(frozen=True, slots=True)
class Circle(Filter):
    """Rows within `metres` of a place in degrees, the border included."""

    field: str
    latitude: float
    longitude: float
    metres: float


@dataclass(frozen=True, slots=True)
class Box(Filter):
    """Rows between two latitudes and two longitudes, borders included; west > east: across the antimeridian."""

    field: str
    south: float
    west: float
    north: float
    east: float


@dataclass(frozen=True, slots=True)
class Polygon(Filter):
    """Rows inside the first ring or on an edge of any, and not inside the others. Edges go the short way round."""

    field: str
    rings: tuple[Ring, ...]


@dataclass(frozen=True, slots=True)
class HasId(Filter):
    """Rows of these ids: all integers, or all texts."""

    ids: tuple[int | str, ...]


@dataclass(frozen=True, slots=True)
class Missing(Filter):
    """Rows without a value in the field."""

    field: str


class _Comparable(Protocol):
    """What the six signs compare a field with; None is refused."""


class Field:
    """A field by its name; its methods and comparisons make filters. Made by `F`."""

    __slots__ = ("_name",)
    __hash__ = None  # type: ignore[assignment]  # == makes a filter, so a field cannot be looked up

    def __init__(self, name: str):
        self._name = name

    def __repr__(self) -> str:
        return f"F[{self._name!r}]"

    def __eq__(self, value: _Comparable) -> Filter:  # type: ignore[override]
        """Rows that have this value (of several tags: as one of them)."""
        return Among(self._name, (self._value("==", value),))

    def __ne__(self, value: _Comparable) -> Filter:  # type: ignore[override]
        """All other rows: rows without a value match as well."""
        return Not(Among(self._name, (self._value("!=", value),)))

    def __lt__(self, value: _Comparable) -> Filter:
        """Rows below; missing values are not."""
        return Range(self._name, lt=self._value("<", value))

    def __le__(self, value: _Comparable) -> Filter:
        """Rows below, or equal."""
        return Range(self._name, lte=self._value("<=", value))

    def __gt__(self, value: _Comparable) -> Filter:
        """Rows above; missing values are not."""
        return Range(self._name, gt=self._value(">", value))

    def __ge__(self, value: _Comparable) -> Filter:
        """Rows above, or equal."""
        return Range(self._name, gte=self._value(">=", value))

    def between(self, low: _Comparable, high: _Comparable) -> Filter:
        """Rows from `low` to `high`, both included; no row where low > high."""
        return Range(self._name, gte=self._value("between", low), lte=self._value("between", high))

    def any(self, *values: Any) -> Filter:
        """Rows that have at least one of the values, given one by one or as one list, set or array."""
        return Among(self._name, self._values("any", values))

    def all(self, *values: Any) -> Filter:
        """Rows that have every one of the values (of several tags)."""
        return All(tuple(Among(self._name, (value,)) for value in self._values("all", values)))

    def none(self, *values: Any) -> Filter:
        """Rows that have none of the values: rows without a value match as well."""
        return Not(Among(self._name, self._values("none", values)))

    def within(self, latitude: float, longitude: float, *, metres: float) -> Filter:
        """Rows within `metres` of a place (degrees), the border included."""
        return Circle(self._name, *_plain_numbers(latitude, longitude, metres))

    def box(self, *, south: float, west: float, north: float, east: float) -> Filter:
        """Rows in a box of degrees, borders included; west > east: across the antimeridian."""
        return Box(self._name, *_plain_numbers(south, west, north, east))

    def polygon(self, points: Iterable[Sequence[float]], holes: Iterable[Iterable[Sequence[float]]] = ()) -> Filter:
        """Rows inside a ring of at least 3 places (latitude, longitude) and in none of the holes; on edges is inside.

        A ring may be closed or not, and may cross the antimeridian; one that goes around a pole is refused later.
        """
        return Polygon(self._name, (self._ring(points), *(self._ring(hole) for hole in holes)))

    def missing(self) -> Filter:
        """Rows without a value."""
        return Missing(self._name)

    def _value(self, operator: str, value: object) -> object:
        """One value, a NumPy scalar as Python's own, so that it can be hashed and written as JSON."""
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
        raise TypeError(f"{self!r} alone is no filter; {_HINT}, as (F.a == 1) & (F.b < 2)")

    __and__ = __rand__ = __or__ = __ror__ = __invert__ = __bool__ = __contains__ = _misused


def _plain(value: Any) -> Any:
    """A NumPy scalar as Python's own; datetime64 stays, which has a wider range than Python's datetime."""
    return value.item() if isinstance(value, np.generic) and value.dtype.kind not in "mM" else value


def _plain_numbers(*values: float) -> tuple[float, ...]:
    return tuple(_plain(value) for value in values)


class _Fields:
    """`F.name` and `F["any name"]`."""

    __slots__ = ()
    __iter__ = None  # so that `in` and loops fail instead of asking for field 0, 1, 2, ...

    def __getattr__(self, name: str) -> Field:
        if name.startswith("_"):  # what copy, pickle and notebooks ask every object for
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
    """Rows of these ids: a list or an array, all integers or all texts."""
    if isinstance(ids, str | bytes) or not isinstance(ids, Iterable):
        raise SearchError(f"filter: has_id of {type(ids).__name__}; expected a list or an array of ids: has_id([3, 7])")
    return HasId(tuple(_plain(value) for value in (ids.tolist() if isinstance(ids, np.ndarray) else ids)))


def compile_filter(filter: Filter, schema: Schema, id_kind: int) -> bytes:
    """Check every condition against the schema and give the program that the core runs (`src/ann/filter.hpp`).

    `id_kind` is that of the index: 0 row numbers, 1 integers, 2 texts. SearchError, in one line that names the field,
    the operator and what is allowed, for unknown fields, operators that the field's kind does not have, values of
    another type, NaN, places that are none, nesting of more than 64 and more than 1,000,000 values and conditions.
    """
    from medalist.search.filter_program import program_of  # which needs the classes above

    return program_of(filter, schema, id_kind)
