"""Check one value of a field: what each kind of field accepts, and the errors for other values."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from datetime import UTC, date, datetime, timedelta
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from medalist.errors import SearchError

FieldKind = Literal["tag", "bool", "int", "float", "datetime", "geo", "id"]

TAKES: dict[FieldKind, str] = {
    "tag": "a str or a list of str",
    "bool": "True or False",
    "int": "integers of 64 bits",
    "float": "ints and floats",
    "datetime": "datetime, date, np.datetime64 or text such as 2026-01-31T12:00:00Z, years 1 to 9999",
    "geo": "(latitude, longitude) or {'lat': ..., 'lon': ...} in degrees",
    "id": "a str or an int",
}
"""What each kind accepts, for error messages."""

EXACT = 2.0**53
"""From this number on, neighbouring whole numbers can be the same float64."""

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
FIRST, LAST = -62_135_596_800_000_000, 253_402_300_799_999_999
"""The first and the last microsecond of the years 1 to 9999, counted from 1970: the range of Python's datetime."""

_ISO = re.compile(
    r"\d{4}-\d\d-\d\d(?:[T ]\d\d:\d\d(?::\d\d(?:[.,]\d+)?)?(?:Z|[+-]\d\d(?::?\d\d)?)?)?", re.ASCII | re.IGNORECASE
)
_PLAIN_LENGTH = len("2026-01-31T12:00:00.000000")
_FINER = re.compile(r"[.,]\d{6}\d*[1-9]", re.ASCII)
_LONGEST_NUMBER = 4096  # bits of an int that becomes text


class UnfitError(ValueError):
    """A value does not fit its field. The code that catches this error adds the field and the row."""


def shown(value: object) -> str:
    """Return a value as one line for messages, at most 60 letters. NumPy's numbers look like Python's."""
    if isinstance(value, int) and value.bit_length() > 64:
        return f"an int of {value.bit_length()} bits"
    if isinstance(value, np.generic) and value.dtype.kind in "biufcU":
        value = value.item()
    try:
        text = " ".join(repr(value).split())
    except ValueError:  # a container with ints of thousands of digits, or np.datetime64 without a unit
        text = f"a {type(value).__name__}"
    return text if len(text) <= 60 else text[:57] + "..."


def refusal(field: str, kind: FieldKind, reason: object, row: int | None = None) -> SearchError:
    """Return the error for a value that does not fit its field."""
    place = "" if row is None else f", row {row}"
    return SearchError(f"field {field!r}{place}: {reason}; {kind} takes {TAKES[kind]}")


def is_missing(value: object) -> bool:
    """Return whether a value is a missing value: None, NaN, NaT or pandas.NA."""
    if value is None or type(value).__name__ == "NAType":
        return True
    return isinstance(value, float | np.floating | np.datetime64 | datetime) and bool(value != value)  # noqa: PLR0124


# ------------------------------------------------------------------------------------------------------- one value


def one_bool(value: object) -> bool:
    """Return True or False. Raises UnfitError for anything else, as all these functions do."""
    if isinstance(value, bool | np.bool_):
        return bool(value)
    hint = "; use bool(x) or .astype(bool)" if isinstance(value, int | float | np.number) else ""
    raise UnfitError(f"{shown(value)} is no bool{hint}")


def one_int(value: object) -> int:
    """Return a signed 64-bit integer."""
    if isinstance(value, bool | np.bool_):
        raise UnfitError(f"{shown(value)} is a bool; use int(x)")
    if not isinstance(value, int | np.integer):
        hint = "; use int(x), or mark gaps by NaN" if isinstance(value, float | np.floating) else ""
        raise UnfitError(f"{shown(value)} is no int{hint}")
    if not -(2**63) <= value < 2**63:
        raise UnfitError(f"{shown(value)} does not fit into a signed 64-bit integer")
    return int(value)


def one_whole(value: object) -> int:
    """Return a signed 64-bit integer; a float is accepted where it is a whole number below 2**53."""
    if not isinstance(value, float | np.floating):
        return one_int(value)
    if not (abs(float(value)) < EXACT and value == np.floor(value)):
        raise UnfitError(f"{shown(value)} is not a whole number below 2**53")
    return int(value)


def one_float(value: object) -> float:
    """Return a float that is not NaN, maybe infinite; -0.0 becomes 0.0."""
    if isinstance(value, bool | np.bool_) or not isinstance(value, int | float | np.integer | np.floating):
        raise UnfitError(f"{shown(value)} is {'a bool' if isinstance(value, bool | np.bool_) else 'no number'}")
    try:
        number = float(value) + 0.0
    except OverflowError:
        number = np.inf
    if math.isinf(number) and (isinstance(value, int) or not np.isinf(value)):
        raise UnfitError(f"{shown(value)} is too large for a float")
    return number


