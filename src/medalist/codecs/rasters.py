"""Decode an image file as it is stored, before colours are made of it. The error for a bad file is one line."""

from __future__ import annotations

import io
import struct
import warnings
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, BinaryIO

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import GifImagePlugin, Image, ImageFile, JpegImagePlugin, PngImagePlugin, TiffImagePlugin

from medalist.codecs.headers import MOST_PIXELS, Header, read_header, refuse_whole
from medalist.codecs.tiff import REMEDY, DamageError, UnsupportedError
from medalist.codecs.tiff_forms import Area, TiffForm, plain_files
from medalist.errors import DataError, UnreadableFile
from medalist.files import reason
from medalist.reading import IMAGE_BYTES, WINDOWED_BYTES, open_file

Values = NDArray[Any]
"""An array of uint8 or uint16."""

_DAMAGE = (  # errors of Pillow and OpenCV for damaged or hostile files; Warning where warnings are turned into errors
    DamageError,
    OSError,
    SyntaxError,
    ValueError,
    TypeError,
    LookupError,
    ArithmeticError,
    EOFError,
    Warning,
    struct.error,
    zlib.error,
    cv2.error,
)


@dataclass(frozen=True, eq=False)
class Raster:
    """The decoded values of a file, not turned upright.

    values: uint8 or uint16, [H, W] for gray values or numbers of palette colours, [H, W, 3] for RGB. Gray of fewer than
    8 bits is spread over 0..255. palette: uint8[256, 3], or None. header: of the file.
    """

    values: Values
    palette: NDArray[np.uint8] | None
    header: Header


def read_raster(path: Path) -> Raster:
    """Decode a file. Raises DataError where it is missing, damaged, cut off, or has a property that is not read."""
    with opened(path, IMAGE_BYTES) as (file, header):
        refuse_whole(header)
        if header.tiff is not None:
            return tiff_raster(file, header, header.tiff)
        if header.bits == 16 and (header.colour == "rgb" or header.alpha):
            file.seek(0)
            return Raster(colour_16(file.read(), header.size), None, header)
        return raster_of(opened_by_pillow(file, header), header)


def read_whole_header(path: Path) -> Header:
    """Return a file's header. Raises DataError as `read_raster` does, also where the file is cut off."""
    with opened(path) as (file, header):
        if not header.whole:
            refuse_whole(header)
            loaded(opened_by_pillow(file, header))
        return header


@contextmanager
def opened(path: Path, largest: int = WINDOWED_BYTES) -> Iterator[tuple[BinaryIO, Header]]:
    """Open an image and read its header. Every fault that is found here or in the block becomes a DataError.

    largest: the most bytes that the file may have.
    """
    try:
        folder = path.is_dir()
    except OSError as error:  # for example a name that is too long for a file
        raise DataError(f"{path}: {reason(error)}") from error
    if folder:
        raise DataError(f"{path}: a folder, not an image")
    if path.exists() and not path.is_file():  # a pipe would make the reader wait
        raise DataError(f"{path}: not a file that can be read as an image")
    unusual = ""
    try:
        with open_file(path, largest) as file:
            header = read_header(file)
            unusual = header.unusual
            yield file, header
    except (FileNotFoundError, PermissionError, UnreadableFile) as error:
        raise DataError(f"{path}: {reason(error)}") from error
    except UnsupportedError as error:
        raise DataError(f"{path}: {error}") from error
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:  # of a frame of a GIF
        raise DataError(f"{path}: too many pixels to be read safely ({reason(error)}); {REMEDY}") from error
    except MemoryError as error:
        raise DataError(f"{path}: not enough memory for its pixels; cut it into tiles, or scale it down") from error
    except _DAMAGE as error:
        if unusual:
            raise DataError(f"{path}: {unusual} could not be decoded ({reason(error)}); {REMEDY}") from error
        raise DataError(f"{path}: damaged or cut off ({reason(error)}); download it again") from error


