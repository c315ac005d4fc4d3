"""Read image files: PNG, JPEG and TIFF with 8 or 16 bits. The error for a broken file is one line that names it."""

from __future__ import annotations

import os
import struct
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import ExifTags, Image, UnidentifiedImageError

from medalist.errors import DataError, UnreadableFile
from medalist.files import reason
from medalist.reading import IMAGE_BYTES, open_file

_DAMAGE = (  # errors of Pillow and OpenCV for damaged or hostile files; Warning where warnings are turned into errors
    OSError,
    SyntaxError,
    ValueError,
    TypeError,
    LookupError,
    ArithmeticError,
    EOFError,
    MemoryError,
    Warning,
    struct.error,
    zlib.error,
    cv2.error,
)
_SHOWN = 10  # the most bad files that one message lists


def read_image(path: str | os.PathLike[str], white: int = 65535) -> NDArray[np.uint8]:
    """Read a PNG, JPEG or TIFF (its first page) as RGB uint8[H, W, 3], turned upright by its EXIF orientation.

    Gray is repeated over the channels, alpha is dropped, and palettes, CMYK and 1-bit images are converted. 16-bit
    values are scaled linearly, so that 0 stays 0, and `white` (1..65535) and all values above become 255. Raises
    DataError where the file is missing, damaged, cut off, or has 32-bit numbers.
    """
    assert 1 <= white <= 65535, white
    path = Path(path)
    with _opened(path) as (image, orientation, deep):
        image.load()
        if image.mode in ("I", "F"):
            raise DataError(f"{path}: holds 32-bit or signed numbers; supported are 8 and 16 bits per channel")
        if not deep:
            image.info.pop("transparency", None)  # without this, Pillow would warn that alpha is dropped
            values = np.array(image.convert("RGB"))
        elif image.mode.startswith("I;16"):
            values = _to_8_bit(np.asarray(image), white)[..., np.newaxis].repeat(3, axis=2)
        else:
            values = _to_8_bit(_colour_16(path, (image.height, image.width)), white)
        return np.ascontiguousarray(_upright(values, orientation))


def image_size(path: Path) -> tuple[int, int]:
    """Return (height, width) after EXIF orientation, from the header. DataError also where the file is cut off."""
    with _opened(path) as (image, orientation, _):
        return (image.width, image.height) if orientation >= 5 else (image.height, image.width)


def image_kind(path: Path) -> str:
    """What a file's header says of its pixels: "gray" or "colour", and "8 bits" or "16 bits" a channel.

    1-bit images count as gray with 8 bits, palettes and CMYK as colour. Raises DataError as `image_size` does.
    """
    with _opened(path) as (image, _, deep):
        gray = image.mode in ("1", "L", "LA", "La", "I", "F") or image.mode.startswith("I;16")
        return f"{'gray' if gray else 'colour'}, {16 if deep else 8} bits"


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


@contextmanager
def _opened(path: Path) -> Iterator[tuple[Image.Image, int, bool]]:
    """Open an image and check that it is not cut off: yield (image, orientation, whether it has 16 bits).

    The orientation is an EXIF number 1..8 that must still be undone. Every kind of damage that is found here or in the
    block raises DataError.
    """
    try:
        folder = path.is_dir()
    except OSError as error:  # for example a name that is too long for a file
        raise DataError(f"{path}: {reason(error)}") from error
    if folder:
        raise DataError(f"{path}: a folder, not an image")
    if path.exists() and not path.is_file():  # a pipe would make the reader wait
        raise DataError(f"{path}: not a file that can be read as an image")
    try:
        # The file is opened here, not by name in Pillow, because Pillow 13 would map some TIFF files into memory, and
        # would mix up the pixels of those with a turned orientation.
        with open_file(path, IMAGE_BYTES) as file, Image.open(file, formats=("PNG", "JPEG", "TIFF")) as image:
            at = file.tell()
            whole, deep, has_exif = _described(image, file)
            file.seek(at)
            if not whole:
                image.load()
            orientation = image.getexif().get(ExifTags.Base.Orientation, 1) if has_exif else 1
            yield image, orientation if orientation in range(1, 9) else 1, deep
    except (FileNotFoundError, PermissionError) as error:
        raise DataError(f"{path}: {reason(error)}") from error
    except UnreadableFile as error:
        raise DataError(f"{path}: {reason(error)}") from error
    except UnidentifiedImageError as error:
        found = "not a PNG, JPEG or TIFF image of 8 or 16 bits" if path.stat().st_size else "an empty file"
        raise DataError(f"{path}: {found}") from error
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise DataError(f"{path}: too many pixels to be read safely ({reason(error)})") from error
    except _DAMAGE as error:
        raise DataError(f"{path}: damaged or cut off ({reason(error)}); download it again") from error


