"""Read the structure of TIFF files: pages and tags. The pixels are decoded elsewhere, from a copy of one page.

Libraries decode many TIFF files wrongly without a word: negatives, separate planes, thumbnails. So every property of a
page is read here, and a page with a property that is not known to be decoded right is refused by naming the property.
Source: TIFF 6.0, https://www.itu.int/itudoc/itu-t/com16/tiff-fx/docs/tiff6.pdf
"""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from io import BytesIO
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray

# fmt: off
SUBFILE, OLD_SUBFILE, WIDTH, HEIGHT, BITS, COMPRESSION, PHOTOMETRIC, FILL_ORDER = 254, 255, 256, 257, 258, 259, 262, 266
STRIPS, ORIENTATION, SAMPLES, ROWS, STRIP_BYTES, PLANAR, PREDICTOR, PALETTE = 273, 274, 277, 278, 279, 284, 317, 320
TILE_WIDTH, TILE_HEIGHT, TILES, TILE_BYTES, SUB_PAGES, INKS, EXTRA, FORMAT = 322, 323, 324, 325, 330, 332, 338, 339
FAX3, FAX4, JPEG_TABLES, YCC_WEIGHTS, YCC_SAMPLING, YCC_PLACE, YCC_RANGE = 292, 293, 347, 529, 530, 531, 532
# fmt: on
_LONG_ONES = frozenset({STRIPS, STRIP_BYTES, TILES, TILE_BYTES, PALETTE, JPEG_TABLES, SUB_PAGES})
_READ = _LONG_ONES | {SUBFILE, OLD_SUBFILE, WIDTH, HEIGHT, BITS, COMPRESSION, PHOTOMETRIC, FILL_ORDER, ORIENTATION}
_READ |= {SAMPLES, ROWS, PLANAR, PREDICTOR, TILE_WIDTH, TILE_HEIGHT, INKS, EXTRA, FORMAT, FAX3, FAX4}
_READ |= {YCC_WEIGHTS, YCC_SAMPLING, YCC_PLACE, YCC_RANGE}
_NOT_COPIED = frozenset({SUBFILE, OLD_SUBFILE, ORIENTATION, SUB_PAGES, STRIPS, STRIP_BYTES, TILES, TILE_BYTES, FORMAT})

_BYTES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 13: 4, 16: 8, 17: 8, 18: 8}
_WHOLE = {1: "u1", 3: "u2", 4: "u4", 6: "i1", 8: "i2", 9: "i4", 13: "u4", 16: "u8", 17: "i8", 18: "u8"}
_SHORT, _LONG = 3, 4
_MOST_SHORT = 65535

MOST_BYTES = 2_000_000_000
"""The most bytes of stored pixels that are copied: what the largest image that is read whole has, without compression.
"""

MOST_PAGES = 1000
"""Pages of a file that are looked at."""
_MOST_TAGS = 4096  # real pages have fewer than 200
_MOST_VALUES = 4096  # of a tag that is no list of places


REMEDY = "supported are 8 and 16 bits per channel of gray, palettes and RGB; convert it, for example to PNG"


class DamageError(Exception):
    """A file does not keep the rules of its format. The message is part of a sentence."""


class UnsupportedError(Exception):
    """A file has a property with which it would not surely be decoded right. The message names it, and a remedy."""

    def __init__(self, what: str, remedy: str = REMEDY):
        super().__init__(f"{what}; {remedy}")


