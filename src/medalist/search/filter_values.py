"""Values in filters: what each kind of field accepts, and the values as bytes and exact bounds of a program."""

from __future__ import annotations

import math
from collections.abc import Sequence
from datetime import date
from struct import Struct, error, pack
from typing import Any

import numpy as np

from medalist.errors import SearchError
from medalist.search.schema import Schema, as_micros, as_value

LOWEST, HIGHEST = -(2**63), 2**63 - 1

SAID = {
    "any": "== != any all none (match)",
    "range": "< <= > >= between (range)",
    "within": "within (geo_radius)",
    "box": "box (geo_bounding_box)",
    "polygon": "polygon (geo_polygon)",
    "missing": "missing (is_empty)",
}
ALLOWED = {
    "tag": ("any", "missing"),
    "id": ("any", "missing"),
    "bool": ("any", "missing"),
    "int": ("any", "range", "missing"),
    "float": ("any", "range", "missing"),
    "datetime": ("any", "range", "missing"),
    "geo": ("within", "box", "polygon", "missing"),
}
VALUES = {
    "tag": "texts that are not empty",
    "id": "texts that are not empty",
    "bool": "True and False",
    "int": "whole numbers from -2**63 to 2**63-1",
    "float": "numbers, not NaN",
    "datetime": "datetimes, dates, np.datetime64 and texts such as 2026-01-31T12:00:00Z",
}

_U32 = Struct("<I")
_SCALARS = (str, int, float, date, np.generic)


def shown(value: object) -> str:
    """Return a value as text for a message: one line of at most 60 letters."""
    if isinstance(value, int) and value.bit_length() > 200:
        return f"an integer of {value.bit_length()} bits"
    if isinstance(value, list | tuple | dict | set | frozenset | np.ndarray):
        return f"a {type(value).__name__}"
    if type(value).__module__.startswith("medalist."):
        return f"a {type(value).__name__}"
    return f"{' '.join(repr(value).split()):.60}"


def fault(field: object, operator: str, what: str, allowed: str) -> SearchError:
    """Return the error for a condition: its field, its operator (a key of SAID), what is wrong, what is allowed."""
    return SearchError(f"filter: {shown(field)}, {SAID[operator]}: {what}; allowed: {allowed}")


def texts_in_bytes(schema: Schema, field: str, values: Sequence[Any]) -> bytes:
    """Return values of a tag or id field as bytes: for each its number of bytes as u32, and its UTF-8."""
    parts: list[bytes] = []
    for value in values:
        if type(value) is not str or not value:
            value = value_of(schema, field, value)  # noqa: PLW2901
        try:
            text = value.encode()
        except UnicodeEncodeError:
            raise fault(field, "any", f"{shown(value)} cannot be written in UTF-8", VALUES["tag"]) from None
        parts += (_U32.pack(len(text)), text)
    return b"".join(parts)


def wholes_in_bytes(schema: Schema, field: str, kind: str, values: Sequence[Any]) -> bytes:
    """Return values of an int, bool or datetime field as bytes, each as i64."""
    fits: type = {"int": int, "bool": bool}.get(kind, type(None))
    if set(map(type, values)) - {fits}:
        values = [value_of(schema, field, value) for value in values]
    try:
        return np.array(values, "<i8").tobytes() if len(values) > 32 else pack(f"<{len(values)}q", *values)
    except (OverflowError, error):
        wrong = next(value for value in values if not LOWEST <= value <= HIGHEST)
        raise fault(field, "any", f"{shown(wrong)} does not fit into 64 bits", VALUES["int"]) from None


def value_of(schema: Schema, field: str, value: Any) -> Any:
    """Return a value as `as_value` does; the SearchError names the operator too."""
    if not isinstance(value, _SCALARS) or (isinstance(value, int) and value.bit_length() > 64):
        raise fault(field, "any", f"{shown(value)} does not fit", VALUES[schema[field]])
    try:
        return as_value(schema, field, value)
    except SearchError as problem:
        raise SearchError(f"filter, {SAID['any']}: {problem}") from None


def micros_of(field: str, operator: str, value: Any) -> int:
    """Return microseconds as `as_micros` does; the SearchError names the operator too."""
    if not isinstance(value, _SCALARS) or (isinstance(value, int) and value.bit_length() > 64):
        raise fault(field, operator, f"{shown(value)} does not fit", VALUES["datetime"])
    try:
        return as_micros(value, field)
    except SearchError as problem:
        raise SearchError(f"filter, {SAID[operator]}: {problem}") from None


def number_of(field: str, operator: str, value: Any) -> int | float:
    """Return a number as a Python int or float. Raises SearchError for NaN and for anything that is no number."""
    value = value.item() if isinstance(value, np.integer | np.floating) else value
    if type(value) is not int and (type(value) is not float or math.isnan(value)):
        raise fault(field, operator, f"{shown(value)} is no number", VALUES["float"])
    number: int | float = value
    return number


def whole_at_or_above(value: int | float, is_open: bool) -> int:
    """Return the smallest integer >= value (> where `is_open`), of any size; for infinity one beyond 64 bits."""
    if type(value) is int:
        return value + is_open
    if math.isinf(value):
        return 2**70 if value > 0 else -(2**70)
    return math.floor(value) + 1 if is_open else math.ceil(value)


def float_at_or_above(value: int | float, is_open: bool) -> float:
    """Return the smallest float64 >= value (> where `is_open`), maybe infinity. Integers are compared exactly."""
    nearest = as_float(value)
    return math.nextafter(nearest, math.inf) if nearest < value or (is_open and nearest == value) else nearest


def as_float(value: int | float) -> float:
    """Return the nearest float64; infinity for an integer that is too large."""
    try:
        return float(value)
    except OverflowError:
        return math.inf if value > 0 else -math.inf


def degrees_of(field: str, operator: str, name: str, value: Any, most: int) -> float:
    """Return a latitude or longitude in degrees. Raises SearchError where it is not a number from -most to most.

    name: "latitude" or "longitude", for the error.
    """
    value = value.item() if isinstance(value, np.integer | np.floating) else value
    if type(value) not in (int, float) or not -most <= value <= most:
        raise fault(field, operator, f"{name} {shown(value)}", f"degrees from -{most} to {most}")
    return float(value)
