"""TIFF files are read as tifffile, an independent reader, reads them, or refused by the name of the property."""

from __future__ import annotations

import struct
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import tifffile
from numpy.typing import NDArray
from PIL import Image

from medalist.codecs.images import decode_image, image_kind, image_size, read_image
from medalist.codecs.tiff import exif_orientation
from medalist.errors import DataError

RANDOM = np.random.default_rng(4)
GRAY = RANDOM.integers(0, 256, (37, 45)).astype(np.uint8)
COLOUR = RANDOM.integers(0, 256, (37, 45, 3)).astype(np.uint8)
DEEP = RANDOM.integers(0, 65536, (37, 45)).astype(np.uint16)
DEEP_COLOUR = RANDOM.integers(0, 65536, (37, 45, 3)).astype(np.uint16)
TOLERANCE = 1


def shown(values: NDArray[Any], negative: bool = False) -> NDArray[np.int64]:
    """What must be read of values as stored: RGB in 0..255."""
    scaled = np.rint(values / (257 if values.dtype == np.uint16 else 1)).astype(np.int64)
    scaled = 255 - scaled if negative else scaled
    return scaled if values.ndim == 3 else np.dstack([scaled] * 3)


def assert_read(path: Path, values: NDArray[Any], negative: bool = False) -> None:
    found = read_image(path)
    assert found.dtype == np.uint8
    assert image_size(path) == found.shape[:2] == values.shape[:2]
    assert np.abs(found.astype(np.int64) - shown(values, negative)).max() <= TOLERANCE


def refused(path: Path) -> str:
    with pytest.raises(DataError) as raised:
        read_image(path)
    text = str(raised.value)
    assert "\n" not in text and text.startswith(str(path))
    assert "download" not in text
    with pytest.raises(DataError):
        image_size(path)
    return text


def test_a_negative_is_not_read_as_a_positive(case: Callable[[str], Path]) -> None:
    ramp = np.load(case("ramp.npy"))
    assert_read(case("white_is_zero_16bit.tif"), ramp)
    assert image_kind(case("white_is_zero_16bit.tif")) == "gray, 16 bits"


