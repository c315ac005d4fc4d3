"""The rows of the twin: add, change, delete, count and read vectors with ids and fields, row by row."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from datetime import datetime
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from medalist.errors import SearchError
from medalist.search.answers import Metric, Page, Refine
from medalist.search.checks import MOST_ANSWERS, check_threads
from medalist.search.filter_json import from_json
from medalist.search.filters import Filter, compile_filter
from medalist.search.grammar import parse_where
from medalist.search.ids import INTEGERS, KINDS, ROWS, STRINGS, Batch, parse_ids
from medalist.search.schema import Schema, check_schema, decode_fields, encode_fields, kind_of
from medalist.search.twin_filters import means, micros
from medalist.search.vectors import as_vectors, check_float16, whole

ORDERED = ("bool", "int", "float", "datetime")
"""Kinds of fields that rows can be sorted by."""

Where = Filter | str | Mapping[str, Any] | None
"""A filter, the text of `--where`, or JSON as text or as a dictionary; None: all rows."""
Row = dict[str, Any]


def as_filter(where: object, schema: Schema, id_kind: int) -> Filter | None:
    """Return a filter that a caller gave in any form of `Where`; SearchError for anything else."""
    if where is None or isinstance(where, Filter):
        return where
    if isinstance(where, str) and not where.lstrip().startswith("{"):
        return parse_where(where, schema, id_kind)
    if isinstance(where, str | Mapping):
        return from_json(where if isinstance(where, str) else dict(where))
    raise SearchError(f"where: {type(where).__name__}, expected a filter as F.depth < 200, its text, or JSON")


def _listed(batch: Batch, once: bool = True) -> list[Any]:
    names: list[Any] = [] if batch is None else batch if isinstance(batch, list) else batch.tolist()
    if once and len(set(names)) < len(names):
        raise SearchError("ids: an id is there twice")
    return names


class TwinRows:
    """Vectors of one dimension, with ids and fields of a schema."""

    def __init__(self, dim: int, metric: Metric, refine: Refine, fields: Schema | None) -> None:
        """Make it without rows."""
        self.dim, self.metric, self.refine = int(dim), metric, refine
        self.fields = check_schema(fields)
        self._vectors: NDArray[np.float64] = np.empty((0, self.dim))
        self._ids: list[Any] = []
        self._rows: list[Row] = []
        self._kind, self._next = ROWS, 0

    def __len__(self) -> int:
        """The number of stored vectors."""
        return len(self._ids)

    # ------------------------------------------------------------------------------------------------------ writing

    def add(
        self,
        ids: ArrayLike | None,
        vectors: ArrayLike,
        fields: Any = None,
        *,
        threads: int | None = None,
        progress: Callable[[int, int], object] | None = None,
    ) -> None:
        """Add vectors [n, dim] under `ids` [n], all or none, as `Index.add` does."""
        self._write(ids, vectors, fields, threads, progress, replace=False)

    def upsert(
        self,
        ids: ArrayLike,
        vectors: ArrayLike,
        fields: Any = None,
        *,
        threads: int | None = None,
        progress: Callable[[int, int], object] | None = None,
    ) -> None:
        """Add vectors; a vector whose id is in the index replaces the old one and its fields, and is added last."""
        if ids is None:
            raise SearchError("ids: None; upsert needs the ids of what it replaces")
        self._write(ids, vectors, fields, threads, progress, replace=True)

    def _write(
        self, ids: ArrayLike | None, vectors: ArrayLike, fields: Any, threads: Any, progress: Any, replace: bool
    ) -> None:
        check_threads(threads)
        matrix = as_vectors(vectors, self.dim, self.metric)
        n = len(matrix)
        if self.refine == "float16" and self.metric != "cosine":
            check_float16(matrix)
        batch = parse_ids(ids, n)
        told = decode_fields(self.fields, encode_fields(self.fields, fields, n))
        if not n:
            return
        kind = ROWS if batch is None else STRINGS if isinstance(batch, list) else INTEGERS
        if self._next and (kind == STRINGS) != (self._kind == STRINGS):
            raise SearchError("ids: integers and strings in one index")
        new = list(range(self._next, self._next + n)) if batch is None else _listed(batch)
        there = set(self._ids).intersection(new)
        if there and not replace:
            raise SearchError("ids: an id that is there already")
        if progress is not None:
            progress(n, n)
        self._drop([row for row, name in enumerate(self._ids) if name in there])
        self._ids += new
        self._rows += told
        self._vectors = np.concatenate([self._vectors, self._kept(matrix)])
        self._kind, self._next = max(kind, self._kind), self._next + n

    def _kept(self, rows: NDArray[np.float32]) -> NDArray[np.float64]:
        """Vectors in the form in which they are compared: unit length under cosine, rounded where refine is float16."""
        kept = rows.astype(np.float64)
        if self.metric == "cosine":
            kept /= np.sqrt((kept * kept).sum(axis=1, keepdims=True))
        return kept.astype(np.float16).astype(np.float64) if self.refine == "float16" else kept

    def _drop(self, rows: Iterable[int]) -> None:
        gone = set(rows)
        keep = [row for row in range(len(self)) if row not in gone]
        self._ids, self._rows = [self._ids[row] for row in keep], [self._rows[row] for row in keep]
        self._vectors = self._vectors[keep]

    def delete(self, ids: object = None, *, where: Where = None, threads: int | None = None) -> int:
        """Delete the rows of some ids, or those that match a filter; return how many were deleted.

        Give either `ids` or `where`. Ids that are not in the index are no error; an id that is given twice is one.
        """
        check_threads(threads)
        if (ids is None) == (where is None):
            raise SearchError("delete: give either ids= or where=")
        found = (
            self._chosen(where) if ids is None else [row for _, row in self._rows_of(ids, once=True) if row is not None]
        )
        self._drop(found)
        return len(found)

    def set_fields(self, values: Any, *, ids: object = None, where: Where = None) -> int:
        """Change the fields in `values` without changing vectors or other fields; return how many rows were changed.

        With `ids` [n], which must all be in the index, `values` are the fields of n rows as in `add`. With `where`,
        `values` is one dictionary of plain values for every row that matches: {"depth": 7}.
        """
        if (ids is None) == (where is None):
            raise SearchError("set_fields: give either ids= or where=")
        if values is None:
            raise SearchError("set_fields: no values")
        shared = ids is None
        if shared and not isinstance(values, Mapping):
            raise SearchError("set_fields: with where= give one value by name, as in {'seen': True}")
        rows = self._chosen(where) if shared else self._rows_there(ids, once=True)
        n = len(rows)
        told = encode_fields(self.fields, [values] if shared else values, 1 if shared else n)
        names = {name for row in values for name in row} if isinstance(values, list | tuple) else set(values)
        new = decode_fields(self.fields, told)
        for at, row in enumerate(rows):
            kept = {name: value for name, value in self._rows[row].items() if name not in names}
            self._rows[row] = {**kept, **new[0 if shared else at]}
        return n

    def _rows_of(self, ids: Any, once: bool = False) -> list[tuple[Any, int | None]]:
        """The given ids, one or several, and their rows; None for an id that is not in the index."""
        several = isinstance(ids, list | tuple | range) or (hasattr(ids, "__array__") and np.ndim(ids) > 0)
        given = ids if several else [ids]
        batch = _listed(parse_ids(given, len(given)), once)
        if batch and isinstance(batch[0], str) != (self._kind == STRINGS):
            raise SearchError(f"ids: {type(batch[0]).__name__} given, but the index holds {KINDS[self._kind]}")
        place = {name: row for row, name in enumerate(self._ids)}
        return [(name, place.get(name)) for name in batch]

    def _rows_there(self, ids: Any, once: bool = False) -> list[int]:
        """The rows of ids; SearchError for an id that is not in the index."""
        rows: list[int] = []
        for name, row in self._rows_of(ids, once):
            if row is None:
                raise SearchError(f"ids: {name!r:.60} is not in the index")
            rows.append(row)
        return rows

    # ------------------------------------------------------------------------------------------------------ reading

    def get(self, ids: object) -> list[Row]:
        """Return the fields of ids [n], without missing values; SearchError for an id that is not in the index."""
        return [dict(self._rows[row]) for row in self._rows_there(ids)]

    def vectors(self, ids: object) -> NDArray[np.float32]:
        """Return the vectors of ids [n] as they are kept: float32[n, dim]."""
        return self._vectors[self._rows_there(ids)].astype(np.float32)

    def ids(self) -> NDArray[Any]:
        """Return all ids in the order they were added: int64 or strings [n]."""
        return np.array(self._ids, np.str_ if self._kind == STRINGS else np.int64)

    def __contains__(self, one: object) -> bool:
        """Whether an id is in the index."""
        try:
            return self._rows_of([one])[0][1] is not None
        except SearchError:
            return False

    def count(self, where: Where = None) -> int:
        """Return the number of rows that match a filter."""
        return len(self._chosen(where))

    def facet(self, field: str, where: Where = None, limit: int | None = None) -> dict[Any, int]:
        """Count the values of a field over the rows that match a filter: most frequent first, then by value."""
        if kind_of(self.fields, field) == "geo":
            raise SearchError(f"facet: {field!r} is of the kind geo, whose values are not counted")
        if limit is not None:
            whole(limit, "limit", 1, MOST_ANSWERS)
        counts: dict[Any, int] = {}
        for row in self._chosen(where):
            value = self._rows[row].get(field, [])
            for one in value if isinstance(value, list) else [value]:
                counts[one] = counts.get(one, 0) + 1
        return dict(sorted(counts.items(), key=lambda pair: (-pair[1], pair[0]))[:limit])

    def scroll(
        self,
        where: Where = None,
        *,
        order_by: str | None = None,
        descending: bool = False,
        limit: int = 100,
        cursor: str | None = None,
    ) -> Page:
        """Return a page of the rows that match a filter, ordered by ids, or by a field and then by ids.

        Rows without a value in the field come last. `descending` concerns only the field; ids always rise. `cursor` is
        that of the page before; the new page begins after its last row, also where rows were added or deleted since.
        """
        if order_by is not None and kind_of(self.fields, order_by) not in ORDERED:
            raise SearchError(f"order_by: {order_by!r} has no order; allowed are fields of {', '.join(ORDERED)}")
        if descending and order_by is None:
            raise SearchError("descending: ids always rise; give order_by= too")
        whole(limit, "limit", 1, MOST_ANSWERS)
        sign = -1 if descending else 1

        def place(row: int) -> list[Any]:
            value = self._rows[row].get(order_by) if order_by is not None else None
            number = micros(value) if isinstance(value, datetime) else value
            return [value is None, 0 if number is None else sign * number, self._ids[row]]

        rows = sorted(self._chosen(where), key=place)
        if cursor is not None:
            last = self._behind(cursor, order_by, descending)
            rows = [row for row in rows if place(row) > last]
        page, more = rows[:limit], len(rows) > limit
        onward = json.dumps([order_by, descending, place(page[-1])]) if more else None
        names = np.array([self._ids[row] for row in page], np.str_ if self._kind == STRINGS else np.int64)
        return Page(names, [dict(self._rows[row]) for row in page], onward)

    def _behind(self, cursor: str, order_by: str | None, descending: bool) -> list[Any]:
        """The sort key of the last row of the page that a cursor belongs to."""
        try:
            told = json.loads(cursor)
        except (TypeError, ValueError):
            told = None
        match told:
            case [by, down, [bool(), int() | float(), name] as place] if (by, down) == (order_by, descending):
                if isinstance(name, str) == (self._kind == STRINGS):
                    return list(place)
        raise SearchError(f"cursor {cursor!r:.60}: none of a page in this order; leave it out to begin")

    def _chosen(self, where: Where) -> list[int]:
        """The rows that match a filter, in the order of adding."""
        one = as_filter(where, self.fields, self._kind)
        if one is None:
            return list(range(len(self)))
        compile_filter(one, self.fields, self._kind)  # only to raise its errors
        return [
            row
            for row, (fields, name) in enumerate(zip(self._rows, self._ids, strict=True))
            if means(one, fields, name)
        ]
