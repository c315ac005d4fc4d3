"""Filters as JSON. The language is a subset of the filter language of Qdrant, with the same meaning.

See the page "Filtering" in the documentation of Qdrant. An example:

    {"must": [{"key": "species", "match": {"any": ["whale", "seal"]}}, {"key": "depth", "range": {"lt": 200}}],
     "must_not": [{"has_id": [3, 7]}]}

A filter has the clauses `must`, `should`, `must_not`, each with a condition or a list of conditions, and `min_should`
({"conditions": [...], "min_count": n}). A row must match every clause. A filter without clauses matches all rows, and
an empty `should` has no effect. A condition is another filter, or one of

    {"key": field, "match": {"value": v} | {"any": [...]} | {"except": [...]}}      texts, integers; value: true, false
    {"key": field, "range": {"gt", "gte", "lt", "lte"}}                             numbers, or RFC 3339 datetimes
    {"key": field, "geo_radius": {"center": {"lat", "lon"}, "radius": metres}}
    {"key": field, "geo_bounding_box": {"top_left": {"lat", "lon"}, "bottom_right": {"lat", "lon"}}}
    {"key": field, "geo_polygon": {"exterior": {"points": [...]}, "interiors": [{"points": [...]}, ...]}}
    {"is_empty": {"key": field}}, {"is_null": {"key": field}}, {"key": field, "is_empty": true | false}
    {"has_id": [...]}

`except` matches rows that have a value which is none of these. `is_null` matches the same rows as `is_empty`, those
without a value, because our index has no separate null value. A key whose value is null is ignored. The borders of
regions count as inside. Texts that a datetime field is compared with are read as datetimes. Everything else is refused.
"""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

from medalist.errors import SearchError
from medalist.search.filter_as_json import to_json
from medalist.search.filter_values import shown
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
    Ring,
)
from medalist.search.schema import as_micros

__all__ = ["from_json", "to_json"]

MOST_LETTERS = 64_000_000
MOST_NESTED = 64
_CLAUSES = ("must", "should", "min_should", "must_not")
_BOUNDS = ("gt", "gte", "lt", "lte")
_DATES = "an RFC 3339 datetime such as 2026-01-31T12:00:00Z"
_MOST = sys.float_info.max
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def from_json(text: str | dict[str, Any]) -> Filter:
    """Return the filter that is written as JSON: as text, or as the dict that `json.loads` makes of it.

    Raises SearchError for everything that is not in the language above: other keys and types, repeated keys, NaN,
    numbers that no float64 can hold, more than 64 levels of nesting. The error names in one line the place
    (must[1].range.gte), the operator and what is allowed. The names of fields, and whether a value fits its field, are
    checked by `compile_filter`.
    """
    return _filter(_parsed(text) if isinstance(text, str) else text, "", 1)


class _Twice(dict[str, Any]):
    """A JSON object that has one of its keys twice; `key` is that key."""

    key: str


def _parsed(text: str) -> Any:
    if len(text) > MOST_LETTERS:
        raise SearchError(f"filter: {len(text):,} letters of JSON, more than {MOST_LETTERS:,}")
    try:
        return json.loads(text, object_pairs_hook=_object_of, parse_int=_integer)
    except json.JSONDecodeError as problem:
        raise SearchError(
            f"filter: no JSON: {problem.msg}, line {problem.lineno}, column {problem.colno}; "
            'expected a filter such as {"must": [{"key": "depth", "range": {"lt": 200}}]}'
        ) from None
    except RecursionError:
        raise SearchError(f"filter: JSON nested more than {MOST_NESTED} deep") from None


def _object_of(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) == len(pairs):
        return found
    marked = _Twice(found)
    seen: set[str] = set()
    marked.key = next(key for key, _ in pairs if key in seen or seen.add(key))  # type: ignore[func-returns-value]
    return marked


def _integer(digits: str) -> int | float:
    """Read an integer. One of more than 310 letters becomes infinity, which is refused later.

    Python refuses to read very long integers, and no field can hold one.
    """
    return int(digits) if len(digits) <= 310 else math.inf


def _fault(path: str, what: str, allowed: str) -> SearchError:
    place = path if len(path) <= 160 else f"{path[:40]}...{path[-100:]}"
    return SearchError(f"filter{', ' * bool(place)}{' '.join(place.split())}: {what}; allowed: {allowed}")


def _joined(path: str, key: str) -> str:
    return f"{path}.{key}" if path else key


