"""Write filters in the JSON language of `filter_json`."""

from __future__ import annotations

import math
import sys
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

from medalist.errors import SearchError
from medalist.search.filter_values import degrees_of, fault, micros_of, number_of, shown
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

MOST_NESTED = 64
_MOST = sys.float_info.max
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_EVERYTHING: dict[str, Any] = {"must": []}


def to_json(filter: Filter) -> dict[str, Any]:
    """Return a filter as a dict for `json.dumps`; `from_json` makes a filter of it that matches the same rows.

    That filter is equal to `filter` where the JSON language can express all of it directly. Other conditions are
    replaced by equivalent ones: a float or datetime that must equal a value becomes a range, an infinite bound becomes
    the largest float64, and `AnyOf(())` becomes `must_not` of everything. Raises SearchError for NaN, for values that
    no field can have, and for more than 64 levels of nesting.
    """
    found = _written(filter, 1)
    return found if found.keys() <= {"must", "should", "min_should", "must_not"} else {"must": [found]}


def _written(one: Filter, depth: int) -> dict[str, Any]:
    write = _WRITE.get(type(one))
    if write is None:
        raise SearchError(f"filter: {shown(one)} is no filter; write a condition such as F.depth < 200 or has_id([3])")
    if depth > MOST_NESTED:
        raise SearchError(f"filter: nested more than {MOST_NESTED} deep")
    return write(one, depth)


def _list(each: tuple[Filter, ...], depth: int) -> list[dict[str, Any]]:
    return [_written(one, depth + 1) for one in each]


def _all(one: Any, depth: int) -> dict[str, Any]:
    """An `All` as `must`, with its last conditions as `must_not` where they are negated."""
    each = one.each
    denied = 0
    while denied < len(each) and type(each[-1 - denied]) is Not:
        denied += 1
    kept = len(each) - denied
    found: dict[str, Any] = {"must": _list(each[:kept], depth)} if kept or not denied else {}
    if denied:
        found["must_not"] = [_written(no.one, depth + 1) for no in each[kept:]]
    return found


def _any(one: Any, depth: int) -> dict[str, Any]:
    return {"should": _list(one.each, depth)} if one.each else {"must_not": [_EVERYTHING]}


def _not(one: Any, depth: int) -> dict[str, Any]:
    return {"must_not": [_written(one.one, depth + 1)]}


def _at_least(one: Any, depth: int) -> dict[str, Any]:
    if type(one.least) is not int:
        raise SearchError(f"filter: AtLeast of {shown(one.least)}, expected a whole number")
    if one.least < 1:
        return dict(_EVERYTHING)
    return {"min_should": {"conditions": _list(one.each, depth), "min_count": one.least}}


def _among(one: Any, depth: int) -> dict[str, Any]:
    """An `Among` as `match`, which takes a list of texts, a list of integers, or one text, integer or bool."""
    values = list(one.values)
    types = set(map(type, values))
    if types <= {str} or types <= {int}:
        if one.beyond:
            return {"key": one.field, "match": {"except": values}}
        return {"key": one.field, "match": {"value": values[0]} if len(values) == 1 else {"any": values}}
    singles = tuple(_single(one.field, value) for value in values)
    if one.beyond:
        return _written(All((Not(Missing(one.field)), *map(Not, singles))), depth)
    if len(singles) > 1:
        return _written(AnyOf(singles), depth)
    single = singles[0]
    if isinstance(single, Among):
        return {"key": one.field, "match": {"value": single.values[0]}}
    return _written(single, depth)


def _single(field: str, value: Any) -> Filter:
    """A filter for one value that the JSON language can express: a float or datetime needs a range."""
    if isinstance(value, str | bool | int):
        return Among(field, (value,))
    return Range(field, gte=value, lte=value)


