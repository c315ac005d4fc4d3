"""Boxes on disk: a Parquet file with a row for each box, and an index with the ids of all images and provenance.

<folder>/<part>.parquet      columns `id`, `x1`, `y1`, `x2`, `y2`, `label`, `score`, `source`; images without boxes
                             have no row; the file's metadata have the number of sources. Boxes with masks have the
                             column `mask` too (uint8, row by row), and metadata with the masks' side and all images'
                             heights and widths
<folder>/<part>.json         the index: deleted first and written last, so the part is complete where the index exists
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medalist.contents import hash_bytes
from medalist.errors import RunError
from medalist.files import reason, written
from medalist.reading import require_file
from medalist.records import BoxPrediction
from medalist.stores.store import StoredPart, finish_part, read_part, refuse_changed, remaking, start_part

CORNERS = ("x1", "y1", "x2", "y2")
COLUMNS = ("id", *CORNERS, "label", "score", "source")
SOURCES = b"medalist.sources"
"""The key of the number of sources in the metadata of the Parquet file."""

SIDE, SIZES = b"medalist.mask_side", b"medalist.sizes"
"""The keys of the number of rows of a mask, and of (height, width) of each image; only where boxes have masks."""

MOST_SIDE = 1024
"""Rows and columns of a mask at most."""

MOST_SOURCES = 2**15
"""Sources are int16 numbers from 0."""


@dataclass(frozen=True)
class BoxStore:
    """Boxes of one split of one run. The `columns` of a part are the names of the classes."""

    folder: Path

    def path(self, name: str) -> Path:
        """Return the file of a part."""
        return self.folder / f"{name}.parquet"

    def write(self, name: str, part: StoredPart, predictions: Sequence[BoxPrediction]) -> None:
        """Write a part, whole or not at all.

        predictions: of its ids in their order, all of the same sources, and all with masks of one size or without.
        """
        import pyarrow as pa  # type: ignore[import-untyped]
        import pyarrow.parquet as pq  # type: ignore[import-untyped]

        sources = predictions[0].sources if predictions else 1
        assert len(predictions) == len(part.ids), (len(predictions), len(part.ids))
        assert all(one.sources == sources for one in predictions), "predictions of one part have the same sources"
        start_part(self.folder, name)
        counts = [len(one.labels) for one in predictions]
        numbers = np.repeat(np.arange(len(counts)), counts)
        ids = pa.DictionaryArray.from_arrays(pa.array(numbers, pa.int32()), pa.array(part.ids, pa.string()))
        whole = _whole(predictions)
        arrays = [ids.cast(pa.string()), *(pa.array(column) for column in whole.xyxy.T), pa.array(whole.labels)]
        arrays += [pa.array(whole.scores), pa.array(whole.source)]
        said = {SOURCES: str(sources)}
        if whole.masks is not None:
            side = whole.masks.shape[1]
            said |= {SIDE: str(side), SIZES: json.dumps([one.size for one in predictions])}
            raw = pa.py_buffer(np.ascontiguousarray(whole.masks))
            kind = pa.binary(side * side)
            arrays.append(pa.FixedSizeBinaryArray.from_buffers(kind, len(whole.labels), [None, raw]))
        schema = _schema(None if whole.masks is None else whole.masks.shape[1]).with_metadata(said)
        with written(self.path(name)) as temporary:
            pq.write_table(pa.table(arrays, schema=schema), temporary, write_page_checksum=True, compression="zstd")
        finish_part(self.folder, name, replace(part, files={self.path(name).name: _hash(predictions)}), "classes")

    def read(self, name: str) -> tuple[StoredPart, list[BoxPrediction]]:
        """Return a part and the predictions of its ids, in their order.

        Raises RunError, which names the file, where it is missing, damaged or changed, does not fit its index, or has
        boxes that no network says.
        """
        import pyarrow as pa
        import pyarrow.parquet as pq

        part, path = self.part(name), self.path(name)
        if part is None:
            raise RunError(f"no predictions {path}; predict again: {remaking(path)}")
        try:
            require_file(path)
            table = pq.read_table(path, page_checksum_verification=True)
        except (OSError, pa.ArrowException) as error:
            said = reason(error).rpartition("': ")[2][:100]  # without the path, which is said already
            raise RunError(f"{path} is damaged ({said}); predict again: {remaking(path)}") from None
        unfit = f"{path} is not what {name}.json says; predict again: {remaking(path)}"
        said_sources = _said(table, SOURCES)
        side = _side(table, len(part.ids))
        if not table.schema.equals(_schema(side)) or not said_sources.isdecimal() or len(said_sources) > 5:
            raise RunError(unfit)
        sources = int(said_sources)
        place = {sample_id: number for number, sample_id in enumerate(part.ids)}
        encoded = table.column("id").combine_chunks().dictionary_encode()
        known = [place.get(sample_id) for sample_id in encoded.dictionary.to_pylist()]
        if any(column.null_count for column in table.columns) or None in known:
            raise RunError(unfit)
        numbers = np.asarray(known, np.int64)[encoded.indices.to_numpy(zero_copy_only=False)]
        if (np.diff(numbers) < 0).any() or not 1 <= sources <= MOST_SOURCES:
            raise RunError(unfit)
        values = {one: table.column(one).to_numpy() for one in COLUMNS[1:]}
        xyxy = np.stack([values[one] for one in CORNERS], axis=1)
        masks = None if side is None else _masks(table, side)
        whole = BoxPrediction(xyxy, values["label"], values["score"], values["source"], sources, masks)
        fault = _fault(whole, len(part.columns))
        if fault is not None:
            row, words = fault
            raise RunError(f"{path}: a box of sample {part.ids[numbers[row]]} {words}; train and predict again")
        ends = np.searchsorted(numbers, np.arange(1, len(part.ids)))
        sizes = [None] * len(part.ids) if side is None else [tuple(size) for size in json.loads(_said(table, SIZES))]
        predictions = _parted(whole, ends.tolist(), sizes)
        if part.files:
            refuse_changed(path, _hash(predictions), part.files)
        return part, predictions

    def predictions(self, name: str, ids: Sequence[str]) -> list[BoxPrediction]:
        """Return the predictions of these samples, in their order. Raises RunError for a sample that is missing."""
        part, found = self.read(name)
        place = {sample_id: number for number, sample_id in enumerate(part.ids)}
        missing = [sample_id for sample_id in ids if sample_id not in place]
        if missing:
            raise RunError(
                f"{self.path(name)} has no row of sample {missing[0]}; predict again: {remaking(self.path(name))}"
            )
        return [found[place[sample_id]] for sample_id in ids]

    def start(self, name: str) -> None:
        """Mark a part as not complete before it is written (again)."""
        start_part(self.folder, name)

    def part(self, name: str) -> StoredPart | None:
        """Return the index of a part; None where the part is missing or not complete."""
        return read_part(self.folder, name, "classes") if self.path(name).exists() else None

    def intact(self, name: str) -> bool:
        """Return whether the file of a complete part is the one that was written, as far as its hash is known."""
        try:
            return self.part(name) is None or bool(self.read(name))
        except RunError:
            return False


def _schema(side: int | None = None) -> Any:
    """Return the columns of a file; with masks of `side` rows and columns, where it is given."""
    import pyarrow as pa

    kinds = [pa.string(), *[pa.float32()] * 4, pa.int32(), pa.float32(), pa.int16()]
    fields = [pa.field(one, kind) for one, kind in zip(COLUMNS, kinds, strict=True)]
    return pa.schema(fields if side is None else [*fields, pa.field("mask", pa.binary(side * side))])


def _said(table: Any, key: bytes) -> str:
    """Return a value of the file's metadata; "" where there is none."""
    value: bytes = (table.schema.metadata or {}).get(key, b"")
    return value.decode("utf-8", "replace")