def opened_by_pillow(file: BinaryIO, header: Header) -> ImageFile.ImageFile:
    """Open by the class of the format: `Image.open` would try others, and warn of sizes that are checked here."""
    file.seek(0)
    if header.format == "PNG":
        return PngImagePlugin.PngImageFile(file)
    if header.format == "JPEG":
        return JpegImagePlugin.JpegImageFile(_without_exif(file, header.exif) if header.exif else file)
    image = GifImagePlugin.GifImageFile(file)
    if image.is_animated:
        raise UnsupportedError(f"a GIF of {image.n_frames} pictures")
    return image


def _without_exif(file: BinaryIO, places: tuple[int, ...]) -> BinaryIO:
    """The file with its EXIF data renamed: Pillow would read all of it, with a warning for each fault."""
    content = bytearray(file.read())
    for place in places:
        content[place : place + 4] = b"none"
    return io.BytesIO(content)


def loaded(image: Image.Image) -> None:
    """Decode by Pillow, without its warning for many pixels: their number was checked before."""
    if image.width * image.height <= (Image.MAX_IMAGE_PIXELS or MOST_PIXELS):
        image.load()
        return
    with warnings.catch_warnings():  # not for every image, because this changes the filters of all threads
        warnings.simplefilter("ignore", Image.DecompressionBombWarning)
        image.load()


def raster_of(image: Image.Image, header: Header) -> Raster:
    """Decode by Pillow: gray, palette numbers, RGB; other colours are converted to RGB."""
    loaded(image)
    if image.size != header.size[::-1]:
        raise ValueError(f"{image.width}x{image.height} pixels, and its header says {header.size[1]}x{header.size[0]}")
    if image.mode.startswith("I;16"):
        return Raster(np.array(image, np.uint16), None, header)
    if image.mode == "P":
        colours = np.array(image.getpalette("RGB") or [], np.uint8)[:768]
        palette = np.zeros((256, 3), np.uint8)
        palette.ravel()[: colours.size] = colours
        return Raster(np.array(image), palette, header)
    if image.mode in ("1", "L"):
        return Raster(np.array(image if image.mode == "L" else image.convert("L")), None, header)
    if image.mode in ("LA", "La"):
        return Raster(np.ascontiguousarray(np.asarray(image)[..., 0]), None, header)
    if image.mode in ("RGB", "RGBA"):
        return Raster(np.ascontiguousarray(np.array(image)[..., :3]), None, header)
    if image.mode not in ("CMYK", "YCbCr"):
        raise UnsupportedError(f"pixels of the mode {image.mode}")
    return Raster(np.array(image.convert("RGB")), None, header)


def tiff_raster(file: BinaryIO, header: Header, form: TiffForm, area: Area | None = None) -> Raster:
    """Decode the page of a TIFF file, or an area of it, from copies that have this page, or one plane of it, alone."""
    files = plain_files(file, form, area)
    if area is not None:
        rows, columns = area.rows, area.columns
        header = replace(header, size=(rows.stop - rows.start, columns.stop - columns.start))
    if form.bits == 16 and form.colour == "rgb" and not form.planes:
        return Raster(colour_16(files[0], header.size), None, header)
    rasters = [raster_of(TiffImagePlugin.TiffImageFile(io.BytesIO(one)), header) for one in files]
    values = rasters[0].values if len(rasters) == 1 else np.dstack([raster.values for raster in rasters])
    return Raster(values, rasters[0].palette, header)


def colour_16(content: bytes, size: tuple[int, int]) -> NDArray[np.uint16]:
    """Read RGB uint16[H, W, 3] by OpenCV, because Pillow reduces 16-bit colours to 8 bits. The file is complete."""
    return np.ascontiguousarray(values_16(content, size)[..., 2::-1], dtype=np.uint16)


def values_16(content: bytes, size: tuple[int, int]) -> NDArray[np.uint16]:
    """Read the uint16[H, W, C] that OpenCV decodes: blue, green, red, and alpha where there is one."""
    assert size[0] * size[1] <= MOST_PIXELS, size
    values = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_UNCHANGED)
    if values is None or values.dtype != np.uint16 or values.shape[:2] != size or values.ndim != 3:
        raise ValueError("16-bit pixels that cannot be decoded")
    return values.astype(np.uint16, copy=False)
