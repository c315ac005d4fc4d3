"""Ids of stored vectors (row numbers, 64-bit integers or strings): check what callers give, convert for the core."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medalist.errors import SearchError
from medalist.search.values import shown
from medalist.search.vectors import as_array

LONGEST_ID = 1024
"""The most letters of an id. It is limited because answers hold all strings at the width of the longest one."""

ROWS, INTEGERS, STRINGS = 0, 1, 2
KINDS = ("row numbers", "integers", "strings")
HEAD = struct.Struct("<IIQ")  # kind, zero, count

Batch = NDArray[np.int64] | list[str] | None
"""Ids of one call: integers, strings, or None for row numbers."""


def parse_ids(ids: object, n: int) -> Batch:
    """Return ids for `n` vectors as int64[n], as a list of strings, or None for row numbers.

    Accepts any integer array or tensor, lists of Python integers, and strings as a list, a NumPy array of strings or
    an object array. Raises SearchError for mixed types, for another number of ids than `n`, for floats, bools, bytes,
    unsigned integers above 2**63-1, and for strings that are empty, longer than 1024 letters, not encodable in UTF-8,
    or contain a NUL, which NumPy would drop.
    """
    if ids is None:
        return None
    found: Batch
    if isinstance(ids, list | tuple):
        found = _from_list(ids)
    elif isinstance(ids, str | bytes) or not (hasattr(ids, "__array__") or isinstance(ids, range)):
        raise SearchError(f"ids: {type(ids).__name__}, expected a list or an array of integers or strings")
    else:
        found = _from_array(as_array(ids, "ids"))
    if len(found) != n:
        raise SearchError(f"ids: {len(found)} ids for {n} vectors")
    if isinstance(found, list):
        _check_strings(found)
    return found


def _from_array(array: NDArray[Any]) -> NDArray[np.int64] | list[str]:
    if array.ndim != 1:
        raise SearchError(f"ids: shape {list(array.shape)}, expected [n]")
    if array.dtype.kind in "OUT":
        return _from_list(array.tolist())
    if array.dtype.kind == "S":
        raise SearchError("ids: bytes; decode them: np.char.decode(ids, 'utf-8')")
    if array.dtype.kind not in "iu":
        raise SearchError(f"ids: dtype {array.dtype}, expected integers or strings; try .astype(np.int64)")
    if array.dtype.kind == "u" and array.dtype.itemsize == 8 and array.size and int(array.max()) >= 2**63:
        at = int(np.flatnonzero(array >= 2**63)[0])
        raise _too_large(at, int(array[at]))
    return array.astype(np.int64)  # always a copy, because the caller may change the array later


def _from_list(ids: Sequence[object]) -> NDArray[np.int64] | list[str]:
    """Ids from a list of only integers or only strings; the first element decides which."""
    if ids and isinstance(ids[0], str):
        for at, value in enumerate(ids):
            if not isinstance(value, str):
                raise SearchError(f"ids, row {at}: {shown(value)} among strings; use one kind of id: str(id)")
        return [str(value) for value in ids]
    for at, value in enumerate(ids):
        if isinstance(value, bool | np.bool_) or not isinstance(value, int | np.integer):
            place = " among integers" if at else ""
            raise SearchError(f"ids, row {at}: {shown(value)}{place}; expected all integers or all strings")
        if not -(2**63) <= int(value) < 2**63:
            raise _too_large(at, int(value))
    return np.array(ids, np.int64)


def _too_large(at: int, value: int) -> SearchError:
    told = f"{value:.3e}" if value.bit_length() < 1000 else shown(value)
    return SearchError(f"ids, row {at}: {told} does not fit into a signed 64-bit integer; use strings: str(id)")


def _check_strings(ids: list[str]) -> None:
    for at, text in enumerate(ids):
        if not text or len(text) > LONGEST_ID or "\0" in text:
            fault = "an empty string" if not text else "a NUL in it" if "\0" in text else f"{len(text)} letters"
            raise SearchError(f"ids, row {at}: {fault}; expected 1 to {LONGEST_ID} letters, none of them NUL")
    try:
        "".join(ids).encode()
    except UnicodeEncodeError:
        at = next(row for row, text in enumerate(ids) if any("\ud800" <= letter <= "\udfff" for letter in text))
        raise SearchError(f"ids, row {at}: {ids[at]!r:.60} cannot be written in UTF-8") from None


def encode_ids(batch: Batch, n: int) -> bytes:
    """Return ids of `n` rows, as `parse_ids` returns them, as bytes for the core (IdBatch in src/ann/ids.hpp)."""
    if batch is None:
        return HEAD.pack(ROWS, 0, n)
    assert len(batch) == n, f"{len(batch)} ids for {n} rows"
    if isinstance(batch, np.ndarray):
        return HEAD.pack(INTEGERS, 0, n) + batch.astype("<i8", copy=False).tobytes()
    encoded = [text.encode() for text in batch]
    ends = np.cumsum(np.fromiter(map(len, encoded), np.int64, n), dtype="<i8")
    return b"".join([HEAD.pack(STRINGS, 0, n), ends.tobytes(), *encoded])


def decode_ids(data: bytes) -> Batch:
    """Return ids from bytes of the core: int64[n], n strings, or None for row numbers. They may repeat.

    Raises SearchError where the bytes are no batch of ids.
    """
    if len(data) < HEAD.size:
        raise SearchError("ids: cut off")
    kind, zero, count = HEAD.unpack_from(data)
    if kind >= len(KINDS) or zero:
        raise SearchError(f"ids: unknown kind {kind}")
    start = HEAD.size + (0 if kind == ROWS else 8 * count)
    if len(data) < start or (kind != STRINGS and len(data) > start):
        raise SearchError(f"ids: {len(data)} bytes do not hold {count} {KINDS[kind]}")
    if kind == ROWS:
        return None
    values = np.frombuffer(data, "<i8", count, HEAD.size).astype(np.int64)
    if kind == INTEGERS:
        return values
    text = data[start:]
    _check_text(values, text)
    ends = values.tolist()
    return [text[begin:end].decode() for begin, end in zip([0, *ends[:-1]], ends, strict=False)]


def _check_text(ends: NDArray[np.int64], text: bytes) -> None:
    """Raise SearchError unless `ends` cut the text into UTF-8 strings of 1 to LONGEST_ID letters without NUL."""
    sizes = np.diff(ends, prepend=np.int64(0))
    last = int(ends[-1]) if len(ends) else 0
    if last != len(text) or (len(ends) and (int(ends.min()) <= 0 or int(ends.max()) > last or int(sizes.min()) <= 0)):
        raise SearchError("ids: strings that do not follow one another")
    bounds = np.frombuffer(text, np.uint8)
    try:
        text.decode()
    except UnicodeDecodeError as error:
        raise SearchError(f"ids: not UTF-8 ({error.reason})") from error
    starts = ends - sizes
    if len(ends) and ((bounds[starts] & 0xC0) == 0x80).any():
        raise SearchError("ids: a string that begins within a letter")
    letters = np.add.reduceat((bounds & 0xC0) != 0x80, starts, dtype=np.int64) if len(ends) else sizes
    if b"\0" in text or (len(ends) and int(letters.max()) > LONGEST_ID):
        raise SearchError(f"ids: a string with a NUL or of more than {LONGEST_ID} letters")
