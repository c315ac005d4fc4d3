"""Compare stored predictions with what their index says, and with the same predictions that were made again."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from medalist.contents import hash_file
from medalist.errors import RunError
from medalist.files import read_json, reason
from medalist.reading import IMAGE_BYTES, read_bytes, require_file
from medalist.stores.boxes import BoxStore
from medalist.stores.tables import TableStore


@dataclass(frozen=True)
class Difference:
    """How much predictions differ from the same predictions that were made again.

    files: the names of files that differ. largest: the largest difference of two numbers, in the unit of the store
    (0..255 for maps); None where a file cannot be compared by its numbers, for instance where boxes are other in count.
    """

    files: tuple[str, ...]
    largest: float | None


def changed_files(folder: Path, part: str, files: Mapping[str, str]) -> list[str]:
    """Return the files of a stored part whose contents are not what its index says, or which are gone.

    files: the hash of each file by its name, as the index has them. Parquet is compared by its values, because another
    version may write the same values in other bytes. Raises RunError where the index is damaged.
    """
    return sorted(name for name, digest in files.items() if not _is_same(folder, part, name, digest))


def _is_same(folder: Path, part: str, name: str, digest: str) -> bool:
    path = folder / name
    if Path(name).name != name or not path.is_file():
        return False
    if path.suffix == ".parquet":
        value = read_json(folder / f"{part}.json")
        store = BoxStore(folder) if isinstance(value, dict) and "classes" in value else TableStore(folder)
        return store.intact(part)
    try:
        return hash_file(path) == digest
    except OSError:
        return False


def difference(was: Path, now: Path, names: Iterable[str]) -> Difference:
    """Return how much these files of two folders differ. Their hashes are known to differ."""
    found = tuple(sorted(names))
    largest: float | None = 0.0
    for name in found:
        one = _largest(was / name, now / name)
        largest = None if one is None or largest is None else max(one, largest)
    return Difference(found, largest)


def _largest(one: Path, other: Path) -> float | None:
    """Return the largest difference of the numbers of two files; None where they cannot be compared."""
    try:
        before, after = _numbers(one), _numbers(other)
    except (OSError, ValueError, RunError):
        return None
    if before is None or after is None or before.shape != after.shape:
        return None
    return float(np.abs(before - after).max(initial=0.0))


def _numbers(path: Path) -> NDArray[np.float64] | None:
    """Return the numbers of a file of predictions; None for formats without a reader here (large TIFF)."""
    match path.suffix:
        case ".png":
            found = cv2.imdecode(np.frombuffer(read_bytes(path, IMAGE_BYTES), np.uint8), cv2.IMREAD_UNCHANGED)
            return None if found is None else found.astype(np.float64)
        case ".npy":
            require_file(path)
            vectors: NDArray[np.float64] = np.load(path, allow_pickle=False).astype(np.float64)
            return vectors
        case ".parquet":
            return _columns(path)
        case _:
            return None


def _columns(path: Path) -> NDArray[np.float64]:
    """Return the columns of numbers of a Parquet file. Raises RunError where it is damaged."""
    import pyarrow as pa  # type: ignore[import-untyped]
    import pyarrow.parquet as pq  # type: ignore[import-untyped]

    try:
        require_file(path)
        table = pq.read_table(path)
    except pa.ArrowException as error:
        raise RunError(f"{path} is damaged ({reason(error)[:100]}); predict again") from None
    columns = [table.column(name).to_numpy() for name in table.column_names if name != "id"]
    return np.stack([column.astype(np.float64) for column in columns]) if columns else np.empty(0)
