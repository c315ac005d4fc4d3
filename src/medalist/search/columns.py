"""Check columns of values as callers give them, and turn them into the arrays that the core reads.

Arrays and plain lists are read by NumPy as a whole, where that is possible. All other columns are read value by value
by the parsers of values.py. Both ways accept the same values. Where the fast way finds a fault, the parser of one value
writes the error message, so the messages are the same too.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import chain
from types import NoneType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medalist.errors import SearchError
from medalist.search.values import (
    EXACT,
    PARSERS,
    FieldKind,
    UnfitError,
    is_missing,
    micros_of,
    one_tag,
    one_whole,
    refusal,
)
from medalist.search.vectors import as_array

_PLAIN: dict[str, set[type]] = {"bool": {bool}, "int": {int}, "float": {int, float}}
_PAIR = (list, tuple, np.ndarray)
_TEXT: set[type] = {str, np.str_}
_EASY = ("timestamp", "date32", "date64", "double", "float")  # types of pyarrow whose nulls NumPy has too: NaT, NaN

Given = NDArray[Any] | list[Any]
"""A column: an array, or a list of values of any type."""
Checked = tuple[NDArray[np.bool_], NDArray[Any], NDArray[np.bool_]]
"""Which rows have a value, the values as in Numbers, and which rows are valid."""
Numbers = tuple[NDArray[np.bool_], NDArray[Any]]
"""Which rows have a value: bool[n]; and the values: int64[n], float64[n] or (geo) float64[n, 2], 0 in other rows."""
Texts = tuple[list[str], NDArray[np.uint32], NDArray[np.uint32]]
"""The different texts (tags sorted, ids in the order of first use); how many texts each row has: uint32[n]; and the
numbers of the texts of all rows, row after row, rising within a row: uint32."""


def as_column(values: Any, field: str, kind: FieldKind, n: int) -> Given:
    """Return a column of `n` values as an array or a list, without checking the values; SearchError for anything else.

    Columns of pandas and pyarrow are recognised by their methods. Where these libraries would turn ints with gaps into
    floats, the column is read as a list.
    """
    column: Given
    if isinstance(values, list | tuple):
        column = list(values)
    elif isinstance(values, str | bytes) or not (hasattr(values, "__array__") or isinstance(values, range)):
        reason = f"{type(values).__name__}, expected a list or an array of {n} values"
        raise SearchError(f"field {field!r}: {reason}; for one row give [value]")
    elif isinstance(values, np.ma.MaskedArray) and values.ndim:
        gaps = np.atleast_1d(np.ma.getmaskarray(values).all(axis=tuple(range(1, values.ndim))))
        column = [None if gap else one for gap, one in zip(gaps, values, strict=True)]
    elif hasattr(values, "null_count") and hasattr(values, "to_pylist"):  # pyarrow
        easy = _EASY if values.null_count else (*_EASY, "int", "uint", "bool")
        column = np.asarray(values) if str(values.type).startswith(easy) else values.to_pylist()
    elif hasattr(values, "isna") and hasattr(values, "dtype") and not isinstance(values.dtype, np.dtype):  # pandas
        zoned = values.dtype.kind == "M" and hasattr(values.dtype, "unit")
        column = values.to_numpy(f"M8[{values.dtype.unit}]") if zoned else values.tolist()
    else:
        column = as_array(values, f"field {field!r}")
    if isinstance(column, np.ndarray) and column.ndim != 1 and not (column.ndim == 2 and kind in ("geo", "tag")):
        raise SearchError(f"field {field!r}: shape {list(column.shape)}, expected [{n}]")
    if len(column) != n:
        raise SearchError(f"field {field!r}: {len(column)} values for {n} rows")
    return column


def as_numbers(column: Given, field: str, kind: FieldKind) -> Numbers:
    """Return a column as numbers: bools as 0 and 1, datetimes as microseconds since 1970. Not for tag and id columns.

    Raises SearchError, which names the field and the row, for a value that does not fit the kind.
    """
    gaps: NDArray[np.bool_] | None = None
    array: NDArray[Any] | None
    if isinstance(column, list):
        array, gaps = _from_list(column, kind)
    else:
        array = column
    found = None if array is None else _from_array(array, kind)
    if found is None:
        return _one_by_one(column, field, kind)
    present, values, good = found
    if not good.all():
        row = int(np.argmin(good))
        parse = one_whole if kind == "int" and not present.all() else PARSERS[kind]
        try:
            parse(column[row])
        except UnfitError as error:
            raise refusal(field, kind, error, row) from error
        raise AssertionError(f"{kind} {column[row]!r} is refused in an array alone")
    return present if gaps is None else present & ~gaps, values


def _from_list(values: list[Any], kind: FieldKind) -> tuple[NDArray[Any] | None, NDArray[np.bool_] | None]:
    """The array of a list of plain numbers or pairs of numbers, and where the list has None; (None, None) for others.

    The array has 0 where the list has None, and a pair of NaN in a geo list; such a list has no array of gaps.
    """
    types = set(map(type, values))
    try:
        if kind in _PLAIN and types and types - {NoneType} <= _PLAIN[kind]:
            gaps = np.fromiter((value is None for value in values), np.bool_, len(values))
            plain = [0 if value is None else value for value in values] if NoneType in types else values
            return np.array(plain, {"bool": np.bool_, "int": np.int64, "float": np.float64}[kind]), gaps
        if kind == "geo" and types <= {list, tuple, NoneType}:
            pairs = [(np.nan, np.nan) if value is None else value for value in values] if NoneType in types else values
            if set(map(len, pairs)) == {2} and set(map(type, chain.from_iterable(pairs))) <= {int, float}:
                return np.array(pairs, np.float64), None
    except OverflowError:  # an int is too large; the slow way finds and names it
        pass
    return None, None


def _from_array(array: NDArray[Any], kind: FieldKind) -> Checked | None:
    """The values of an array, read as a whole; None where the array's type must be read value by value."""
    sort, everywhere = array.dtype.kind, np.ones(len(array), np.bool_)
    if kind == "datetime" and sort == "M":
        return micros_of(array)
    if (kind, sort) == ("bool", "b"):
        return everywhere, array.astype(np.int64), everywhere
    if kind == "int" and sort in "iu":
        good = array < 2**63 if sort == "u" and array.dtype.itemsize == 8 else everywhere
        return everywhere, array.astype(np.int64), good
    if kind in ("int", "float", "geo") and sort in "iuf" and array.dtype.itemsize <= 8:
        return _from_reals(array, kind)
    return None


