"""Vectors on disk: an .npy file for each part, and a .json beside it with their ids and provenance."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from medalist.contents import hash_unchanged
from medalist.errors import SearchError
from medalist.files import read_json
from medalist.records import VectorPrediction
from medalist.search.embeddings import Embeddings, read_embeddings, write_embeddings
from medalist.stores.store import StoredPart, are_intact, refuse_changed, start_part


@dataclass(frozen=True)
class VectorStore:
    """Unit vectors of one split of one run."""

    folder: Path

    def path(self, name: str) -> Path:
        """Return the file of a part."""
        return self.folder / f"{name}.npy"

    def write(self, name: str, embeddings: Embeddings, sources: Mapping[str, str] | None = None) -> None:
        """Write a part, whole or not at all. sources: the hashes of the code that made the vectors, by file."""
        start_part(self.folder, name)
        write_embeddings(self.path(name), embeddings, dict(sources or {}))

    def read(self, name: str) -> Embeddings:
        """Return a part.

        Raises SearchError, which names the file, where it is missing or damaged, and RunError where it is not the file
        that was written.
        """
        path = self.path(name)
        found = read_embeddings(path)
        files = self._files(name)
        if files:
            refuse_changed(path, hash_unchanged(path), files)
        return found

    def intact(self, name: str) -> bool:
        """Return whether the file of a complete part is the one that was written, as far as its hash is known."""
        return are_intact(self.folder, self._files(name))

    def _files(self, name: str) -> dict[str, str]:
        path = self.path(name).with_suffix(".json")
        told = read_json(path, SearchError) if path.exists() else {}
        files = told.get("files", {}) if isinstance(told, dict) else {}
        return files if isinstance(files, dict) else {}

    def predictions(self, name: str, ids: Sequence[str]) -> list[VectorPrediction]:
        """Return the predictions of these samples, in their order. Raises SearchError for a sample that is missing."""
        return [VectorPrediction(vector) for vector in self.read(name).take(ids)]

    def start(self, name: str) -> None:
        """Mark a part as not complete before it is written (again)."""
        start_part(self.folder, name)

    def part(self, name: str) -> StoredPart | None:
        """Return the index of a part; None where it is missing or not complete; SearchError where it is damaged."""
        if not self.path(name).with_suffix(".json").exists():
            return None
        found = self.read(name)
        return StoredPart((), found.ids, dict(found.made_by))