def test_separate_planes_are_not_scrambled(case: Callable[[str], Path]) -> None:
    ramp = np.load(case("ramp.npy"))
    assert_read(case("rgb16_planes.tif"), np.dstack((ramp, ramp[::-1], ramp[:, ::-1])))


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("values", [GRAY, DEEP], ids=["8", "16"])
@pytest.mark.parametrize("options", [{}, {"compression": "zlib"}, {"tile": (16, 32)}, {"bigtiff": True}], ids=str)
@pytest.mark.parametrize("negative", [False, True])
def test_gray(tmp_path: Path, order: str, values: NDArray[Any], options: dict[str, Any], negative: bool) -> None:
    path = tmp_path / "x.tif"
    options = {key: value for key, value in options.items() if key != "bigtiff"} | {"bigtiff": "bigtiff" in options}
    with tifffile.TiffWriter(path, byteorder=order, bigtiff=options.pop("bigtiff")) as file:
        file.write(values, photometric="miniswhite" if negative else "minisblack", rowsperstrip=11, **options)
    assert_read(path, tifffile.imread(path), negative)
    assert image_size(path) == (37, 45)


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("values", [COLOUR, DEEP_COLOUR], ids=["8", "16"])
@pytest.mark.parametrize("options", [{}, {"compression": "zlib"}, {"tile": (16, 32)}, {"bigtiff": True}], ids=str)
@pytest.mark.parametrize("planar", ["contig", "separate"])
@pytest.mark.parametrize("alpha", [None, "unassalpha", "assocalpha", "unspecified"])
def test_colour(
    tmp_path: Path, order: str, values: NDArray[Any], options: dict[str, Any], planar: str, alpha: str | None
) -> None:
    path = tmp_path / "x.tif"
    stored = values if alpha is None else np.dstack((values, values[..., 0] // 2))
    if planar == "separate":
        stored = np.ascontiguousarray(np.moveaxis(stored, 2, 0))
    more: dict[str, Any] = {key: value for key, value in options.items() if key != "bigtiff"}
    if alpha is not None:
        more["extrasamples"] = [alpha]
    with tifffile.TiffWriter(path, byteorder=order, bigtiff="bigtiff" in options) as file:
        file.write(stored, photometric="rgb", planarconfig=planar, rowsperstrip=11, **more)
    assert_read(path, values)


@pytest.mark.parametrize("values", [GRAY, COLOUR, DEEP, DEEP_COLOUR], ids=["gray", "colour", "gray16", "colour16"])
def test_compression_with_predictor(tmp_path: Path, values: NDArray[Any]) -> None:
    path = tmp_path / "x.tif"
    stored = values if values.ndim == 2 else np.ascontiguousarray(values[..., ::-1])
    for compression in (5, 8, 32773):
        for predictor in (1, 2) if compression != 32773 else (1,):
            cv2.imwrite(str(path), stored, [cv2.IMWRITE_TIFF_COMPRESSION, compression, 317, predictor])
            assert_read(path, values)


def test_planes_of_lzw_with_predictor(tmp_path: Path) -> None:
    """A file whose planes were compressed by another library: three gray files, put together."""
    planes = []
    for channel in range(3):
        cv2.imwrite(str(tmp_path / "one.tif"), DEEP_COLOUR[..., channel], [cv2.IMWRITE_TIFF_COMPRESSION, 5, 317, 2])
        with tifffile.TiffFile(tmp_path / "one.tif") as file:
            page = file.pages[0]
            content = (tmp_path / "one.tif").read_bytes()
            pieces = zip(page.dataoffsets, page.databytecounts, strict=True)
            planes.append((page.rowsperstrip, [content[at : at + count] for at, count in pieces]))
    assert len({rows for rows, _ in planes}) == 1
    pieces = [piece for _, parts in planes for piece in parts]
    tags = {256: 45, 257: 37, 259: 5, 262: 2, 277: 3, 278: planes[0][0], 284: 2, 317: 2}
    (tmp_path / "x.tif").write_bytes(made(tags, {258: (16, 16, 16)}, pieces))
    assert_read(tmp_path / "x.tif", DEEP_COLOUR)


def made(tags: dict[int, int], lists: dict[int, tuple[int, ...]], pieces: list[bytes]) -> bytes:
    """A little TIFF file with any tags; of strips, it has those in `pieces`."""
    places = [8 + sum(map(len, pieces[:number])) for number in range(len(pieces))]
    entries: dict[int, tuple[int, tuple[int, ...]]] = {tag: (4, (value,)) for tag, value in tags.items()}
    entries |= {tag: (3, values) for tag, values in lists.items()}
    entries |= {273: (4, tuple(places)), 279: (4, tuple(map(len, pieces)))}
    at = 8 + sum(map(len, pieces))
    directory, outside = struct.pack("<H", len(entries)), b""
    behind = at + 2 + 12 * len(entries) + 4
    for tag, (kind, values) in sorted(entries.items()):
        raw = struct.pack(f"<{len(values)}{'H' if kind == 3 else 'I'}", *values)
        directory += struct.pack("<HHI", tag, kind, len(values))
        directory += raw.ljust(4, b"\0") if len(raw) <= 4 else struct.pack("<I", behind + len(outside))
        outside += raw if len(raw) > 4 else b""
    return b"".join((b"II*\0", struct.pack("<I", at), *pieces, directory, bytes(4), outside))


PLAIN = {256: 45, 257: 37, 259: 1, 262: 1, 277: 1, 278: 37}


def test_what_is_made_here_is_read(tmp_path: Path) -> None:
    (tmp_path / "x.tif").write_bytes(made(PLAIN, {258: (8,)}, [GRAY.tobytes()]))
    assert_read(tmp_path / "x.tif", GRAY)


@pytest.mark.parametrize(
    ("tags", "bits", "word"),
    [
        ({259: 34712}, (8,), "JPEG 2000 compression"),
        ({259: 6}, (8,), "old-style JPEG compression"),
        ({259: 50001}, (8,), "WebP compression"),
        ({259: 60123}, (8,), "60123 compression"),
        ({262: 8, 277: 3}, (8, 8, 8), "CIE L*a*b*"),
        ({262: 32803}, (8,), "colour filter array"),
        ({262: 32803}, (16,), "colour filter array"),
        ({262: 99}, (8,), "photometric interpretation 99"),
        ({262: 5, 277: 4}, (16,) * 4, "16 bits per value of cmyk"),
        ({262: 5, 277: 4, 332: 2}, (8,) * 4, "inks other than"),
        ({262: 6, 277: 3}, (8, 8, 8), "YCbCr with colours at every 2x2"),
        ({262: 3}, (16,), "16 bits per value of palette"),
        ({277: 3}, (8, 8, 8), "3 values per pixel of gray"),
        ({262: 2, 277: 5}, (8,) * 5, "5 values per pixel of rgb"),
        ({262: 2, 277: 5}, (16,) * 5, "5 values per pixel of rgb"),
        ({262: 2, 277: 3}, (5, 6, 5), "5 and 6 bits per value of rgb"),
        ({}, (12,), "12 bits per value of gray"),
        ({}, (24,), "24 bits per value of gray"),
        ({339: 2}, (8,), "8 bits of signed numbers"),
        ({339: 2}, (16,), "16 bits of signed numbers"),
        ({339: 3}, (16,), "16 bits of floating-point numbers"),
        ({339: 3}, (32,), "32 bits of floating-point numbers"),
        ({339: 5}, (64,), "complex numbers"),
        ({266: 2}, (16,), "fill order 2"),
        ({317: 3}, (16,), "predictor 3"),
    ],
)
def test_a_property_that_is_not_read_is_named(
    tmp_path: Path, tags: dict[int, int], bits: tuple[int, ...], word: str
) -> None:
    content = bytes(37 * 45 * max(1, sum(bits) // 8))
    (tmp_path / "x.tif").write_bytes(made(PLAIN | tags, {258: bits}, [content]))
    text = refused(tmp_path / "x.tif")
    assert word in text
    assert "supported are 8 and 16 bits" in text and "convert it" in text


def test_photometric_that_is_not_said_is_refused(tmp_path: Path) -> None:
    tags = {tag: value for tag, value in PLAIN.items() if tag != 262}
    (tmp_path / "x.tif").write_bytes(made(tags, {258: (8,)}, [GRAY.tobytes()]))
    assert "no photometric tag" in refused(tmp_path / "x.tif")


def test_gray_of_few_bits(tmp_path: Path) -> None:
    for bits, values in ((1, GRAY >> 7), (2, GRAY >> 6), (4, GRAY >> 4)):
        padded = np.zeros((37, 48), np.uint8)
        padded[:, :45] = values
        packed = np.packbits(np.unpackbits(padded[..., None], axis=2)[..., -bits:].reshape(37, -1), axis=1)
        row = -(-45 * bits // 8)
        for photometric in (0, 1):
            tags = PLAIN | {262: photometric}
            (tmp_path / "x.tif").write_bytes(made(tags, {258: (bits,)}, [packed[:, :row].tobytes()]))
            spread = values * (255 // (2**bits - 1))
            assert_read(tmp_path / "x.tif", spread, negative=photometric == 0)


def test_fax_compression_keeps_its_polarity(tmp_path: Path) -> None:
    bits = GRAY > 99
    for compression in ("group3", "group4"):
        Image.fromarray(bits).save(tmp_path / "x.tif", compression=compression)
        assert_read(tmp_path / "x.tif", tifffile_like(bits))


def tifffile_like(bits: NDArray[np.bool_]) -> NDArray[np.uint8]:
    return np.where(bits, 255, 0).astype(np.uint8)


@pytest.mark.parametrize("compression", ["jpeg", "lzma", "zstd", "tiff_lzw", "packbits", "tiff_adobe_deflate"])
@pytest.mark.parametrize("mode", ["L", "RGB"])
def test_compressions_of_pillow(tmp_path: Path, compression: str, mode: str) -> None:
    image = Image.fromarray(cv2.GaussianBlur(COLOUR, (9, 9), 3)).convert(mode)
    image.save(tmp_path / "x.tif", compression=compression)
    with Image.open(tmp_path / "x.tif") as again:
        assert_read(tmp_path / "x.tif", np.array(again))


# -------------------------------------------------------------------------------- pages


def test_a_thumbnail_on_the_first_page_is_not_taken(tmp_path: Path) -> None:
    path = tmp_path / "x.tif"
    with tifffile.TiffWriter(path) as file:
        file.write(COLOUR[::4, ::4], photometric="rgb", subfiletype=1)
        file.write(COLOUR, photometric="rgb")
        file.write(GRAY > 99, photometric="minisblack", subfiletype=4)
    assert_read(path, COLOUR)
    assert not decode_image(path).more_pages


def test_a_full_picture_below_a_thumbnail_is_taken(tmp_path: Path) -> None:
    path = tmp_path / "x.tif"
    with tifffile.TiffWriter(path) as file:
        file.write(COLOUR[::4, ::4], photometric="rgb", subfiletype=1, subifds=1)
        file.write(COLOUR, photometric="rgb")
    assert_read(path, COLOUR)


def test_a_larger_page_behind_the_first_is_not_passed_over(tmp_path: Path) -> None:
    with tifffile.TiffWriter(tmp_path / "x.tif") as file:
        file.write(COLOUR[::4, ::4], photometric="rgb")
        file.write(COLOUR, photometric="rgb")
    text = refused(tmp_path / "x.tif")
    assert "2 pages, of which the first has 12x10 pixels and a later one 45x37" in text


def test_pages_that_are_all_marked_as_small_are_refused(tmp_path: Path) -> None:
    with tifffile.TiffWriter(tmp_path / "x.tif") as file:
        for _ in range(2):
            file.write(COLOUR, photometric="rgb", subfiletype=1)
    assert "2 pages, all of them marked as thumbnails" in refused(tmp_path / "x.tif")


def test_other_pages_are_told(tmp_path: Path) -> None:
    with tifffile.TiffWriter(tmp_path / "x.tif") as file:
        for page in (DEEP, DEEP // 2, DEEP[:20]):
            file.write(page, photometric="minisblack")
    assert_read(tmp_path / "x.tif", DEEP)
    assert decode_image(tmp_path / "x.tif").more_pages


def test_pages_in_a_circle_end(tmp_path: Path) -> None:
    content = bytearray(made(PLAIN, {258: (8,)}, [GRAY.tobytes()]))
    at = struct.unpack("<I", content[4:8])[0]
    count = struct.unpack("<H", content[at : at + 2])[0]
    content[at + 2 + 12 * count : at + 6 + 12 * count] = struct.pack("<I", at)
    (tmp_path / "x.tif").write_bytes(content)
    assert_read(tmp_path / "x.tif", GRAY)


# -------------------------------------------------------------------------------- damage


def test_tens_of_thousands_of_bad_tags_give_one_line(tmp_path: Path) -> None:
    """Each of them was a warning on the terminal."""
    count = 65535
    entries = b"".join(struct.pack("<HHII", 700 + number % 60000, 2, 1 << 20, 1 << 30) for number in range(count))
    (tmp_path / "x.tif").write_bytes(b"II*\0" + struct.pack("<IH", 8, count) + entries + bytes(4))
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        with pytest.raises(DataError, match="damaged or cut off"):
            read_image(tmp_path / "x.tif")
    assert not told


def test_bad_exif_of_a_jpeg_gives_no_warnings(tmp_path: Path) -> None:
    entries = b"".join(struct.pack("<HHII", 700 + number, 2, 1 << 20, 1 << 30) for number in range(4000))
    turn = struct.pack("<HHIHH", 274, 3, 1, 6, 0)
    exif = b"II*\0" + struct.pack("<IH", 8, 4001) + turn + entries + bytes(4)
    Image.fromarray(COLOUR).save(tmp_path / "x.jpg", exif=b"Exif\0\0" + exif)
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        image = read_image(tmp_path / "x.jpg")
    assert not told
    assert image.shape == (45, 37, 3)  # the one sound tag says that it is turned


@pytest.mark.parametrize(
    "data", [b"", b"II", b"II*\0", b"II*\0\x08\0\0\0", b"MM\0*\0\0\0\x08\0\x01" + bytes(5), b"x" * 50]
)
def test_damaged_exif_turns_nothing(data: bytes) -> None:
    assert exif_orientation(data) == 1


def test_pieces_past_the_end_are_found_in_the_header(tmp_path: Path) -> None:
    content = made(PLAIN, {258: (8,)}, [GRAY.tobytes()])
    for tag, value in ((273, len(content) - 9), (279, 2**31)):
        spoilt = bytearray(content)
        place = content.index(struct.pack("<HHI", tag, 4, 1))
        spoilt[place + 8 : place + 12] = struct.pack("<I", value)
        (tmp_path / "x.tif").write_bytes(spoilt)
        with pytest.raises(DataError, match="its end is missing"):
            image_size(tmp_path / "x.tif")


def test_missing_strips_are_found_in_the_header(tmp_path: Path) -> None:
    (tmp_path / "x.tif").write_bytes(made(PLAIN | {278: 10}, {258: (8,)}, [GRAY[:10].tobytes()]))
    with pytest.raises(DataError, match="1 of 4 pieces of pixels"):
        image_size(tmp_path / "x.tif")