def _side(table: Any, count: int) -> int | None:
    """Return the number of rows of each mask; None for boxes without masks, or where the metadata are no sizes."""
    said = _said(table, SIDE)
    if not (said.isdecimal() and len(said) < 5 and 1 <= int(said) <= MOST_SIDE):
        return None
    try:
        sizes = json.loads(_said(table, SIZES))
    except (ValueError, RecursionError):
        return None
    fits = isinstance(sizes, list) and len(sizes) == count and all(map(_is_size, sizes))
    return int(said) if fits else None


def _is_size(value: Any) -> bool:
    whole = isinstance(value, list) and len(value) == 2 and all(type(side) is int for side in value)
    return whole and all(1 <= side < 2**31 for side in value)


def _masks(table: Any, side: int) -> NDArray[np.uint8]:
    """Return the masks of all boxes, uint8[N, side, side]."""
    import pyarrow as pa

    column = table.column("mask")
    arrays = [chunk.cast(pa.binary()) for chunk in column.chunks]
    raw = b"".join(b"".join(array.to_pylist()) for array in arrays)
    return np.frombuffer(raw, np.uint8).reshape(-1, side, side)


def _whole(predictions: Sequence[BoxPrediction]) -> BoxPrediction:
    """Return the boxes of all images as one prediction."""
    with_masks = [one.masks for one in predictions if one.masks is not None]
    assert len(with_masks) in (0, len(predictions)), "all predictions of a part have masks, or none has"
    return BoxPrediction(
        np.concatenate([np.zeros((0, 4), np.float32), *(one.xyxy.astype(np.float32) for one in predictions)]),
        np.concatenate([np.zeros(0, np.int32), *(one.labels.astype(np.int32) for one in predictions)]),
        np.concatenate([np.zeros(0, np.float32), *(one.scores.astype(np.float32) for one in predictions)]),
        np.concatenate([np.zeros(0, np.int16), *(one.source.astype(np.int16) for one in predictions)]),
        predictions[0].sources if predictions else 1,
        np.concatenate(with_masks) if with_masks else None,
    )


