"""Read the headers of image files: size, bits, colour, orientation, and what is not supported, before any pixel."""

from __future__ import annotations

import os
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO, Literal

from medalist.codecs.tiff import DamageError, UnsupportedError, exif_orientation
from medalist.codecs.tiff_forms import Colour, TiffForm, tiff_form

Format = Literal["PNG", "JPEG", "TIFF", "GIF"]

MOST_PIXELS = 178_956_970
"""The most pixels of an image that is read whole (height x width); a small file of more pixels could fill the memory.
"""

MOST_BY_WINDOWS = 16_000_000_000
"""The most pixels of an image that is read by windows."""

_OTHERS = {  # the first bytes of files that are often taken for images that are read, from some byte on
    (0, b"BM"): "a BMP image",
    (8, b"WEBP"): "a WebP image",
    (4, b"ftyphei"): "a HEIF image",
    (4, b"ftypmif1"): "a HEIF image",
    (4, b"ftypavif"): "an AVIF image",
    (0, b"\0\0\0\x0cjP  "): "a JPEG 2000 image",
    (0, b"\xff\x4f\xff\x51"): "a JPEG 2000 image",
    (0, b"\0\0\0\x0cJXL "): "a JPEG XL image",
    (128, b"DICM"): "a DICOM file",
    (0, b"\x89HDF"): "an HDF5 file",
    (0, b"\x93NUMPY"): "an array of NumPy",
    (0, b"%PDF"): "a PDF document",
    (0, b"8BPS"): "a Photoshop document",
}
_JPEG_FRAMES = {
    0xC3: "lossless JPEG",
    0xC5: "hierarchical JPEG",
    0xC6: "hierarchical JPEG",
    0xC7: "lossless JPEG",
    0xC9: "arithmetic coding",
    0xCA: "arithmetic coding",
    0xCB: "lossless JPEG",
    0xCD: "hierarchical JPEG",
    0xCE: "hierarchical JPEG",
    0xCF: "lossless JPEG",
}
_PNG_COLOURS: dict[int, Colour] = {0: "gray", 2: "rgb", 3: "palette", 4: "gray", 6: "rgb"}
_MOST_SEGMENTS = 65536  # of a JPEG, and of bytes between them


@dataclass(frozen=True)
class Header:
    """What the header of an image says.

    size: (height, width) as stored. bits: of each value. orientation: the EXIF number 1..8 that is not undone yet.
    whole: whether the file is surely not cut off. several: whether it holds more pictures than the one that is read.
    alpha: whether a PNG has alpha. unusual: a property for which a decoder may lack a part, or "". exif: where a JPEG's
    EXIF data begins, in bytes. lines_in_order: whether the lines of pixels follow one another, which they do not in an
    interlaced PNG, in a progressive JPEG, and perhaps in a GIF.
    """

    format: Format
    size: tuple[int, int]
    bits: int
    colour: Colour
    orientation: int = 1
    whole: bool = True
    several: bool = False
    alpha: bool = False
    unusual: str = ""
    exif: tuple[int, ...] = ()
    tiff: TiffForm | None = None
    lines_in_order: bool = True

    @property
    def negative(self) -> bool:
        """Whether gray 0 means white."""
        return self.tiff is not None and self.tiff.negative

    @property
    def shown(self) -> tuple[int, int]:
        """(height, width) after the orientation is undone."""
        return self.size[::-1] if self.orientation >= 5 else self.size