def _described(image: Image.Image, file: BinaryIO) -> tuple[bool, bool, bool]:
    """Return whether a file is surely complete, has 16-bit values, and may have an orientation that must be undone."""
    if image.format == "PNG":
        file.seek(24)
        deep = file.read(1)[0] == 16  # the bit depth in the first chunk
        return True, deep, b"eXIf" in _png_chunks(file)
    if image.format == "TIFF":
        tags = image.tag_v2  # type: ignore[attr-defined]
        starts, counts = tags.get(273) or tags.get(324) or (), tags.get(279) or tags.get(325) or ()
        ends = [start + count for start, count in zip(starts, counts, strict=False)]
        size = file.seek(0, os.SEEK_END)
        # Pillow undoes the orientation of a TIFF itself, and the size that it reports is the size after that.
        return max(ends, default=0) == size, 16 in tags.get(258, ()), False
    file.seek(-16, os.SEEK_END)
    return b"\xff\xd9" in file.read(), False, True  # the end mark of a JPEG never occurs within its pixel data


def _png_chunks(file: BinaryIO) -> set[bytes]:
    """The names of a PNG's chunks, found by jumping from head to head; EOFError where the end is missing."""
    names: set[bytes] = set()
    size = file.seek(0, os.SEEK_END)
    file.seek(8)
    while b"IEND" not in names:
        head = file.read(8)
        if len(head) < 8:
            raise EOFError("its end is missing")
        length, name = struct.unpack(">I4s", head)
        if file.seek(length + 4, os.SEEK_CUR) > size:
            raise EOFError("its end is missing")
        names.add(name)
    return names


def _colour_16(path: Path, size: tuple[int, int]) -> NDArray[np.uint16]:
    """Read RGB uint16[H, W, 3] by OpenCV, because Pillow reduces 16-bit colours to 8 bits. The file is complete."""
    values = cv2.imdecode(np.frombuffer(path.read_bytes(), np.uint8), cv2.IMREAD_UNCHANGED)
    if values is None or values.dtype != np.uint16 or values.shape[:2] != size or values.ndim != 3:
        raise ValueError("16-bit pixels that cannot be decoded")
    return np.ascontiguousarray(values[..., 2::-1], dtype=np.uint16)


def _to_8_bit(values: NDArray[np.uint16], white: int) -> NDArray[np.uint8]:
    steps = np.minimum(np.arange(65536, dtype=np.uint32), white)
    table = ((steps * 255 + white // 2) // white).astype(np.uint8)
    return table[values]


def _upright(values: NDArray[np.uint8], orientation: int) -> NDArray[np.uint8]:
    """Undo an EXIF orientation 1..8 (CIPA DC-008, tag 274) of pixels [H, W, 3]."""
    if orientation >= 5:
        values = values.swapaxes(0, 1)
    down = -1 if orientation in (3, 4, 7, 8) else 1
    right = -1 if orientation in (2, 3, 6, 7) else 1
    return values[::down, ::right]
