"""Large maps as TIFF files: a page for each map, in compressed tiles, written and read tile by tile."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from medalist.codecs.disk import disk_array, release

LARGE_BYTES = 1 << 26
"""Maps of more bytes than this are large. The 20 maps of an image of 2048 x 1024 pixels are not."""

SIDE = 512
"""Pixels of a side of a tile."""

LEVEL = 1
"""The level of deflate: maps are mostly smooth, and higher levels take several times as long."""

READ_BYTES = 1 << 24
RELEASED = 64
"""Tiles after which the memory of an array on disk is freed."""

_DAMAGE = (ValueError, TypeError, LookupError, OSError, ArithmeticError, EOFError, struct.error, zlib.error)


def write_tiff(path: Path, maps: NDArray[np.uint8]) -> None:
    """Write maps uint8[C, H, W]; C * H * W bytes are never in memory at a time."""
    import tifffile  # imported here, because most predictions are small

    with tifffile.TiffWriter(path, bigtiff=maps.nbytes > 1 << 31) as file:
        for plane in maps:
            file.write(
                _tiles(plane),
                shape=plane.shape,
                dtype=np.uint8,
                tile=(SIDE, SIDE),
                photometric="minisblack",
                compression="zlib",
                compressionargs={"level": LEVEL},
                maxworkers=1,
                metadata=None,
            )


def _tiles(plane: NDArray[np.uint8]) -> Iterator[NDArray[np.uint8]]:
    height, width = plane.shape
    for number, (top, left) in enumerate(
        (top, left) for top in range(0, height, SIDE) for left in range(0, width, SIDE)
    ):
        tile = np.zeros((SIDE, SIDE), np.uint8)
        found = plane[top : top + SIDE, left : left + SIDE]
        tile[: found.shape[0], : found.shape[1]] = found
        if number % RELEASED == 0:
            release(plane)
        yield tile


def read_tiff(path: Path, channels: int, folder: Path) -> NDArray[np.uint8] | None:
    """Return the maps uint8[C, H, W] of a file as an array on disk in `folder`; None where the file is damaged.

    A file with another number of maps, or with maps of several sizes, counts as damaged.
    """
    import tifffile

    try:
        with tifffile.TiffFile(path) as file:
            pages = list(file.pages)
            sizes = {(page.shape, page.dtype) for page in pages}
            if len(pages) != channels or len(sizes) != 1:
                return None
            ((shape, kind),) = sizes
            if len(shape) != 2 or kind != np.uint8:
                return None
            maps: NDArray[np.uint8] = disk_array((channels, *shape), np.uint8, folder)
            for plane, page in zip(maps, pages, strict=True):
                for number, (tile, place, size) in enumerate(page.segments(maxworkers=1, buffersize=READ_BYTES)):
                    if tile is None:
                        return None
                    top, left = place[2:4]
                    part = plane[top : top + size[1], left : left + size[2]]  # without the padding of the last tiles
                    part[...] = tile.reshape(size)[0, : part.shape[0], : part.shape[1], 0]
                    if number % RELEASED == 0:
                        release(maps)
            release(maps)
            return maps
    except _DAMAGE:
        return None
