"""A window of an image has the pixels of the image that is read whole, which is the slow twin of all tests here."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import tifffile
from numpy.typing import NDArray
from PIL import Image

from medalist.codecs import windows
from medalist.codecs.images import read_image
from medalist.codecs.windows import DecodedPicture, TiffPicture, open_picture, stored_window, whole_bytes
from medalist.errors import DataError

RANDOM = np.random.default_rng(4)
HEIGHT, WIDTH = 83, 70
GRAY = RANDOM.integers(0, 256, (HEIGHT, WIDTH)).astype(np.uint8)
COLOUR = RANDOM.integers(0, 256, (HEIGHT, WIDTH, 3)).astype(np.uint8)
ALPHA = RANDOM.integers(0, 256, (HEIGHT, WIDTH, 4)).astype(np.uint8)
DEEP = RANDOM.integers(0, 65536, (HEIGHT, WIDTH)).astype(np.uint16)
DEEP_COLOUR = RANDOM.integers(0, 65536, (HEIGHT, WIDTH, 3)).astype(np.uint16)
PLACES = [
    (0, 83, 0, 70),
    (0, 1, 0, 1),
    (82, 83, 69, 70),
    (5, 40, 0, 70),
    (15, 33, 14, 33),
    (16, 32, 16, 32),
    (50, 83, 1, 3),
]


@pytest.fixture(autouse=True)
def everything_is_large(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(windows, "SMALL_PIXELS", 0)
    monkeypatch.setattr(windows, "BAND_PIXELS", 1500)
    monkeypatch.setattr("medalist.codecs.png_strips.png_strips.__defaults__", (1500,))
    monkeypatch.setattr("medalist.codecs.disk.bands.__defaults__", (1500,))


def assert_same(path: Path, folder: Path, kind: type, white: int = 65535) -> None:
    whole = read_image(path, white)
    picture = open_picture(path, folder, white)
    assert isinstance(picture, kind)
    assert picture.size == whole.shape[:2]
    height, width = picture.size
    for top, bottom, left, right in PLACES:
        rows, columns = slice(top, min(height, bottom)), slice(left, min(width, right))
        if rows.stop > rows.start and columns.stop > columns.start:
            found = picture.window(rows, columns)
            np.testing.assert_array_equal(found, whole[rows, columns])
            assert found.flags.c_contiguous and found.dtype == np.uint8


FORMS: list[dict[str, Any]] = [
    {"rowsperstrip": 7},
    {"rowsperstrip": HEIGHT},  # one strip without compression: rows of it are read
    {"rowsperstrip": 7, "compression": "zlib"},
    {"rowsperstrip": HEIGHT, "compression": "zlib"},
    {"tile": (16, 32)},
    {"tile": (32, 16), "compression": "zlib"},
]


@pytest.mark.parametrize("options", FORMS, ids=str)
@pytest.mark.parametrize("values", [GRAY, COLOUR, DEEP, DEEP_COLOUR], ids=["gray", "rgb", "gray16", "rgb16"])
@pytest.mark.parametrize("order", ["<", ">"])
def test_tiff(tmp_path: Path, options: dict[str, Any], values: NDArray[Any], order: str) -> None:
    path = tmp_path / "x.tif"
    photometric = "rgb" if values.ndim == 3 else "minisblack"
    tifffile.imwrite(path, values, byteorder=order, photometric=photometric, metadata=None, **options)
    assert_same(path, tmp_path, TiffPicture, white=4095)


@pytest.mark.parametrize("options", FORMS, ids=str)
@pytest.mark.parametrize("values", [COLOUR, DEEP_COLOUR], ids=["8", "16"])
def test_tiff_with_separate_planes(tmp_path: Path, options: dict[str, Any], values: NDArray[Any]) -> None:
    path = tmp_path / "x.tif"
    planes = np.ascontiguousarray(values.transpose(2, 0, 1))
    tifffile.imwrite(path, planes, photometric="rgb", planarconfig="separate", metadata=None, **options)
    assert_same(path, tmp_path, TiffPicture)


@pytest.mark.parametrize("options", FORMS, ids=str)
def test_tiff_with_white_as_zero_or_alpha(tmp_path: Path, options: dict[str, Any]) -> None:
    path = tmp_path / "x.tif"
    for values in (GRAY, DEEP):
        tifffile.imwrite(path, values, photometric="miniswhite", metadata=None, **options)
        assert_same(path, tmp_path, TiffPicture)
    tifffile.imwrite(path, ALPHA, photometric="rgb", extrasamples=["unassalpha"], metadata=None, **options)
    assert_same(path, tmp_path, TiffPicture)


@pytest.mark.parametrize("compression", ["tiff_lzw", "packbits", "jpeg", "tiff_adobe_deflate"])
@pytest.mark.parametrize("mode", ["L", "RGB", "P", "CMYK"])
def test_tiff_of_pillow(tmp_path: Path, compression: str, mode: str) -> None:
    if (compression, mode) in (("jpeg", "P"), ("jpeg", "CMYK")):
        return
    path = tmp_path / "x.tif"
    large = Image.fromarray(np.tile(COLOUR, (9, 3, 1))).convert(mode)  # several strips
    large.save(path, compression=compression, strip_size=8192)
    assert_same(path, tmp_path, TiffPicture)


@pytest.mark.parametrize("group4", [True, False])
def test_tiff_of_one_bit(tmp_path: Path, group4: bool) -> None:
    path = tmp_path / "x.tif"
    Image.fromarray(np.tile(GRAY, (3, 3)) > 99).save(path, compression="group4" if group4 else None)
    assert_same(path, tmp_path, TiffPicture)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_windows_are_of_the_upright_picture(tmp_path: Path, orientation: int) -> None:
    path = tmp_path / "x.tif"
    extra = [(274, 3, 1, orientation, True)]
    tifffile.imwrite(path, COLOUR, photometric="rgb", rowsperstrip=7, extratags=extra, metadata=None)
    assert_same(path, tmp_path, TiffPicture)
    exif = Image.Exif()
    exif[274] = orientation
    Image.fromarray(COLOUR).save(tmp_path / "x.png", exif=exif)
    assert_same(tmp_path / "x.png", tmp_path, DecodedPicture)
    stored = open_picture(path, tmp_path, orientation="stored")
    np.testing.assert_array_equal(stored.window(slice(3, 9), slice(2, 5)), COLOUR[3:9, 2:5])


def test_stored_windows_by_hand() -> None:
    assert stored_window(slice(1, 3), slice(2, 6), (10, 20), 1) == (slice(1, 3), slice(2, 6))
    assert stored_window(slice(1, 3), slice(2, 6), (10, 20), 3) == (slice(7, 9), slice(14, 18))


def test_a_tiff_of_large_strips_is_decoded_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(windows, "LARGEST_PIECE", 1000)
    path = tmp_path / "x.tif"
    for rows, kind in ((14, TiffPicture), (30, DecodedPicture)):
        tifffile.imwrite(path, COLOUR, photometric="rgb", rowsperstrip=rows, compression="zlib", metadata=None)
        assert_same(path, tmp_path, kind)
    monkeypatch.setattr(windows, "MOST_PIXELS", 2000)
    with pytest.raises(
        DataError, match=r"strips or tiles of .* million pixels.*save it with tiles of 512 x 512 pixels"
    ):
        open_picture(path, tmp_path)


def pictures() -> dict[str, Callable[[Path], Any]]:
    gray, colour = Image.fromarray(GRAY), Image.fromarray(COLOUR)
    return {
        "gray": gray.save,
        "gray and alpha": gray.convert("LA").save,
        "rgb": colour.save,
        "rgba": Image.fromarray(ALPHA).save,
        "palette": colour.quantize(200).save,
        "gray 16": Image.fromarray(DEEP).save,
        "rgb 16": lambda path: cv2.imwrite(str(path), DEEP_COLOUR),
        "rgba 16": lambda path: cv2.imwrite(str(path), np.dstack((DEEP_COLOUR, DEEP))),
    }


@pytest.mark.parametrize("name", pictures())
def test_png_is_decoded_strip_by_strip(tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "x.png"
    pictures()[name](path)
    monkeypatch.setattr(windows, "_whole", None)
    assert_same(path, tmp_path, DecodedPicture, white=50000)


def test_smooth_png_uses_all_filters(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Filters refer to the line above, also over the edge of two strips."""
    ramp = np.add.outer(np.arange(HEIGHT) * 2, np.arange(WIDTH)) % 256
    picture = np.dstack((ramp, ramp[::-1], COLOUR[..., 0] // 32 + ramp)).astype(np.uint8)
    for strategy in (cv2.IMWRITE_PNG_STRATEGY_DEFAULT, cv2.IMWRITE_PNG_STRATEGY_FILTERED):
        cv2.imwrite(str(tmp_path / "x.png"), picture, [cv2.IMWRITE_PNG_STRATEGY, strategy])
        assert_same(tmp_path / "x.png", tmp_path, DecodedPicture)
    Image.fromarray(picture).save(tmp_path / "y.png", optimize=True)
    monkeypatch.setattr(windows, "_whole", None)
    assert_same(tmp_path / "y.png", tmp_path, DecodedPicture)


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("x.jpg", {}),
        ("x.jpg", {"progressive": True}),
        ("x.gif", {}),
        ("x.png", {"bits": 4}),
    ],
    ids=str,
)
def test_what_can_only_be_decoded_whole(tmp_path: Path, name: str, options: dict[str, Any]) -> None:
    picture = Image.fromarray(COLOUR)
    if name != "x.jpg":
        picture = picture.quantize(16)
    picture.save(tmp_path / name, **options)
    assert_same(tmp_path / name, tmp_path, DecodedPicture)
    assert sorted(path.name for path in tmp_path.iterdir()) == [name]