@dataclass(frozen=True)
class Page:
    """The tags of one page that matter for its pixels: tag -> (type, number of values, the values' bytes).

    order: "<" or ">", the order of bytes in the whole file.
    """

    order: str
    tags: Mapping[int, tuple[int, int, bytes]]

    def numbers(self, tag: int) -> NDArray[np.int64]:
        """Return the whole numbers of a tag, int64[n]; none where the tag is missing."""
        kind, _, raw = self.tags.get(tag, (_SHORT, 0, b""))
        if kind not in _WHOLE:
            raise DamageError(f"tag {tag} is of the type {kind}, which holds no whole numbers")
        values = np.frombuffer(raw, self.order + _WHOLE[kind])
        if kind == 16 and values.size and values.max() > np.iinfo(np.int64).max:
            raise DamageError(f"tag {tag} has the value {values.max()}")
        return values.astype(np.int64)

    def number(self, tag: int, default: int) -> int:
        """Return the first whole number of a tag, or the default where the tag is missing."""
        values = self.numbers(tag)
        return int(values[0]) if values.size else default

    @property
    def size(self) -> tuple[int, int]:
        """(height, width) as stored."""
        return self.number(HEIGHT, 0), self.number(WIDTH, 0)

    @property
    def minor(self) -> bool:
        """Whether the page is marked as a thumbnail of another page, or as a transparency mask."""
        return bool(self.number(SUBFILE, 0) & 5) or self.number(OLD_SUBFILE, 1) == 2


def read_pages(file: BinaryIO, most: int = MOST_PAGES, strict: bool = True) -> tuple[Page, ...]:
    """Return the pages of a TIFF file, or of the TIFF structure in EXIF data, in their order.

    Pages that a page has below it (SubIFDs) follow it. most: pages that are read; later ones are not looked at.
    strict: whether a tag whose values lie past the end of the file raises DamageError, as every other fault does; else
    such a tag is left out.
    """
    file.seek(0)
    head = file.read(16)
    order = {b"II": "<", b"MM": ">"}.get(head[:2], "")
    if not order or len(head) < 8:
        raise DamageError("no header of a TIFF")
    magic = struct.unpack(order + "H", head[2:4])[0]
    if magic not in (42, 43) or (magic == 43 and len(head) < 16):
        raise DamageError("no header of a TIFF")
    big = magic == 43
    size = file.seek(0, 2)
    waiting = [int(struct.unpack(order + "Q", head[8:16])[0] if big else struct.unpack(order + "I", head[4:8])[0])]
    seen: set[int] = set()
    pages: list[Page] = []
    while waiting and len(pages) < most:
        at = waiting.pop(0)
        if at == 0 or at in seen:
            continue
        seen.add(at)
        page, following = _directory(file, at, size, order, big, strict)
        pages.append(page)
        below = page.numbers(SUB_PAGES)[:most].tolist() if strict else []
        waiting = [*below, following, *waiting]
    if not pages:
        raise DamageError("no page")
    return tuple(pages)


def _directory(file: BinaryIO, at: int, size: int, order: str, big: bool, strict: bool) -> tuple[Page, int]:
    """Read the tags of the page at `at`, and where the next page is (0: nowhere)."""
    count_form, entry_form, next_form = ("Q", "HHQ8s", "Q") if big else ("H", "HHI4s", "I")
    file.seek(min(at, size))
    count = struct.unpack(order + count_form, _exactly(file, 8 if big else 2))[0]
    if count > _MOST_TAGS:
        raise DamageError(f"a page with {count} tags")
    entry = struct.Struct(order + entry_form)
    block = _exactly(file, entry.size * count)
    width = 8 if big else 4
    following = struct.unpack(order + next_form, _exactly(file, width) if strict else file.read(width).ljust(width))[0]
    tags: dict[int, tuple[int, int, bytes]] = {}
    for tag, kind, number, inline in entry.iter_unpack(block):
        length = _BYTES.get(kind, 1) * number
        place = 0 if length <= len(inline) else struct.unpack(order + next_form, inline)[0]
        if place + length > size and length > len(inline):
            if strict:
                raise DamageError(f"the values of tag {tag} lie past the end of the file")
            continue
        if tag not in _READ or tag in tags:
            continue
        if number > _MOST_VALUES and tag not in _LONG_ONES:
            raise DamageError(f"tag {tag} has {number} values")
        if length > len(inline):
            file.seek(place)
            tags[tag] = (kind, number, _exactly(file, length))
        else:
            tags[tag] = (kind, number, inline[:length])
    return Page(order, tags), int(following)


