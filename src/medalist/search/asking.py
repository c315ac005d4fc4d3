"""Prepare calls of the core: filters of every form become programs for it, and the rows it returns become answers."""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, get_args

import numpy as np
from numpy.typing import ArrayLike, NDArray

from medalist.errors import SearchError
from medalist.search._ann import Core
from medalist.search.answers import Hits, Metric, Page
from medalist.search.checks import MOST_ANSWERS, Plan, check_choice, check_score
from medalist.search.filter_json import from_json
from medalist.search.filters import All, Filter, compile_filter
from medalist.search.grammar import parse_where
from medalist.search.ids import INTEGERS, KINDS, ROWS, STRINGS, decode_ids, encode_ids, parse_ids
from medalist.search.schema import FieldKind, decode_fields, kind_of
from medalist.search.vectors import as_queries, refuse_query, shaped_queries, whole

Where = Filter | str | Mapping[str, Any]
"""A filter: an expression of `F`, the text of `--where`, or JSON as text or as a dictionary."""

PLANS = (*get_args(Plan), "walk+scan", "bridge+scan")
"""The plans that a search can report; the core's number of a plan is its position here."""
CHOSEN = 255
_COMPILED = "_compiled"
ORDERED = ("bool", "int", "float", "datetime")
"""Kinds of fields whose values have an order."""


def as_filter(where: Where, schema: Mapping[str, FieldKind], id_kind: int) -> Filter:
    """Return the filter that is given in any form of `Where`; SearchError for anything else."""
    if isinstance(where, Filter):
        return where
    if isinstance(where, str) and not where.lstrip().startswith("{"):
        return parse_where(where, schema, id_kind)
    if isinstance(where, str | Mapping):
        return from_json(where if isinstance(where, str) else dict(where))
    raise SearchError(
        f"where: {type(where).__name__}, expected an expression of F such as F.depth < 200, a text such as "
        "'depth < 200', or JSON as text or dict"
    )


def program(where: Where | None, schema: Mapping[str, FieldKind], id_kind: int) -> bytes | None:
    """Return the program of a filter for the core; None for no filter.

    The same filter is often used for several searches, so a Filter object keeps the program it was compiled to last.
    """
    if where is None:
        return None
    if not isinstance(where, Filter):
        return compile_filter(as_filter(where, schema, id_kind), schema, id_kind)
    kept: tuple[Any, int, bytes] | None = getattr(where, _COMPILED, None)
    if kept is not None and kept[0] is schema and kept[1] == id_kind:
        return kept[2]
    made = compile_filter(where, schema, id_kind)
    object.__setattr__(where, _COMPILED, (schema, id_kind, made))  # allowed: the cache is not part of its value
    return made


@dataclass(frozen=True)
class Question:
    """The checked arguments of a search, without the queries: see `Index.search`.

    k: answers returned for each query. asked: rows that the core ranks, at most k and at most the vectors stored.
    farthest: queries of a larger farness (see `Hits`) are searched wider, until two searches agree.
    """

    k: int
    asked: int
    ef: int
    threads: int
    plan: int = CHOSEN
    where: Where | Sequence[Where | None] | None = None
    min_score: float = -np.inf
    group_by: str | None = None
    per: int = 1
    farthest: float = np.inf


def plan_number(plan: str | None) -> int:
    """Return the core's number of the plan to use; CHOSEN (the core chooses) for None."""
    return CHOSEN if plan is None else check_choice(plan, "plan", get_args(Plan))


def ask(
    core: Core, question: Question, queries: ArrayLike, dim: int, metric: Metric, schema: Mapping[str, FieldKind]
) -> Hits:
    """Let the core rank `asked` rows for each query, replace rows by ids, and pad the answers to k.

    Raises SearchError for queries that cannot be used, and for more than MOST_ANSWERS answers.
    """
    given, matrix, single = shaped_queries(queries, dim)
    n, k, asked = len(matrix), question.k, question.asked
    if k * n > MOST_ANSWERS:
        raise SearchError(f"k={k} for {n} queries: more than {MOST_ANSWERS} answers; ask for fewer at once")
    id_kind = core.id_kind()
    programs, which = _programs(question.where, n, single, schema, id_kind)
    group = -1 if question.group_by is None else _group(question.group_by, schema)
    rows, scores = np.empty((n, asked), np.int64), np.empty((n, asked), np.float32)
    counts, cost, plans = np.zeros(n, np.int64), np.zeros(n, np.int64), np.zeros(n, np.uint8)
    farness = np.zeros(n, np.float32)
    names = b""
    if asked:
        unfit, names = core.search(
            matrix, question.ef, question.threads, question.plan, programs, which, question.min_score, group,
            question.per, question.farthest, rows, scores, counts, plans, cost, farness,
        )  # fmt: skip
        if unfit >= 0:
            refuse_query(given, matrix, unfit)
    else:  # the core is not called, so the queries are checked here
        as_queries(given, dim, metric)
    ids = _named(rows, names) if asked else rows.astype(np.str_ if id_kind == STRINGS else np.int64)
    if asked < k:
        room = ((0, 0), (0, k - asked))
        ids = np.pad(ids, room, constant_values="" if ids.dtype.kind == "U" else -1)
        scores = np.pad(scores, room, constant_values=-np.inf)
    told = _PLANS[plans]
    if single:
        return Hits(
            ids[0], scores[0], counts.reshape(()), metric, told.reshape(()), cost.reshape(()), farness.reshape(())
        )
    return Hits(ids, scores, counts, metric, told, cost, farness)


