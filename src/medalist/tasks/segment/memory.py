"""Which tiles, and how many at a time, keep the memory of a prediction below a limit. It is measured, not guessed."""

from __future__ import annotations

from dataclasses import dataclass

from medalist.errors import ConfigError
from medalist.processors import release_buffers
from medalist.tasks.peak_memory import SAFE_SHARE, in_gb, peak_while
from medalist.tasks.segment.settings import PredictConfig, TileConfig
from medalist.tasks.segment.tiled import IN_MEMORY, ROUNDED_ROWS, TilePredictor

SIDES = (2048, 1536, 1024, 768, 512, 384, 256)
"""Sides of tiles that are tried, the largest first; multiples of 128."""

WHOLE_SIDES = (3072, 4096)
"""Further sides, of which the first is tried that makes all images fit into one tile."""

OVERLAP_SHARE = 4
"""The overlap of chosen tiles is the side divided by this."""

MEASURED = (256, 512)
"""Sides of the tiles that are measured."""

DECODING = 100_000_000
"""Bytes that decoding some rows of an image takes besides its pixels, and libraries that are imported later."""


@dataclass(frozen=True)
class Need:
    """The memory of the process that predicts a tile: `fixed` bytes, and `pixel` bytes for each pixel of a batch."""

    fixed: float
    pixel: float

    def of(self, side: int, batch: int, width: int, channels: int) -> float:
        """Return the bytes for tiles of an image of this width: the forward, the rows that are read, and the sums."""
        rows = side * width
        sums = min(IN_MEMORY, 4 * channels * rows)
        return self.fixed + self.pixel * batch * side**2 + 6 * rows + sums + 16 * ROUNDED_ROWS * width + DECODING


def fitted(predictor: TilePredictor, sizes: list[tuple[int, int]]) -> PredictConfig:
    """Return the predictor's config with tiles and a batch that keep the process below `predict.memory`.

    Tiles that the config says stay. sizes: (height, width) of the images. Raises ConfigError, which says how much
    memory is needed, where it is too small.
    """
    config = predictor.config
    most = config.most_bytes
    assert most is not None and sizes
    need = measured(predictor)
    widest, channels = max(width for _, width in sizes), len(predictor.task.outputs)
    longest = max(max(size) for size in sizes)
    if config.tile is not None:
        sides: tuple[int, ...] = (config.tile.size,)
    else:
        whole = [side for side in WHOLE_SIDES if SIDES[0] < longest <= side][:1]
        sides = (*whole, *SIDES)
        sides = tuple(dict.fromkeys(side + -side % predictor.stride for side in sides))

    def total(side: int, batch: int) -> float:
        return need.of(side, batch, widest, channels)

    for side in sides:
        batch = next((batch for batch in range(config.batch, 0, -1) if total(side, batch) <= SAFE_SHARE * most), None)
        if batch is not None:
            tile = config.tile or TileConfig(size=side, overlap=side // OVERLAP_SHARE)
            return config.model_copy(update={"tile": tile, "batch": batch})
    least = total(sides[-1], 1) / SAFE_SHARE
    what = "predict.tile.size" if config.tile is not None else "the smallest tile"
    raise ConfigError(
        f"predict.memory = {config.memory} is too small: {what} = {sides[-1]} needs {in_gb(least)} for an image that "
        f"is {widest} pixels wide ({in_gb(need.fixed)} of it for the networks and the libraries); type --memory "
        f"{in_gb(least).replace(' ', '')}" + (", or take smaller tiles" if config.tile is not None else "")
    )


def measured(predictor: TilePredictor) -> Need:
    """Measure the memory of this process in forwards of two tiles."""
    sides = [side + -side % predictor.stride for side in MEASURED]
    predictor.try_tile(sides[0])  # libraries make what they keep
    peaks = []
    for side in sides:
        release_buffers()
        peaks.append(peak_while(lambda side=side: predictor.try_tile(side)))  # type: ignore[misc]
    release_buffers()
    small, large = (side**2 for side in sides)
    least = 4.0 * (6 + 3 * len(predictor.task.outputs))  # the tile, its maps, their sum and its copy
    pixel = max(least, (peaks[1] - peaks[0]) / (large - small))
    return Need(max(0.0, peaks[1] - pixel * large), pixel)
