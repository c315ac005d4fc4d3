"""Read the columns of a csv as fields of an index: find the kind of each column, and turn cells into values.

An empty cell is a missing value. A column gets the first of these kinds that all its other cells are written as, if no
cell loses information by it:

    int        whole numbers of up to 18 digits: 12, -3; not 007
    float      decimals, maybe mixed with whole numbers up to 2**53: 2.5, 1e3; not nan, not inf
    bool       true, false, in any case
    datetime   ISO dates and times: 2026-01-31, 2026-01-31T10:00:00Z; UTC where no offset is written
    geo        latitude,longitude in range: "54.3,10.1"; one cell of the column must have a decimal point, because
               "3,5" may be the number three and a half
    tag        everything else: a cell is one keyword

Where the user gives the kind, the column has this kind, and a cell that does not fit it is an error.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

from medalist.errors import SearchError
from medalist.files import read_table
from medalist.search.embeddings import refuse_twice
from medalist.search.embeddings import shown as some_of
from medalist.search.schema import KINDS, FieldKind, Schema, check_schema
from medalist.search.values import UnfitError, one_datetime, one_float, one_int, one_place, one_tag, shown

ID, IDENTITY, PATH = "id", "identity", "path"
NAMES = (IDENTITY, PATH)
"""Columns that are always tags, because 007 and 7 are two different identities."""

EXACT = 2**53
"""Above this number, two neighbouring whole numbers can be the same float64."""

_WHOLE = re.compile("-?(0|[1-9][0-9]{0,17})", re.ASCII)
_DECIMAL = re.compile(r"-?(0|[1-9][0-9]{0,17})(\.[0-9]{1,40})?([eE][+-]?[0-9]{1,2})?", re.ASCII)
_DIGITS = re.compile("[+-]?[0-9]{1,40}", re.ASCII)
_NUMBER = re.compile(r"[+-]?([0-9]{1,400}(\.[0-9]{0,400})?|\.[0-9]{1,400})([eE][+-]?[0-9]{1,4})?", re.ASCII)
_BOOLS = {"true": True, "false": False}

Columns = Mapping[str, Sequence[str]]
"""The cells of each column as text, by the column's name."""


def kinds_of(columns: Columns, said: Mapping[str, str] | None = None) -> dict[str, FieldKind]:
    """Return the kind of each column except `id`: the kind in `said`, else the kind that its cells are written as.

    Raises SearchError where `said` has an unknown kind or column, or another kind than tag for `identity` or `path`.
    """
    said = said or {}
    for name, kind in said.items():
        if name not in columns or name == ID:
            there = some_of([one for one in columns if one != ID]) or "none"
            raise SearchError(f"kind {name}={kind}: no column {name!r:.60}; there are: {there}")
        if kind not in KINDS:
            raise SearchError(f"kind {name}={kind}: unknown kind {kind!r:.60}; expected one of {', '.join(KINDS)}")
        if name in NAMES and kind != "tag":
            raise SearchError(f"kind {name}={kind}: '{name}' is always a tag; leave its kind out")
    return check_schema({name: said.get(name) or kind_of(name, cells) for name, cells in columns.items() if name != ID})


def kind_of(name: str, cells: Sequence[str]) -> FieldKind:
    """Return the kind that a column's cells are written as; tag where no other kind fits all of them."""
    there = [cell for cell in cells if cell]
    if name in NAMES or not there:
        return "tag"
    if all(map(_WHOLE.fullmatch, there)):
        return "int"
    if all(map(_DECIMAL.fullmatch, there)):
        fit = all(abs(int(cell)) <= EXACT for cell in there if _WHOLE.fullmatch(cell))
        return "float" if fit and all(math.isfinite(float(cell)) for cell in there) else "tag"
    if all(cell.lower() in _BOOLS for cell in there):
        return "bool"
    if _all_read("datetime", there):
        return "datetime"
    return "geo" if any("." in cell for cell in there) and _all_read("geo", there) else "tag"


def _all_read(kind: FieldKind, cells: Sequence[str]) -> bool:
    try:
        for cell in cells:
            _READ[kind](cell)
    except UnfitError:
        return False
    return True


