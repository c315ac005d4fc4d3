"""Fields of an index, and their values as the bytes that the core reads (its format: src/ann/payload.hpp)."""

from __future__ import annotations

import difflib
import struct
from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medalist.errors import SearchError
from medalist.search.columns import Given, as_column, as_numbers, as_texts
from medalist.search.values import (
    EPOCH,
    FIRST,
    LAST,
    PARSERS,
    FieldKind,
    UnfitError,
    is_missing,
    one_datetime,
    one_whole,
    refusal,
    shown,
)

__all__ = [
    "KINDS",
    "FieldKind",
    "Schema",
    "as_micros",
    "as_value",
    "check_schema",
    "decode_fields",
    "encode_fields",
    "kind_of",
]

KINDS: tuple[FieldKind, ...] = ("tag", "bool", "int", "float", "datetime", "geo", "id")
"""What a field can hold, by the number of its kind."""

Schema = Mapping[str, FieldKind]
"""The fields of an index by name. Their order counts: a field's number is its place."""

MOST_FIELDS = 256
LONGEST_NAME = 200

_HEAD = struct.Struct("<II")
_FIELD = struct.Struct("<I")


def check_schema(fields: Mapping[str, str] | None) -> dict[str, FieldKind]:
    """The fields as a dictionary of its own; SearchError where names, kinds or their number are not allowed.

    A name is 1 to 200 letters without NUL, and not `id`, which ids have. There are at most 256 fields.
    """
    if fields is None:
        return {}
    if not isinstance(fields, Mapping):
        raise SearchError(f"fields: {type(fields).__name__}, expected names and kinds such as {{'depth': 'int'}}")
    if len(fields) > MOST_FIELDS:
        raise SearchError(f"fields: {len(fields)}, expected at most {MOST_FIELDS}")
    found: dict[str, FieldKind] = {}
    for name, kind in fields.items():
        if not isinstance(name, str):
            raise SearchError(f"fields: the name {shown(name)} is no str")
        fault = _name_fault(name)
        if fault:
            raise SearchError(f"fields: the name {shown(name)} {fault}; expected 1 to {LONGEST_NAME} letters")
        known = next((one for one in KINDS if one == kind), None) if isinstance(kind, str) else None
        if known is None:
            raise SearchError(f"field {name!r}: unknown kind {shown(kind)}{_nearest(kind, KINDS)}")
        found[name] = known
    return found


def _name_fault(name: str) -> str:
    if not 1 <= len(name) <= LONGEST_NAME:
        return f"has {len(name)} letters"
    if name == "id":
        return "is taken by the ids themselves; use another"
    if "\0" in name:
        return "holds a NUL"
    return "cannot be written in UTF-8" if any("\ud800" <= letter <= "\udfff" for letter in name) else ""


def _nearest(name: object, known: Sequence[str]) -> str:
    """A hint to the likely name, and the known ones."""
    near = difflib.get_close_matches(name[:LONGEST_NAME], known, 1) if isinstance(name, str) else []
    hint = f"; did you mean {near[0]!r}?" if near else ";"
    names = ", ".join(known[:12]) + (f" and {len(known) - 12} more" if len(known) > 12 else "")
    return f"{hint} known are: {names}" if known else "; the index has no fields"


def kind_of(schema: Schema, field: object) -> FieldKind:
    """The kind of a field; SearchError that names the known ones where there is none of this name."""
    kind = schema.get(field) if isinstance(field, str) else None
    if kind is None:
        raise SearchError(f"field {shown(field)}: unknown{_nearest(field, list(schema))}")
    return kind


def as_micros(value: object, field: str) -> int:
    """A value of a datetime field as microseconds since 1970, UTC; SearchError where it is none, or missing."""
    try:
        if is_missing(value):
            raise UnfitError(f"{shown(value)} is no moment")
        return one_datetime(value)
    except UnfitError as error:
        raise refusal(field, "datetime", error) from error


