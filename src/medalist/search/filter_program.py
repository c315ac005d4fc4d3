"""Check filters against a schema and write them as programs for the core (`src/ann/filter.hpp`)."""

from __future__ import annotations

import difflib
import math
from collections.abc import Callable
from struct import Struct
from typing import Any

import numpy as np

from medalist.errors import SearchError
from medalist.search.filter_values import (
    ALLOWED,
    HIGHEST,
    LOWEST,
    SAID,
    as_float,
    degrees_of,
    fault,
    float_at_or_above,
    micros_of,
    number_of,
    shown,
    texts_in_bytes,
    whole_at_or_above,
    wholes_in_bytes,
)
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
from medalist.search.ids import INTEGERS, KINDS, STRINGS, encode_ids, parse_ids
from medalist.search.schema import Schema

MOST_NESTED = 64
"""The most levels of a filter; the outermost level and the conditions count too."""

MOST_PARTS = 1_000_000
"""The most values, ids, places and conditions of one filter, counted together."""

MOST_PLACES = 10_000
"""The most places of one polygon, in all its rings together."""

_ALL, _ANY, _NOT, _AT_LEAST, _AMONG, _BEYOND, _RANGE, _CIRCLE, _BOX, _POLYGON, _HAS_ID, _MISSING = range(12)
_U8_U32, _U8_U32_U32, _U32 = Struct("<BI"), Struct("<BII"), Struct("<I")
_WHOLE_RANGE, _REAL_RANGE = Struct("<BIqq"), Struct("<BIdd")
_WITHIN, _CORNERS, _PLACE = Struct("<BIddd"), Struct("<BIdddd"), Struct("<dd")


def program_of(filter: Filter, schema: Schema, id_kind: int) -> bytes:
    """Return the program of a filter, as `filters.compile_filter` describes it."""
    writer = _Writer(schema, id_kind)
    writer.write(filter, 1)
    return b"".join(writer.out)


class _Writer:
    """Writes the program of a filter. `out` is the program so far, `left` the parts that it may still have."""

    __slots__ = ("id_kind", "left", "numbers", "out", "schema")

    def __init__(self, schema: Schema, id_kind: int):
        self.schema, self.id_kind = schema, id_kind
        self.numbers = {name: number for number, name in enumerate(schema)}
        self.out: list[bytes] = []
        self.left = MOST_PARTS

    def write(self, one: Filter, depth: int) -> None:
        """Write a filter at the level `depth`; the outermost level is 1."""
        write = _WRITE.get(type(one))
        if write is None:
            raise SearchError(
                f"filter: {shown(one)} is no filter; write a condition such as F.depth < 200 or has_id([3])"
            )
        if depth > MOST_NESTED:
            raise SearchError(f"filter: nested more than {MOST_NESTED} deep")
        self.spend(1)
        write(self, one, depth)

    def spend(self, parts: int) -> None:
        self.left -= parts
        if self.left < 0:
            raise SearchError(f"filter: more than {MOST_PARTS:,} values and conditions")

    def field(self, name: str, operator: str) -> tuple[int, str]:
        """Return the number and the kind of a field. Raises SearchError where its kind does not have the operator."""
        number = self.numbers.get(name) if isinstance(name, str) else None
        if number is None:
            raise _unknown(name, operator, list(self.schema))
        kind = self.schema[name]
        if operator not in ALLOWED[kind]:
            allowed = ", ".join(SAID[each] for each in ALLOWED[kind])
            raise SearchError(
                f"filter: {shown(name)} is of the kind {kind}, which has no {SAID[operator]}; allowed: {allowed}"
            )
        return number, kind


def _unknown(name: object, operator: str, known: list[str]) -> SearchError:
    if name == "id":
        return SearchError("filter: no field 'id'; use has_id([...]) for ids")
    near = difflib.get_close_matches(str(name), known, 1)
    hint = f"; did you mean {near[0]!r}?" if near else ""
    there = ", ".join(map(repr, known[:20])) + (", ..." if len(known) > 20 else "") or "none"
    return SearchError(f"filter, {SAID[operator]}: no field {shown(name)}{hint}; fields: {there:.400}")


def _write_joined(w: _Writer, one: Any, depth: int) -> None:
    w.out.append(_U8_U32.pack(_ALL if type(one) is All else _ANY, len(one.each)))
    for each in one.each:
        w.write(each, depth + 1)


