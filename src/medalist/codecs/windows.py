"""Read images by windows, so that a large one is never in memory as a whole.

Tiles and strips of a TIFF are read where a window needs them. A PNG is decoded once, strip by strip, into an array on
disk. A JPEG, and a PNG whose lines are not in order, can only be decoded whole, and then lie in an array on disk too.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from medalist.codecs.disk import BAND_PIXELS, bands, disk_array, release
from medalist.codecs.headers import MOST_PIXELS, Header
from medalist.codecs.images import Orientation, as_rgb, decode_image, upright
from medalist.codecs.png_strips import png_strips
from medalist.codecs.rasters import loaded, opened, opened_by_pillow, raster_of, tiff_raster
from medalist.codecs.tiff import DamageError, UnsupportedError
from medalist.codecs.tiff_forms import TiffForm, area_of
from medalist.errors import DataError

SMALL_PIXELS = 1 << 24
"""Images of at most so many pixels are decoded whole, into memory."""


LARGEST_PIECE = 1 << 24
"""A TIFF whose strips or tiles have more pixels is decoded once, into an array on disk."""


class Picture(Protocol):
    """An image that is read by windows."""

    @property
    def size(self) -> tuple[int, int]:
        """(height, width), as `read_image` gives it."""
        ...

    def window(self, rows: slice, columns: slice) -> NDArray[np.uint8]:
        """Return RGB uint8[h, w, 3] of these rows and columns (with a start and a stop inside the image).

        Raises DataError where the file cannot be read any more.
        """
        ...


@dataclass(frozen=True, eq=False)
class DecodedPicture:
    """An image that is decoded already. pixels: RGB uint8[H, W, 3] as stored, in memory or on disk."""

    pixels: NDArray[np.uint8]
    turn: int = 1

    @property
    def size(self) -> tuple[int, int]:
        """(height, width) as it is shown."""
        height, width = self.pixels.shape[:2]
        return (width, height) if self.turn >= 5 else (height, width)

    def window(self, rows: slice, columns: slice) -> NDArray[np.uint8]:
        """Return RGB uint8[h, w, 3] of these rows and columns."""
        found = self.pixels[stored_window(rows, columns, self.size, self.turn)]
        turned = np.array(upright(found, self.turn), np.uint8, order="C")
        release(self.pixels)
        return turned


@dataclass(frozen=True, eq=False)
class TiffPicture:
    """A TIFF whose strips or tiles are decoded where a window needs them. header: as the file had it when opened."""

    path: Path
    header: Header
    white: int
    turn: int

    @property
    def size(self) -> tuple[int, int]:
        """(height, width) as it is shown."""
        return self.header.size[::-1] if self.turn >= 5 else self.header.size

    def window(self, rows: slice, columns: slice) -> NDArray[np.uint8]:
        """Return RGB uint8[h, w, 3] of these rows and columns. Raises DataError where the file cannot be read."""
        form = self.header.tiff
        assert form is not None
        down, right = stored_window(rows, columns, self.size, self.turn)
        found = np.empty((down.stop - down.start, right.stop - right.start, 3), np.uint8)
        with opened(self.path) as (file, header):
            if header.size != self.header.size:
                raise DamageError("it was replaced by another image")
            # A few rows of tiles at a time: decoding takes several times as much memory as the pixels.
            step = max(1, BAND_PIXELS // (found.shape[1] * form.rows_decoded)) * form.rows_decoded
            first = down.start
            while first < down.stop:
                end = min(down.stop, first - first % step + step)
                area = area_of(form, slice(first, end), right)
                seen = as_rgb(tiff_raster(file, header, form, area), self.white)
                top, left = area.rows.start, area.columns.start
                found[first - down.start : end - down.start] = seen[
                    first - top : end - top, right.start - left : right.stop - left
                ]
                first = end
        return np.ascontiguousarray(upright(found, self.turn))


def open_picture(
    path: str | os.PathLike[str],
    folder: Path,
    white: int = 65535,
    orientation: Orientation = "shown",
    memory: int | None = None,
) -> Picture:
    """Open an image so that it can be read by windows. white, orientation: see `codecs.images.read_image`.

    folder: where the array of an image lies that cannot be read by windows. memory: the bytes that decoding may take;
    None for any. Raises DataError as `read_image` does, but for the size; where an image can only be decoded whole and
    this needs more than `memory`, it says how much.
    """
    place = Path(path)
    with opened(place) as (file, header):
        height, width = header.size
        turn = header.orientation if orientation == "shown" else 1
        if header.tiff is not None and height * width > SMALL_PIXELS:
            tiff = TiffPicture(place, header, white, turn)
            if header.tiff.pixels_decoded <= LARGEST_PIECE:
                return tiff
            refuse_piece(header.tiff)
            return DecodedPicture(_by_strips(replace(tiff, turn=1), header.tiff.rows_decoded, folder), turn)
        if height * width > SMALL_PIXELS:
            if header.format == "PNG" and header.lines_in_order and header.bits >= 8:
                pixels = disk_array((height, width, 3), np.uint8, folder)
                for first, raster in png_strips(file, header):
                    pixels[first : first + len(raster.values)] = as_rgb(raster, white)
                    release(pixels)
                return DecodedPicture(pixels, turn)
            _refuse_too_large(place, header, memory)
            return DecodedPicture(_whole(opened_by_pillow(file, header), header, white, folder), turn)
    return DecodedPicture(decode_image(place, white, orientation).pixels)


def stored_window(rows: slice, columns: slice, size: tuple[int, int], turn: int) -> tuple[slice, slice]:
    """Return the rows and columns of the stored pixels that `upright` turns into this window.

    size: (height, width) after `upright` by the EXIF orientation `turn` (1..8).
    """
    if turn in (3, 4, 7, 8):
        rows = slice(size[0] - rows.stop, size[0] - rows.start)
    if turn in (2, 3, 6, 7):
        columns = slice(size[1] - columns.stop, size[1] - columns.start)
    return (columns, rows) if turn >= 5 else (rows, columns)


def whole_bytes(header: Header) -> int:
    """Return about how many bytes of memory it takes to decode an image that can only be decoded whole."""
    pixel = 1 if header.colour in ("gray", "palette") else 4
    kept = 0
    if header.format == "JPEG" and not header.lines_in_order:  # the coefficients of all passes
        kept = 2 if header.colour == "gray" else 6
    return header.size[0] * header.size[1] * (pixel * header.bits // 8 if header.bits == 16 else pixel + kept)


def _refuse_too_large(path: Path, header: Header, memory: int | None) -> None:
    needed = whole_bytes(header)
    if memory is not None and needed > memory:
        height, width = header.size
        raise DataError(
            f"{path}: a {header.format} of {width}x{height} pixels can only be decoded whole, which takes "
            f"{needed / 1e9:.1f} GB, and {max(0, memory) / 1e9:.1f} GB are free for it; allow more memory, or save it "
            "as a TIFF with tiles"
        )


def refuse_piece(form: TiffForm) -> None:
    """Raise UnsupportedError for a TIFF whose strips or tiles are themselves too large to be decoded."""
    if form.pixels_decoded > MOST_PIXELS:
        raise UnsupportedError(
            f"strips or tiles of {form.pixels_decoded / 1e6:.0f} million pixels, and at most {MOST_PIXELS / 1e6:.0f} "
            "million are read at a time",
            "save it with tiles of 512 x 512 pixels",
        )


def _by_strips(tiff: TiffPicture, rows: int, folder: Path) -> NDArray[np.uint8]:
    """Decode a TIFF once, because its strips are so large that a window would decode much that it does not need."""
    height, width = tiff.size
    pixels: NDArray[np.uint8] = disk_array((height, width, 3), np.uint8, folder)
    for first in range(0, height, rows):
        end = min(height, first + rows)
        pixels[first:end] = tiff.window(slice(first, end), slice(0, width))
        release(pixels)
    return pixels


def _whole(image: Image.Image, header: Header, white: int, folder: Path) -> NDArray[np.uint8]:
    """Decode an image whole, and move its pixels to disk strip by strip."""
    loaded(image)
    pixels: NDArray[np.uint8] = disk_array((*header.size, 3), np.uint8, folder)
    for band in bands(header.size):
        strip = image.crop((0, band.start, header.size[1], band.stop))
        part = replace(header, size=(band.stop - band.start, header.size[1]))
        pixels[band] = as_rgb(raster_of(strip, part), white)
        release(pixels)
    return pixels