def _exactly(file: BinaryIO, length: int) -> bytes:
    found = file.read(length)
    if len(found) < length:
        raise DamageError("its end is missing")
    return found


def exif_orientation(data: bytes) -> int:
    """Return the orientation 1..8 in EXIF data (without "Exif" in front); 1 where there is none, or it is damaged."""
    try:
        found = read_pages(BytesIO(data), most=1, strict=False)[0].number(ORIENTATION, 1)
    except DamageError:
        return 1
    return found if 1 <= found <= 8 else 1


def segments(page: Page) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return where the strips or tiles of a page begin, and how many bytes each has: two int64[n]."""
    tiled = TILES in page.tags
    return page.numbers(TILES if tiled else STRIPS), page.numbers(TILE_BYTES if tiled else STRIP_BYTES)


def copied(
    file: BinaryIO,
    page: Page,
    changes: Mapping[int, Sequence[int]],
    pieces: tuple[NDArray[np.int64], NDArray[np.int64]],
) -> bytes:
    """Return a TIFF file of this page alone, with these strips or tiles: where each begins, and its number of bytes.

    It has the tags that were read here, with `changes` (no values: the tag is left out), and no orientation. Raises
    DamageError where the pieces have more bytes than the largest image that is read whole.
    """
    starts, counts = pieces
    if counts.sum() > MOST_BYTES:
        raise DamageError(f"pieces of {counts.sum()} bytes together")
    parts = [b""] * len(starts)
    for number, (start, count) in enumerate(zip(starts.tolist(), counts.tolist(), strict=True)):
        file.seek(start)
        parts[number] = _exactly(file, count)
    places = 8 + np.concatenate(([0], np.cumsum(counts)))
    tiled = TILES in page.tags
    tags = {tag: _narrow(page, tag) for tag in page.tags if tag not in _NOT_COPIED}
    tags |= {
        tag: _packed(page.order, _LONG if max(values, default=0) > _MOST_SHORT else _SHORT, values)
        for tag, values in changes.items()
    }
    tags[TILES if tiled else STRIPS] = _packed(page.order, _LONG, places[:-1].tolist())
    tags[TILE_BYTES if tiled else STRIP_BYTES] = _packed(page.order, _LONG, counts.tolist())
    tags = {tag: value for tag, value in sorted(tags.items()) if value[1]}
    at = int(places[-1] + places[-1] % 2)
    directory = bytearray(struct.pack(page.order + "H", len(tags)))
    outside = bytearray()
    behind = at + 2 + 12 * len(tags) + 4
    for tag, (kind, number, raw) in tags.items():
        directory += struct.pack(page.order + "HHI", tag, kind, number)
        if len(raw) <= 4:
            directory += raw.ljust(4, b"\0")
        else:
            directory += struct.pack(page.order + "I", behind + len(outside))
            outside += raw + b"\0" * (len(raw) % 2)
    head = {"<": b"II", ">": b"MM"}[page.order] + struct.pack(page.order + "HI", 42, at)
    return b"".join((head, *parts, b"\0" * int(places[-1] % 2), directory, bytes(4), outside))


def _narrow(page: Page, tag: int) -> tuple[int, int, bytes]:
    """A tag's values in a type of at most 4 bytes, because only BigTIFF files have longer whole numbers."""
    kind, number, raw = page.tags[tag]
    return _packed(page.order, _LONG, page.numbers(tag).tolist()) if kind in (16, 17, 18) else (kind, number, raw)


def _packed(order: str, kind: int, values: Sequence[int]) -> tuple[int, int, bytes]:
    return kind, len(values), np.array(values, order + _WHOLE[kind]).tobytes()
