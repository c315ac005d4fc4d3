"""Numbers on disk: a Parquet file with a row for each sample, and an index with their ids and provenance.

<folder>/<part>.parquet      column `id`, then a float32 column for each class or figure
<folder>/<part>.json         the index: deleted first and written last, so the part is complete where the index exists
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from medalist.contents import hash_bytes
from medalist.errors import RunError
from medalist.files import reason, written
from medalist.reading import require_file
from medalist.records import TablePrediction
from medalist.stores.store import StoredPart, finish_part, read_part, refuse_changed, start_part

ID = "id"


@dataclass(frozen=True)
class TableStore:
    """Numbers of one split of one run."""

    folder: Path

    def path(self, name: str) -> Path:
        """Return the file of a part."""
        return self.folder / f"{name}.parquet"

    def write(self, name: str, part: StoredPart, values: NDArray[np.float32]) -> None:
        """Write a part, whole or not at all. values: float32[N, C], for its ids and columns in their order."""
        import pyarrow as pa  # type: ignore[import-untyped]
        import pyarrow.parquet as pq  # type: ignore[import-untyped]

        assert values.shape == (len(part.ids), len(part.columns)), (values.shape, len(part.ids), part.columns)
        start_part(self.folder, name)
        # The names of columns are numbered, because a class may have the name of the id column.
        arrays = [pa.array(part.ids, pa.string()), *(pa.array(column, pa.float32()) for column in values.T)]
        table = pa.table(arrays, names=[ID, *(f"{number} {column}" for number, column in enumerate(part.columns))])
        with written(self.path(name)) as temporary:
            pq.write_table(table, temporary, write_page_checksum=True)
        finish_part(self.folder, name, replace(part, files={self.path(name).name: _hash(values)}), "columns")

    def read(self, name: str) -> tuple[StoredPart, NDArray[np.float32]]:
        """Return a part and its values float32[N, C].

        Raises RunError, which names the file, where it is missing, damaged or changed, does not fit its index, or
        has values that are not finite.
        """
        import pyarrow as pa
        import pyarrow.parquet as pq

        part, path = self.part(name), self.path(name)
        if part is None:
            raise RunError(f"no predictions {path}; run medalist predict again")
        try:
            require_file(path)
            table = pq.read_table(path, page_checksum_verification=True)
        except (OSError, pa.ArrowException) as error:
            said = reason(error)[:100]
            raise RunError(f"{path} is damaged ({said}); delete it and run medalist predict again") from None
        names = [ID, *(f"{number} {column}" for number, column in enumerate(part.columns))]
        kinds = [pa.string(), *[pa.float32()] * len(part.columns)]
        if table.schema.types != kinds or table.column_names != names or table.column(ID).to_pylist() != list(part.ids):
            raise RunError(f"{path} is not what {name}.json says; delete both and run medalist predict again")
        columns = [table.column(column).to_numpy() for column in names[1:]]
        values = np.stack(columns, axis=1) if columns else np.empty((len(part.ids), 0), np.float32)
        if not np.isfinite(values).all():
            row = int(np.flatnonzero(~np.isfinite(values).all(axis=1))[0])
            raise RunError(f"{path}: the numbers of sample {part.ids[row]} are not finite; train and predict again")
        if part.files:
            refuse_changed(path, _hash(values), part.files)
        return part, values

    def predictions(self, name: str, ids: Sequence[str]) -> list[TablePrediction]:
        """Return the predictions of these samples, in their order. Raises RunError for a sample that is missing."""
        part, values = self.read(name)
        row_of = {sample_id: row for row, sample_id in enumerate(part.ids)}
        missing = [sample_id for sample_id in ids if sample_id not in row_of]
        if missing:
            raise RunError(f"{self.path(name)} has no row of sample {missing[0]}; run medalist predict again")
        return [TablePrediction(values[row_of[sample_id]], part.columns) for sample_id in ids]

    def start(self, name: str) -> None:
        """Mark a part as not complete before it is written (again)."""
        start_part(self.folder, name)

    def part(self, name: str) -> StoredPart | None:
        """Return the index of a part; None where the part is missing or not complete."""
        return read_part(self.folder, name, "columns") if self.path(name).exists() else None

    def intact(self, name: str) -> bool:
        """Return whether the file of a complete part is the one that was written, as far as its hash is known."""
        try:
            return self.part(name) is None or bool(self.read(name))
        except RunError:
            return False


def _hash(values: NDArray[np.float32]) -> str:
    """Return the hash of numbers, and not of their file, which another version of Parquet may write in other bytes."""
    return hash_bytes(np.ascontiguousarray(values, np.float32).tobytes())