def _from_reals(array: NDArray[Any], kind: FieldKind) -> Checked | None:
    present = ~np.isnan(array)
    with np.errstate(invalid="ignore"):
        values = np.where(present, array, 0).astype(np.float64) + 0.0
        if kind == "int":
            good = (np.abs(values) < EXACT) & (np.floor(values) == values) & (not present.all())
            return present, np.where(good, values, 0).astype(np.int64), good
    if kind == "float" and array.ndim == 1:
        return present, values, np.ones(len(array), np.bool_)
    if kind == "geo" and array.ndim == 2 and array.shape[1] == 2:
        good = (present[:, 0] == present[:, 1]) & (np.abs(values) <= (90, 180)).all(axis=1)
        return present[:, 0], values, good
    return None


def _one_by_one(column: Given, field: str, kind: FieldKind) -> Numbers:
    """Read a column of any type value by value, with the parser of its kind."""
    rows = _as_list(column)
    present = np.zeros(len(rows), np.bool_)
    values = np.zeros(
        (len(rows), 2) if kind == "geo" else len(rows), np.float64 if kind in ("float", "geo") else np.int64
    )
    parse = PARSERS[kind]
    if kind == "int" and any(isinstance(value, float | np.floating) and is_missing(value) for value in rows):
        parse = one_whole  # pandas turns ints with gaps into floats, so whole floats are accepted here
    for row, value in enumerate(rows):
        if is_missing(value) or (kind == "geo" and _no_place(value)):
            continue
        try:
            values[row] = parse(value)
        except UnfitError as error:
            raise refusal(field, kind, error, row) from error
        present[row] = True
    return present, values


