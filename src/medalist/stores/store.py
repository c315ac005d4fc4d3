"""Predictions on disk: what made a part of them, and that it is whole.

A store keeps predictions of one type in one form: maps as PNG (`maps`), vectors as .npy (`vectors`), numbers as
Parquet (`tables`). Each part has an index of its own, `<part>.json`: it is taken away first and written last, so where
it is the part is whole, and it names the hashes of what made the part.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from medalist.errors import RunError
from medalist.files import read_json, write_json


@dataclass(frozen=True)
class StoredPart:
    """A whole part of a store: which samples it holds, the names of their maps or numbers, and what made them.

    `made_by` maps each maker to what it was: `fold0`, `fold1`, ... to the hash of their weights, `data` to the hash of
    the contest's files, `predict` to its settings as JSON. `columns` is empty for vectors, whose components have no
    names.
    """

    columns: tuple[str, ...]
    ids: tuple[str, ...]
    made_by: Mapping[str, str]


class PredictionStore(Protocol):
    """What all stores share; how predictions are written and read is each one's own."""

    def part(self, name: str) -> StoredPart | None:
        """The part, None where it is not whole (or not there); RunError where its index is damaged."""
        ...

    def start(self, name: str) -> None:
        """Say that a part is about to be written (again): until it is whole it has no index."""
        ...


def start_part(folder: Path, name: str) -> None:
    """Take the index of a part away."""
    (folder / f"{name}.json").unlink(missing_ok=True)


def finish_part(folder: Path, name: str, part: StoredPart, columns: str) -> None:
    """Say that a part is whole; what a killed process left half-written goes. `columns`: what the index calls them."""
    for left in folder.glob(".????????-*"):
        left.unlink(missing_ok=True)
    index = {columns: list(part.columns), "ids": list(part.ids), "made_by": dict(part.made_by)}
    write_json(folder / f"{name}.json", index)


def read_part(folder: Path, name: str, columns: str) -> StoredPart | None:
    """The part, None where it is not whole; RunError where its index is damaged."""
    path = folder / f"{name}.json"
    if not path.exists():
        return None
    value: Any = read_json(path)
    try:
        return StoredPart(tuple(value[columns]), tuple(value["ids"]), dict(value["made_by"]))
    except (KeyError, TypeError, ValueError):
        raise RunError(f"{path} is not an index of predictions; delete it and run medalist predict again") from None
