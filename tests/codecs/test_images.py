from __future__ import annotations

import struct
import zlib
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
import tifffile
from numpy.typing import NDArray
from PIL import Image, ImageOps

from medalist.codecs.images import decode_image, image_kind, image_size, image_sizes, read_image
from medalist.errors import DataError, MedalistError
from medalist.files import read_table

COLOUR = np.random.default_rng(1).integers(0, 256, (20, 30, 3)).astype(np.uint8)
DEEP = np.random.default_rng(2).integers(0, 65536, (20, 30, 3)).astype(np.uint16)


def scaled(values: NDArray[np.uint16], white: int = 65535) -> NDArray[np.uint8]:
    """16 bits to 8 in floating point: the slow twin."""
    return np.floor(np.minimum(values / white, 1) * 255 + 0.5).astype(np.uint8)


def one_line(error: pytest.ExceptionInfo[MedalistError]) -> str:
    text = str(error.value)
    assert "\n" not in text
    return text


HELD = {
    "png": ("RGB", "L", "1", "P", "LA", "RGBA"),
    "tif": ("RGB", "L", "1", "P", "LA", "RGBA", "CMYK", "YCbCr"),
    "jpg": ("RGB", "L", "CMYK", "YCbCr"),
}


@pytest.mark.parametrize(("suffix", "mode"), [(suffix, mode) for suffix in HELD for mode in HELD[suffix]])
def test_8_bit_images_are_rgb(tmp_path: Path, suffix: str, mode: str) -> None:
    image = Image.fromarray(COLOUR)
    image = image.quantize(16) if mode == "P" else image.convert(mode)
    if "A" in mode:
        image.putalpha(Image.fromarray(COLOUR[..., 0]))
    path = tmp_path / f"x.{suffix}"
    image.save(path)
    found = read_image(path)
    assert found.dtype == np.uint8
    assert found.flags.c_contiguous
    assert found.shape[:2] == image_size(path) == (20, 30)
    with Image.open(path) as again:
        kept = np.asarray(again.convert("RGBA" if "A" in mode else "RGB"))[..., :3]
    assert np.array_equal(found, kept)
    if suffix != "jpg" and mode in ("RGB", "RGBA"):
        assert np.array_equal(found, COLOUR)  # what lies under the alpha, not what shows through it


def test_palette_with_transparency_keeps_its_colours(tmp_path: Path) -> None:
    image = Image.fromarray(COLOUR).quantize(16)
    image.save(tmp_path / "x.png", transparency=bytes(range(16)))
    assert np.array_equal(read_image(tmp_path / "x.png"), np.asarray(image.convert("RGB")))


def test_one_bit_is_black_and_white(tmp_path: Path) -> None:
    Image.fromarray(COLOUR[..., 0] > 99).save(tmp_path / "x.png")
    assert np.array_equal(read_image(tmp_path / "x.png")[..., 2], np.where(COLOUR[..., 0] > 99, 255, 0))


@pytest.mark.parametrize("white", [65535, 4095, 1000, 1])
@pytest.mark.parametrize("suffix", ["png", "tif"])
@pytest.mark.parametrize("channels", [1, 3, 4])
def test_16_bit_images_are_scaled_by_white(tmp_path: Path, suffix: str, channels: int, white: int) -> None:
    path = tmp_path / f"x.{suffix}"
    deep = np.dstack((DEEP, DEEP[..., 0]))[..., :channels] >> (4 if white < 9999 else 0)
    rgb = deep[..., :3] if channels > 1 else deep.repeat(3, axis=2)
    if suffix == "png":
        bgr = deep if channels == 1 else deep[..., [2, 1, 0, 3][:channels]]
        cv2.imwrite(str(path), bgr)
    else:
        extra = {"extrasamples": ["unassalpha"]} if channels == 4 else {}
        photometric = "minisblack" if channels == 1 else "rgb"
        tifffile.imwrite(path, deep.squeeze(), photometric=photometric, **extra)
    assert np.array_equal(read_image(path, white), scaled(rgb, white))
    assert image_size(path) == (20, 30)


