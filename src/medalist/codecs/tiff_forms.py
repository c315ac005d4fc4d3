"""Which TIFF pages are read, and how: one explicit list of properties. What is not on it is refused by its name."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import BinaryIO, Literal

import numpy as np
from numpy.typing import NDArray

from medalist.codecs import tiff
from medalist.codecs.tiff import DamageError, Page, UnsupportedError, read_pages, segments

Colour = Literal["gray", "palette", "rgb", "cmyk", "ycbcr"]

COMPRESSIONS = {
    1: "none",
    2: "CCITT",
    3: "CCITT fax 3",
    4: "CCITT fax 4",
    5: "LZW",
    6: "old-style JPEG",
    7: "JPEG",
    8: "deflate",
    32773: "PackBits",
    32809: "ThunderScan",
    32946: "deflate",
    33003: "JPEG 2000",
    33005: "JPEG 2000",
    34676: "SGI log",
    34712: "JPEG 2000",
    34887: "LERC",
    34892: "lossy JPEG of raw camera data",
    34925: "LZMA",
    34933: "PNG",
    50000: "Zstandard",
    50001: "WebP",
    50002: "JPEG XL",
    52546: "JPEG XL",
}
_PLAIN = (1, 5, 8, 32773, 32946)  # decoded by every library, for all bits and samples
_FAX = (2, 3, 4)
_PACKED = (34925, 50000)  # decoded where Pillow's libtiff has them, for gray of 16 bits and for 8 bits
_JPEG = 7
_PHOTOMETRIC: dict[int, Colour] = {0: "gray", 1: "gray", 2: "rgb", 3: "palette", 5: "cmyk", 6: "ycbcr"}
_REFUSED = {
    4: "transparency mask",
    8: "CIE L*a*b*",
    9: "ICC L*a*b*",
    10: "ITU L*a*b*",
    32803: "colour filter array",
    32844: "LogL",
    32845: "LogLuv",
    34892: "linear raw camera data",
    51177: "depth",
}
_BITS: dict[Colour, tuple[int, ...]] = {
    "gray": (1, 2, 4, 8, 16),
    "palette": (1, 2, 4, 8),
    "rgb": (8, 16),
    "cmyk": (8,),
    "ycbcr": (8,),
}
_SAMPLES: dict[Colour, int] = {"gray": 1, "palette": 1, "rgb": 3, "cmyk": 4, "ycbcr": 3}
_NUMBERS = {2: "signed numbers", 3: "floating-point numbers", 5: "complex numbers", 6: "complex numbers"}


@dataclass(frozen=True)
class TiffForm:
    """A page that is read right.

    size: (height, width) as stored. bits: of each value. samples: values of a pixel, with those that are dropped
    (alpha). planes: whether the values of a colour lie in a plane of their own. negative: whether 0 means white.
    several: whether the file has other pages of pictures. unusual: a property for which the decoder may lack a part,
    or "".
    """

    page: Page
    size: tuple[int, int]
    colour: Colour
    bits: int
    samples: int
    planes: bool
    negative: bool
    orientation: int
    several: bool
    unusual: str

    @property
    def rows_at_once(self) -> int:
        """The rows of a strip or of a tile."""
        if tiff.TILES in self.page.tags:
            return self.page.number(tiff.TILE_HEIGHT, 0)
        return max(1, min(self.size[0], self.page.number(tiff.ROWS, self.size[0])))

    @property
    def rows_decoded(self) -> int:
        """The least rows that are decoded at a time: one of strips without compression."""
        plain = tiff.TILES not in self.page.tags and self.page.number(tiff.COMPRESSION, 1) == 1
        return 1 if plain else self.rows_at_once

    @property
    def pixels_decoded(self) -> int:
        """The least pixels that are decoded at a time."""
        wide = self.page.number(tiff.TILE_WIDTH, 0) if tiff.TILES in self.page.tags else self.size[1]
        return self.rows_decoded * wide


def tiff_form(file: BinaryIO) -> TiffForm:
    """Choose the page of a TIFF file that is the picture, and say how it is stored; check that it is not cut off.

    It is the first page that is not marked as a thumbnail or a mask. Raises UnsupportedError where a later page is
    larger, or where the page has a property that is not read; raises DamageError for broken files.
    """
    page, several = _chosen(read_pages(file))
    colour, bits, samples = _values(page)
    height, width = page.size
    if height < 1 or width < 1:
        raise DamageError(f"{height} rows of {width} pixels")
    unusual = _compression(page, colour, bits, samples)
    planar = page.number(tiff.PLANAR, 1)
    if planar not in (1, 2):
        raise DamageError(f"planar configuration {planar}")
    planes = planar == 2 and samples > 1
    compression = page.number(tiff.COMPRESSION, 1)
    if planes and (colour not in ("gray", "rgb") or bits < 8 or compression not in _PLAIN):
        raise UnsupportedError(f"separate planes of {colour} with {COMPRESSIONS[compression]} compression")
    _check_ycbcr(page, colour)
    _check_segments(page, samples if planes else 1, file.seek(0, 2))
    needed = height * (samples if planes else 1) * -(-width * bits * (1 if planes else samples) // 8)
    if compression == 1 and int(segments(page)[1].sum()) < needed:
        raise DamageError("fewer bytes of pixels than its size needs")
    orientation = page.number(tiff.ORIENTATION, 1)
    negative = colour == "gray" and page.number(tiff.PHOTOMETRIC, 1) == 0
    return TiffForm(
        page, (height, width), colour, bits, samples, planes, negative,
        orientation if 1 <= orientation <= 8 else 1, several, unusual,
    )  # fmt: skip


@dataclass(frozen=True, eq=False)
class Area:
    """A rectangle of a page that is made of whole strips or tiles, or of rows of an uncompressed strip.

    rows, columns: of the page. starts, counts: int64[n], where each piece begins in the file, and its bytes; for
    separate planes those of the first plane, then those of the second. rows_of_strip: the tag of the new page; None
    where that of the page stays.
    """

    rows: slice
    columns: slice
    starts: NDArray[np.int64]
    counts: NDArray[np.int64]
    rows_of_strip: int | None = None


def area_of(form: TiffForm, rows: slice, columns: slice) -> Area:
    """Return the smallest area of a page that holds these rows and columns, and that can be read alone."""
    page, (height, width) = form.page, form.size
    starts, counts = segments(page)
    planes = form.samples if form.planes else 1
    each = len(starts) // planes
    high = form.rows_at_once
    down = slice(rows.start // high, -(-rows.stop // high))
    if tiff.TILES in page.tags:
        wide = page.number(tiff.TILE_WIDTH, 0)
        right = slice(columns.start // wide, -(-columns.stop // wide))
        numbers = (np.arange(down.start, down.stop)[:, None] * -(-width // wide) + np.r_[right]).ravel()
        seen = slice(right.start * wide, min(width, right.stop * wide))
    else:
        wanted = rows.stop - rows.start
        if page.number(tiff.COMPRESSION, 1) == 1 and (down.stop - down.start) * high > 2 * wanted:
            line = -(-width * form.bits * (1 if form.planes else form.samples) // 8)
            within = np.arange(rows.start, rows.stop)
            each_plane = [starts[plane * each + within // high] + within % high * line for plane in range(planes)]
            places = np.concatenate(each_plane)
            return Area(rows, slice(0, width), places, np.full(places.shape, line, np.int64), 1)
        numbers, seen = np.arange(down.start, down.stop), slice(0, width)
    taken = np.concatenate([plane * each + numbers for plane in range(planes)])
    return Area(slice(down.start * high, min(height, down.stop * high)), seen, starts[taken], counts[taken])


def plain_files(file: BinaryIO, form: TiffForm, area: Area | None = None) -> list[bytes]:
    """Return TIFF files with the pixels of the page, or of an area of it, as every decoder reads them right.

    It is one file, or one gray file for each plane of a colour. Gray is written with 0 as black, so the caller has to
    turn a negative form. Alpha is marked as an extra value of no meaning, so that decoders do not multiply by it.
    """
    starts, counts = segments(form.page) if area is None else (area.starts, area.counts)
    size: dict[int, list[int]] = {}
    if area is not None:
        size = {
            tiff.HEIGHT: [area.rows.stop - area.rows.start],
            tiff.WIDTH: [area.columns.stop - area.columns.start],
        }
        size |= {} if area.rows_of_strip is None else {tiff.ROWS: [area.rows_of_strip]}
    photometric = 1 if form.colour == "gray" else form.page.number(tiff.PHOTOMETRIC, 1)
    if not form.planes:
        extra = form.samples - _SAMPLES[form.colour]
        marks = [2 if form.bits == 16 else 0] * extra
        changes = {tiff.PHOTOMETRIC: [photometric], tiff.EXTRA: marks, tiff.PLANAR: [1], **size}
        return [tiff.copied(file, form.page, changes, (starts, counts))]
    each = len(starts) // form.samples
    changes = {
        **size,
        tiff.PHOTOMETRIC: [1],
        tiff.EXTRA: [],
        tiff.PLANAR: [1],
        tiff.SAMPLES: [1],
        tiff.BITS: [form.bits],
    }
    wanted = _SAMPLES[form.colour]
    parts = [slice(k * each, (k + 1) * each) for k in range(wanted)]
    return [tiff.copied(file, form.page, changes, (starts[part], counts[part])) for part in parts]


def _chosen(pages: Sequence[Page]) -> tuple[Page, bool]:
    """The page that is the picture, and whether there are other pictures."""
    full = [page for page in pages if not page.minor] if len(pages) > 1 else list(pages)
    if not full:
        raise UnsupportedError(f"{len(pages)} pages, all of them marked as thumbnails or masks")
    areas = [page.size[0] * page.size[1] for page in full]
    if max(areas) > areas[0]:
        (height, width), (high, wide) = full[0].size, full[areas.index(max(areas))].size
        raise UnsupportedError(
            f"{len(pages)} pages, of which the first has {width}x{height} pixels and a later one {wide}x{high} (which "
            "one is the picture is not marked)"
        )
    return full[0], len(full) > 1


def _values(page: Page) -> tuple[Colour, int, int]:
    """The colour, the bits of each value, and the number of values of a pixel."""
    formats = set(page.numbers(tiff.FORMAT).tolist()) - {1, 4}
    depths = set(page.numbers(tiff.BITS).tolist()) or {1}
    shown = " and ".join(map(str, sorted(depths)))
    if formats:
        raise UnsupportedError(f"{shown} bits of {_NUMBERS.get(min(formats), f'sample format {min(formats)}')}")
    if tiff.PHOTOMETRIC not in page.tags:
        raise UnsupportedError("no photometric tag, which says whether 0 is black or white")
    photometric = page.number(tiff.PHOTOMETRIC, 1)
    colour = _PHOTOMETRIC.get(photometric)
    if colour is None:
        raise UnsupportedError(f"photometric interpretation {_REFUSED.get(photometric, photometric)}")
    if len(depths) > 1 or min(depths) not in _BITS[colour]:
        allowed = ", ".join(map(str, _BITS[colour]))
        raise UnsupportedError(f"{shown} bits per value of {colour} (read are {allowed})")
    samples = page.number(tiff.SAMPLES, 1)
    extra = samples - _SAMPLES[colour]
    alone = page.numbers(tiff.BITS).size
    if extra < 0 or (alone > 1 and alone < samples):
        raise DamageError(f"{samples} values per pixel of {colour}")
    bits = min(depths)
    bands = extra > 1 or (extra and colour in ("cmyk", "ycbcr"))
    if bands or (extra and colour in ("gray", "palette") and not set(page.numbers(tiff.EXTRA).tolist()) & {1, 2}):
        raise UnsupportedError(f"{samples} values per pixel of {colour}")
    if extra and colour == "gray" and bits != 8 and page.number(tiff.PLANAR, 1) == 1:
        raise UnsupportedError(f"gray of {bits} bits with alpha")
    if colour == "cmyk" and page.number(tiff.INKS, 1) != 1:
        raise UnsupportedError("inks other than cyan, magenta, yellow and black")
    fill = page.number(tiff.FILL_ORDER, 1)
    if fill not in (1, 2) or (fill == 2 and bits != 1):
        raise UnsupportedError(f"fill order {fill} with {bits} bits")
    return colour, bits, samples


def _compression(page: Page, colour: Colour, bits: int, samples: int) -> str:
    """The name of a compression that not every decoder has, or ""; UnsupportedError for what is not read."""
    compression = page.number(tiff.COMPRESSION, 1)
    name = COMPRESSIONS.get(compression, str(compression))
    single = bits == 8 or (samples == 1 and bits == 16)
    known = (
        compression in _PLAIN
        or (compression in _FAX and bits == 1 and samples == 1)
        or (compression == _JPEG and bits == 8 and colour in ("gray", "rgb", "ycbcr"))
        or (compression in _PACKED and single)
    )
    if not known:
        raise UnsupportedError(f"{name} compression of {colour} with {bits} bits")
    predictor = page.number(tiff.PREDICTOR, 1)
    if predictor not in (1, 2) or (predictor == 2 and bits < 8):
        raise UnsupportedError(f"predictor {predictor} with {bits} bits")
    return f"{name} compression" if compression in _PACKED else ""


def _check_ycbcr(page: Page, colour: Colour) -> None:
    """Refuse YCbCr whose colours are stored at fewer places than its light, unless JPEG does that."""
    if colour == "ycbcr" and page.number(tiff.COMPRESSION, 1) != _JPEG:
        sampling = page.numbers(tiff.YCC_SAMPLING).tolist() or [2, 2]
        if sampling != [1, 1]:
            raise UnsupportedError(f"YCbCr with colours at every {sampling[0]}x{sampling[-1]} pixels")


def _check_segments(page: Page, planes: int, size: int) -> None:
    """Raise DamageError where strips or tiles are missing, or lie past the end of the file."""
    starts, counts = segments(page)
    height, width = page.size
    if tiff.TILES in page.tags:
        high, wide = page.number(tiff.TILE_HEIGHT, 0), page.number(tiff.TILE_WIDTH, 0)
        if high < 1 or wide < 1:
            raise DamageError("tiles without a size")
        expected = -(-height // high) * -(-width // wide) * planes
    else:
        expected = -(-height // max(1, min(height, page.number(tiff.ROWS, height)))) * planes
    if len(starts) != len(counts) or len(starts) < expected or (planes > 1 and len(starts) != expected):
        raise DamageError(f"{min(len(starts), len(counts))} of {expected} pieces of pixels")
    if (counts == 0).any():
        raise UnsupportedError("pieces without pixels (a sparse file)")
    if (starts < 0).any() or (counts < 0).any() or (starts > size).any() or (counts > size - starts).any():
        raise DamageError("its end is missing")
