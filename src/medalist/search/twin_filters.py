"""Decide in plain Python whether a row matches a filter. It is slow and simple, so that tests can check the core by it.

A row is a dictionary of its fields without missing values, as `schema.decode_fields` returns it: tag list[str], bool,
int, float, datetime (in UTC), geo (latitude, longitude), id str. Numbers are compared exactly, as Python does.
Except for the reading of datetimes, this module shares no code with `compile_filter` and the core.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from fractions import Fraction
from itertools import pairwise
from typing import Any

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
from medalist.search.schema import as_micros

EARTH_RADIUS = 6_371_008.8
"""The mean radius of the earth in metres, as defined by the IUGG."""

Place = tuple[float, float]
"""Latitude and longitude in degrees."""

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def means(one: Filter, row: Mapping[str, Any], name: int | str) -> bool:
    """Return whether the row with these fields and this id matches a filter. The filter must fit the schema."""
    match one:
        case All(each):
            found = all(means(part, row, name) for part in each)
        case AnyOf(each):
            found = any(means(part, row, name) for part in each)
        case Not(part):
            found = not means(part, row, name)
        case AtLeast(least, each):
            found = sum(means(part, row, name) for part in each) >= least
        case HasId(ids):
            found = any(_same(name, other) for other in ids)
        case Missing(field):
            found = field not in row
        case Among(field, values, beyond):
            there = [_comparable(value) for value in _values(row, field)]
            wanted = [_wanted(value, row, field) for value in values]
            found = any((not any(_same(value, other) for other in wanted)) == beyond for value in there)
        case Range(field, gt, gte, lt, lte):
            found = field in row and _between(row, field, (gt, gte, lt, lte))
        case Circle(field, latitude, longitude, metres):
            found = field in row and near(row[field], (latitude, longitude), metres)
        case Box(field, south, west, north, east):
            found = field in row and boxed(row[field], south, west, north, east)
        case Polygon(field, rings):
            found = field in row and enclosed(row[field], rings)
        case _:
            raise AssertionError(f"no filter: {one!r}")
    return found


def _values(row: Mapping[str, Any], field: str) -> list[Any]:
    """The values of a field as a list: any number of tags, else one value or none."""
    if field not in row:
        return []
    return list(row[field]) if isinstance(row[field], list) else [row[field]]


def micros(moment: datetime) -> int:
    """Return a datetime as exact microseconds since 1970."""
    return (moment - _EPOCH) // timedelta(microseconds=1)


def _comparable(value: Any) -> Any:
    return micros(value) if isinstance(value, datetime) else value


def _wanted(value: Any, row: Mapping[str, Any], field: str) -> Any:
    """A filter's value in the form that is compared with the row's value: microseconds for a datetime field."""
    return as_micros(value, field) if isinstance(row.get(field), datetime) else value


def _same(one: Any, other: Any) -> bool:
    """Whether two values are equal; a text never equals a number or bool."""
    return isinstance(one, str) == isinstance(other, str) and bool(one == other)


def _between(row: Mapping[str, Any], field: str, bounds: Sequence[Any]) -> bool:
    value = _comparable(row[field])
    gt, gte, lt, lte = (None if bound is None else _wanted(bound, row, field) for bound in bounds)
    return bool(
        (gt is None or value > gt)
        and (gte is None or value >= gte)
        and (lt is None or value < lt)
        and (lte is None or value <= lte)
    )


# ------------------------------------------------------------------------------------------------- places on the earth


def direction(place: Place) -> tuple[float, float, float]:
    """Return the unit vector of a place on the earth.

    All longitudes of a pole give one vector, and so do the longitudes -180 and 180.
    """
    if abs(place[0]) == 90:
        return 0.0, 0.0, place[0] / 90
    latitude, longitude = math.radians(place[0]), math.radians(180 if place[1] == -180 else place[1])
    across = math.cos(latitude)
    return across * math.cos(longitude), across * math.sin(longitude), math.sin(latitude)


def near(place: Place, centre: Place, metres: float) -> bool:
    """Return whether a place is within `metres` of the centre, by the length of the chord between them.

    From half of the earth's circumference on, every place is.
    """
    if metres >= math.pi * EARTH_RADIUS:
        return True
    squared = sum((one - other) ** 2 for one, other in zip(direction(place), direction(centre), strict=True))
    return squared <= (2 * math.sin(metres / (2 * EARTH_RADIUS))) ** 2


def boxed(place: Place, south: float, west: float, north: float, east: float) -> bool:
    """Return whether a place is in a box of degrees, borders included.

    Where west > east, the box crosses the antimeridian. A longitude of -180 is the same as 180.
    """
    latitude, longitude = place
    names = (longitude, -longitude) if abs(longitude) == 180 else (longitude,)
    if not south <= latitude <= north:
        return False
    if west <= east:
        return any(west <= name <= east for name in names)
    return any(name >= west or name <= east for name in names)


def enclosed(place: Place, rings: Sequence[Sequence[Place]]) -> bool:
    """Return whether a place is inside the first ring and in no other ring, or on an edge of any ring."""
    sides = [_side(place, ring) for ring in rings]
    return 0 in sides or (sides[0] > 0 and not any(side > 0 for side in sides[1:]))


def unwrapped(ring: Sequence[Place]) -> list[tuple[Fraction, Fraction]]:
    """Return the corners of a ring as (longitude, latitude), without jumps at the antimeridian.

    The last corner is the first one again. Each edge takes the shorter way around the earth, so longitudes may be above
    180 or below -180. The ring must not go around a pole.
    """
    corners = [(Fraction(longitude), Fraction(latitude)) for latitude, longitude in [*ring, ring[0]]]
    straight = [corners[0]]
    for (before, _), (longitude, latitude) in pairwise(corners):
        step = longitude - before
        step += 360 if step < -180 else -360 if step > 180 else 0
        straight.append((straight[-1][0] + step, latitude))
    return straight


def _side(place: Place, ring: Sequence[Place]) -> int:
    """1 inside, 0 on an edge, -1 outside. A place is inside where a ray to the east crosses an odd number of edges.

    The numbers are fractions, so the answer is exact.
    """
    straight = unwrapped(ring)
    longitude, y = Fraction(place[1]), Fraction(place[0])
    low, high = (pick(corner for corner, _ in straight) for pick in (min, max))
    inside = False
    for turn in range(math.floor((low - longitude) / 360), math.ceil((high - longitude) / 360) + 1):
        x = longitude + 360 * turn
        for (x1, y1), (x2, y2) in pairwise(straight):
            left = (x2 - x1) * (y - y1) - (y2 - y1) * (x - x1)  # > 0: the place is to the left of the edge
            if left == 0 and min(x1, x2) <= x <= max(x1, x2) and min(y1, y2) <= y <= max(y1, y2):
                return 0
            if (y1 > y) != (y2 > y) and (left > 0) == (y2 > y1):
                inside = not inside
    return 1 if inside else -1
