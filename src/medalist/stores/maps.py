"""Maps on disk: one lossless 8-bit image a sample, and an index that says whose they are.

<folder>/<sample id>.png     the C maps of uint8[C, H, W], one under another
<folder>/<part>.json         what made them; taken away first and written last: where it is, the part is whole
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from urllib.parse import quote
from zlib import crc32

import cv2
import numpy as np
from numpy.typing import NDArray

from medalist.errors import RunError
from medalist.files import written
from medalist.records import MapPrediction
from medalist.stores.store import StoredPart, finish_part, read_part, start_part
from medalist.system import CASELESS

LONGEST = 180
"""Letters of a file name that hold an id; file systems take 255 bytes, and temporary names need some of them."""


DEVICES = frozenset(["CON", "PRN", "AUX", "NUL", *(f"{port}{n}" for port in ("COM", "LPT") for n in range(1, 10))])
"""What Windows takes for a device, whatever suffix the name has."""


@dataclass(frozen=True)
class MapStore:
    """Maps of one split of one run."""

    folder: Path

    def path(self, sample_id: str) -> Path:
        """File of one prediction; what a file system could mind is escaped, and a long id ends in a hash."""
        name = quote(sample_id, safe=" ")
        if len(name) > LONGEST:
            # '+' never stands in an escaped id, so no other id has this name.
            name = f"{name[: LONGEST - 33]}+{sha256(sample_id.encode()).hexdigest()[:32]}"
        if name.partition(".")[0].rstrip().upper() in DEVICES:
            name = f"%{ord(name[0]):X}{name[1:]}"  # letters are never escaped else, so no other id has this name
        return self.folder / f"{name}.png"

    def refuse_alike(self, ids: Iterable[str]) -> None:
        """Raise RunError for ids that differ in case alone, where the file system takes their names for one."""
        first: dict[str, str] = {}
        for one in ids if CASELESS else ():
            other = first.setdefault(one.casefold(), one)
            if other != one:
                raise RunError(
                    f"samples {other} and {one} differ in case alone, and {self.folder} takes their names for one; "
                    "predict on Linux, or rename one of them in the contest's data"
                )

    def write(self, sample_id: str, prediction: MapPrediction) -> None:
        """Write one prediction, whole or not at all."""
        channels, height, width = prediction.maps.shape
        done, data = cv2.imencode(".png", prediction.maps.reshape(channels * height, width), _FAST)
        assert done
        with written(self.path(sample_id)) as temporary:
            temporary.write_bytes(data.tobytes())

    def read(self, sample_id: str, channels: Sequence[str]) -> MapPrediction:
        """Read one prediction back; RunError names the file that is missing or damaged."""
        path = self.path(sample_id)
        try:
            data = path.read_bytes()
        except OSError as error:
            raise RunError(f"no prediction {path} ({error.strerror}); run medalist predict again") from None
        # Checked before: libpng writes its own lines about damage to the terminal.
        stacked = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED) if _whole_png(data) else None
        if stacked is None or stacked.ndim != 2 or stacked.shape[0] % len(channels):
            raise RunError(f"prediction {path} is damaged; delete it and run medalist predict again")
        maps: NDArray[np.uint8] = stacked.astype(np.uint8).reshape(len(channels), -1, stacked.shape[1])
        return MapPrediction(maps, tuple(channels))

    def start(self, name: str) -> None:
        """Say that a part is about to be written (again): until `finish` it is not whole."""
        start_part(self.folder, name)

    def finish(self, name: str, part: StoredPart) -> None:
        """Say that a part is whole; what a killed process left half-written goes."""
        finish_part(self.folder, name, part, "channels")

    def part(self, name: str) -> StoredPart | None:
        """The part, None where it is not whole (or not there)."""
        return read_part(self.folder, name, "channels")


def _whole_png(data: bytes) -> bool:
    """Whether every chunk up to the last has the check sum that stands behind it."""
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
"""Probability maps are mostly smooth: level 1 is four times as fast as the default and costs a tenth more disk."""