def _range(one: Any, depth: int) -> dict[str, Any]:
    given = [(name, getattr(one, name)) for name in ("gt", "gte", "lt", "lte")]
    bounds: dict[str, Any] = {}
    for name, value in given:
        if value is not None:
            _add_bound(bounds, name, value, one.field)
    if all(value is None for _, value in given):
        raise SearchError(f"filter: {shown(one.field)}, range: no bound; allowed: gt, gte, lt, lte")
    return {"key": one.field, "range": bounds} if bounds else _written(Not(Missing(one.field)), depth)


def _add_bound(bounds: dict[str, Any], name: str, value: Any, field: str) -> None:
    """Add a bound to those that are there already. JSON has no infinity, so finite bounds replace infinite ones."""
    if (not isinstance(value, int | float) and not type(value).__module__.startswith("numpy")) or _is_time(value):
        bounds[name] = _iso(value, field)
        return
    value = number_of(field, "range", value)
    if value in (math.inf, -math.inf) and (name, value > 0) in (("gte", False), ("lte", True)):
        return  # every value is within this bound
    if (value == math.inf and name == "gt") or (value == -math.inf and name == "lt"):
        bounds.update(gt=_MOST, lt=-_MOST)  # no value is within these bounds
        return
    if abs(value) > _MOST:  # no float64 lies between the largest one and infinity
        above = value > 0
        value = _MOST if above else -_MOST
        name = name[0] + "t" + "e" * (above == (name[0] == "l"))
    if name in bounds:
        value = max(bounds[name], value) if name[0] == "g" else min(bounds[name], value)
    bounds[name] = value


def _is_time(value: Any) -> bool:
    return getattr(getattr(value, "dtype", None), "kind", "") == "M"


def _iso(value: Any, field: str) -> str:
    moment = _EPOCH + timedelta(microseconds=micros_of(field, "range", value))
    return moment.isoformat().replace("+00:00", "Z")


def _place(one: Any, operator: str, latitude: Any, longitude: Any) -> dict[str, float]:
    return {
        "lat": degrees_of(one.field, operator, "latitude", latitude, 90),
        "lon": degrees_of(one.field, operator, "longitude", longitude, 180),
    }


def _circle(one: Any, depth: int) -> dict[str, Any]:
    centre = _place(one, "within", one.latitude, one.longitude)
    metres = number_of(one.field, "within", one.metres)
    if not 0 <= metres <= _MOST:
        raise fault(one.field, "within", f"metres {shown(metres)}", "a finite number of metres, at least 0")
    return {"key": one.field, "geo_radius": {"center": centre, "radius": metres}}


def _box(one: Any, depth: int) -> dict[str, Any]:
    corners = {
        "top_left": _place(one, "box", one.north, one.west),
        "bottom_right": _place(one, "box", one.south, one.east),
    }
    return {"key": one.field, "geo_bounding_box": corners}


def _polygon(one: Any, depth: int) -> dict[str, Any]:
    """A `Polygon` with closed rings, because Qdrant requires them."""
    rings = [{"points": [_place(one, "polygon", *place) for place in _closed(ring)]} for ring in one.rings]
    if not rings:
        raise SearchError(f"filter: {shown(one.field)}, polygon: no ring; allowed: one ring and its holes")
    holes = {"interiors": rings[1:]} if rings[1:] else {}
    return {"key": one.field, "geo_polygon": {"exterior": rings[0], **holes}}


def _closed(ring: Any) -> Any:
    return ring if not ring or ring[0] == ring[-1] else (*ring, ring[0])


def _has_id(one: Any, depth: int) -> dict[str, Any]:
    return {"has_id": list(one.ids)}


def _missing(one: Any, depth: int) -> dict[str, Any]:
    return {"is_empty": {"key": one.field}}


_WRITE: dict[type, Callable[[Any, int], dict[str, Any]]] = {
    All: _all,
    AnyOf: _any,
    Not: _not,
    AtLeast: _at_least,
    Among: _among,
    Range: _range,
    Circle: _circle,
    Box: _box,
    Polygon: _polygon,
    HasId: _has_id,
    Missing: _missing,
}
