"""Decide large masks band by band: the answer is that of the whole, and no array of numbers has the size of the image.

The connected pieces of each band are numbered, and pieces that touch across the edge of two bands are joined. So a
piece has its size, and touches what it touches, however many bands it lies in.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from medalist.codecs.disk import BAND_PIXELS, bands, release
from medalist.postprocess.settings import ThresholdConfig
from medalist.postprocess.watershed import connected

LARGE_PIXELS = 1 << 26
"""Images of more pixels are decided band by band. Smaller ones are decided as wholes, which is faster."""

Bools = NDArray[np.bool_]
Numbers = NDArray[np.int32]


@dataclass(frozen=True, eq=False)
class Pieces:
    """The connected pieces of a mask, over all of its bands.

    firsts: for each band the number that is added to its own numbers. owner: int32[n + 1], the piece of each number;
    0, the background, is piece 0 alone. sizes: int64[pieces and background], in pixels; that of the background is 0.
    """

    rows: tuple[slice, ...]
    firsts: tuple[int, ...]
    owner: Numbers
    sizes: NDArray[np.int64]

    def of_band(self, band: int, mask: Bools) -> Numbers:
        """Return int32[h, W], the piece of each pixel of a band; 0 where it is False. mask: of the band."""
        labels, _ = connected(mask)
        return self.owner[np.where(labels > 0, labels + np.int32(self.firsts[band]), 0)]


def pieces_of(mask_of: Callable[[slice], Bools], size: tuple[int, int], pixels: int = BAND_PIXELS) -> Pieces:
    """Return the connected pieces of a mask of (height, width). mask_of: its rows -> bool[h, W]."""
    rows = tuple(bands(size, pixels))
    firsts: list[int] = []
    links: list[NDArray[np.int64]] = []
    sizes = [np.zeros(1, np.int64)]
    total = 0
    last: NDArray[np.int64] | None = None
    for band in rows:
        labels, count = connected(mask_of(band))
        first = labels[0].astype(np.int64)
        if last is not None:
            meet = (last > 0) & (first > 0)
            links.append(np.unique(np.stack((last[meet], first[meet] + total)), axis=1))
        firsts.append(total)
        sizes.append(np.bincount(labels.ravel(), minlength=count + 1)[1:])
        last = np.where(labels[-1] > 0, labels[-1].astype(np.int64) + total, 0)
        total += count
    assert total < np.iinfo(np.int32).max, total
    joined = np.concatenate(links, axis=1) if links else np.empty((2, 0), np.int64)
    graph = coo_array((np.ones(joined.shape[1], np.int8), (joined[0], joined[1])), shape=(total + 1, total + 1))
    count, owner = connected_components(graph, directed=False)
    by_piece = np.bincount(owner, np.concatenate(sizes), minlength=count).astype(np.int64)  # exact up to 2**53 pixels
    return Pieces(rows, tuple(firsts), owner.astype(np.int32), by_piece)


def drop_small(mask: Bools, min_size: int, pixels: int = BAND_PIXELS) -> None:
    """Remove the connected pieces of fewer than `min_size` pixels from a mask, as `watershed.without_small` does."""
    if min_size <= 1:
        return
    pieces = pieces_of(lambda rows: mask[rows], _size(mask), pixels)
    keep = pieces.sizes >= min_size  # not the background, whose size is 0
    for number, rows in enumerate(pieces.rows):
        mask[rows] = keep[pieces.of_band(number, mask[rows])]


def fill_enclosed(mask: Bools, pixels: int = BAND_PIXELS) -> None:
    """Fill the background that is enclosed by the mask, as `watershed.fill_holes` does with one object."""
    pieces = pieces_of(lambda rows: ~mask[rows], _size(mask), pixels)
    at_edge = np.zeros(len(pieces.sizes), np.bool_)
    for number, rows in enumerate(pieces.rows):
        found = pieces.of_band(number, ~mask[rows])
        at_edge[found[:, 0]] = at_edge[found[:, -1]] = True
        if number == 0:
            at_edge[found[0]] = True
        if number == len(pieces.rows) - 1:
            at_edge[found[-1]] = True
    at_edge[0] = False
    fills = ~at_edge
    for number, rows in enumerate(pieces.rows):
        mask[rows] = fills[pieces.of_band(number, ~mask[rows])]


def threshold_by_bands(
    plane: NDArray[np.uint8], config: ThresholdConfig, pixels: int = BAND_PIXELS
) -> NDArray[np.uint8]:
    """Return the mask uint8[H, W] of 0 and 1 that the kind `threshold` decides, from one map of a prediction."""
    above = np.arange(256, dtype=np.uint8).astype(np.float32) / 255 > config.threshold
    mask = np.empty(plane.shape, np.bool_)
    for rows in bands(_size(mask), pixels):
        mask[rows] = above[plane[rows]]
        release(plane)
    drop_small(mask, config.min_size, pixels)
    if config.fill_holes:
        fill_enclosed(mask, pixels)
    if np.count_nonzero(mask) < config.empty_below:
        mask[:] = False
    return mask.view(np.uint8)


def _size(mask: Bools) -> tuple[int, int]:
    return mask.shape[0], mask.shape[1]
