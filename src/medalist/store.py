"""Predictions on disk: one lossless 8-bit image a sample, and an index that says whose they are.

<folder>/<sample id>.png     the C maps of uint8[C, H, W], one under another
<folder>/<part>.json         what made them; written last, so that its presence means the part is whole
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from urllib.parse import quote

import cv2
import numpy as np
from numpy.typing import NDArray

from medalist.errors import RunError
from medalist.files import read_json, write_json, written
from medalist.records import Prediction


@dataclass(frozen=True)
class Part:
    """A whole part of a store: which samples it holds, of which channels, and the hashes of what made them.

    `made_by` maps each maker (`fold0`, `predict`, `config`, `data`) to its hash or setting.
    """

    channels: tuple[str, ...]
    ids: tuple[str, ...]
    made_by: Mapping[str, str]


@dataclass(frozen=True)
class Store:
    """Predictions of one split of one run."""

    folder: Path

    def path(self, sample_id: str) -> Path:
        """File of one prediction; every character that a file system could mind is escaped."""
        return self.folder / f"{quote(sample_id, safe=' ')}.png"

    def write(self, sample_id: str, prediction: Prediction) -> None:
        """Write one prediction, whole or not at all."""
        channels, height, width = prediction.maps.shape
        done, data = cv2.imencode(".png", prediction.maps.reshape(channels * height, width), _FAST)
        assert done
        with written(self.path(sample_id)) as temporary:
            temporary.write_bytes(data.tobytes())

    def read(self, sample_id: str, channels: Sequence[str]) -> Prediction:
        """Read one prediction back; RunError names the file that is missing or damaged."""
        path = self.path(sample_id)
        try:
            data = np.frombuffer(path.read_bytes(), np.uint8)
        except OSError as error:
            raise RunError(f"no prediction {path} ({error.strerror}); run medalist predict again") from None
        stacked = cv2.imdecode(data, cv2.IMREAD_UNCHANGED) if data.size else None
        if stacked is None or stacked.ndim != 2 or stacked.shape[0] % len(channels):
            raise RunError(f"prediction {path} is damaged; delete it and run medalist predict again")
        maps: NDArray[np.uint8] = stacked.astype(np.uint8).reshape(len(channels), -1, stacked.shape[1])
        return Prediction(maps, tuple(channels))

    def finish(self, name: str, part: Part) -> None:
        """Say that a part is whole."""
        write_json(self.folder / f"{name}.json", asdict(part))

    def part(self, name: str) -> Part | None:
        """The part, None where it is not whole (or not there)."""
        path = self.folder / f"{name}.json"
        if not path.exists():
            return None
        value = read_json(path)
        try:
            return Part(tuple(value["channels"]), tuple(value["ids"]), dict(value["made_by"]))
        except (KeyError, TypeError, ValueError):
            raise RunError(f"{path} is not an index of predictions; delete it and run medalist predict again") from None


_FAST = (cv2.IMWRITE_PNG_COMPRESSION, 1)
"""Probability maps are mostly smooth: level 1 is four times as fast as the default and costs a tenth more disk."""