def _object(value: Any, path: str, allowed: tuple[str, ...], needed: tuple[str, ...] = ()) -> dict[str, Any]:
    """Check that a value is an object with allowed keys only, and return it without keys whose value is null."""
    if not isinstance(value, dict):
        raise _fault(path, f"{shown(value)} is no object", f"an object of {', '.join(allowed)}")
    if isinstance(value, _Twice):
        raise _fault(path, f"the key {shown(value.key)} is there twice", "each key once")
    for key in value:
        if key not in allowed:
            raise _fault(path, f"unknown key {shown(key)}", ", ".join(allowed))
    found = {key: one for key, one in value.items() if one is not None}
    for key in needed:
        if key not in found:
            raise _fault(path, f"no {key}", f"an object of {', '.join(allowed)}")
    return found


def _list(value: Any, path: str, of: str) -> list[Any]:
    if not isinstance(value, list | tuple):
        raise _fault(path, f"{shown(value)} is no list", f"a list of {of}")
    return list(value)


def _filter(value: Any, path: str, depth: int) -> Filter:
    if depth > MOST_NESTED:
        raise _fault(path, f"nested more than {MOST_NESTED} deep", f"{MOST_NESTED} levels of filters")
    if not path and isinstance(value, dict) and ("key" in value or _OTHERS.keys() & value.keys()):
        raise _fault(path, "a condition outside of a clause", 'clauses of conditions, such as {"must": [...]}')
    clauses = _object(value, path, _CLAUSES)
    parts = _conditions(clauses.get("must", []), _joined(path, "must"), depth)
    should = _conditions(clauses.get("should", []), _joined(path, "should"), depth)
    if should:
        parts.append(AnyOf(tuple(should)))
    if "min_should" in clauses:
        at = _joined(path, "min_should")
        inner = _object(clauses["min_should"], at, ("conditions", "min_count"), ("conditions", "min_count"))
        least = inner["min_count"]
        if type(least) is not int or least < 1:
            raise _fault(_joined(at, "min_count"), shown(least), "a whole number, at least 1")
        conditions = _list(inner["conditions"], _joined(at, "conditions"), "conditions")
        parts.append(AtLeast(least, tuple(_conditions(conditions, _joined(at, "conditions"), depth))))
    parts += map(Not, _conditions(clauses.get("must_not", []), _joined(path, "must_not"), depth))
    return parts[0] if len(parts) == 1 else All(tuple(parts))


def _conditions(value: Any, path: str, depth: int) -> list[Filter]:
    if isinstance(value, dict):
        return [_condition(value, path, depth + 1)]
    return [
        _condition(one, f"{path}[{at}]", depth + 1)
        for at, one in enumerate(_list(value, path, "conditions, or one condition"))
    ]


def _condition(value: Any, path: str, depth: int) -> Filter:
    if isinstance(value, dict) and "key" in value:
        return _field_condition(value, path)
    if isinstance(value, dict):
        for name, read in _OTHERS.items():
            if name in value:
                return read(_object(value, path, (name,), (name,))[name], _joined(path, name))
        if value and not any(clause in value for clause in _CLAUSES):
            allowed = ", ".join((*_OTHERS, *_CLAUSES))
            raise _fault(
                path, f"unknown key {shown(next(iter(value)))}", f"key with {', '.join(_OPERATORS)}; {allowed}"
            )
    return _filter(value, path, depth)


def _field_condition(value: dict[str, Any], path: str) -> Filter:
    found = _object(value, path, ("key", *_OPERATORS), ("key",))
    field = _key(found.pop("key"), path)
    if len(found) != 1:
        what = f"{len(found)} operators ({', '.join(found)})" if found else "no operator"
        raise _fault(path, what, f"exactly one of {', '.join(_OPERATORS)} beside key")
    ((operator, argument),) = found.items()
    return _OPERATORS[operator](field, argument, _joined(path, operator))


def _key(value: Any, path: str) -> str:
    if not isinstance(value, str):
        raise _fault(_joined(path, "key"), shown(value), "the name of a field, a text")
    return value


def _missing(value: Any, path: str) -> Filter:
    return Missing(_key(_object(value, path, ("key",), ("key",))["key"], path))


def _is_missing(field: str, value: Any, path: str) -> Filter:
    if not isinstance(value, bool):
        raise _fault(path, shown(value), "true or false")
    return Missing(field) if value else Not(Missing(field))


def _has_id(value: Any, path: str) -> Filter:
    ids = _list(value, path, "ids: integers, or texts")
    for at, one in enumerate(ids):
        if type(one) not in (int, str) or (isinstance(one, int) and not -(2**63) <= one < 2**63):
            raise _fault(f"{path}[{at}]", f"{shown(one)} is no id", "integers of 64 bits, or texts")
    return HasId(tuple(ids))


