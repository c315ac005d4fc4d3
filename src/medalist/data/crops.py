"""Crops of training images: where they lie, and how those of large images are read."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch.utils.data import Dataset

from medalist.codecs.headers import MOST_PIXELS
from medalist.data.cache import Decoded, PixelCache
from medalist.data.items import Item, Key, Normalisation, make_item
from medalist.data.padding import pad_to_multiple
from medalist.data.settings import TileSampler
from medalist.errors import ConfigError, DataError
from medalist.records import Answer, Instances, Mask, Sample

CROPPING = 3
"""A part of the generators' seed, so that they draw other numbers than samplers and augmentations."""

BLOCKS = 4
"""Content is looked for in blocks: so many of them lie side by side in a crop."""

ReadWindow = Callable[[slice, slice], Decoded]
"""A function that reads rows and columns of a large sample: its image and its target."""


@dataclass(frozen=True, eq=False)
class Crops:
    """Where crops lie in the samples of a training.

    contents: for each sample int64[n, 2], the row and the column of each block with content, counted in blocks; a
    sample that is not named has none. seed: of the run.
    """

    config: TileSampler
    seed: int
    contents: Mapping[int, NDArray[np.int64]]

    def place(self, index: int, size: tuple[int, int], epoch: int, draw: int) -> tuple[slice, slice]:
        """Return the rows and columns of a crop of sample `index`, whose image has (height, width) `size`.

        draw: how many crops of this sample came before in this epoch. The crop depends only on the arguments.
        """
        random = np.random.default_rng((self.seed, epoch, index, draw, CROPPING))
        blocks = self.contents.get(index)
        around = random.random() < self.config.content
        block = block_side(self.config)
        if not around or blocks is None or not len(blocks):
            return _line(random, size[0], self.config.size), _line(random, size[1], self.config.size)
        row, column = (blocks[random.integers(len(blocks))] * block).tolist()
        return (
            _line(random, size[0], self.config.size, (row, row + block)),
            _line(random, size[1], self.config.size, (column, column + block)),
        )


def _line(random: np.random.Generator, length: int, side: int, block: tuple[int, int] | None = None) -> slice:
    """Return `side` places of a line of `length`; those of a block are among them where they are on the line."""
    if length <= side:
        return slice(0, length)
    low, high = (0, length - side) if block is None else (max(0, block[1] - side), min(length - side, block[0]))
    low = min(low, length - side)
    start = int(random.integers(low, max(low, high) + 1))
    return slice(start, start + side)


def block_side(config: TileSampler) -> int:
    """Return the height and the width of a block in pixels."""
    return config.size // BLOCKS


