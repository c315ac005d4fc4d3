"""Where the tiles of a large image lie, how much each of their pixels counts, and how visible their seams are.

NumPy alone, because services use it too.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal, Protocol, assert_never

import numpy as np
from numpy.typing import NDArray

GAUSSIAN_SHARE = 1 / 8
"""The standard deviation of the window `gaussian`, relative to the tile."""


class TileRule(Protocol):
    """What tiles are like: `predict.tile` of a config, or what an export says."""

    @property
    def size(self) -> int:
        """The height and the width of a tile in pixels, a multiple of the network's stride."""
        ...

    @property
    def overlap(self) -> int:
        """The pixels in which two tiles overlap at least."""
        ...

    @property
    def window(self) -> Literal["gaussian", "pyramid", "flat"]:
        """How much a pixel of a tile counts where tiles overlap."""
        ...


@dataclass(frozen=True)
class Line:
    """The tiles along the rows or the columns of an image.

    length: of the image. tile: of each tile. starts: the first place of each tile, in order. The first tile may begin
    before the image and the last may end behind it: the image is mirrored there.
    """

    length: int
    tile: int
    starts: tuple[int, ...]

    @property
    def seams(self) -> tuple[int, ...]:
        """The places inside the image where a tile begins, or where one has ended."""
        edges = {edge for start in self.starts for edge in (start, start + self.tile)}
        return tuple(sorted(edge for edge in edges if 0 < edge < self.length))

    def inside(self, start: int) -> tuple[slice, slice]:
        """Return the places of a tile that lie inside the image: as places of the image, and as places of the tile."""
        first, last = max(0, start), min(self.length, start + self.tile)
        return slice(first, last), slice(first - start, last - start)


def line_of(length: int, config: TileRule, stride: int) -> Line:
    """Return the tiles along one side of an image of `length` pixels.

    A side that fits into a tile has one tile: the side, padded at its end to a multiple of the stride. The starts of
    tiles are multiples of the stride, so that a network of that stride sees each tile as it sees the whole image.
    """
    tile = config.size
    if length <= tile:
        return Line(length, length + -length % stride, (0,))
    overlap = min(config.overlap + -config.overlap % stride, tile - stride)
    margin = overlap // 2 // stride * stride
    beyond = length + margin - tile
    last = beyond + -beyond % stride
    count = 1 + -(-(last + margin) // (tile - overlap))
    steps = [(last + margin) * number // (count - 1) // stride * stride for number in range(count)]
    return Line(length, tile, tuple(step - margin for step in steps))


def window_of(line: Line, config: TileRule) -> NDArray[np.float32]:
    """Return float32[tile], how much each place along a tile counts; all above 0."""
    if len(line.starts) == 1:
        return np.ones(line.tile, np.float32)
    middle = np.abs(np.arange(line.tile) + 0.5 - line.tile / 2)
    match config.window:
        case "flat":
            weights = np.ones(line.tile)
        case "pyramid":
            weights = 1 - middle / (line.tile / 2 + 0.5)
        case "gaussian":
            weights = np.exp(-0.5 * (middle / (line.tile * GAUSSIAN_SHARE)) ** 2)
        case _:
            assert_never(config.window)
    return weights.astype(np.float32)


def weight_sums(line: Line, window: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return float32[length], the sum of the weights of all tiles at each place of the image; all above 0."""
    sums = np.zeros(line.length, np.float32)
    for start in line.starts:
        inside, of_tile = line.inside(start)
        sums[inside] += window[of_tile]
    return sums


def mirrored_places(places: range, length: int) -> NDArray[np.int64]:
    """Return int64[n], the places 0..length-1 that these places have after mirroring at both edges.

    Place -1 is 0, and `length` is length - 1, as numpy.pad has it in its mode "symmetric".
    """
    folded = np.arange(places.start, places.stop) % (2 * length)
    return np.minimum(folded, 2 * length - 1 - folded)


@dataclass
class Jumps:
    """Mean differences of neighbouring pixels, at the seams of tiles and elsewhere.

    Seams lie at multiples of the network's stride, where up-sampling leaves larger differences than between. So they
    are compared with the other multiples of the stride.
    at_seams, elsewhere: the sum of absolute differences, in steps of 1/255, and their number.
    """

    at_seams: list[float] = field(default_factory=lambda: [0.0, 0.0])
    elsewhere: list[float] = field(default_factory=lambda: [0.0, 0.0])

    def add(self, differences: NDArray[np.float64], pixels: int, seams: tuple[int, ...], stride: int = 1) -> None:
        """Count the differences between lines of pixels.

        differences: float64[n - 1], the sum of the absolute differences of line k and line k + 1. pixels: of a line.
        seams: k + 1 where a seam is between both.
        """
        alike = np.arange(1, len(differences) + 1) % stride == 0
        here = np.zeros(len(differences), bool)
        here[[seam - 1 for seam in seams if 0 < seam <= len(differences)]] = True
        for counted, places in ((self.at_seams, here), (self.elsewhere, alike & ~here)):
            counted[0] += float(differences[places].sum())
            counted[1] += float(np.count_nonzero(places) * pixels)

    @property
    def score(self) -> float:
        """The mean jump across seams divided by that between the same distance elsewhere: 1 where no seam shows.

        It is 1 where there is no seam, and where nothing changes anywhere.
        """
        if not self.at_seams[1] or not self.at_seams[0]:
            return 1.0
        seam, other = self.at_seams[0] / self.at_seams[1], self.elsewhere[0] / max(1.0, self.elsewhere[1])
        return seam / other if other else float("inf")
