"""What is known of each vector besides its numbers: a table of text and numbers by id, kept as parquet."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa  # type: ignore[import-untyped]
import pyarrow.compute as pc  # type: ignore[import-untyped]
import pyarrow.parquet as pq  # type: ignore[import-untyped]

from medalist.errors import SearchError
from medalist.files import read_table, written
from medalist.search.embeddings import refuse_twice, shown

ID, IDENTITY, PATH = "id", "identity", "path"
NAMES = (ID, IDENTITY, PATH)
"""Columns that are always text: 007 and 7 are two identities."""

EXACT = 2**53
"""Beyond it, float64 does not tell a whole number from its neighbour."""

_WHOLE = re.compile("-?(0|[1-9][0-9]{0,17})", re.ASCII)
_DECIMAL = re.compile(r"-?(0|[1-9][0-9]{0,17})(\.[0-9]{1,40})?([eE][+-]?[0-9]{1,2})?", re.ASCII)


def typed(name: str, cells: Sequence[str]) -> Any:
    """A column as pyarrow.Array: int64 or float64 where every cell that is not empty is written as a number, else text.

    Empty cells of numbers are null. What loses something as a number stays text: 007, nan, whole numbers beyond 18
    digits, or beyond 2**53 among decimals or empty cells of them. `id`, `identity` and `path` are always text.
    """
    there = [cell for cell in cells if cell]
    if name in NAMES or not there:
        return pa.array(cells, pa.string())
    if all(map(_WHOLE.fullmatch, there)):
        return pa.array([int(cell) if cell else None for cell in cells], pa.int64())
    if all(map(_DECIMAL.fullmatch, there)):
        numbers = [float(cell) if cell else None for cell in cells]
        fit = all(abs(int(cell)) <= EXACT for cell in there if _WHOLE.fullmatch(cell))
        if fit and all(number is None or math.isfinite(number) for number in numbers):
            return pa.array(numbers, pa.float64())
    return pa.array(cells, pa.string())


def make_fields(ids: Sequence[str], columns: Mapping[str, Sequence[str]]) -> Any:
    """A pyarrow.Table with `id` first and each column typed by its cells; columns are as long as ids."""
    made = {ID: pa.array(ids, pa.string())}
    for name, cells in columns.items():
        assert len(cells) == len(ids), f"{name}: {len(cells)} cells for {len(ids)} ids"
        if name != ID:
            made[name] = typed(name, cells)
    return pa.table(made)


def read_fields(path: Path, ids: Sequence[str]) -> dict[str, list[str]]:
    """Columns of a csv with a column `id`, as text in the order of `ids`; its other rows are left out.

    Raises SearchError where an id stands there twice, or where some of `ids` do not stand there, and names them.
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
        raise SearchError(f"{path}: no row for {len(missing)} of {len(ids)} ids: {shown(missing)}{hint}")
    columns = [name for name in rows[0] if name != ID] if rows else []
    return {name: [by_id[one][name] for one in ids] for name in columns}


def stacked(above: Any, below: Any) -> Any:
    """Two tables one under the other; cells of a column that one of them lacks are empty.

    A column of empty cells takes the other's type, and whole numbers become float64 where the other has decimals.
    Raises SearchError where a column holds text in one and numbers in the other.
    """
    names = [*above.column_names, *(name for name in below.column_names if name not in above.column_names)]
    parts: list[dict[str, Any]] = [{}, {}]
    for name in names:
        columns = [_column(table, name) for table in (above, below)]
        kinds = [None if _all_empty(column) else column.type for column in columns]
        kind = kinds[0] or kinds[1] or pa.string()
        if kinds[0] is not None and kinds[1] is not None and kinds[0] != kinds[1]:
            kind = pa.float64()
            if pa.string() in kinds or not all(_exact_as_float(column) for column in columns):
                told = [_kind_name(column.type) for column in columns]
                raise SearchError(f"field '{name}': {told[0]} in the gallery, {told[1]} in what is added")
        for part, column in zip(parts, columns, strict=True):
            part[name] = _empty(len(column), kind) if _all_empty(column) else column.cast(kind)
    return pa.concat_tables([pa.table(part) for part in parts]).combine_chunks()


def _column(table: Any, name: str) -> Any:
    return table.column(name) if name in table.column_names else pa.chunked_array([_empty(len(table), pa.string())])


def _empty(n: int, kind: Any) -> Any:
    return pa.array(["" if kind == pa.string() else None] * n, kind)


def _all_empty(column: Any) -> bool:
    if column.type == pa.string():
        return not len(column) or bool(pc.all(pc.equal(column, "")).as_py())
    return int(column.null_count) == len(column)


def _exact_as_float(column: Any) -> bool:
    if column.type != pa.int64() or not len(column):
        return True
    edges = pc.min_max(column).as_py()
    return edges["min"] is None or max(-edges["min"], edges["max"]) <= EXACT


def _kind_name(kind: Any) -> str:
    return {pa.string(): "text", pa.int64(): "whole numbers", pa.float64(): "numbers"}[kind]


def write_parquet(path: Path, fields: Any) -> None:
    """Write a table of fields, whole or not at all."""
    with written(path) as temporary:
        pq.write_table(fields, temporary)


def read_parquet(path: Path, ids: Sequence[str]) -> Any:
    """Read back what `write_parquet` wrote for `ids`; SearchError for any other file, on one line."""
    if not path.is_file():
        raise SearchError(f"{path}: no such file" if not path.exists() else f"{path}: not a file")
    try:
        table = pq.read_table(path, partitioning=None, use_threads=False).combine_chunks()
        table.validate(full=True)
    except (pa.ArrowException, OSError, ValueError, TypeError, MemoryError) as error:
        reason = (" ".join(str(error).split()) or type(error).__name__)[:200]
        raise SearchError(f"{path}: damaged or not a parquet file ({reason})") from error
    for name, kind in zip(table.column_names, table.schema.types, strict=True):
        if kind not in (pa.string(), pa.int64(), pa.float64()) or (name in NAMES and kind != pa.string()):
            raise SearchError(f"{path}: column '{name}' holds {kind}; the file is not of a gallery")
        if kind == pa.string() and table.column(name).null_count:
            raise SearchError(f"{path}: column '{name}' holds nulls; the file is not of a gallery")
    if len(set(table.column_names)) < len(table.column_names) or ID not in table.column_names:
        raise SearchError(f"{path}: no column 'id', or one that stands there twice; the file is not of a gallery")
    if table.column(ID).to_pylist() != list(ids):
        raise SearchError(f"{path}: its ids are not those of the vectors; build the gallery again")
    return table