def test_the_memory_of_whole_decoding_is_said(tmp_path: Path) -> None:
    Image.fromarray(COLOUR).save(tmp_path / "x.jpg")
    with pytest.raises(
        DataError, match=r"x\.jpg: a JPEG of 70x83 pixels can only be decoded whole, which takes 0\.0 GB"
    ):
        open_picture(tmp_path / "x.jpg", tmp_path, memory=HEIGHT * WIDTH * 4 - 1)
    open_picture(tmp_path / "x.jpg", tmp_path, memory=HEIGHT * WIDTH * 4)


@pytest.mark.parametrize("cut", [0.3, 0.6, 0.97])
def test_a_file_that_is_cut_off_is_damaged(tmp_path: Path, cut: float) -> None:
    for name in ("x.png", "x.tif"):
        Image.fromarray(np.tile(COLOUR, (4, 4, 1))).save(tmp_path / name)
        content = (tmp_path / name).read_bytes()
        (tmp_path / name).write_bytes(content[: int(len(content) * cut)])
        with pytest.raises(DataError, match="damaged or cut off"):
            picture = open_picture(tmp_path / name, tmp_path)
            picture.window(slice(0, picture.size[0]), slice(0, picture.size[1]))


def test_a_changed_byte_of_a_png_is_found(tmp_path: Path) -> None:
    path = tmp_path / "x.png"
    Image.fromarray(COLOUR).save(path)
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 0x55
    path.write_bytes(content)
    with pytest.raises(DataError, match="damaged or cut off"):
        open_picture(path, tmp_path)