def one_datetime(value: object) -> int:
    """Return microseconds since 1970 in UTC. A value without a time zone is UTC, and a date is its midnight."""
    if hasattr(value, "asm8"):  # pandas.Timestamp; as a datetime64 it is in UTC and keeps its nanoseconds
        plain = isinstance(value, datetime) and not getattr(value, "nanosecond", 1) and 1 <= value.year <= 9999
        value = value.to_pydatetime() if plain else value.asm8  # type: ignore[attr-defined]
    if isinstance(value, np.datetime64):
        return _micros64(value)
    if isinstance(value, str):
        value = _from_text(value)
    elif isinstance(value, date) and not isinstance(value, datetime):
        value = datetime(value.year, value.month, value.day)
    if not isinstance(value, datetime):
        number = isinstance(value, int | float | np.number) and not isinstance(value, bool)
        hint = "a number has no unit; use np.datetime64(x, 's') or 'ms', 'us'" if number else "no moment"
        raise UnfitError(f"{shown(value)} is {'no moment: ' if number else ''}{hint}")
    if value.utcoffset() is None:
        value = value.replace(tzinfo=UTC)
    micros = (value - EPOCH) // timedelta(microseconds=1)
    if not FIRST <= micros <= LAST:
        raise UnfitError(f"{shown(value)} is outside of the years 1 to 9999 in UTC")
    return micros


def _from_text(text: str) -> datetime:
    if not _ISO.fullmatch(text):
        raise UnfitError(f"{shown(text)} is no date or time of ISO 8601")
    if len(text) > _PLAIN_LENGTH and _FINER.search(text):
        raise UnfitError(f"{shown(text)} is finer than microseconds")
    try:
        return datetime.fromisoformat(text.upper())
    except ValueError as error:
        raise UnfitError(f"{shown(text)} is no moment ({error})") from error


def micros_of(array: NDArray[Any]) -> tuple[NDArray[np.bool_], NDArray[np.int64], NDArray[np.bool_]]:
    """Return datetime64 values of any unit in microseconds: which have a value, the microseconds, which are valid.

    A value is not valid where it overflows or loses digits, which is found by converting it back.
    """
    present = ~np.isnat(array)
    micros = array.astype("M8[us]")
    values: NDArray[np.int64] = np.where(present, micros.view(np.int64), 0)
    good = (micros.astype(array.dtype) == array) & (values >= FIRST) & (values <= LAST)
    if np.datetime_data(array.dtype)[0] == "generic":
        good &= False
    return present, values, good | ~present


def _micros64(value: np.datetime64) -> int:
    _, micros, good = micros_of(np.array([value]))
    if not good[0]:
        unit = np.datetime_data(value.dtype)[0]
        if unit == "generic":
            raise UnfitError("a np.datetime64 without a unit")
        finer = "finer than microseconds or " if unit in ("ns", "ps", "fs", "as") else ""
        raise UnfitError(f"{shown(value)} is {finer}outside of the years 1 to 9999")
    return int(micros[0])


def one_place(value: object) -> tuple[float, float]:
    """Return latitude and longitude in degrees."""
    if isinstance(value, Mapping):
        if set(value) != {"lat", "lon"}:
            raise UnfitError(f"{shown(value)} does not have the keys lat and lon alone")
        value = (value["lat"], value["lon"])
    if isinstance(value, np.ndarray) and value.ndim == 1:
        value = value.tolist()
    if not isinstance(value, list | tuple) or len(value) != 2:
        raise UnfitError(f"{shown(value)} is no place")
    if any(map(is_missing, value)):
        raise UnfitError(f"{shown(value)} is no place: its latitude or longitude is missing")
    latitude, longitude = map(one_float, value)
    for name, degrees, most in (("latitude", latitude, 90), ("longitude", longitude, 180)):
        if not abs(degrees) <= most:
            raise UnfitError(f"{name} {degrees!r} is outside of -{most} to {most}")
    return latitude, longitude


def one_tag(value: object) -> str:
    """Return a keyword: a text that is not empty."""
    if isinstance(value, str):
        return _checked_text(str.__str__(value))
    number = isinstance(value, int | np.integer) and not isinstance(value, bool)
    hint = "; use str(x), or an int field" if number else "; decode it" if isinstance(value, bytes) else ""
    raise UnfitError(f"{shown(value)} is no str{hint}")


def one_id(value: object) -> str:
    """Return a keyword: a text that is not empty, or an int as its decimal digits."""
    if isinstance(value, int | np.integer) and not isinstance(value, bool):
        if int(value).bit_length() > _LONGEST_NUMBER:
            raise UnfitError(f"{shown(value)} has too many digits")
        return str(int(value))
    if isinstance(value, str):
        return _checked_text(str.__str__(value))
    raise UnfitError(f"{shown(value)} is no str and no int; use str(x)")


def _checked_text(text: str) -> str:
    if not text:
        raise UnfitError("an empty string; use None where there is no value")
    try:
        text.encode()
    except UnicodeEncodeError:
        raise UnfitError(f"{shown(text)} cannot be written in UTF-8") from None
    return text


PARSERS: dict[FieldKind, Callable[[object], Any]] = {
    "tag": one_tag,
    "bool": one_bool,
    "int": one_int,
    "float": one_float,
    "datetime": one_datetime,
    "geo": one_place,
    "id": one_id,
}
"""The function that checks one value, for each kind. It raises UnfitError. It must not be given a missing value."""