def content_blocks(answer: Answer, side: int) -> NDArray[np.int64]:
    """Return int64[n, 2], the row and the column of each block of side x side pixels with a pixel of content."""
    assert isinstance(answer, Mask | Instances), type(answer)
    values: NDArray[Any] = answer.classes if isinstance(answer, Mask) else answer.labels
    height, width = values.shape
    edges = np.arange(0, width, side)
    found = np.zeros((-(-height // side), len(edges)), np.bool_)
    for number in range(len(found)):
        rows = (values[number * side : (number + 1) * side] > 0).any(axis=0)
        found[number] = np.logical_or.reduceat(rows, edges)
    return np.argwhere(found).astype(np.int64)


class WindowCache:
    """Training samples that are seen by crops: small ones are decoded whole and kept, large ones are read by windows.

    Which samples are large depends only on their sizes and on the budget, so crops never depend on it.
    """

    def __init__(
        self,
        decode: Callable[[Sample], Decoded],
        open_large: Callable[[Sample], ReadWindow],
        samples: Sequence[Sample],
        pixel_bytes: int,
        budget: int,
        scratch: Path | None = None,
    ):
        """`decode` reads one sample whole; `open_large` makes a large one ready to be read by windows. `pixel_bytes`:
        the bytes of a pixel of an image and its target. `budget`: the bytes of all kept samples. `scratch`: see
        `PixelCache`.
        """
        self.samples = tuple(samples)
        self.budget = budget
        self.small = tuple(_small(self.samples, pixel_bytes, budget))
        self.whole = PixelCache(decode, [self.samples[index] for index in self.small], scratch)
        self._place = {index: place for place, index in enumerate(self.small)}
        self._open_large = open_large
        self._large: dict[int, ReadWindow] = {}

    def fill(self, threads: int = 2, progress: Callable[[], None] = lambda: None) -> None:
        """Decode the small samples, and make the large ones ready. Raises DataError for samples that cannot be read."""
        self.whole.fill(self.budget, threads, progress)
        for index, sample in enumerate(self.samples):
            if index not in self._place:
                self._read_window(index, sample)
                progress()

    def _read_window(self, index: int, sample: Sample) -> ReadWindow:
        if index not in self._large:
            try:
                self._large[index] = self._open_large(sample)
            except DataError as error:
                raise DataError(f"sample {sample.id}: {error}") from error
        return self._large[index]

    def __len__(self) -> int:
        return len(self.samples)

    def __getitem__(self, index: int) -> Decoded:
        """Return a whole sample. Only small samples are asked for as wholes."""
        return self.window(index, slice(0, self.samples[index].size[0]), slice(0, self.samples[index].size[1]))

    def window(self, index: int, rows: slice, columns: slice) -> Decoded:
        """Return rows and columns of a sample. Raises DataError, which names it, where it cannot be read."""
        if index in self._place:
            return self.whole.window(self._place[index], rows, columns)
        sample = self.samples[index]
        read = self._read_window(index, sample)
        try:
            return read(rows, columns)
        except DataError as error:
            raise DataError(f"sample {sample.id}: {error}") from error

    def __getstate__(self) -> dict[str, Any]:
        """Return the state. Raises ConfigError for large samples, whose arrays on disk have no name."""
        if len(self.small) < len(self.samples):
            raise ConfigError(
                "images that are read by windows cannot be shared with loader.workers on this system, which does not "
                "fork processes; say loader.workers=0"
            )
        return self.__dict__


def _small(samples: Sequence[Sample], pixel_bytes: int, budget: int) -> Iterator[int]:
    kept = 0
    for index, sample in enumerate(samples):
        pixels = sample.size[0] * sample.size[1]
        if pixels <= MOST_PIXELS and kept + pixels * pixel_bytes <= budget:
            kept += pixels * pixel_bytes
            yield index


class TileDataset(Dataset[Item]):
    """All tiles of some samples, without overlap and without augmentation, for validation."""

    def __init__(
        self,
        cache: PixelCache | WindowCache,
        indices: Sequence[int],
        side: int,
        stride: int,
        normalisation: Normalisation,
    ):
        """`indices`: the numbers of those samples of the cache that belong to this dataset."""
        self.cache, self.stride, self.normalisation = cache, stride, normalisation
        self.tiles = tuple(
            (index, slice(top, min(size[0], top + side)), slice(left, min(size[1], left + side)))
            for index in indices
            for size in [cache.samples[index].size]
            for top in range(0, size[0], side)
            for left in range(0, size[1], side)
        )

    @property
    def sizes(self) -> list[tuple[int, int]]:
        """The (height, width) of each tile."""
        return [(rows.stop - rows.start, columns.stop - columns.start) for _, rows, columns in self.tiles]

    def __len__(self) -> int:
        return len(self.tiles)

    def __getitem__(self, key: Key) -> Item:
        """Return the tile at position key[1], which is the same in every epoch."""
        index, rows, columns = self.tiles[key[1]]
        image, target = self.cache.window(index, rows, columns)
        padded, padding = pad_to_multiple(image, self.stride)
        target = None if target is None else target.padded(self.stride)
        return make_item(index, padded, target, self.normalisation, padding)