def test_16_bit_ends_and_middle(tmp_path: Path) -> None:
    values = np.array([[0, 2048, 4095, 4096, 65535]], np.uint16)
    cv2.imwrite(str(tmp_path / "x.png"), values)
    assert read_image(tmp_path / "x.png", 4095)[0, :, 0].tolist() == [0, 128, 255, 255, 255]
    assert read_image(tmp_path / "x.png")[0, :, 0].tolist() == [0, 8, 16, 16, 255]


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("suffix", ["png", "jpg"])
def test_exif_orientation_as_pillow_undoes_it(tmp_path: Path, suffix: str, orientation: int) -> None:
    exif = Image.Exif()
    exif[274] = orientation
    path = tmp_path / f"x.{suffix}"
    Image.fromarray(COLOUR).save(path, exif=exif)
    with Image.open(path) as image:
        upright = np.asarray(ImageOps.exif_transpose(image).convert("RGB"))
    assert np.array_equal(read_image(path), upright)
    assert image_size(path) == upright.shape[:2] == ((20, 30) if orientation < 5 else (30, 20))


@pytest.mark.parametrize("compression", [None, "zlib"])
@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("values", [COLOUR, COLOUR[..., 0], DEEP, DEEP[..., 0]], ids=["8", "8gray", "16", "16gray"])
def test_tiff_orientation(
    tmp_path: Path, values: NDArray[np.uint8 | np.uint16], orientation: int, compression: str | None
) -> None:
    path = tmp_path / "x.tif"
    tifffile.imwrite(
        path,
        values,
        photometric="rgb" if values.ndim == 3 else "minisblack",
        compression=compression,
        extratags=[(274, "H", 1, orientation, True)],
    )
    rgb = values if values.ndim == 3 else np.dstack([values] * 3)
    shown = rgb if values.dtype == np.uint8 else scaled(rgb)
    turn = {  # TIFF 6.0, page 36: where the first row and the first column of the file belong
        1: lambda x: x,
        2: np.fliplr,
        3: lambda x: np.rot90(x, 2),
        4: np.flipud,
        5: lambda x: x.swapaxes(0, 1),
        6: lambda x: np.rot90(x, -1),
        7: lambda x: np.rot90(x, 2).swapaxes(0, 1),
        8: lambda x: np.rot90(x, 1),
    }[orientation]
    assert np.array_equal(read_image(path), turn(shown))
    assert image_size(path) == turn(shown).shape[:2]


