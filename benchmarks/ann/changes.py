"""Random changes of an index, the same of a model in Python, and whether the two hold the same (for `crash.py`).

A change follows from its seed and the ids that are there, so that a line with the seed tells another process all of it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medalist.search import Index
from medalist.search.answers import Metric
from medalist.search.filters import F, Filter
from medalist.search.schema import FieldKind

DIM = 16
METRIC: Metric = "l2"  # vectors come back as they were given, bit for bit
SCHEMA: dict[str, FieldKind] = {
    "species": "tag",
    "ok": "bool",
    "depth": "int",
    "weight": "float",
    "seen": "datetime",
    "place": "geo",
    "name": "id",
}
SPECIES = ("Großer Tümmler, 2", "orca", "seal", "whale")  # sorted, as the tags of a row come back
FEW, MANY = 1500, 3500
"""Rows between which their number shall stay: enough for graphs, clearing away and sorting to happen."""

Id = int | str
Values = dict[str, Any]
Vector = NDArray[np.float32]
Model = dict[Id, tuple[Vector, Values]]
"""What an index holds; vectors and values are replaced and never changed, so that a shallow copy keeps a moment."""


@dataclass(frozen=True)
class Change:
    """What is done: add, upsert, delete, set, delete_where, set_where, optimize, checkpoint or snapshot."""

    what: str
    ids: list[Id] = field(default_factory=list)
    vectors: NDArray[np.float32] = field(default_factory=lambda: np.empty((0, DIM), np.float32))
    values: list[Values] = field(default_factory=list)
    low: int = 0
    high: int = 0
    species: str | None = None

    @property
    def where(self) -> Filter:
        depth = (F.depth >= self.low) & (F.depth < self.high)
        return depth if self.species is None else depth & F.species.any(self.species)

    def means(self, values: Values) -> bool:
        """The same as `where`, of one row."""
        depth = values.get("depth")
        if depth is None or not self.low <= depth < self.high:
            return False
        return self.species is None or self.species in values.get("species", [])


def drawn_values(rng: np.random.Generator, n: int, all_fields: bool) -> list[Values]:
    """A row each, some values missing (None); without `all_fields` some fields are not named in any row."""
    made: dict[str, Callable[[], Any]] = {
        "species": lambda: [SPECIES[i] for i in sorted(set(rng.integers(0, 4, rng.integers(1, 3)).tolist()))],
        "ok": lambda: bool(rng.integers(2)),
        "depth": lambda: int(rng.integers(-50, 1000)),
        "weight": lambda: float(rng.normal()),
        "seen": lambda: datetime(2010, 1, 1, tzinfo=UTC) + timedelta(microseconds=int(rng.integers(10**15 // 2))),
        "place": lambda: (float(rng.uniform(-90, 90)), float(rng.uniform(-180, 180))),
        "name": lambda: f"n{rng.integers(10**6)}",
    }
    named = [name for name in made if all_fields or rng.random() < 0.4] or ["depth"]
    return [{name: made[name]() if rng.random() < 0.9 else None for name in named} for _ in range(n)]


def fresh_ids(rng: np.random.Generator, n: int, strings: bool, taken: Mapping[Id, Any] | set[Id]) -> list[Id]:
    numbers = dict.fromkeys(rng.integers(-(2**62), 2**62, n).tolist())
    ids: list[Id] = [f"id-{number:x}" if strings else number for number in numbers]
    return [one for one in ids if one not in taken]


def drawn(seed: int, ids: list[Id], strings: bool) -> Change:
    """The change of a seed where the index holds these ids, in order."""
    rng = np.random.default_rng(seed)
    count = len(ids)
    grow = 3.0 if count < FEW else 0.3 if count > MANY else 1.0
    shares = {
        "add": 3 * grow, "upsert": 4 * grow, "delete": 2.0, "set": 2.0, "delete_where": 1.0, "set_where": 1.5,
        "checkpoint": 1.2, "optimize": 0.25, "snapshot": 0.25,
    }  # fmt: skip
    weights = np.array(list(shares.values()))
    what = str(rng.choice(list(shares), p=weights / weights.sum()))
    n = int(rng.choice([1, 3, 30, 200]))
    low = int(rng.integers(-100, 1000))
    high = low + int(rng.choice([1, 10, 60]))
    species = [None, *SPECIES][rng.integers(5)]
    some: list[Id] = [ids[i] for i in rng.permutation(count)[:n]]
    match what:
        case "add" | "upsert":
            new = fresh_ids(rng, n, strings, set(ids))
            chosen = new if what == "add" else [*some[: n // 2], *new[: n - n // 2]]
            vectors = rng.normal(size=(len(chosen), DIM)).astype(np.float32)
            return Change(what, chosen, vectors, drawn_values(rng, len(chosen), True))
        case "delete":
            return Change(what, [*some, *fresh_ids(rng, 2, strings, set(ids))])  # unknown ones are no error
        case "set":
            return Change(what, some, values=drawn_values(rng, len(some), False))
        case "set_where":
            return Change(what, values=drawn_values(rng, 1, False), low=low, high=high, species=species)
        case "delete_where":
            return Change(what, low=low, high=high, species=species)
    return Change(what)


def do(index: Index, change: Change, snapshot: Path) -> int:
    """Make the change; how many rows it concerned."""
    count = len(change.ids)
    match change.what:
        case "add":
            index.add(change.ids, change.vectors, change.values, threads=1)
        case "upsert":
            index.upsert(change.ids, change.vectors, change.values, threads=1)
        case "delete" if count:
            count = index.delete(change.ids, threads=1)
        case "set" if count:
            count = index.set_fields(change.values, ids=change.ids)
        case "delete_where":
            count = index.delete(where=change.where, threads=1)
        case "set_where":
            count = index.set_fields(change.values[0], where=change.where)
        case "checkpoint":
            index.checkpoint()
        case "optimize":
            index.optimize(threads=1)
        case "snapshot":
            index.snapshot(snapshot)
    return count


def after(model: Model, change: Change) -> tuple[Model, int]:
    """What is there once the change is made, and how many rows it concerned; `model` stays."""
    model = dict(model)
    met: list[Id] = []
    match change.what:
        case "add" | "upsert":
            for one, vector, values in zip(change.ids, change.vectors, change.values, strict=True):
                model[one] = vector, {name: value for name, value in values.items() if value is not None}
            return model, len(change.ids)
        case "delete" | "set":
            met = [one for one in change.ids if one in model]
        case "delete_where" | "set_where":
            met = [one for one, (_, values) in model.items() if change.means(values)]
    for number, one in enumerate(met):
        if change.what.startswith("delete"):
            del model[one]
            continue
        vector, values = model[one]
        told = change.values[number if change.what == "set" else 0]
        values = {**values, **told}
        model[one] = vector, {name: value for name, value in values.items() if value is not None}
    return model, len(met)


def difference(index: Index, model: Model, rng: np.random.Generator) -> str:
    """Where the index holds or answers something else than the model; empty where it does not."""
    ids = index.ids().tolist()
    if len(set(ids)) != len(ids) or len(index) != len(ids):
        return f"{len(ids)} ids, {len(set(ids))} different ones, len() {len(index)}"
    if set(ids) != set(model):
        missing, more = sorted(set(model) - set(ids), key=str), sorted(set(ids) - set(model), key=str)
        return f"{len(missing)} ids are missing: {missing[:3]}; {len(more)} more: {more[:3]}"
    if not ids:
        return ""
    vectors = index.vectors(ids)
    wanted = np.stack([model[one][0] for one in ids])
    if not np.array_equal(vectors, wanted):
        rows = np.flatnonzero((vectors != wanted).any(axis=1))
        return f"{len(rows)} vectors differ, first that of {ids[rows[0]]}"
    for one, values in zip(ids, index.get(ids), strict=True):
        if values != model[one][1]:
            return f"fields of {one}: {values}, not {model[one][1]}"
    return _other_answers(index, model, ids, wanted, rng)


def _other_answers(
    index: Index, model: Model, ids: list[Id], vectors: NDArray[np.float32], rng: np.random.Generator
) -> str:
    """The same of counts and of searches, which go by structures of their own."""
    low = int(rng.integers(-50, 900))
    asked = Change("", low=low, high=low + 200, species=[None, "whale"][rng.integers(2)])
    meant = np.array([asked.means(model[one][1]) for one in ids])
    if index.count(asked.where) != meant.sum():
        return f"count({asked.where}) {index.count(asked.where)}, not {meant.sum()}"
    query = rng.normal(size=DIM).astype(np.float32)
    far = np.linalg.norm(vectors.astype(np.float64) - query, axis=1)
    for where, rows in ((None, far), (asked.where, far[meant])):
        true = np.sort(rows)[:10]
        hits = index.exact(query, 10, where=where)
        if hits.counts != len(true) or not np.allclose(hits.distances[: len(true)], true, rtol=1e-4, atol=1e-4):
            return f"exact search, where {where}: distances {hits.distances}, not {true}"
        fast = index.search(query, 10, where=where)
        named = fast.ids[: len(true)].tolist()
        if fast.counts != len(true) or any(one not in model for one in named):
            return f"search, where {where}: {fast.ids}"
        own = [float(np.linalg.norm(model[one][0].astype(np.float64) - query)) for one in named]
        if not np.allclose(fast.distances[: len(true)], own, rtol=1e-4, atol=1e-4):
            return f"search, where {where}: distances {fast.distances}, of those vectors {own}"
        if where is not None and not all(asked.means(model[one][1]) for one in named):
            return f"search, where {where}: {fast.ids}, not all meant"
    return ""
