"""The fields of an index, and their values as bytes for the core (the format is in src/ann/payload.hpp)."""

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
"""The kinds of fields; the core's number of a kind is its position here."""

Schema = Mapping[str, FieldKind]
"""The kind of each field of an index, by name. The order matters: a field's number is its position."""

MOST_FIELDS = 256
LONGEST_NAME = 200

_HEAD = struct.Struct("<II")
_FIELD = struct.Struct("<I")


def check_schema(fields: Mapping[str, str] | None) -> dict[str, FieldKind]:
    """Check fields and return them as a new dictionary.

    A name has 1 to 200 letters without NUL, and is not `id`, which is the name of the ids. At most 256 fields are
    allowed. Raises SearchError where a name, a kind or the number of fields is not allowed.
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
    """The end of an error message: the name that was probably meant, and the known names."""
    near = difflib.get_close_matches(name[:LONGEST_NAME], known, 1) if isinstance(name, str) else []
    hint = f"; did you mean {near[0]!r}?" if near else ";"
    names = ", ".join(known[:12]) + (f" and {len(known) - 12} more" if len(known) > 12 else "")
    return f"{hint} known are: {names}" if known else "; the index has no fields"


def kind_of(schema: Schema, field: object) -> FieldKind:
    """Return the kind of a field. Raises SearchError, which names the known fields, where there is no such field."""
    kind = schema.get(field) if isinstance(field, str) else None
    if kind is None:
        raise SearchError(f"field {shown(field)}: unknown{_nearest(field, list(schema))}")
    return kind


def as_micros(value: object, field: str) -> int:
    """Return a value of a datetime field as microseconds since 1970 in UTC.

    Raises SearchError where the value is missing, or is no datetime.
    """
    try:
        if is_missing(value):
            raise UnfitError(f"{shown(value)} is no moment")
        return one_datetime(value)
    except UnfitError as error:
        raise refusal(field, "datetime", error) from error


def as_value(schema: Schema, field: str, value: object) -> Any:
    """Return one value in the form in which a filter compares a field with it.

    tag and id: str; bool: bool; int: int; float: float (infinities too); datetime: int, microseconds since 1970, UTC;
    geo: (latitude, longitude). An int field also accepts a float that is a whole number below 2**53. Raises SearchError
    for an unknown field, for a value that the field cannot have, and for a missing value, because filters have their
    own condition for missing values.
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
    """Return the values of `n` rows as bytes: from columns by field (or a DataFrame), or a list of n dicts; None: none.

    A column is a list, a NumPy array, a tensor, or a column of pandas or pyarrow. Fields that are not mentioned are not
    part of the bytes: new rows have no value there, and existing rows keep theirs. A field that only some of the dicts
    have is missing in the others.

    None, NaN, NaT, pandas.NA and an empty list of tags mean a missing value. Kinds are strict: a bool is no int, and an
    int is no bool and no tag. Ints may be given as floats only in a column where NaN marks gaps, as pandas makes them.
    -0.0 becomes 0.0. A tag that a row has twice counts once. An int in an id field becomes its decimal digits. A
    datetime without a time zone is UTC. Raises SearchError, which names the field, the row, the value and what is
    allowed.
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
    """Reads arrays from bytes, one after the other. SearchError where the bytes end too early."""

    def __init__(self, data: bytes):
        self.data, self.at = data, 0

    def take(self, dtype: str, count: int) -> NDArray[Any]:
        """Return the next `count` numbers."""
        size = np.dtype(dtype).itemsize * count
        return np.frombuffer(self.text(size), dtype, count)

    def text(self, size: int) -> bytes:
        """Return the next `size` bytes."""
        if size > len(self.data) - self.at:
            raise SearchError("fields: cut off")
        self.at += size
        return self.data[self.at - size : self.at]


def decode_fields(schema: Schema, data: bytes) -> list[dict[str, Any]]:
    """Return the values in bytes of the core: a dictionary for each row, without missing values.

    tag: list[str], sorted; bool, int, float and id (str) as they are; datetime: datetime in UTC; geo: (latitude,
    longitude). Raises SearchError where the bytes are damaged or do not fit the schema.
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
