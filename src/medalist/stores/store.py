"""The index of stored predictions: it says that a part is complete, and has the provenance of the part.

A store keeps predictions of one type in one file format: maps as PNG (`maps`), vectors as .npy (`vectors`), numbers as
Parquet (`tables`). Each part has its own index, `<part>.json`. The index is deleted before a part is written, and
written after it; therefore a part is complete where its index exists. The index has the hashes of the weights and data
that made the part.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from medalist.contents import hash_file
from medalist.errors import RunError
from medalist.files import read_json, refuse_newer, write_json

FORMAT = 1
"""The format of the index of a part. A number above it means that a newer version wrote the file."""


@dataclass(frozen=True)
class StoredPart:
    """The index of a complete part of a store.

    columns: the names of the maps or numbers; empty for vectors, whose components have no names. ids: the samples.
    made_by: the provenance: `fold0`, `fold1`, ... have the hashes of the folds' weights, `data` has the hash of the
    contest's files, `predict` has its settings as JSON. sources: the hashes of the code that predicted, by file. files:
    the hash of each stored file, by its name, which the store fills in. Both are empty in parts from before they were
    recorded, and no part of what makes two parts equal.
    """

    columns: tuple[str, ...]
    ids: tuple[str, ...]
    made_by: Mapping[str, str]
    sources: Mapping[str, str] = field(default_factory=dict, compare=False)
    files: Mapping[str, str] = field(default_factory=dict, compare=False)


class PredictionStore(Protocol):
    """The methods that all stores have. Each store writes and reads predictions in its own way."""

    def part(self, name: str) -> StoredPart | None:
        """Return the index of a part; None where the part is missing or not complete; RunError where it is damaged."""
        ...

    def start(self, name: str) -> None:
        """Delete the index of a part that will be written (again); a part that is not complete has no index."""
        ...

    def intact(self, name: str) -> bool:
        """Return whether the files of a complete part are those that were written, as far as their hashes are known."""
        ...


def start_part(folder: Path, name: str) -> None:
    """Delete the index of a part, so that the part counts as not complete."""
    (folder / f"{name}.json").unlink(missing_ok=True)


def finish_part(folder: Path, name: str, part: StoredPart, columns: str) -> None:
    """Write the index of a complete part, and delete temporary files that a killed process left.

    columns: the key under which the index has `part.columns`.
    """
    for left in folder.glob(".????????-*"):
        left.unlink(missing_ok=True)
    index: dict[str, Any] = {columns: list(part.columns), "ids": list(part.ids), "made_by": dict(part.made_by)}
    index |= {name: dict(value) for name, value in (("sources", part.sources), ("files", part.files)) if value}
    write_json(folder / f"{name}.json", {"format": FORMAT, **index})


def read_part(folder: Path, name: str, columns: str) -> StoredPart | None:
    """Return the index of a part; None where there is none.

    Raises RunError where it is damaged, or of a newer format.
    """
    path = folder / f"{name}.json"
    if not path.exists():
        return None
    value: Any = read_json(path)
    refuse_newer(value, path, FORMAT)
    try:
        recorded = [dict(value[what]) if what in value else {} for what in ("sources", "files")]
        return StoredPart(tuple(value[columns]), tuple(value["ids"]), dict(value["made_by"]), *recorded)
    except (KeyError, TypeError, ValueError):
        raise RunError(f"{path} is not an index of predictions; delete it and run medalist predict again") from None


def hashes_in(folder: Path, names: Iterable[str]) -> dict[str, str]:
    """Return the hashes of files in a folder by name; files that are not there are left out."""
    return {name: hash_file(folder / name) for name in names if (folder / name).is_file()}


def are_intact(folder: Path, files: Mapping[str, str]) -> bool:
    """Return whether the files are there with these hashes."""
    return hashes_in(folder, files) == dict(files)


def refuse_changed(path: Path, found: str, files: Mapping[str, str]) -> None:
    """Raise RunError where a stored file with the hash `found` is not the one that was written.

    Nothing is refused where the hash of the file is not known.
    """
    if files.get(path.name, found) != found:
        raise RunError(
            f"{path} is not what was predicted: it was changed or replaced since; predict again: {remaking(path)}"
        )


def remaking(path: Path) -> str:
    """Return the command that makes a stored file again. path: `<run>/<split>/<file>`."""
    split, run = path.parent.name, path.parent.parent
    return f"medalist predict {run.parent.name}/{run.name} --split {split}"
