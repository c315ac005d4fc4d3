from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from medalist.codecs.label_pictures import read_label_picture, read_mask_picture
from medalist.errors import DataError

IDS = np.arange(4, dtype=np.uint8).repeat(15).reshape(6, 10)
COLOURS = [0, 0, 0, 128, 0, 0, 0, 128, 0, 128, 128, 0]


def palette_picture(path: Path, ids: NDArray[np.uint8], colours: list[int] | None = None) -> Path:
    image = Image.fromarray(ids, mode="P")
    image.putpalette(colours or COLOURS)
    image.save(path)
    return path


def refusal(path: Path, **options: object) -> str:
    with pytest.raises(DataError) as raised:
        read_mask_picture(path, **options)  # type: ignore[arg-type]
    text = str(raised.value)
    assert text.startswith(str(path)) and "\n" not in text
    return text


def mask_of(case: Callable[[str], Path]) -> NDArray[np.uint8]:
    with Image.open(case("mask.png")) as image:
        return (np.asarray(image.convert("L")) > 127).astype(np.uint8)


def test_ids_are_read_and_never_colours(case: Callable[[str], Path]) -> None:
    picture = read_label_picture(case("ids_palette.png"))
    assert np.array_equal(picture.ids, np.load(case("ids.npy")))
    assert picture.values == [0, 1, 2, 3, 255]


def test_void_and_several_classes_are_no_foreground(case: Callable[[str], Path]) -> None:
    text = refusal(case("ids_palette.png"))
    assert "the values 0, 1, 2, 3, 255 (void), where the contest has one class" in text
    assert "type foreground=(1,)" in text
    ids = np.load(case("ids.npy"))
    assert np.array_equal(read_mask_picture(case("ids_palette.png"), foreground=(1, 3)), (ids == 1) | (ids == 3))


@pytest.mark.parametrize("suffix", ["png", "gif", "tif"])
def test_palettes_keep_their_numbers(tmp_path: Path, suffix: str) -> None:
    assert np.array_equal(read_label_picture(palette_picture(tmp_path / f"x.{suffix}", IDS)).ids, IDS)


def test_palettes_of_few_bits_keep_their_numbers(tmp_path: Path) -> None:
    for bits, top in ((1, 1), (2, 3), (4, 15)):
        ids = np.minimum(IDS, top)
        image = Image.fromarray(ids, mode="P")
        image.putpalette(COLOURS)
        image.save(tmp_path / "x.png", bits=bits)
        assert np.array_equal(read_label_picture(tmp_path / "x.png").ids, ids)


def test_gray_of_few_bits_keeps_its_numbers(tmp_path: Path) -> None:
    cv2.imwrite(str(tmp_path / "x.png"), IDS * 255, [cv2.IMWRITE_PNG_BILEVEL, 1])
    Image.fromarray(IDS > 1).save(tmp_path / "one.png")
    assert read_label_picture(tmp_path / "one.png").values == [0, 1]
    assert np.array_equal(read_mask_picture(tmp_path / "one.png"), IDS > 1)


def test_16_bit_labels_are_not_scaled(tmp_path: Path) -> None:
    cv2.imwrite(str(tmp_path / "x.png"), IDS.astype(np.uint16))
    assert np.array_equal(read_label_picture(tmp_path / "x.png").ids, IDS)
    cv2.imwrite(str(tmp_path / "x.png"), IDS.astype(np.uint16) * 1000)
    with pytest.raises(DataError, match="16-bit values up to 3000"):
        read_label_picture(tmp_path / "x.png")


def test_colours_that_stand_for_classes_are_refused(tmp_path: Path) -> None:
    palette_picture(tmp_path / "p.png", IDS)
    with Image.open(tmp_path / "p.png") as image:
        image.convert("RGB").save(tmp_path / "x.png")
    assert "4 colours ((0, 0, 0), (0, 128, 0), (128, 0, 0), (128, 128, 0)) stand for classes" in refusal(
        tmp_path / "x.png"
    )
    Image.fromarray(np.dstack([(IDS > 1) * np.uint8(255)] * 3)).save(tmp_path / "gray.png")
    assert np.array_equal(read_mask_picture(tmp_path / "gray.png"), IDS > 1)


def test_a_gif_mask_is_its_mask(case: Callable[[str], Path]) -> None:
    assert np.array_equal(read_mask_picture(case("mask.gif")), mask_of(case))
    assert np.array_equal(read_mask_picture(case("mask.png")), mask_of(case))


