"""Read image files as RGB: PNG, JPEG, TIFF and GIF. The error for a broken file is one line that names it."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import cv2
import numpy as np
from numpy.typing import NDArray

from medalist.codecs.rasters import Raster, Values, opened, read_raster, read_whole_header
from medalist.errors import DataError

Orientation = Literal["shown", "stored"]
"""How images with an EXIF orientation are read: turned upright, as programs show them, or with their pixels as stored.
"""

_SHOWN = 10  # the most bad files that one message lists


@dataclass(frozen=True, eq=False)
class Decoded:
    """A decoded image.

    pixels: uint8[H, W, 3]. brightest: the largest of its values as stored, None where it has 8 bits. more_pages:
    whether the file holds more pictures than this one: other pages of a TIFF, or frames of a PNG. turn: the EXIF
    orientation 1..8 of the file, also where it was undone.
    """

    pixels: NDArray[np.uint8]
    brightest: int | None
    more_pages: bool
    turn: int


def read_image(
    path: str | os.PathLike[str], white: int = 65535, orientation: Orientation = "shown"
) -> NDArray[np.uint8]:
    """Read a PNG, JPEG, TIFF or GIF as RGB uint8[H, W, 3], turned upright by its EXIF orientation unless "stored".

    Gray is repeated over the channels, alpha is dropped, and palettes, CMYK and 1-bit images are converted. 16-bit
    values are scaled linearly, so that 0 stays 0, and `white` (1..65535) and all values above become 255. Of a TIFF
    with several pages it is the first that is no thumbnail. Raises DataError where the file is missing, damaged or cut
    off, and where it has a property that is not read, which the error names (docs/inputs.md lists them).
    """
    return decode_image(path, white, orientation).pixels


def decode_image(path: str | os.PathLike[str], white: int = 65535, orientation: Orientation = "shown") -> Decoded:
    """Read an image as `read_image` does, and note its brightest value."""
    assert 1 <= white <= 65535, white
    raster = read_raster(Path(path))
    brightest = int(raster.values.max(initial=0)) if raster.values.dtype == np.uint16 else None
    values = as_rgb(raster, white)
    turn = raster.header.orientation if orientation == "shown" else 1
    pixels = np.ascontiguousarray(upright(values, turn))
    return Decoded(pixels, brightest, raster.header.several, raster.header.orientation)


def as_rgb(raster: Raster, white: int = 65535) -> NDArray[np.uint8]:
    """Return the colours uint8[H, W, 3] of a decoded file, as `read_image` says, but not turned upright."""
    values = _to_8_bit(raster.values, white)
    if raster.header.negative:
        values = ~values
    if raster.palette is not None:
        return cv2.merge([cv2.LUT(values, raster.palette[:, channel]) for channel in range(3)]).astype(np.uint8)
    return values if values.ndim == 3 else np.asarray(cv2.cvtColor(values, cv2.COLOR_GRAY2RGB), np.uint8)


def image_size(path: Path, orientation: Orientation = "shown") -> tuple[int, int]:
    """Return (height, width) as `read_image` gives it, from the header. DataError also where the file is cut off."""
    header = read_whole_header(path)
    return header.shown if orientation == "shown" else header.size


def image_turn(path: Path) -> int:
    """Return the EXIF orientation 1..8 of an image, from its header; 1 where it is stored as it is shown."""
    with opened(path) as (_, header):
        return header.orientation


def image_kind(path: Path) -> str:
    """What a file's header says of its pixels: "gray" or "colour", and "8 bits" or "16 bits" a channel.

    Images of fewer than 8 bits count as 8 bits, palettes and CMYK as colour. Raises DataError as `image_size` does.
    """
    header = read_whole_header(path)
    return f"{'gray' if header.colour == 'gray' else 'colour'}, {16 if header.bits == 16 else 8} bits"


def image_sizes(named: Sequence[tuple[str, Path]]) -> list[tuple[int, int]]:
    """Return (height, width) of each (sample id, path). One DataError lists the bad files, at most 10 by name."""
    sizes: list[tuple[int, int]] = []
    bad: list[str] = []
    for name, path in named:
        try:
            sizes.append(image_size(path))
        except DataError as error:
            bad.append(f"sample {name}: {error}")
    if bad:
        more = f"; and {len(bad) - _SHOWN} more" if len(bad) > _SHOWN else ""
        listed = "; ".join(bad[:_SHOWN])
        raise DataError(f"{len(bad)} of {len(named)} images cannot be read: {listed}{more}")
    return sizes


def upright(values: Values, orientation: int) -> Values:
    """Undo an EXIF orientation 1..8 (CIPA DC-008, tag 274) of pixels [H, W] or [H, W, 3]."""
    if orientation >= 5:
        values = values.swapaxes(0, 1)
    down = -1 if orientation in (3, 4, 7, 8) else 1
    right = -1 if orientation in (2, 3, 6, 7) else 1
    return values[::down, ::right]


def _to_8_bit(values: Values, white: int) -> NDArray[np.uint8]:
    if values.dtype == np.uint8:
        return values.astype(np.uint8, copy=False)
    steps = np.minimum(np.arange(65536, dtype=np.uint32), white)
    table = ((steps * 255 + white // 2) // white).astype(np.uint8)
    return table[values]