def _as_list(column: Given) -> list[Any]:
    """The values of a column as a list; datetime64 values stay NumPy scalars, because `tolist` may make them ints."""
    if isinstance(column, list):
        return column
    return list(column) if column.dtype.kind in "mM" else column.tolist()


def _no_place(value: object) -> bool:
    """Whether latitude and longitude are both missing."""
    parts = list(value.values() if isinstance(value, Mapping) else value if isinstance(value, _PAIR) else ())
    return len(parts) == 2 and all(map(is_missing, parts))


def as_texts(column: Given, field: str, kind: FieldKind) -> Texts:
    """Return the texts of a column of tags or ids, and which of them each row has; a text counts once in a row.

    Raises SearchError, which names the field and the row, for a value that does not fit the kind.
    """
    flat, counts = _flattened(_as_list(column), field, kind)
    if not set(map(type, flat)) <= _TEXT:
        flat = _checked(flat, counts, field, kind)
    different = set(flat)
    if "" in different or not _encodable(different):
        flat = _checked(flat, counts, field, kind)
    texts = list(dict.fromkeys(flat)) if kind == "id" else sorted(different)
    if kind == "id" and len(texts) == len(flat):
        return texts, counts.astype(np.uint32), np.arange(len(flat), dtype=np.uint32)
    numbers = dict(zip(texts, range(len(texts)), strict=True))
    places = np.fromiter(map(numbers.__getitem__, flat), np.int64, len(flat))
    if len(counts) and counts.max() > 1:
        keys = np.repeat(np.arange(len(counts)) * len(texts), counts) + places
        keys.sort()
        keys = keys[np.diff(keys, prepend=-1) > 0]
        row_of, places = np.divmod(keys, len(texts))
        counts = np.bincount(row_of, minlength=len(counts))
    return texts, counts.astype(np.uint32), places.astype(np.uint32)


def _flattened(rows: list[Any], field: str, kind: FieldKind) -> tuple[list[Any], NDArray[np.int64]]:
    """The values of all rows in one list, and how many each row has. Plain texts and items of lists are not checked."""
    types = set(map(type, rows))
    if not types <= _TEXT | {NoneType, list, tuple}:
        rows = [None if is_missing(row) else row for row in rows]
        types = set(map(type, rows))
    if types <= _TEXT | {NoneType}:
        there = np.fromiter((row is not None for row in rows), np.int64, len(rows))
        return ([row for row in rows if row is not None] if NoneType in types else rows), there
    if kind == "tag" and types <= {list, tuple, NoneType}:
        rows = [() if row is None else row for row in rows] if NoneType in types else rows
        return list(chain.from_iterable(rows)), np.fromiter(map(len, rows), np.int64, len(rows))
    if kind == "id" and types == {int} and min(rows) >= -(2**63) and max(rows) < 2**64:
        return list(map(str, rows)), np.ones(len(rows), np.int64)
    flat: list[Any] = []
    counts = np.zeros(len(rows), np.int64)
    for row, value in enumerate(rows):
        if value is None:
            continue
        several = kind == "tag" and (isinstance(value, list | tuple | set | frozenset | np.ndarray))
        before = len(flat)
        try:
            flat.extend(map(one_tag, value)) if several else flat.append(PARSERS[kind](value))
        except UnfitError as error:
            raise refusal(field, kind, error, row) from error
        counts[row] = len(flat) - before
    return flat, counts


def _encodable(texts: set[Any]) -> bool:
    try:
        "".join(texts).encode()
    except UnicodeEncodeError:
        return False
    return True


def _checked(flat: Sequence[Any], counts: NDArray[np.int64], field: str, kind: FieldKind) -> list[str]:
    """The texts, each checked by its parser. Raises SearchError, which names the row, for the first one that is bad."""
    texts = []
    for at, value in enumerate(flat):
        try:
            texts.append(PARSERS[kind](value))
        except UnfitError as error:
            row = int(np.searchsorted(np.cumsum(counts), at, side="right"))
            raise refusal(field, kind, error, row) from error
    return texts