_PLANS = np.array(PLANS)


def _named(rows: NDArray[np.int64], names: bytes) -> NDArray[Any]:
    """Ids that are numbers are in `rows` already. Ids that are texts come as one batch, without the padded places."""
    if not names:
        return rows
    found = np.full(rows.size, "", dtype=object)
    found[rows.ravel() >= 0] = decode_ids(names)
    return np.array(found.tolist(), np.str_).reshape(rows.shape)


def _programs(
    where: Where | Sequence[Where | None] | None, n: int, single: bool, schema: Mapping[str, FieldKind], id_kind: int
) -> tuple[list[bytes], NDArray[np.int64]]:
    """Programs, each once, and the number of each query's program (-1: none); empty where all queries share one."""
    if where is None:
        return [], np.empty(0, np.int64)
    if isinstance(where, Filter | str | Mapping) or not isinstance(where, Sequence):
        made = program(where, schema, id_kind)
        assert made is not None
        return [made], np.empty(0, np.int64)
    if single or len(where) != n:
        count = "one query" if n == 1 else f"{n} queries"
        raise SearchError(f"where: {len(where)} filters for {count}; give one filter, or one for each query")
    places: dict[int, int] = {}
    numbers: dict[bytes, int] = {}
    for one in where:
        if id(one) not in places:
            made = program(one, schema, id_kind)
            places[id(one)] = -1 if made is None else numbers.setdefault(made, len(numbers))
    return list(numbers), np.array([places[id(one)] for one in where], np.int64)


def where_of(where: Any, places: NDArray[np.intp]) -> Any:
    """Return the filters of the queries at some places of a call, in the form in which they were given."""
    if where is None or isinstance(where, Filter | str | Mapping) or not isinstance(where, Sequence):
        return where
    return [where[place] for place in places.tolist()]


def bounds(min_score: Any, max_distance: Any, metric: Metric) -> tuple[float, np.float32]:
    """Return the lowest score to ask the core for, and the largest distance (see Hits) to keep, both as float32.

    Under cosine the distance is rounded, so the score is a little too low, and the caller drops what is too far.
    """
    with np.errstate(over="ignore"):
        if max_distance is None:
            return float(np.float32(check_score(min_score, "min_score"))), np.float32(np.inf)
        furthest = np.float32(check_score(max_distance, "max_distance"))
    return float(1 - furthest - np.float32(1e-6) if metric == "cosine" else -furthest), furthest


def _group(field: str, schema: Mapping[str, FieldKind]) -> int:
    kind = kind_of(schema, field)
    if kind == "geo":
        raise SearchError(
            f"group_by={field!r}: a geo field has no values to group by; use a tag, id, int or bool field"
        )
    return list(schema).index(field)


def name_rows(names: bytes) -> NDArray[Any]:
    """Return ids from the core as an array: int64 or strings."""
    found = decode_ids(names)
    return np.array(found if found is not None else [], np.str_ if isinstance(found, list) else np.int64)


def batch_of(ids: object, id_kind: int) -> tuple[Any, bytes]:
    """Return ids, one or several, as a list or array and as the core's batch.

    Raises SearchError where they are integers and the index has strings, or the other way round.
    """
    several = isinstance(ids, list | tuple | range) or (hasattr(ids, "__array__") and getattr(ids, "ndim", 1) > 0)
    given: Any = ids if several else [ids]
    size = len(given)
    batch = parse_ids(given, size)
    if isinstance(batch, list) != (id_kind == STRINGS) and size:
        has = "strings" if id_kind == STRINGS else "integers"
        raise SearchError(f"ids: {'strings' if isinstance(batch, list) else 'integers'} given, but the index has {has}")
    return batch, encode_ids(batch, size)