def read_header(file: BinaryIO) -> Header:
    """Return the header of an open image file.

    Raises UnsupportedError for other formats, and for a property that is not read, by its name; raises DamageError
    where the file breaks the rules of its format, or is surely cut off.
    """
    head = file.read(140)
    if not head:
        raise UnsupportedError("an empty file", "download it again")
    if head.startswith(b"\x89PNG\r\n\x1a\n"):
        header = _png(file)
    elif head.startswith(b"\xff\xd8\xff"):
        header = _jpeg(file)
    elif head[:4] in (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+"):
        form = tiff_form(file)
        header = Header(
            "TIFF", form.size, form.bits, form.colour, form.orientation, several=form.several, unusual=form.unusual,
            tiff=form,
        )  # fmt: skip
    elif head[:6] in (b"GIF87a", b"GIF89a"):
        header = _gif(file)
    else:
        found = next((name for (at, magic), name in _OTHERS.items() if head[at:].startswith(magic)), "")
        raise UnsupportedError(f"{found or 'not a PNG, JPEG or TIFF image'}")
    height, width = header.size
    if height < 1 or width < 1:
        raise DamageError(f"{height} rows of {width} pixels")
    if height * width > MOST_BY_WINDOWS:
        raise UnsupportedError(
            f"too many pixels: {width}x{height} = {height * width / 1e6:.0f} million, and at most "
            f"{MOST_BY_WINDOWS / 1e6:.0f} million are read",
            "cut it into tiles, or scale it down",
        )
    return header


def refuse_whole(header: Header) -> None:
    """Raise UnsupportedError for an image that has too many pixels to be read whole."""
    height, width = header.size
    if height * width > MOST_PIXELS:
        raise UnsupportedError(
            f"too many pixels to be read whole: {width}x{height} = {height * width / 1e6:.0f} million, and at most "
            f"{MOST_PIXELS / 1e6:.0f} million are",
            "masks are predicted by tiles (predict.tile, or --memory 4GB) and trained by crops (sampler.kind=tiles); "
            "else cut it into tiles, or scale it down",
        )


def _png(file: BinaryIO) -> Header:
    """The chunks are found by jumping from head to head; DamageError where the end is missing."""
    names: set[bytes] = set()
    exif, first = b"", b""
    size = file.seek(0, os.SEEK_END)
    file.seek(8)
    while b"IEND" not in names:
        head = file.read(8)
        if len(head) < 8:
            raise DamageError("its end is missing")
        length, name = struct.unpack(">I4s", head)
        start = file.tell()
        if not first or (name == b"eXIf" and length < 1 << 20):
            body = file.read(min(length, 1 << 20))
            first, exif = first or body, body if name == b"eXIf" else exif
        if file.seek(start + length + 4) > size:
            raise DamageError("its end is missing")
        names.add(name)
    if b"CgBI" in names:
        raise UnsupportedError("a PNG in the form of iPhone apps")
    width, height, bits, colour = struct.unpack(">IIBB", first[:10].ljust(10, b"\xff"))
    if colour not in _PNG_COLOURS or bits not in (1, 2, 4, 8, 16):
        raise DamageError(f"{bits} bits of colour type {colour}")
    turn = exif_orientation(exif) if exif else 1
    return Header(
        "PNG", (height, width), bits, _PNG_COLOURS[colour], turn, several=b"acTL" in names, alpha=colour in (4, 6),
        lines_in_order=first[12:13] == b"\0",
    )  # fmt: skip


def _jpeg(file: BinaryIO) -> Header:
    """Read the segments up to the pixels. Junk between segments is skipped, as decoders do."""
    file.seek(-16, os.SEEK_END)
    whole = b"\xff\xd9" in file.read()  # the end mark of a JPEG never occurs within its pixel data
    file.seek(2)
    frame: tuple[int, int, int, int, int] | None = None
    places: list[int] = []
    turn, adobe = 1, False
    for kind, start, body in _jpeg_segments(file):
        if 0xC0 <= kind <= 0xCF and kind not in (0xC4, 0xC8, 0xCC):
            frame = (kind, *struct.unpack(">BHHB", body[:6].ljust(6, b"\0")))
        elif kind == 0xE1 and body.startswith(b"Exif\0"):
            turn = exif_orientation(body[6:]) if not places else turn
            places.append(start)
        elif kind == 0xEE and body.startswith(b"Adobe"):
            adobe = True
    if frame is None:
        raise DamageError("no size")
    kind, bits, height, width, values = frame
    if bits != 8:
        raise UnsupportedError(f"JPEG of {bits} bits")
    if values not in (1, 3, 4):
        raise UnsupportedError(f"JPEG of {values} values per pixel")
    if values == 4 and not adobe:
        raise UnsupportedError("JPEG of four inks without the mark of Adobe, so they may be negatives or not")
    unusual = _JPEG_FRAMES.get(kind, "")
    if unusual and kind not in (0xC9, 0xCA):
        raise UnsupportedError(unusual)
    colour: Colour = "gray" if values == 1 else "rgb" if values == 3 else "cmyk"
    return Header(
        "JPEG", (height, width), bits, colour, turn, whole, unusual=unusual, exif=tuple(places),
        lines_in_order=kind not in (0xC2, 0xCA),
    )  # fmt: skip


def _jpeg_segments(file: BinaryIO) -> Iterator[tuple[int, int, bytes]]:
    """Yield the kind, the place of the body and the body of each segment before the pixels."""
    for _ in range(_MOST_SEGMENTS):
        mark = file.read(1)
        if not mark:
            raise DamageError("its end is missing")
        if mark != b"\xff":
            continue
        while mark == b"\xff":
            mark = file.read(1)
        kind = mark[0] if mark else 0xD9
        if kind == 0xDA:
            return
        if kind == 0xD9:
            raise DamageError("no picture before its end")
        if kind in (0x00, 0x01) or 0xD0 <= kind <= 0xD8:
            continue
        head = file.read(2)
        length = struct.unpack(">H", head)[0] - 2 if len(head) == 2 else -1
        start = file.tell()
        body = file.read(max(0, length))
        if length < 0 or len(body) < length:
            raise DamageError("its end is missing")
        yield kind, start, body


def _gif(file: BinaryIO) -> Header:
    file.seek(6)
    width, height = struct.unpack("<HH", file.read(4).ljust(4, b"\0"))
    return Header("GIF", (height, width), 8, "palette", whole=False, lines_in_order=False)