def as_value(schema: Schema, field: str, value: object) -> Any:
    """One value as a filter may compare a field with it; SearchError for an unknown field or what it cannot hold.

    tag and id: str; bool: bool; int: int; float: float (infinities too); datetime: int, microseconds since 1970, UTC;
    geo: (latitude, longitude). A float that is a whole number below 2**53 will do for an int. Missing values are
    refused: there is a condition of its own for them.
    """
    kind = kind_of(schema, field)
    if is_missing(value):
        raise refusal(field, kind, f"{shown(value)} equals nothing; use F[{field!r}].missing()")
    if kind == "datetime":
        return as_micros(value, field)
    try:
        return one_whole(value) if kind == "int" else PARSERS[kind](value)
    except UnfitError as error:
        raise refusal(field, kind, error) from error


# ---------------------------------------------------------------------------------------------------------- encode


def encode_fields(schema: Schema, values: Mapping[str, Any] | Sequence[Mapping[str, Any]] | None, n: int) -> bytes:
    """Values for `n` rows as a payload: columns by field (a DataFrame too), or a list of n dicts; None: no values.

    A column is a list, a NumPy array, a tensor, or one of pandas or pyarrow. Fields that are not mentioned are not
    told, which is to add rows without them or to leave them as they are; a key that some dicts lack is missing there.

    None, NaN, NaT and pandas.NA mean a missing value, as does an empty list of tags. Kinds are strict: a bool is no
    int, an int no bool and no tag; ints may be floats only in a column where NaN marks gaps, as pandas makes them.
    -0.0 becomes 0.0; tags that a row has twice count once; an int as an id becomes its digits. A datetime without a
    zone is UTC. SearchError names the field, the row, the value and what is allowed.
    """
    columns = _columns(schema, values, n)
    parts = [_HEAD.pack(n, len(columns))]
    for number, (name, kind) in enumerate(schema.items()):
        if name in columns:
            parts.append(_FIELD.pack(number))
            parts.extend(_encoded(columns[name], name, kind))
    return b"".join(parts)


def _columns(schema: Schema, values: Any, n: int) -> dict[str, Given]:
    if values is None:
        return {}
    if isinstance(values, list | tuple):
        return _from_rows(schema, values, n)
    if not isinstance(values, Mapping) and not (hasattr(values, "keys") and hasattr(values, "columns")):
        given = type(values).__name__
        raise SearchError(f"fields: {given}, expected columns {{'depth': [1, 2]}} or rows [{{'depth': 1}}]")
    return {name: as_column(values[name], name, kind_of(schema, name), n) for name in values.keys()}  # noqa: SIM118


def _from_rows(schema: Schema, rows: Sequence[Any], n: int) -> dict[str, Given]:
    if len(rows) != n:
        raise SearchError(f"fields: {len(rows)} dicts for {n} rows")
    names: dict[str, None] = {}
    for at, row in enumerate(rows):
        if not isinstance(row, Mapping):
            raise SearchError(f"fields, row {at}: {shown(row)}, expected a dict such as {{'depth': 1}}")
        if not row.keys() <= names.keys():
            names.update(dict.fromkeys(row))
    for name in names:
        kind_of(schema, name)
    return {name: [row.get(name) for row in rows] for name in names}


def _encoded(column: Given, field: str, kind: FieldKind) -> list[bytes]:
    if kind not in ("tag", "id"):
        present, values = as_numbers(column, field, kind)
        real = kind in ("float", "geo")
        return [present.astype(np.uint8).tobytes(), values.astype("<f8" if real else "<i8", copy=False).tobytes()]
    texts, counts, places = as_texts(column, field, kind)
    encoded = [text.encode() for text in texts]
    ends = np.cumsum(np.fromiter(map(len, encoded), np.uint64, len(encoded)), dtype="<u8")
    head = [_FIELD.pack(len(texts)), ends.tobytes(), *encoded]
    return [*head, counts.astype("<u4", copy=False).tobytes(), places.astype("<u4", copy=False).tobytes()]