def refuse_twice(batch: Any) -> None:
    """Raise SearchError, which names the first repeated id, where a call has an id twice."""
    seen: dict[Any, int] = {}
    values = batch if isinstance(batch, list) else [] if batch is None else batch.tolist()
    if len(set(values)) == len(values):
        return
    for at, value in enumerate(values):
        if value in seen:
            raise SearchError(f"ids, row {at}: {value!r:.60} is also in row {seen[value]}; ids are unique")
        seen[value] = at


def refuse_ids(core: Core, batch: Any, new: bool) -> None:
    """Raise SearchError where ids have another kind than those of the index, or an id is given twice.

    new: also where an id is in the index already.
    """
    held = core.id_kind()
    kind = ROWS if batch is None else INTEGERS if isinstance(batch, np.ndarray) else STRINGS
    if len(core) and STRINGS in (kind, held) and kind != held:
        given = "no ids (row numbers)" if kind == ROWS else KINDS[kind]
        raise SearchError(f"ids: {given} given, but the index holds {KINDS[held]}; use one kind of id")
    refuse_twice(batch)
    if not new or batch is None:
        return
    there = core.known(encode_ids(batch, len(batch)))
    if any(there):
        at = there.index(True)
        raise SearchError(f"ids, row {at}: {batch[at]!r:.60} is in the index already; ids are unique (upsert replaces)")


def facet(core: Core, field: str, where: Where | None, schema: Mapping[str, FieldKind]) -> dict[Any, int]:
    """Count the values of a field, most frequent first: see `Index.facet`."""
    kind = kind_of(schema, field)
    if kind == "geo":
        raise SearchError(
            f"facet of '{field}': a geo field has no values to count; use a tag, id, bool or number field"
        )
    counted = core.facet(list(schema).index(field), program(where, schema, core.id_kind()))
    return {_value(value, kind): count for value, count in counted}


def _value(value: Any, kind: FieldKind) -> Any:
    if kind == "bool":
        return bool(value)
    return datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=value) if kind == "datetime" else value


def scroll(
    core: Core,
    where: Where | None,
    order_by: str | None,
    descending: bool,
    limit: int,
    cursor: str | None,
    schema: Mapping[str, FieldKind],
) -> Page:
    """Return one page of rows: see `Index.scroll`."""
    limit = whole(limit, "limit", 1, MOST_ANSWERS)
    field, descending = -1, bool(descending)
    if order_by is not None:
        if kind_of(schema, order_by) not in ORDERED:
            raise SearchError(f"order_by={order_by!r}: holds {schema[order_by]} values, which have no order")
        field = list(schema).index(order_by)
    elif descending:
        raise SearchError("descending: ids always rise; give order_by= too")
    asked = [order_by, descending]
    after, key = (None, None) if cursor is None else _read_cursor(cursor, asked, core.id_kind())
    names, fields, more, last = core.scroll(
        program(where, schema, core.id_kind()), field, descending, limit, after, key
    )
    ids = name_rows(names)
    return Page(ids, decode_fields(schema, fields), _cursor(ids[-1], last, asked) if more else None)


def _cursor(last: Any, key: int | None, asked: list[Any]) -> str:
    told = json.dumps([*asked, key, str(last) if isinstance(last, str) else int(last)])
    return base64.urlsafe_b64encode(told.encode()).decode()


def _read_cursor(cursor: str, asked: list[Any], id_kind: int) -> tuple[bytes, int | None]:
    fault = SearchError("cursor: not one that scroll gave; begin without a cursor")
    try:
        told = json.loads(base64.urlsafe_b64decode(cursor.encode()))
    except (ValueError, binascii.Error, AttributeError, RecursionError):
        raise fault from None
    if not isinstance(told, list) or len(told) != 4:
        raise fault
    *order, key, last = told
    if order != asked:
        raise SearchError("cursor: it belongs to another order_by or descending; begin without a cursor")
    good = key is None or (type(key) is int and 0 <= key < 2**64 and order[0] is not None)
    if not good or type(last) is not (str if id_kind == STRINGS else int):
        raise fault
    try:
        return encode_ids(parse_ids([last], 1), 1), key
    except SearchError:
        raise fault from None


def together(*filters: Filter | None) -> Filter | None:
    """Join the filters that are not None by `and`; None where there are none."""
    there = tuple(one for one in filters if one is not None)
    return there[0] if len(there) == 1 else All(there) if there else None