def _write_not(w: _Writer, one: Any, depth: int) -> None:
    w.out.append(b"\x02")
    w.write(one.one, depth + 1)


def _write_at_least(w: _Writer, one: Any, depth: int) -> None:
    if type(one.least) is not int:
        raise SearchError(f"filter: AtLeast of {shown(one.least)}, expected a whole number")
    count = len(one.each)
    w.out.append(_U8_U32_U32.pack(_AT_LEAST, min(max(one.least, 0), count + 1), count))
    for each in one.each:
        w.write(each, depth + 1)


def _write_among(w: _Writer, one: Any, depth: int) -> None:
    number, kind = w.field(one.field, "any")
    values = one.values
    if kind == "float":
        _write_floats(w, one, number, depth)
        return
    w.spend(len(values))
    w.out.append(_U8_U32_U32.pack(_BEYOND if one.beyond else _AMONG, number, len(values)))
    if kind in ("tag", "id"):
        w.out.append(texts_in_bytes(w.schema, one.field, values))
    else:
        w.out.append(wholes_in_bytes(w.schema, one.field, kind, values))


def _write_floats(w: _Writer, one: Any, number: int, depth: int) -> None:
    """Write an `Among` of a float field as ranges [value, value].

    With `beyond`, a row must have a value, and its value must be in none of the ranges.
    """
    w.spend(len(one.values))
    ranges = []
    for value in one.values:
        bound = number_of(one.field, "any", value)
        real = as_float(bound)
        ranges.append(_REAL_RANGE.pack(_RANGE, number, real, real) if real == bound else _nothing("float", number))
    levels = 3 if one.beyond else 0 if len(ranges) == 1 else 1
    if depth + levels > MOST_NESTED:
        raise SearchError(f"filter: nested more than {MOST_NESTED} deep")
    if one.beyond:
        w.out.append(_U8_U32.pack(_ALL, 2) + b"\x02" + _U8_U32.pack(_MISSING, number) + b"\x02")
    if len(ranges) != 1 or one.beyond:
        w.out.append(_U8_U32.pack(_ANY, len(ranges)))
    w.out += ranges


def _write_range(w: _Writer, one: Any, depth: int) -> None:
    number, kind = w.field(one.field, "range")
    field, gt, gte, lt, lte = one.field, one.gt, one.gte, one.lt, one.lte
    if gt is None and gte is None and lt is None and lte is None:
        raise fault(field, "range", "no bound", "gt, gte, lt, lte; rows with any value: ~missing()")
    read: Callable[[str, str, Any], Any] = micros_of if kind == "datetime" else number_of
    if kind == "float":
        low, high = -math.inf, math.inf
        empty = False
        for bound, is_open in ((gte, False), (gt, True)):
            if bound is not None:
                value = read(field, "range", bound)
                empty |= is_open and value == math.inf
                low = max(low, float_at_or_above(value, is_open))
        for bound, is_open in ((lte, False), (lt, True)):
            if bound is not None:
                value = read(field, "range", bound)
                empty |= is_open and value == -math.inf
                high = min(high, -float_at_or_above(-value, is_open))
        w.out.append(_nothing(kind, number) if empty else _REAL_RANGE.pack(_RANGE, number, low + 0.0, high + 0.0))
        return
    first, last = LOWEST, HIGHEST
    for bound, is_open in ((gte, False), (gt, True)):
        if bound is not None:
            first = max(first, whole_at_or_above(read(field, "range", bound), is_open))
    for bound, is_open in ((lte, False), (lt, True)):
        if bound is not None:
            last = min(last, -whole_at_or_above(-read(field, "range", bound), is_open))
    beyond = first > HIGHEST or last < LOWEST
    w.out.append(_nothing(kind, number) if beyond else _WHOLE_RANGE.pack(_RANGE, number, first, last))


def _nothing(kind: str, number: int) -> bytes:
    return _REAL_RANGE.pack(_RANGE, number, 1.0, 0.0) if kind == "float" else _WHOLE_RANGE.pack(_RANGE, number, 1, 0)