def values_of(columns: Columns, schema: Schema, ids: Sequence[str]) -> dict[str, list[Any]]:
    """Return all columns except `id` as values of the fields of `schema`, with None for an empty cell.

    Raises SearchError, which names the field, the id and the cell that does not fit, or the column without a field.
    """
    return {name: _values(name, cells, schema, ids) for name, cells in columns.items() if name != ID}


def _values(name: str, cells: Sequence[str], schema: Schema, ids: Sequence[str]) -> list[Any]:
    kind = schema.get(name)
    if kind is None:
        there = some_of(list(schema)) or "none"
        raise SearchError(
            f"column {name!r:.60} is no field of the index, which has: {there}; leave the column out, or build the "
            "index again with it"
        )
    assert len(cells) == len(ids), f"{name}: {len(cells)} cells for {len(ids)} ids"
    found: list[Any] = []
    for one, cell in zip(ids, cells, strict=True):
        try:
            found.append(_READ[kind](cell) if cell else None)
        except UnfitError as error:
            raise SearchError(f"field {name!r:.60}, id {one!r:.60}: {error}; the field's kind is {kind}") from error
    return found


def _whole(cell: str) -> int:
    if not _DIGITS.fullmatch(cell):
        raise UnfitError(f"{shown(cell)} is no whole number")
    return one_int(int(cell))


def _decimal(cell: str) -> float:
    if not _NUMBER.fullmatch(cell) or not math.isfinite(float(cell)):
        raise UnfitError(f"{shown(cell)} is no finite number")
    return one_float(float(cell))


def _true(cell: str) -> bool:
    if cell.lower() not in _BOOLS:
        raise UnfitError(f"{shown(cell)} is neither true nor false")
    return _BOOLS[cell.lower()]


def _moment(cell: str) -> np.datetime64:
    return np.datetime64(one_datetime(cell), "us")


def _place(cell: str) -> tuple[float, float]:
    parts = [part.strip() for part in cell.split(",")]
    if len(parts) != 2 or not all(map(_NUMBER.fullmatch, parts)):
        raise UnfitError(f"{shown(cell)} is no latitude,longitude such as 54.3,10.1")
    return one_place(tuple(map(float, parts)))


_READ: dict[FieldKind, Callable[[str], Any]] = {
    "tag": one_tag,
    "bool": _true,
    "int": _whole,
    "float": _decimal,
    "datetime": _moment,
    "geo": _place,
    "id": one_tag,
}
"""For each kind, the function that reads a cell that is not empty. It raises UnfitError where the cell does not fit."""


def as_cell(value: Any) -> str:
    """Return a value of `Index.get` as the text of a csv cell; "" for None, several tags joined by ", "."""
    match value:
        case None:
            return ""
        case bool():
            return str(value).lower()
        case datetime():
            text = value.astimezone(UTC).replace(tzinfo=None).isoformat()
            return text.removesuffix("T00:00:00") if text.endswith("T00:00:00") else f"{text}Z"
        case tuple():
            return ",".join(map(str, value))
        case list():
            return ", ".join(value)
    return str(value)


def read_fields(path: Path, ids: Sequence[str]) -> dict[str, list[str]]:
    """Read a csv that has a column `id`: return its other columns as text, with the rows of `ids` in their order.

    Rows of other ids are left out. Raises SearchError, which names the ids, where the csv has an id twice or lacks some
    of `ids`.
    """
    rows = read_table(path, [ID])
    try:
        refuse_twice([row[ID] for row in rows])
    except SearchError as error:
        raise SearchError(f"{path}: {error}") from error
    by_id = {row[ID]: row for row in rows}
    missing = [name for name in ids if name not in by_id]
    if missing:
        hint = "; ids are file names without their ending" if any(Path(name).suffix for name in by_id) else ""
        raise SearchError(f"{path}: no row for {len(missing)} of {len(ids)} ids: {some_of(missing)}{hint}")
    columns = [name for name in rows[0] if name != ID] if rows else []
    return {name: [by_id[one][name] for one in ids] for name in columns}