def test_a_lossy_mask_is_read_by_a_threshold(case: Callable[[str], Path]) -> None:
    assert np.array_equal(read_mask_picture(case("mask_lossy.jpg")), mask_of(case))
    assert np.array_equal(read_mask_picture(case("mask_lossy.jpg"), threshold=128), mask_of(case))


def test_a_lossy_mask_of_classes_is_refused(tmp_path: Path) -> None:
    Image.fromarray(IDS).save(tmp_path / "x.jpg")
    assert "a mask as JPEG, which is not black and white" in refusal(tmp_path / "x.jpg")
    assert "a JPEG does not keep numbers" in refusal(tmp_path / "x.jpg", foreground=(1,))
    Image.fromarray(np.zeros((40, 60), np.uint8)).save(tmp_path / "x.jpg")
    assert not read_mask_picture(tmp_path / "x.jpg").any()


@pytest.mark.parametrize(
    ("values", "word"),
    [
        ([0, 1, 2], "type foreground=(1,)"),
        ([0, 2], "type foreground=(2,)"),
        ([0, 128], "type foreground=(128,)"),
        ([0, 1, 255], "0, 1, 255 (void)"),
        (list(range(0, 256, 5)), "type threshold=128"),
    ],
)
def test_gray_masks_of_other_values_are_refused(tmp_path: Path, values: list[int], word: str) -> None:
    Image.fromarray(np.array([values] * 3, np.uint8)).save(tmp_path / "x.png")
    assert word in refusal(tmp_path / "x.png")


def test_soft_edges_are_read_by_a_threshold(tmp_path: Path) -> None:
    ramp = np.arange(256, dtype=np.uint8)[None]
    Image.fromarray(ramp).save(tmp_path / "x.png")
    assert np.array_equal(read_mask_picture(tmp_path / "x.png", threshold=200), ramp >= 200)
    text = refusal(palette_picture(tmp_path / "p.png", IDS), threshold=2)
    assert "a palette of colours has no threshold" in text


@pytest.mark.parametrize("values", [[0, 1], [0, 255], [0], [1], [255]])
def test_plain_masks_are_read(tmp_path: Path, values: list[int]) -> None:
    ids = np.array([values] * 3, np.uint8)
    Image.fromarray(ids).save(tmp_path / "x.png")
    assert np.array_equal(read_mask_picture(tmp_path / "x.png"), ids > 0)


def test_void_alone_is_no_foreground(tmp_path: Path) -> None:
    ids = np.array([[0, 255]], np.uint8)
    text = refusal(palette_picture(tmp_path / "x.png", ids, [*COLOURS, *[7, 9, 8] * 251, 224, 224, 192]))
    assert "0, 255 (void)" in text and "foreground=()" in text


def test_a_palette_of_black_and_white_goes_by_its_colours(tmp_path: Path) -> None:
    path = palette_picture(tmp_path / "x.png", np.array([[0, 1, 1]], np.uint8), [255, 255, 255, 0, 0, 0])
    assert read_mask_picture(path).tolist() == [[1, 0, 0]]


def test_labels_are_turned_as_the_contest_says(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[274] = 6
    image = Image.fromarray(IDS)
    image.save(tmp_path / "x.png", exif=exif)
    assert np.array_equal(read_label_picture(tmp_path / "x.png").ids, np.rot90(IDS, -1))
    assert np.array_equal(read_label_picture(tmp_path / "x.png", "stored").ids, IDS)


def test_grays_of_a_gif_are_its_labels(tmp_path: Path) -> None:
    """GIF has no gray pictures, so the grays that occur were numbered: 0, 1, 2, 255 became 0, 1, 2, 3."""
    ids = np.array([[0, 1, 2, 255]], np.uint8)
    Image.fromarray(ids).save(tmp_path / "x.gif")
    assert np.array_equal(read_label_picture(tmp_path / "x.gif").ids, ids)
    assert "0, 1, 2, 255 (void)" in refusal(tmp_path / "x.gif")


def test_palettes_of_grays_that_may_mean_two_things_are_refused(tmp_path: Path) -> None:
    few = palette_picture(tmp_path / "x.png", IDS, [0, 0, 0, 5, 5, 5, 9, 9, 9, 12, 12, 12])
    assert "the numbers 0, 1, 2, 3 as the grays 0, 5, 9, 12, and both may be classes" in refusal(few)
    spread = palette_picture(tmp_path / "y.png", IDS, [0, 0, 0, 85, 85, 85, 170, 170, 170, 255, 255, 255])
    assert np.array_equal(read_label_picture(spread).ids, IDS)