def test_exif_behind_the_pixels_of_a_png(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[274] = 6
    path = tmp_path / "x.png"
    Image.fromarray(COLOUR).save(path)
    content = path.read_bytes()
    chunk = b"eXIf" + exif.tobytes().removeprefix(b"Exif\0\0")
    late = struct.pack(">I", len(chunk) - 4) + chunk + struct.pack(">I", zlib.crc32(chunk))
    path.write_bytes(content[:-12] + late + content[-12:])
    assert image_size(path) == (30, 20)
    assert np.array_equal(read_image(path), np.rot90(COLOUR, -1))


@pytest.mark.parametrize("values", [np.float32(COLOUR[..., 0]), np.int32(COLOUR[..., 0]), np.int16(COLOUR[..., 0])])
def test_32_bit_and_signed_are_refused(tmp_path: Path, values: NDArray[np.float32]) -> None:
    tifffile.imwrite(tmp_path / "x.tif", values)
    with pytest.raises(DataError, match="supported are 8 and 16 bits") as raised:
        read_image(tmp_path / "x.tif")
    one_line(raised)


@pytest.mark.parametrize("read", [read_image, image_size])
def test_what_is_no_image(tmp_path: Path, read: Callable[[Path], object]) -> None:
    (tmp_path / "empty.png").write_bytes(b"")
    (tmp_path / "text.png").write_text("ImageId,EncodedPixels\n")
    (tmp_path / "drawing.png").write_text("%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n")
    for name, words in {
        "none.png": "No such file or directory",
        "empty.png": "an empty file",
        "text.png": "not a PNG, JPEG or TIFF",
        "drawing.png": "not a PNG, JPEG or TIFF",
        "": "a folder, not an image",
    }.items():
        with pytest.raises(DataError) as raised:
            read(tmp_path / name)
        assert one_line(raised).startswith(str(tmp_path / name))
        assert words in one_line(raised)


def make_whole(folder: Path) -> list[Path]:
    deep = folder / "deep.png"
    cv2.imwrite(str(deep), DEEP)
    cv2.imwrite(str(folder / "deep.tif"), DEEP)
    image = Image.fromarray(COLOUR)
    image.save(folder / "a.png")
    image.save(folder / "a.jpg")
    image.save(folder / "raw.tif")
    image.save(folder / "lzw.tif", compression="tiff_lzw")
    return sorted(folder.iterdir())


@pytest.mark.filterwarnings("ignore")
def test_every_cut_is_found(tmp_path: Path) -> None:
    """No file that lost its end is read, however little it lost, and the header is enough to know."""
    for path in make_whole(tmp_path):
        content = path.read_bytes()
        read_image(path)
        for length in (*range(0, len(content) - 24, 97), *range(len(content) - 24, len(content))):
            path.write_bytes(content[:length])
            for read in (read_image, image_size):
                with pytest.raises(DataError) as raised:
                    read(path)
                one_line(raised)


@pytest.mark.filterwarnings("ignore")
def test_spoilt_bytes_never_crash(tmp_path: Path) -> None:
    random = np.random.default_rng(3)
    for path in make_whole(tmp_path):
        content = path.read_bytes()
        for _ in range(60):
            spoilt = bytearray(content)
            for at in random.integers(0, min(len(content), 300), 3):
                spoilt[at] = random.integers(0, 256)
            path.write_bytes(spoilt)
            for read in (read_image, image_size):
                try:
                    read(path)
                except DataError as error:
                    assert "\n" not in str(error)


def test_a_bomb_is_not_decoded(tmp_path: Path) -> None:
    path = tmp_path / "bomb.png"
    Image.fromarray(COLOUR).save(path)
    content = bytearray(path.read_bytes())
    content[16:24] = struct.pack(">II", 100_000, 100_000)
    content[29:33] = struct.pack(">I", zlib.crc32(content[12:29]))
    path.write_bytes(content)
    with pytest.raises(DataError, match="too many pixels"):
        read_image(path)


def test_sizes_name_all_bad_files_at_once(tmp_path: Path) -> None:
    good = tmp_path / "good.png"
    Image.fromarray(COLOUR).save(good)
    cut = tmp_path / "cut.png"
    cut.write_bytes(good.read_bytes()[:-3])
    assert image_sizes([("a", good), ("b", good)]) == [(20, 30), (20, 30)]
    assert image_sizes([]) == []
    with pytest.raises(DataError) as raised:
        image_sizes([("a", good), ("b", cut), ("c", tmp_path / "none.png")])
    text = one_line(raised)
    assert text.startswith("2 of 3 images cannot be read: sample b: ")
    assert str(cut) in text
    assert f"sample c: {tmp_path / 'none.png'}: No such file" in text
    with pytest.raises(DataError) as raised:
        image_sizes([(f"s{i}", cut) for i in range(13)])
    assert "sample s9:" in one_line(raised)
    assert "sample s10:" not in one_line(raised)
    assert one_line(raised).endswith("; and 3 more")


@pytest.mark.data
def test_real_images_have_the_size_that_their_table_says(contest_data: Callable[[str], Path]) -> None:
    folder = contest_data("dsb2018")
    rows = read_table(folder / "stage1_train_meta.csv", ("ImageId", "Width", "Height"))[:50]
    named = [(row["ImageId"], folder / "stage1_train" / row["ImageId"] / "images") for row in rows]
    sizes = image_sizes([(name, images / f"{name}.png") for name, images in named])
    assert sizes == [(int(row["Height"]), int(row["Width"])) for row in rows]


def test_a_name_that_is_too_long_is_a_mistake_in_the_data() -> None:
    with pytest.raises(DataError, match="too long"):
        read_image(Path("x" * 300))


@pytest.mark.parametrize(
    ("mode", "suffix", "kind"),
    [
        ("RGB", "png", "colour, 8 bits"),
        ("RGBA", "png", "colour, 8 bits"),
        ("P", "png", "colour, 8 bits"),
        ("CMYK", "jpg", "colour, 8 bits"),
        ("RGB", "tif", "colour, 8 bits"),
        ("L", "png", "gray, 8 bits"),
        ("1", "png", "gray, 8 bits"),
        ("LA", "png", "gray, 8 bits"),
        ("L", "jpg", "gray, 8 bits"),
        ("I;16", "png", "gray, 16 bits"),
        ("I;16", "tif", "gray, 16 bits"),
    ],
)
def test_a_header_tells_the_kind(tmp_path: Path, mode: str, suffix: str, kind: str) -> None:
    Image.new(mode, (5, 4)).save(tmp_path / f"x.{suffix}")
    assert image_kind(tmp_path / f"x.{suffix}") == kind


def test_deep_colours_are_told_too(tmp_path: Path) -> None:
    cv2.imwrite(str(tmp_path / "x.png"), np.zeros((4, 5, 3), np.uint16))
    assert image_kind(tmp_path / "x.png") == "colour, 16 bits"


# -------------------------------------------------------------------------------- what is not damaged is not called so


def png_of(path: Path, width: int, height: int) -> Path:
    """A PNG whose header says this size."""
    Image.fromarray(COLOUR).save(path)
    content = bytearray(path.read_bytes())
    content[16:24] = struct.pack(">II", width, height)
    content[29:33] = struct.pack(">I", zlib.crc32(content[12:29]))
    path.write_bytes(content)
    return path


def test_a_picture_of_360_megapixels_is_not_damaged(tmp_path: Path) -> None:
    """Its size is known, because it can be read by windows; it is not read whole."""
    path = png_of(tmp_path / "x.png", 20000, 18000)
    assert image_size(path) == (18000, 20000)
    with pytest.raises(DataError, match="20000x18000 = 360 million") as raised:
        read_image(path)
    assert "--memory 4GB" in one_line(raised) and "cut it into tiles, or scale it down" in one_line(raised)
    assert "download" not in one_line(raised) and "damaged" not in one_line(raised)


def test_pictures_of_more_pixels_than_any_scan_are_refused_by_their_header(tmp_path: Path) -> None:
    path = png_of(tmp_path / "x.png", 200_000, 180_000)
    for read in (read_image, image_size):
        with pytest.raises(
            DataError, match="200000x180000 = 36000 million, and at most 16000 million are read"
        ) as raised:
            read(path)
        assert "cut it into tiles" in one_line(raised)


@pytest.mark.parametrize("suffix", ["png", "tif", "jpg"])
def test_a_large_picture_gives_no_warning(tmp_path: Path, suffix: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Pillow warns of half as many pixels as it refuses; here a warning would become an error."""
    Image.fromarray(COLOUR).save(tmp_path / f"x.{suffix}")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 400)
    assert read_image(tmp_path / f"x.{suffix}").shape == (20, 30, 3)


def test_too_little_memory_is_not_damage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Image.fromarray(COLOUR).save(tmp_path / "x.png")

    def full(*given: object) -> None:
        raise MemoryError

    monkeypatch.setattr(Image.Image, "convert", full)
    monkeypatch.setattr(np, "ascontiguousarray", full)
    with pytest.raises(DataError, match="not enough memory") as raised:
        read_image(tmp_path / "x.png")
    assert "download" not in one_line(raised)


def spoilt_jpeg(path: Path, change: Callable[[bytearray, int], None], mode: str = "RGB") -> Path:
    """A JPEG after a change at the place of its frame header (FF C0)."""
    Image.fromarray(COLOUR).convert(mode).save(path)
    content = bytearray(path.read_bytes())
    change(content, content.index(b"\xff\xc0"))
    path.write_bytes(content)
    return path


@pytest.mark.parametrize(
    ("place", "value", "word"),
    [(1, 0xC3, "lossless JPEG"), (1, 0xC5, "hierarchical JPEG"), (4, 12, "JPEG of 12 bits")],
)
def test_other_sorts_of_jpeg_are_named(tmp_path: Path, place: int, value: int, word: str) -> None:
    def change(content: bytearray, at: int) -> None:
        content[at + place] = value

    path = spoilt_jpeg(tmp_path / "x.jpg", change)
    for read in (read_image, image_size):
        with pytest.raises(DataError, match=word) as raised:
            read(path)
        assert "download" not in one_line(raised)


def test_inks_that_may_be_negatives_are_refused(tmp_path: Path) -> None:
    def change(content: bytearray, at: int) -> None:
        place = content.index(b"Adobe")
        content[place : place + 5] = b"Nobody"[:5]

    with pytest.raises(DataError, match="four inks without the mark of Adobe"):
        read_image(spoilt_jpeg(tmp_path / "x.jpg", change, "CMYK"))


@pytest.mark.parametrize(
    ("content", "word"),
    [
        (b"BM" + bytes(60), "a BMP image"),
        (b"RIFF1234WEBPVP8 " + bytes(60), "a WebP image"),
        (b"\0\0\0\x18ftypheic" + bytes(60), "a HEIF image"),
        (b"\0\0\0\x0cjP  \r\n\x87\n" + bytes(60), "a JPEG 2000 image"),
        (bytes(128) + b"DICM" + bytes(60), "a DICOM file"),
    ],
)
def test_other_formats_are_named(tmp_path: Path, content: bytes, word: str) -> None:
    (tmp_path / "x.png").write_bytes(content)
    with pytest.raises(DataError, match=word) as raised:
        read_image(tmp_path / "x.png")
    assert "convert it" in one_line(raised) and "download" not in one_line(raised)


@pytest.mark.parametrize("mode", ["LA", "PA", "P"])
def test_alpha_beside_gray_and_palettes(tmp_path: Path, mode: str) -> None:
    image = Image.fromarray(COLOUR).convert("L")
    image = image.quantize(8) if "P" in mode else image
    shown = np.asarray(image.convert("RGB"))
    image = image.convert(mode)
    if "A" in mode:
        image.putalpha(Image.fromarray(COLOUR[..., 0]))
    path = tmp_path / ("x.tif" if mode == "PA" else "x.png")
    image.save(path)
    assert np.array_equal(read_image(path), shown)


@pytest.mark.parametrize("channels", [2, 4])
def test_16_bit_png_with_alpha(tmp_path: Path, channels: int) -> None:
    values = np.dstack((DEEP, DEEP[..., 0]))[..., :channels]
    head = struct.pack(">IIBBBBB", 30, 20, 16, 4 if channels == 2 else 6, 0, 0, 0)
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in values)
    chunks = ((b"IHDR", head), (b"IDAT", zlib.compress(rows)), (b"IEND", b""))
    packed = (
        struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body)) for name, body in chunks
    )
    (tmp_path / "x.png").write_bytes(b"\x89PNG\r\n\x1a\n" + b"".join(packed))
    rgb = values[..., :1].repeat(3, axis=2) if channels == 2 else values[..., :3]
    assert np.array_equal(read_image(tmp_path / "x.png"), scaled(rgb))


def test_gif_is_read_and_animation_is_refused(tmp_path: Path) -> None:
    image = Image.fromarray(COLOUR).quantize(16)
    image.save(tmp_path / "x.gif")
    assert np.array_equal(read_image(tmp_path / "x.gif"), np.asarray(image.convert("RGB")))
    image.save(tmp_path / "x.gif", save_all=True, append_images=[Image.fromarray(~COLOUR).quantize(16)])
    with pytest.raises(DataError, match="a GIF of 2 pictures"):
        read_image(tmp_path / "x.gif")


def test_the_first_picture_of_a_phone_is_read(tmp_path: Path) -> None:
    """Such a JPEG has a second picture behind its first (MPO)."""
    image = Image.fromarray(COLOUR)
    image.save(tmp_path / "one.jpg")
    image.save(tmp_path / "x.mpo", save_all=True, append_images=[Image.fromarray(~COLOUR)])
    assert np.array_equal(read_image(tmp_path / "x.mpo"), read_image(tmp_path / "one.jpg"))


def test_images_are_read_as_stored_where_the_contest_says_so(case: Callable[[str], Path]) -> None:
    with Image.open(case("turned.jpg")) as image:
        stored = np.asarray(image.convert("RGB"))
    path = case("turned.jpg")
    assert np.array_equal(read_image(path, orientation="stored"), stored)
    assert image_size(path, "stored") == stored.shape[:2] == (60, 90)
    assert image_size(path) == (90, 60)
    assert np.array_equal(read_image(path), np.rot90(stored, -1))


def test_the_brightest_value_of_deep_images_is_noted(case: Callable[[str], Path]) -> None:
    assert decode_image(case("twelve_bits_in_16.tif")).brightest == 4095
    assert decode_image(case("upright.png")).brightest is None
