"""Values in filters: what each kind of field takes, as the bytes and the exact bounds of a filter's program."""

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
    """A value for a message: on one line, at most 60 letters."""
    if isinstance(value, int) and value.bit_length() > 200:
        return f"an integer of {value.bit_length()} bits"
    if isinstance(value, list | tuple | dict | set | frozenset | np.ndarray):
        return f"a {type(value).__name__}"
    if type(value).__module__.startswith("medalist."):
        return f"a {type(value).__name__}"
    return f"{' '.join(repr(value).split()):.60}"


def fault(field: object, operator: str, what: str, allowed: str) -> SearchError:
    """The error for a condition: its field, its operator (a key of SAID), what is wrong, and what is not."""
    return SearchError(f"filter: {shown(field)}, {SAID[operator]}: {what}; allowed: {allowed}")


def texts_in_bytes(schema: Schema, field: str, values: Sequence[Any]) -> bytes:
    """Values of a tag or an id, each as u32 bytes and UTF-8."""
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
    """Values of an int, a bool or a datetime, each as i64."""
    fits: type = {"int": int, "bool": bool}.get(kind, type(None))
    if set(map(type, values)) - {fits}:
        values = [value_of(schema, field, value) for value in values]
    try:
        return np.array(values, "<i8").tobytes() if len(values) > 32 else pack(f"<{len(values)}q", *values)
    except (OverflowError, error):
        wrong = next(value for value in values if not LOWEST <= value <= HIGHEST)
        raise fault(field, "any", f"{shown(wrong)} does not fit into 64 bits", VALUES["int"]) from None


def value_of(schema: Schema, field: str, value: Any) -> Any:
    """`as_value`, whose message does not know the operator."""
    if not isinstance(value, _SCALARS) or (isinstance(value, int) and value.bit_length() > 64):
        raise fault(field, "any", f"{shown(value)} does not fit", VALUES[schema[field]])
    try:
        return as_value(schema, field, value)
    except SearchError as problem:
        raise SearchError(f"filter, {SAID['any']}: {problem}") from None


def micros_of(field: str, operator: str, value: Any) -> int:
    """`as_micros`, whose message does not know the operator."""
    if not isinstance(value, _SCALARS) or (isinstance(value, int) and value.bit_length() > 64):
        raise fault(field, operator, f"{shown(value)} does not fit", VALUES["datetime"])
    try:
        return as_micros(value, field)
    except SearchError as problem:
        raise SearchError(f"filter, {SAID[operator]}: {problem}") from None


def number_of(field: str, operator: str, value: Any) -> int | float:
    """A number as Python's own, without NaN."""
    value = value.item() if isinstance(value, np.integer | np.floating) else value
    if type(value) is not int and (type(value) is not float or math.isnan(value)):
        raise fault(field, operator, f"{shown(value)} is no number", VALUES["float"])
    number: int | float = value
    return number


def whole_at_or_above(value: int | float, is_open: bool) -> int:
    """The first integer >= value (> where open), of any size; for an infinity one that is beyond all of 64 bits."""
    if type(value) is int:
        return value + is_open
    if math.isinf(value):
        return 2**70 if value > 0 else -(2**70)
    return math.floor(value) + 1 if is_open else math.ceil(value)


def float_at_or_above(value: int | float, is_open: bool) -> float:
    """The first float64 >= value (> where open), infinity the last; integers are compared exactly."""
    nearest = as_float(value)
    return math.nextafter(nearest, math.inf) if nearest < value or (is_open and nearest == value) else nearest


def as_float(value: int | float) -> float:
    """The nearest float64, infinity beyond them."""
    try:
        return float(value)
    except OverflowError:
        return math.inf if value > 0 else -math.inf


def degrees_of(field: str, operator: str, name: str, value: Any, most: int) -> float:
    """A latitude or longitude of `name`, at most `most`."""
    value = value.item() if isinstance(value, np.integer | np.floating) else value
    if type(value) not in (int, float) or not -most <= value <= most:
        raise fault(field, operator, f"{name} {shown(value)}", f"degrees from -{most} to {most}")
    return float(value)