def test_a_png_with_too_few_lines_is_damaged(tmp_path: Path) -> None:
    import struct
    import zlib

    path = tmp_path / "x.png"
    Image.fromarray(COLOUR).save(path)
    content = bytearray(path.read_bytes())
    content[20:24] = struct.pack(">I", 5 * HEIGHT)
    content[29:33] = struct.pack(">I", zlib.crc32(content[12:29]))
    path.write_bytes(content)
    with pytest.raises(DataError, match="fewer lines of pixels than its size needs"):
        open_picture(path, tmp_path)


def test_one_pixel_wide(tmp_path: Path) -> None:
    for name in ("x.png", "x.tif"):
        for values in (COLOUR[:, :1], COLOUR[:1]):
            Image.fromarray(values).save(tmp_path / name)
            picture = open_picture(tmp_path / name, tmp_path)
            np.testing.assert_array_equal(picture.window(slice(0, len(values)), slice(0, values.shape[1])), values)


def test_whole_bytes_counts_what_the_decoder_keeps(tmp_path: Path) -> None:
    from medalist.codecs.rasters import read_whole_header

    for mode, options, expected in (("RGB", {}, 4), ("L", {}, 1), ("RGB", {"progressive": True}, 10)):
        Image.fromarray(COLOUR).convert(mode).save(tmp_path / "x.jpg", **options)  # type: ignore[arg-type]
        assert whole_bytes(read_whole_header(tmp_path / "x.jpg")) == expected * HEIGHT * WIDTH
