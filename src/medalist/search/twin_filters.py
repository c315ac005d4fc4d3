"""What a filter means for one row, by its Python values alone: slow and plain, to check the fast ways by.

A row is a dictionary of its fields without those that are missing, as `schema.decode_fields` gives it: tag list[str],
bool, int, float, datetime (of UTC), geo (latitude, longitude), id str. Numbers are compared as Python does, exactly.
Nothing here is shared with `compile_filter` or the core but the reading of a datetime.
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
"""Metres; the mean radius of the IUGG."""

Place = tuple[float, float]
"""Latitude and longitude in degrees."""

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def means(one: Filter, row: Mapping[str, Any], name: int | str) -> bool:
    """Whether a filter means the row of these fields and this id; the filter fits the schema."""
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
    """A field's values: of tags several, else one or none."""
    if field not in row:
        return []
    return list(row[field]) if isinstance(row[field], list) else [row[field]]


def micros(moment: datetime) -> int:
    """A moment as microseconds since 1970, exactly."""
    return (moment - _EPOCH) // timedelta(microseconds=1)


def _comparable(value: Any) -> Any:
    return micros(value) if isinstance(value, datetime) else value


def _wanted(value: Any, row: Mapping[str, Any], field: str) -> Any:
    """A filter's value as it is compared with the row's: of a datetime field whatever that takes."""
    return as_micros(value, field) if isinstance(row.get(field), datetime) else value


def _same(one: Any, other: Any) -> bool:
    """Equality that keeps texts, bools and numbers apart."""
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
    """A place on the unit sphere. A pole has many names, and the antimeridian two: each is one place."""
    if abs(place[0]) == 90:
        return 0.0, 0.0, place[0] / 90
    latitude, longitude = math.radians(place[0]), math.radians(180 if place[1] == -180 else place[1])
    across = math.cos(latitude)
    return across * math.cos(longitude), across * math.sin(longitude), math.sin(latitude)


def near(place: Place, centre: Place, metres: float) -> bool:
    """Whether the chord to the centre is at most that of an arc of `metres`; from half the way round, everything."""
    if metres >= math.pi * EARTH_RADIUS:
        return True
    squared = sum((one - other) ** 2 for one, other in zip(direction(place), direction(centre), strict=True))
    return squared <= (2 * math.sin(metres / (2 * EARTH_RADIUS))) ** 2


def boxed(place: Place, south: float, west: float, north: float, east: float) -> bool:
    """Borders included; west > east: across the antimeridian, of which -180 and 180 are both names."""
    latitude, longitude = place
    names = (longitude, -longitude) if abs(longitude) == 180 else (longitude,)
    if not south <= latitude <= north:
        return False
    if west <= east:
        return any(west <= name <= east for name in names)
    return any(name >= west or name <= east for name in names)


def enclosed(place: Place, rings: Sequence[Sequence[Place]]) -> bool:
    """Inside the first ring and in none of the others, or on an edge of any of them."""
    sides = [_side(place, ring) for ring in rings]
    return 0 in sides or (sides[0] > 0 and not any(side > 0 for side in sides[1:]))


def unwrapped(ring: Sequence[Place]) -> list[tuple[Fraction, Fraction]]:
    """Longitude and latitude of corners so that every edge is straight, and the last corner is the first again.

    An edge goes the short way round, so longitudes may lie beyond 180. The ring does not go around a pole.
    """
    corners = [(Fraction(longitude), Fraction(latitude)) for latitude, longitude in [*ring, ring[0]]]
    straight = [corners[0]]
    for (before, _), (longitude, latitude) in pairwise(corners):
        step = longitude - before
        step += 360 if step < -180 else -360 if step > 180 else 0
        straight.append((straight[-1][0] + step, latitude))
    return straight


def _side(place: Place, ring: Sequence[Place]) -> int:
    """1 inside, 0 on an edge, -1 outside: whether a ray to the east meets edges an odd number of times, exactly."""
    straight = unwrapped(ring)
    longitude, y = Fraction(place[1]), Fraction(place[0])
    low, high = (pick(corner for corner, _ in straight) for pick in (min, max))
    inside = False
    for turn in range(math.floor((low - longitude) / 360), math.ceil((high - longitude) / 360) + 1):
        x = longitude + 360 * turn
        for (x1, y1), (x2, y2) in pairwise(straight):
            left = (x2 - x1) * (y - y1) - (y2 - y1) * (x - x1)  # > 0: of the edge, looking along it
            if left == 0 and min(x1, x2) <= x <= max(x1, x2) and min(y1, y2) <= y <= max(y1, y2):
                return 0
            if (y1 > y) != (y2 > y) and (left > 0) == (y2 > y1):
                inside = not inside
    return 1 if inside else -1