def _parted(whole: BoxPrediction, ends: Sequence[int], sizes: Sequence[tuple[int, int] | None]) -> list[BoxPrediction]:
    """Return the predictions of images of these (height, width), whose boxes end before the rows `ends`."""
    if not sizes:
        return []
    return [
        BoxPrediction(
            whole.xyxy[a:b],
            whole.labels[a:b],
            whole.scores[a:b],
            whole.source[a:b],
            whole.sources,
            None if whole.masks is None else whole.masks[a:b],
            size,
        )
        for (a, b), size in zip(pairwise([0, *ends, len(whole.labels)]), sizes, strict=True)
    ]


def _fault(whole: BoxPrediction, classes: int) -> tuple[int, str] | None:
    """Return the row of the first box that no network says, and what is wrong with it; None where there is none."""
    faults = {
        "has numbers that are not finite": ~np.isfinite(whole.xyxy).all(axis=1) | ~np.isfinite(whole.scores),
        "has no area": (whole.xyxy[:, 2:] <= whole.xyxy[:, :2]).any(axis=1),
        "has a score outside of 0..1": (whole.scores < 0) | (whole.scores > 1),
        f"has a class outside of 0..{classes - 1}": (whole.labels < 0) | (whole.labels >= classes),
        f"has a source outside of 0..{whole.sources - 1}": (whole.source < 0) | (whole.source >= whole.sources),
    }
    for words, bad in faults.items():
        if bad.any():
            return int(np.flatnonzero(bad)[0]), words
    return None


def _hash(predictions: Sequence[BoxPrediction]) -> str:
    """Return the hash of boxes, and not of their file, which another version of Parquet may write in other bytes."""
    whole = _whole(predictions)
    counts = np.array([whole.sources, *(len(one.labels) for one in predictions)], np.int64)
    columns: list[NDArray[Any]] = [counts, whole.xyxy, whole.labels, whole.scores, whole.source]
    if whole.masks is not None:
        columns += [np.array([one.size for one in predictions], np.int64), whole.masks]
    return hash_bytes(b"".join(np.ascontiguousarray(column).tobytes() for column in columns))