def _match(field: str, value: Any, path: str) -> Filter:
    found = _object(value, path, ("value", "any", "except"))
    if len(found) != 1:
        what = f"{len(found)} of them ({', '.join(found)})" if found else "empty"
        raise _fault(path, what, "exactly one of value, any, except")
    ((operator, argument),) = found.items()
    path = _joined(path, operator)
    if operator == "value":
        _check_matched(argument, path, (str, int, bool), "a text, an integer, true or false")
        return Among(field, (argument,))
    values = tuple(_list(argument, path, "texts, or of integers"))
    kind = str if values and isinstance(values[0], str) else int
    for at, one in enumerate(values):
        _check_matched(one, f"{path}[{at}]", (kind,), "texts alone, or integers alone")
    return Among(field, values, beyond=operator == "except")


def _check_matched(value: Any, path: str, types: tuple[type, ...], allowed: str) -> None:
    if type(value) not in types or (isinstance(value, int) and not -(2**63) <= value < 2**63):
        raise _fault(path, shown(value), f"{allowed}; integers of 64 bits; numbers with a fraction: range")


def _range(field: str, value: Any, path: str) -> Filter:
    found = _object(value, path, _BOUNDS)
    if not found:
        raise _fault(path, "no bound", f"at least one of {', '.join(_BOUNDS)}")
    bounds = {name: _bound(field, bound, _joined(path, name)) for name, bound in found.items()}
    if len({isinstance(bound, datetime) for bound in bounds.values()}) > 1:
        raise _fault(path, "numbers and datetimes", "bounds of one sort")
    return Range(field, **bounds)


def _bound(field: str, value: Any, path: str) -> int | float | datetime:
    if isinstance(value, str | datetime):
        try:
            return _EPOCH + timedelta(microseconds=as_micros(value, field))
        except SearchError:
            raise _fault(path, f"{shown(value)} is no datetime", f"a number, or {_DATES}") from None
    return _number(value, path, f"a finite number, or {_DATES}", -_MOST, _MOST)


def _number(value: Any, path: str, allowed: str, least: float, most: float) -> int | float:
    if type(value) not in (int, float) or not least <= value <= most:
        raise _fault(path, shown(value), allowed)
    number: int | float = value
    return number


def _place(value: Any, path: str) -> tuple[float, float]:
    found = _object(value, path, ("lat", "lon"), ("lat", "lon"))
    latitude = _number(found["lat"], _joined(path, "lat"), "degrees from -90 to 90", -90, 90)
    return latitude, _number(found["lon"], _joined(path, "lon"), "degrees from -180 to 180", -180, 180)


def _radius(field: str, value: Any, path: str) -> Filter:
    found = _object(value, path, ("center", "radius"), ("center", "radius"))
    metres = _number(found["radius"], _joined(path, "radius"), "metres, a finite number of at least 0", 0, _MOST)
    return Circle(field, *_place(found["center"], _joined(path, "center")), metres)


def _box(field: str, value: Any, path: str) -> Filter:
    found = _object(value, path, ("top_left", "bottom_right"), ("top_left", "bottom_right"))
    north, west = _place(found["top_left"], _joined(path, "top_left"))
    south, east = _place(found["bottom_right"], _joined(path, "bottom_right"))
    if south > north:
        raise _fault(path, f"bottom_right.lat {south} is above top_left.lat {north}", "a box whose top is the north")
    return Box(field, south, west, north, east)


def _polygon(field: str, value: Any, path: str) -> Filter:
    found = _object(value, path, ("exterior", "interiors"), ("exterior",))
    at = _joined(path, "interiors")
    holes = _list(found.get("interiors", []), at, "objects of points")
    rings = [_ring(found["exterior"], _joined(path, "exterior"))]
    return Polygon(field, (*rings, *(_ring(hole, f"{at}[{number}]") for number, hole in enumerate(holes))))


def _ring(value: Any, path: str) -> Ring:
    """A ring of at least 3 places. The last place is left out where it repeats the first."""
    path, points = _joined(path, "points"), _object(value, path, ("points",), ("points",))["points"]
    places = [_place(one, f"{path}[{at}]") for at, one in enumerate(_list(points, path, "objects of lat, lon"))]
    if len(places) > 1 and places[0] == places[-1]:
        places.pop()
    if len(places) < 3:
        raise _fault(path, f"{len(places)} places", "at least 3, and the first again if you like")
    return tuple(places)


_OPERATORS: dict[str, Callable[[str, Any, str], Filter]] = {
    "match": _match,
    "range": _range,
    "geo_radius": _radius,
    "geo_bounding_box": _box,
    "geo_polygon": _polygon,
    "is_empty": _is_missing,
    "is_null": _is_missing,
}
_OTHERS: dict[str, Callable[[Any, str], Filter]] = {"has_id": _has_id, "is_empty": _missing, "is_null": _missing}
