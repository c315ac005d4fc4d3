"""Decode a PNG strip by strip, by the library that decodes whole ones.

The lines of a PNG are filtered and then compressed as one stream. Here the stream is decompressed piece by piece. Each
piece becomes a small PNG of its own: the last line before it, so that the filters find what they refer to, and the
piece itself. Source: https://www.w3.org/TR/png-3
"""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Iterator
from dataclasses import replace
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray
from PIL import PngImagePlugin

from medalist.codecs.disk import BAND_PIXELS
from medalist.codecs.headers import Header
from medalist.codecs.rasters import Raster, loaded, raster_of, values_16
from medalist.codecs.tiff import DamageError

SIGNATURE = b"\x89PNG\r\n\x1a\n"
CHUNK = 1 << 20
MOST_LEFT_OUT = 1000
_VALUES = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}


def png_strips(file: BinaryIO, header: Header, pixels: int = BAND_PIXELS) -> Iterator[tuple[int, Raster]]:
    """Yield the first row and the decoded values of strips of a PNG, from above, each of about `pixels` pixels.

    header: of the file, whose lines must be in order, with 8 or 16 bits. Raises DamageError where the file is cut off
    or damaged.
    """
    assert header.lines_in_order and header.bits >= 8, header
    height, width = header.size
    first, palette = _head(file)
    colour = first[9]
    line = _VALUES[colour] * header.bits // 8 * width
    stream = _Lines(file, line + 1)
    last = b""
    step = max(1, pixels // width)
    for start in range(0, height, step):
        count = min(step, height - start)
        above = b"\0" + last if last else b""
        body = above + stream.read(count)
        rows = count + bool(above)
        small = _png(first, palette, rows, body)
        raster, last = _decoded(small, replace(header, size=(rows, width)), colour)
        yield start, replace(raster, values=raster.values[bool(above) :])
    stream.end()


def _decoded(content: bytes, header: Header, colour: int) -> tuple[Raster, bytes]:
    """Return the values of a small PNG, and its last line as bytes without a filter."""
    if header.bits == 16 and colour != 0:
        values = values_16(content, header.size)
        bare = {2: [2, 1, 0], 4: [0, 3], 6: [2, 1, 0, 3]}[colour]
        raster = Raster(np.ascontiguousarray(values[..., 2::-1]), None, header)
        return raster, values[-1][:, bare].astype(">u2").tobytes()
    image = PngImagePlugin.PngImageFile(io.BytesIO(content))
    loaded(image)
    end: NDArray[np.uint8] | NDArray[np.uint16] = np.asarray(
        image.crop((0, header.size[0] - 1, header.size[1], header.size[0]))
    )
    last = end.astype(">u2").tobytes() if header.bits == 16 else end.tobytes()
    return raster_of(image, header), last


def _head(file: BinaryIO) -> tuple[bytes, bytes]:
    """Return the body of the first chunk and that of the palette; the file is then at the first chunk of pixels."""
    file.seek(len(SIGNATURE))
    first, palette = b"", b""
    while True:
        at = file.tell()
        length, name = _chunk(file)
        if name == b"IDAT":
            file.seek(at)
            return first, palette
        if name in (b"IHDR", b"PLTE") and length <= 768:
            body = file.read(length)
            first, palette = (body, palette) if name == b"IHDR" else (first, body)
            file.seek(4, 1)
        else:
            file.seek(length + 4, 1)


def _chunk(file: BinaryIO) -> tuple[int, bytes]:
    head = file.read(8)
    if len(head) < 8:
        raise DamageError("its end is missing")
    length, name = struct.unpack(">I4s", head)
    return length, name


class _Lines:
    """The decompressed lines of a PNG, each with the byte of its filter, as many at a time as they are asked for."""

    def __init__(self, file: BinaryIO, line: int):
        self._file, self._line = file, line
        self._unpacked = zlib.decompressobj()
        self._left = 0
        self._waiting = b""

    def read(self, lines: int) -> bytes:
        """Return the bytes of the next lines. Raises DamageError where there are fewer."""
        wanted = lines * self._line
        found = bytearray()
        while len(found) < wanted:
            packed, made = self._next(wanted - len(found))
            if not packed and not made:
                raise DamageError("fewer lines of pixels than its size needs")
            found += made
        return bytes(found)

    def end(self) -> None:
        """Read the stream to its end, where its checksum is. Raises DamageError where it is cut off.

        Lines below the size are left out, as other readers do; of very many of them the checksum is not looked at.
        """
        for _ in range(MOST_LEFT_OUT):
            if self._unpacked.eof:
                return
            packed, made = self._next(CHUNK)
            if not packed and not made:
                raise DamageError("its end is missing")

    def _next(self, most: int) -> tuple[bytes, bytes]:
        """Return some bytes of the stream, and what they gave: at most `most` bytes. Both are empty at the end."""
        packed = self._waiting or self._packed()
        made = self._unpacked.decompress(packed, most)
        self._waiting = self._unpacked.unconsumed_tail
        return packed, made

    def _packed(self) -> bytes:
        """The next bytes of the stream; none behind its last chunk."""
        while self._left == 0:
            self._left, name = _chunk(self._file)
            if name != b"IDAT":
                return b""
        found = self._file.read(min(CHUNK, self._left))
        if not found:
            raise DamageError("its end is missing")
        self._left -= len(found)
        if self._left == 0:
            self._file.seek(4, 1)  # the checksum of the chunk; the stream has its own
        return found


def _png(first: bytes, palette: bytes, rows: int, body: bytes) -> bytes:
    """A PNG of the lines in `body`, not compressed."""
    head = first[:4] + struct.pack(">I", rows) + first[8:]
    chunks = [
        (b"IHDR", head),
        *([(b"PLTE", palette)] if palette else []),
        (b"IDAT", zlib.compress(body, 0)),
        (b"IEND", b""),
    ]
    parts = [SIGNATURE]
    for name, content in chunks:
        parts += [struct.pack(">I", len(content)), name, content, struct.pack(">I", zlib.crc32(name + content))]
    return b"".join(parts)