# ---------------------------------------------------------------------------------------------------------- decode


class _Reader:
    """Takes arrays from bytes, one behind the other, and never more than there is."""

    def __init__(self, data: bytes):
        self.data, self.at = data, 0

    def take(self, dtype: str, count: int) -> NDArray[Any]:
        """The next `count` numbers."""
        size = np.dtype(dtype).itemsize * count
        return np.frombuffer(self.text(size), dtype, count)

    def text(self, size: int) -> bytes:
        """The next `size` bytes."""
        if size > len(self.data) - self.at:
            raise SearchError("fields: cut off")
        self.at += size
        return self.data[self.at - size : self.at]


def decode_fields(schema: Schema, data: bytes) -> list[dict[str, Any]]:
    """The values in a payload, a dictionary for each row without what is missing; SearchError for bytes that are none.

    tag: list[str], sorted; bool, int, float and id (str) as they are; datetime: datetime in UTC; geo: (latitude,
    longitude).
    """
    reader = _Reader(data)
    n, count = (int(number) for number in reader.take("<u4", 2))
    if n > len(data) and count:
        raise SearchError("fields: cut off")
    rows: list[dict[str, Any]] = [{} for _ in range(n)]
    names, last = list(schema), -1
    for _ in range(count):
        number = int(reader.take("<u4", 1)[0])
        if not last < number < len(names):
            raise SearchError(f"fields: no field {number} there")
        last, name = number, names[number]
        if schema[name] in ("tag", "id"):
            _decode_texts(reader, name, schema[name], rows)
        else:
            _decode_numbers(reader, name, schema[name], rows)
    if reader.at < len(data):
        raise SearchError("fields: bytes behind the end")
    return rows


def _decode_numbers(reader: _Reader, name: str, kind: FieldKind, rows: list[dict[str, Any]]) -> None:
    """Put the values of a column into `rows`."""
    n = len(rows)
    there = np.flatnonzero(reader.take("u1", n))
    values = reader.take("<f8" if kind in ("float", "geo") else "<i8", 2 * n if kind == "geo" else n)
    values = values.reshape(n, 2)[there] if kind == "geo" else values[there]
    if kind == "datetime" and len(values) and (values.min() < FIRST or values.max() > LAST):
        raise SearchError(f"fields: a moment of {name!r} outside of the years 1 to 9999")
    found: list[Any] = values.tolist()
    if kind == "bool":
        found = list(map(bool, found))
    elif kind == "datetime":
        found = [EPOCH + timedelta(microseconds=value) for value in found]
    elif kind == "geo":
        found = [(latitude, longitude) for latitude, longitude in found]
    for row, value in zip(there.tolist(), found, strict=True):
        rows[row][name] = value


def _decode_texts(reader: _Reader, name: str, kind: FieldKind, rows: list[dict[str, Any]]) -> None:
    """Put the texts of a column into `rows`."""
    different = int(reader.take("<u4", 1)[0])
    ends = reader.take("<u8", different).tolist()
    starts = [0, *ends[:-1]]
    if any(start >= end for start, end in zip(starts, ends, strict=False)):
        raise SearchError(f"fields: texts of {name!r} that do not follow one another")
    text = reader.text(ends[-1] if ends else 0)
    try:
        texts = [text[start:end].decode() for start, end in zip(starts, ends, strict=False)]
    except UnicodeDecodeError as error:
        raise SearchError(f"fields: texts of {name!r} that are not UTF-8 ({error.reason})") from error
    counts = reader.take("<u4", len(rows)).tolist()
    places = reader.take("<u4", sum(counts))
    if (len(places) and int(places.max()) >= different) or (kind == "id" and max(counts, default=0) > 1):
        raise SearchError(f"fields: rows of {name!r} with texts that are not there")
    found, at = [texts[place] for place in places.tolist()], 0
    for row, count in enumerate(counts):
        if count:
            rows[row][name] = sorted(found[at : at + count]) if kind == "tag" else found[at]
            at += count
