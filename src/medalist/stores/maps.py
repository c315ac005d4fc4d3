"""Maps on disk: one lossless 8-bit image for each sample, and an index with their ids and provenance.

<folder>/<sample id>.png     the C maps of uint8[C, H, W], one below another
<folder>/<sample id>.tif     in its place where the maps are large: a page for each map, in compressed tiles
<folder>/<part>.json         the index: deleted first and written last, so the part is complete where the index exists
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from hashlib import sha256
from pathlib import Path
from urllib.parse import quote
from zlib import crc32

import cv2
import numpy as np
from numpy.typing import NDArray

from medalist.contents import hash_bytes, hash_file
from medalist.errors import RunError
from medalist.files import written
from medalist.reading import IMAGE_BYTES, read_bytes
from medalist.records import MapPrediction
from medalist.stores.large_maps import LARGE_BYTES, read_tiff, write_tiff
from medalist.stores.store import StoredPart, are_intact, finish_part, hashes_in, read_part, refuse_changed, start_part
from medalist.system import CASELESS, DEVICES

LONGEST = 180
"""The most letters of an id in a file name. File systems allow 255 bytes, and temporary names need some of them."""


@dataclass(frozen=True)
class MapStore:
    """Maps of one split of one run."""

    folder: Path

    def path(self, sample_id: str) -> Path:
        """Return the file of one prediction. Special characters are escaped, and a long id is cut and gets a hash."""
        name = quote(sample_id, safe=" ")
        if len(name) > LONGEST:
            # An escaped id never contains '+', so no other id has this name.
            name = f"{name[: LONGEST - 33]}+{sha256(sample_id.encode()).hexdigest()[:32]}"
        if name.partition(".")[0].rstrip().upper() in DEVICES:
            name = f"%{ord(name[0]):X}{name[1:]}"  # `quote` escapes no letter, so no other id has this name
        return self.folder / f"{name}.png"

    def refuse_alike(self, ids: Iterable[str]) -> None:
        """Raise RunError for ids that differ only in case, where the file system takes their names for one name."""
        first: dict[str, str] = {}
        for one in ids if CASELESS else ():
            other = first.setdefault(one.casefold(), one)
            if other != one:
                raise RunError(
                    f"samples {other} and {one} differ only in case, and {self.folder} takes their names for one; "
                    "predict on Linux, or rename one of them in the contest's data"
                )

    def large_path(self, sample_id: str) -> Path:
        """Return the file of one prediction whose maps are large."""
        return self.path(sample_id).with_suffix(".tif")

    def write(self, sample_id: str, prediction: MapPrediction) -> None:
        """Write one prediction, whole or not at all."""
        channels, height, width = prediction.maps.shape
        path, large = self.path(sample_id), self.large_path(sample_id)
        if prediction.maps.nbytes > LARGE_BYTES:
            with written(large, flush=False) as temporary:
                write_tiff(temporary, prediction.maps)
            path.unlink(missing_ok=True)  # of an earlier prediction
            return
        large.unlink(missing_ok=True)
        done, data = cv2.imencode(".png", prediction.maps.reshape(channels * height, width), _FAST)
        assert done
        with written(path, flush=False) as temporary:  # `finish` keeps the hash of each file
            temporary.write_bytes(data.tobytes())

    def read(self, sample_id: str, channels: Sequence[str], files: Mapping[str, str] | None = None) -> MapPrediction:
        """Read one prediction back. Large maps come as arrays on disk (`codecs.disk`).

        files: the hashes of files by name, as `files` returns them; a file that has another hash now is refused. Raises
        RunError, which names the file, where it is missing, damaged or changed.
        """
        path = self.path(sample_id)
        if not path.exists() and self.large_path(sample_id).exists():
            return self._read_large(self.large_path(sample_id), tuple(channels), files)
        try:
            data = read_bytes(path, IMAGE_BYTES)
        except OSError as error:
            raise RunError(f"no prediction {path} ({error.strerror}); run medalist predict again") from None
        # The file is checked first, because libpng writes its own messages about damage to the terminal.
        stacked = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED) if _whole_png(data) else None
        if stacked is None or stacked.ndim != 2 or stacked.shape[0] % len(channels):
            raise RunError(f"prediction {path} is damaged; delete it and run medalist predict again")
        if files:
            refuse_changed(path, hash_bytes(data), files)
        maps: NDArray[np.uint8] = stacked.astype(np.uint8).reshape(len(channels), -1, stacked.shape[1])
        return MapPrediction(maps, tuple(channels))

    def _read_large(self, path: Path, channels: tuple[str, ...], files: Mapping[str, str] | None) -> MapPrediction:
        if files:
            refuse_changed(path, hash_file(path), files)
        maps = read_tiff(path, len(channels), self.folder)
        if maps is None:
            raise RunError(f"prediction {path} is damaged; delete it and run medalist predict again")
        return MapPrediction(maps, channels)

    def start(self, name: str) -> None:
        """Mark a part as not complete before it is written (again); `finish` marks it as complete."""
        start_part(self.folder, name)

    def finish(self, name: str, part: StoredPart) -> None:
        """Mark a part as complete, with the hashes of its files; delete temporary files that a killed process left."""
        paths = [path for one in part.ids for path in (self.path(one), self.large_path(one))]
        files = hashes_in(self.folder, (path.name for path in paths))
        finish_part(self.folder, name, replace(part, files=files), "channels")

    def files(self, names: Iterable[str]) -> dict[str, str]:
        """Return the hashes of the files of these parts, by file name; parts without hashes have none."""
        parts = [self.part(name) for name in names]
        return {file: digest for part in parts if part is not None for file, digest in part.files.items()}

    def intact(self, name: str) -> bool:
        """Return whether the files of a complete part are those that were written, as far as their hashes are known."""
        return are_intact(self.folder, self.files([name]))

    def part(self, name: str) -> StoredPart | None:
        """Return the index of a part; None where the part is missing or not complete."""
        return read_part(self.folder, name, "channels")


def _whole_png(data: bytes) -> bool:
    """Whether data is a PNG in which every chunk, up to the last, fits the checksum that follows it."""
    at, view = 8, memoryview(data)
    while at + 12 <= len(data):
        end = at + 12 + int.from_bytes(view[at : at + 4])
        if end > len(data) or crc32(view[at + 4 : end - 4]) != int.from_bytes(view[end - 4 : end]):
            return False
        if data[at + 4 : at + 8] == b"IEND":
            return data.startswith(b"\x89PNG\r\n\x1a\n")
        at = end
    return False


_FAST = (cv2.IMWRITE_PNG_COMPRESSION, 1)
"""Probability maps are mostly smooth: level 1 is four times as fast as the default and needs 10 % more disk."""
