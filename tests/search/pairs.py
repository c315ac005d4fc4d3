"""The index beside its twin: what both are asked, and how their answers are compared.

    from .pairs import both, compare

Scores of the index are float32, those of the twin float64, so answers closer than float32 can tell may change places.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medalist.search import Hits, Index
from medalist.search.filters import All, Among, AnyOf, Box, Circle, Filter, HasId, Missing, Not, Polygon, Range
from medalist.search.schema import FieldKind
from medalist.search.twin import TwinIndex

from .filter_cases import LATITUDES, LONGITUDES, MOMENTS, REALS, TEXTS, WHOLES

PLANS: tuple[Any, ...] = (None, "exact", "scan", "walk", "bridge")
TOLD = {"exact", "scan", "walk", "bridge", "walk+scan", "bridge+scan"}


def both(dim: int, metric: Any, schema: Mapping[str, FieldKind] | None = None, **options: Any) -> tuple[Any, TwinIndex]:
    """An index and its twin, empty."""
    return Index(dim, metric, fields=schema, **options), TwinIndex(dim, metric, fields=schema, **options)


def tolerance(twin: TwinIndex, query: NDArray[np.float32], scores: NDArray[np.float64]) -> float:
    """How far a score in float32 may be off."""
    if twin.metric == "cosine":
        return 4e-6
    length = float(np.linalg.norm(query.astype(np.float64)))
    longest = float(np.linalg.norm(twin._vectors, axis=1).max(initial=0))
    if twin.metric == "ip":
        return 4e-6 * length * longest + 1e-30
    return 2e-6 * (float(np.abs(scores).max(initial=0)) + length + longest) + 1e-30


def compare(found: Hits, twin: TwinIndex, queries: NDArray[np.float32], k: int, where: Any = None) -> None:
    """Assert that `found` is the exact answer, where scores closer than float32 can tell may change places."""
    truth = twin.exact(queries, k, where=where)
    wheres = where if isinstance(where, list) else [where] * len(queries)
    place = {value: row for row, value in enumerate(twin._ids)}
    assert found.ids.shape == truth.ids.shape and found.scores.dtype == np.float32
    np.testing.assert_array_equal(found.counts, truth.counts)
    assert found.counts.dtype == np.int64 and found.ids.dtype.kind == truth.ids.dtype.kind
    for row, query in enumerate(queries):
        count, allowed = int(truth.counts[row]), set(twin._chosen(wheres[row]))
        assert count == min(k, len(allowed))
        scores = twin.scores(query)
        near = tolerance(twin, query, scores)
        ids, given = found.ids[row], found.scores[row]
        assert (ids[count:] == truth.ids[row, count:]).all() and (given[count:] == -np.inf).all()
        assert len(set(ids[:count].tolist())) == count
        np.testing.assert_array_less(np.abs(given[:count] - truth.scores[row, :count]), near)
        places = np.array([place[value] for value in ids[:count].tolist()], np.int64)
        assert allowed.issuperset(places.tolist())
        np.testing.assert_array_less(np.abs(given[:count] - scores[places]), near)
        step = np.diff(given[:count])
        assert (step <= 0).all()
        # Ties in the order of adding. (Square roots of different float32 may be equal: those are no ties.)
        assert (np.diff(places)[(step == 0) & (np.diff(scores[places]) == 0)] > 0).all()


def sound(found: Hits, twin: TwinIndex, queries: NDArray[np.float32], k: int, where: Any = None) -> float:
    """Assert that answers, near or not, are right about themselves and as many as there can be; the share of true ones.

    True is what is at least as close as the k-th nearest: ties count.
    """
    wheres = where if isinstance(where, list) else [where] * len(queries)
    place = {value: row for row, value in enumerate(twin._ids)}
    good, all_of_them = 0, 0
    assert found.plans is not None and set(found.plans.ravel().tolist()) <= TOLD
    assert found.cost is not None and (found.cost >= 0).all()
    for row, query in enumerate(queries):
        allowed = twin._chosen(wheres[row])
        count = min(k, len(allowed))
        assert int(found.counts[row]) == count
        scores = twin.scores(query)
        near = tolerance(twin, query, scores)
        ids, given = found.ids[row, :count].tolist(), found.scores[row]
        assert len(set(ids)) == count and (given[count:] == -np.inf).all() and (np.diff(given[:count]) <= 0).all()
        places = [place[value] for value in ids]
        assert set(allowed).issuperset(places)
        np.testing.assert_array_less(np.abs(given[:count] - scores[places]), near)
        if count:
            bound = np.sort(scores[allowed])[::-1][count - 1] - near
            good += int((scores[places] >= bound).sum())
            all_of_them += count
    return good / all_of_them if all_of_them else 1.0


def all_pages(one: Any, limit: int, **how: Any) -> list[tuple[Any, dict[str, Any]]]:
    """Ids and fields of all pages of a scroll."""
    told: list[tuple[Any, dict[str, Any]]] = []
    cursor = None
    while True:
        page = one.scroll(**how, limit=limit, cursor=cursor)
        assert len(page.ids) == len(page.fields) <= limit
        told += zip(page.ids.tolist(), map(orderly, page.fields), strict=True)
        if page.cursor is None:
            return told
        assert len(page.ids) == limit
        cursor = page.cursor


def orderly(row: Mapping[str, Any]) -> dict[str, Any]:
    """A row without the order of its fields and tags."""
    return {name: sorted(row[name]) if isinstance(row[name], list) else row[name] for name in sorted(row)}


def assert_same_rows(index: Any, twin: TwinIndex) -> None:
    """Assert that both hold the same ids in the same order, fields and vectors."""
    ids = twin.ids()
    assert len(index) == len(twin)
    assert index.ids().tolist() == ids.tolist()
    if not len(ids):
        return
    assert list(map(orderly, index.get(ids))) == list(map(orderly, twin.get(ids)))
    np.testing.assert_allclose(index.vectors(ids), twin.vectors(ids), rtol=1e-6, atol=1e-6)


def assert_same_answers(index: Any, twin: TwinIndex, where: Any, limit: int = 7) -> None:
    """Assert that counts, facets and pages of a filter are the same."""
    assert index.count(where) == twin.count(where)
    for name, kind in twin.fields.items():
        if kind != "geo":
            counted, truth = index.facet(name, where), twin.facet(name, where)
            assert list(counted.items()) == list(truth.items())
            assert list(index.facet(name, where, 2).items()) == list(truth.items())[:2]
    assert all_pages(index, limit, where=where) == all_pages(twin, 10_000, where=where)
    for name, kind in twin.fields.items():
        if kind in ("bool", "int", "float", "datetime"):
            for descending in (False, True):
                how = {"where": where, "order_by": name, "descending": descending}
                assert all_pages(index, limit, **how) == all_pages(twin, 10_000, **how)


def some_rows(rng: np.random.Generator, schema: Mapping[str, FieldKind], n: int) -> list[dict[str, Any]]:
    """n rows with few, awkward values, one in eight missing."""
    few: dict[str, Sequence[Any]] = {
        "tag": TEXTS,
        "id": TEXTS,
        "bool": (True, False),
        "int": WHOLES,
        "float": REALS,
        "datetime": MOMENTS,
    }

    def value(kind: FieldKind) -> Any:
        if kind == "geo":
            return LATITUDES[rng.integers(len(LATITUDES))], LONGITUDES[rng.integers(len(LONGITUDES))]
        one = few[kind][rng.integers(len(few[kind]))]
        return [one, TEXTS[rng.integers(len(TEXTS))]] if kind == "tag" and rng.random() < 0.3 else one

    return [{name: value(kind) for name, kind in schema.items() if rng.random() > 0.125} for _ in range(n)]


# -------------------------------------------------------------------------------------- filters as texts of `--where`


def quoted(text: str) -> str:
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


def as_text(one: Filter, schema: Mapping[str, FieldKind]) -> str | None:
    """The text of a filter in the grammar of `--where`; None where that has no words for it."""
    match one:
        case All(each) | AnyOf(each) if each:
            parts = [as_text(part, schema) for part in each]
            return (
                None if None in parts else (" and " if isinstance(one, All) else " or ").join(f"({x})" for x in parts)
            )
        case Not(part):
            text = as_text(part, schema)
            return None if text is None else f"not ({text})"
        case Missing(field):
            return f"{quoted(field)} is missing"
        case HasId(ids) if ids:
            return f"id in [{', '.join(quoted(x) if isinstance(x, str) else str(x) for x in ids)}]"
        case Among(field, values, False) if values:
            told = [_value(value, schema[field]) for value in values]
            return None if None in told else f"{quoted(field)} in [{', '.join(map(str, told))}]"
        case Range(field):
            bounds = {">": one.gt, ">=": one.gte, "<": one.lt, "<=": one.lte}
            told = [(sign, _value(value, schema[field])) for sign, value in bounds.items() if value is not None]
            return (
                None if any(x is None for _, x in told) else " and ".join(f"{quoted(field)} {s} {x}" for s, x in told)
            )
        case Circle(field, latitude, longitude, metres) if metres < 1e9:
            return f"{quoted(field)} within {metres!r} m of {latitude},{longitude}"
        case Box(field, south, west, north, east):
            return f"{quoted(field)} in box {south},{west} to {north},{east}"
        case Polygon(field, rings):
            outer, *holes = [" ".join(f"{lat},{lon}" for lat, lon in ring) for ring in rings]
            return f"{quoted(field)} in polygon ({outer})" + "".join(f" without ({hole})" for hole in holes)
    return None


def _value(value: Any, kind: FieldKind) -> str | None:
    if isinstance(value, datetime):
        return quoted(value.isoformat())
    if isinstance(value, str):
        return quoted(value)
    if isinstance(value, bool):
        return str(value).lower()
    return repr(value) if isinstance(value, int) or 1e-3 < abs(value) < 1e9 else None
