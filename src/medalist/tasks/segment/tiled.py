"""Prediction of an image tile by tile: the image is read by windows, and its maps lie on disk where they are large.

Only some rows of the sums of all tiles are kept at a time: those of the row of tiles that is predicted now. Rows that
no later tile covers are divided by the sum of their weights, rounded to 8 bits, and written to the maps.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from medalist.codecs.disk import disk_array, release
from medalist.data.items import Normalisation, make_item
from medalist.data.loader import collate
from medalist.data.padding import Padding
from medalist.data.tiling import Jumps, Line, line_of, mirrored_places, weight_sums, window_of
from medalist.data.windows import WindowedImage
from medalist.engine.placement import Placement
from medalist.records import MapPrediction
from medalist.tasks.segment.conditions import NOTHING, with_condition
from medalist.tasks.segment.inference import average_views
from medalist.tasks.segment.network_settings import ConditionConfig
from medalist.tasks.segment.settings import PredictConfig, TileConfig
from medalist.tasks.segment.task import SegmentTask

IN_MEMORY = 1 << 26
"""Maps, or sums of tiles, of more bytes than this lie on disk."""

ROUNDED_ROWS = 64
"""Rows of the sums that are divided and rounded at a time."""


@dataclass(frozen=True, eq=False)
class Tiles:
    """The tiles of one image. down, right: those along its rows and its columns. stride: of the network."""

    down: Line
    right: Line
    stride: int
    windows: tuple[NDArray[np.float32], NDArray[np.float32]]
    sums: tuple[NDArray[np.float32], NDArray[np.float32]]

    @classmethod
    def of(cls, size: tuple[int, int], config: TileConfig, stride: int) -> Tiles:
        """Return the tiles of an image of (height, width)."""
        down, right = (line_of(length, config, stride) for length in size)
        windows = window_of(down, config), window_of(right, config)
        return cls(down, right, stride, windows, (weight_sums(down, windows[0]), weight_sums(right, windows[1])))

    @property
    def count(self) -> int:
        """The number of tiles."""
        return len(self.down.starts) * len(self.right.starts)


@dataclass(frozen=True, eq=False)
class TiledMaps:
    """The maps of an image, and how visible the seams of its tiles are in them (see `Jumps.score`)."""

    prediction: MapPrediction
    seam_score: float


@dataclass(frozen=True, eq=False)
class TilePredictor:
    """The networks that predict tiles. folder: where large arrays lie while an image is predicted."""

    place: Placement
    task: SegmentTask
    models: Sequence[nn.Module]
    normalisation: Normalisation
    config: PredictConfig
    stride: int
    channels_last: bool
    folder: Path
    condition: ConditionConfig | None = None

    @torch.inference_mode()
    def predict(
        self,
        image: WindowedImage,
        advance: Callable[[], None] = lambda: None,
        meta: Mapping[str, str | float] = NOTHING,
    ) -> TiledMaps:
        """Return the maps of an image at its size. `advance` is called after each tile. meta: the sample's columns.

        A pixel is the mean over the tiles that cover it, weighted by the window of the config.
        """
        assert self.config.tile is not None
        tiles = Tiles.of(image.size, self.config.tile, self.stride)
        rows = _Rows(tiles, self.task.outputs, len(self.task.channels), self.folder)
        for number, top in enumerate(tiles.down.starts):
            # One reading for a row of tiles, because strips of a file are as wide as the image.
            band = image.mirrored(range(top, top + tiles.down.tile), range(image.size[1]))
            for first in range(0, len(tiles.right.starts), self.config.batch):
                lefts = tiles.right.starts[first : first + self.config.batch]
                for left, maps in zip(lefts, self._forward(band, lefts, tiles.right, meta), strict=True):
                    rows.add(top, left, maps)
                    advance()
            del band
            later = tiles.down.starts[number + 1] if number + 1 < len(tiles.down.starts) else image.size[0]
            rows.finish_before(later)
        return TiledMaps(MapPrediction(rows.maps, self.task.outputs), rows.jumps.score)

    @torch.inference_mode()
    def try_tile(self, side: int) -> None:
        """Predict a black tile, to see what memory it takes."""
        line = Line(side, side, (0,))
        self._forward(np.zeros((side, side, 3), np.uint8), [0], line)

    def _forward(
        self, band: NDArray[np.uint8], lefts: Sequence[int], line: Line, meta: Mapping[str, str | float] = NOTHING
    ) -> NDArray[np.float32]:
        """Return float32[B, C, h, w], the probabilities of the tiles of a row of tiles that begin at these columns."""
        items = []
        for left in lefts:
            tile = _columns(band, left, line)
            item = make_item(0, tile, None, self.normalisation, Padding(*tile.shape[:2]))
            items.append(with_condition(item, self.condition, meta))
        batch = collate(items).to(self.place.device, self.channels_last)
        del items
        with self.place.autocast():
            found = average_views(self.task, self.models, batch.image, self.config, self.stride, self.normalisation)
        probabilities: NDArray[np.float32] = found.float().cpu().numpy()
        return probabilities


def _columns(band: NDArray[np.uint8], left: int, line: Line) -> NDArray[np.uint8]:
    """Return a tile of a band; columns outside the image are mirrored."""
    if left >= 0 and left + line.tile <= line.length:
        return np.ascontiguousarray(band[:, left : left + line.tile])
    return np.ascontiguousarray(band[:, mirrored_places(range(left, left + line.tile), line.length)])


@dataclass(eq=False)
class _Rows:
    """The sums of the tiles in the rows that are not finished, and the maps of those that are.

    `sums` is float32[C, tile, W]; its first row is row `first` of the image. pixelwise: the number
    of first channels whose pixels differ within a tile; seams are looked at in these alone.
    """

    tiles: Tiles
    channels: tuple[str, ...]
    pixelwise: int
    folder: Path
    jumps: Jumps = field(default_factory=Jumps)
    first: int = 0

    def __post_init__(self) -> None:
        """Make the arrays, on disk where they are large."""
        count, height, width = len(self.channels), self.tiles.down.length, self.tiles.right.length
        self.sums = _array((count, min(self.tiles.down.tile, height), width), np.float32, self.folder)
        self.maps = _array((count, height, width), np.uint8, self.folder)
        self._window = np.multiply.outer(*self.tiles.windows)
        self._across = np.zeros(max(0, width - 1))
        self._down = np.zeros(max(0, height - 1))
        self._last: NDArray[np.uint8] | None = None

    def add(self, top: int, left: int, maps: NDArray[np.float32]) -> None:
        """Add a tile float32[C, h, w] that begins at this row and column. It is overwritten."""
        down, of_rows = self.tiles.down.inside(top)
        right, of_columns = self.tiles.right.inside(left)
        part = maps[:, of_rows, of_columns]
        np.multiply(part, self._window[of_rows, of_columns], out=part)
        self.sums[:, down.start - self.first : down.stop - self.first, right] += part
        release(self.sums)

    def finish_before(self, row: int) -> None:
        """Write all rows above `row` of the image to the maps, because no later tile covers them."""
        height = self.tiles.down.length
        end = min(height, max(row, self.first))
        by_row, by_column = self.tiles.sums
        for start in range(self.first, end, ROUNDED_ROWS):
            rows = slice(start, min(end, start + ROUNDED_ROWS))
            weights = 255 / (by_row[rows, None] * by_column)
            for sums, maps in zip(self.sums, self.maps, strict=True):
                done = sums[rows.start - self.first : rows.stop - self.first] * weights
                maps[rows] = np.rint(done, out=done)
            self._count_jumps(rows)
            release(self.sums)
            release(self.maps)
        self._move(end - self.first)
        self.first = end
        if end == height:
            width = self.tiles.right.length
            self.jumps.add(self._across, height * self.pixelwise, self.tiles.right.seams, self.tiles.stride)
            self.jumps.add(self._down, width * self.pixelwise, self.tiles.down.seams, self.tiles.stride)

    def _move(self, steps: int) -> None:
        """Move the sums up by some rows, and clear the rows behind them."""
        kept = self.sums.shape[1] - steps
        for plane in self.sums if steps else ():
            for start in range(0, kept, steps):  # source and target of each copy are apart
                end = min(kept, start + steps)
                plane[start:end] = plane[start + steps : end + steps]
            plane[max(0, kept) :] = 0
            release(self.sums)

    def _count_jumps(self, rows: slice) -> None:
        done = self.maps[: self.pixelwise, rows]
        before = self._last
        for channel, plane in enumerate(done):
            self._across += _steps(plane[:, :-1], plane[:, 1:]).sum(axis=0, dtype=np.int64)
            self._down[rows.start : rows.stop - 1] += _steps(plane[:-1], plane[1:]).sum(axis=1, dtype=np.int64)
            if before is not None:
                self._down[rows.start - 1] += _steps(before[channel], plane[0]).sum(dtype=np.int64)
        self._last = done[:, -1].copy()


def _steps(one: NDArray[np.uint8], other: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return the absolute differences of two arrays."""
    return np.asarray(np.maximum(one, other) - np.minimum(one, other))


def _array(shape: tuple[int, ...], kind: Any, folder: Path) -> NDArray[Any]:
    size = int(np.prod(shape, dtype=np.int64)) * np.dtype(kind).itemsize
    return disk_array(shape, kind, folder) if size > IN_MEMORY else np.zeros(shape, kind)