def _write_circle(w: _Writer, one: Any, depth: int) -> None:
    number, _ = w.field(one.field, "within")
    metres = one.metres.item() if isinstance(one.metres, np.integer | np.floating) else one.metres
    if type(metres) not in (int, float) or not metres >= 0 or math.isinf(as_float(metres)):
        raise fault(one.field, "within", f"metres {shown(metres)}", "a finite number of metres, at least 0")
    latitude = degrees_of(one.field, "within", "latitude", one.latitude, 90)
    longitude = degrees_of(one.field, "within", "longitude", one.longitude, 180)
    w.out.append(_WITHIN.pack(_CIRCLE, number, latitude, longitude, metres))


def _write_box(w: _Writer, one: Any, depth: int) -> None:
    number, _ = w.field(one.field, "box")
    south, north = (degrees_of(one.field, "box", name, getattr(one, name), 90) for name in ("south", "north"))
    west, east = (degrees_of(one.field, "box", name, getattr(one, name), 180) for name in ("west", "east"))
    if south > north:
        raise fault(one.field, "box", f"south {south} is above north {north}", "south <= north (west > east crosses)")
    w.out.append(_CORNERS.pack(_BOX, number, south, west, north, east))


def _write_polygon(w: _Writer, one: Any, depth: int) -> None:
    number, _ = w.field(one.field, "polygon")
    places = sum(map(len, one.rings))
    if not one.rings or places > MOST_PLACES:
        what = f"{places:,} places in {len(one.rings)} rings"
        raise fault(one.field, "polygon", what, f"one ring and its holes, at most {MOST_PLACES:,} places")
    w.spend(places)
    w.out.append(_U8_U32_U32.pack(_POLYGON, number, len(one.rings)))
    for place, ring in enumerate(one.rings):
        _write_ring(w, one.field, f"hole {place}" if place else "the ring", ring)


def _write_ring(w: _Writer, field: str, name: str, ring: Any) -> None:
    places = []
    for at, (latitude, longitude) in enumerate(ring):
        where = f"{name}, place {at},"
        y = degrees_of(field, "polygon", f"{where} latitude", latitude, 90)
        places.append((y, degrees_of(field, "polygon", f"{where} longitude", longitude, 180)))
    closed = len(places) > 1 and places[0] == places[-1]
    if len(places) - closed < 3:
        raise fault(field, "polygon", f"{name} has {len(places) - closed} places", "at least 3, closed or not")
    round_the_pole = sum(  # each edge takes the shorter way around the earth
        math.remainder(places[at][1] - places[at - 1][1], 360) for at in range(len(places))
    )
    if abs(round_the_pole) > 180:
        raise fault(field, "polygon", f"{name} goes around a pole", "rings that do not; split it at a meridian")
    w.out.append(_U32.pack(len(places)))
    w.out += [_PLACE.pack(*place) for place in places]


def _write_ids(w: _Writer, one: Any, depth: int) -> None:
    count = len(one.ids)
    w.spend(count)
    try:
        given: Any = list(one.ids)
        if count > 32 and set(map(type, given)) == {int} and min(given) >= LOWEST and max(given) <= HIGHEST:
            given = np.array(given, np.int64)  # faster: an array is checked as a whole
        batch = parse_ids(given, count)
    except SearchError as problem:
        raise SearchError(f"filter, has_id: {problem}") from None
    kind = STRINGS if isinstance(batch, list) else INTEGERS
    # An index to which nothing was added yet has the id kind ROWS, so texts are accepted there too.
    if count and ((kind == STRINGS and w.id_kind == INTEGERS) or (kind == INTEGERS and w.id_kind == STRINGS)):
        raise SearchError(f"filter, has_id: {KINDS[kind]} given; allowed: {KINDS[w.id_kind]}, which the index holds")
    ids = encode_ids(batch, count)
    w.out.append(_U8_U32.pack(_HAS_ID, len(ids)) + ids)


def _write_missing(w: _Writer, one: Any, depth: int) -> None:
    w.out.append(_U8_U32.pack(_MISSING, w.field(one.field, "missing")[0]))


_WRITE: dict[type, Callable[[_Writer, Any, int], None]] = {
    All: _write_joined,
    AnyOf: _write_joined,
    Not: _write_not,
    AtLeast: _write_at_least,
    Among: _write_among,
    Range: _write_range,
    Circle: _write_circle,
    Box: _write_box,
    Polygon: _write_polygon,
    HasId: _write_ids,
    Missing: _write_missing,
}
