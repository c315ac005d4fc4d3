from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from medalist.codecs.images import read_image
from medalist.competition import Competition
from medalist.contest import Contest
from medalist.formats.rle import RleFormat
from medalist.layouts import images_in_folder, mask_picture, masks_in_folder, read_split
from medalist.metrics.masks import mean_dice
from medalist.records import Answer, Mask, Sample
from medalist.workflows.check import truths_decode
from medalist.workflows.mask_files import implausible_mask_files


def contest_of(root: Path, mask: Path, truth: Callable[[Path, Sample], Answer]) -> Contest:
    """A contest of one training image, whose mask is a copy of the file `mask`."""
    for part in ("train", "test", "masks"):
        (root / part).mkdir()
    (root / "masks" / f"a{mask.suffix}").write_bytes(mask.read_bytes())
    with Image.open(mask) as image:
        size = image.size
    for part, name in (("train", "a"), ("test", "t")):
        Image.new("RGB", size).save(root / part / f"{name}.png")
    masks = masks_in_folder(root, "masks")
    split = read_split(images_in_folder(root, "train"), images_in_folder(root, "test"), masks=masks, root=root)
    form = RleFormat(row_per="image")
    return Contest(Competition("x", lambda data: split, truth, mean_dice, form), root, split)


def lines_of(contest: Contest) -> list[str]:
    return list(implausible_mask_files(contest, truths_decode(contest)))


def channel_of(data: Path, sample: Sample) -> Mask:
    """A truth as it is often written: colours in place of numbers."""
    colours: NDArray[np.uint8] = read_image(data / sample.annotation[0])
    return Mask((colours[..., 0] > 0).astype(np.uint8))


def test_colours_in_place_of_numbers_are_found(tmp_path: Path) -> None:
    image = Image.fromarray(np.arange(4, dtype=np.uint8).repeat(20).reshape(8, 10), mode="P")
    image.putpalette([0, 0, 0, 128, 0, 0, 0, 128, 0, 128, 128, 0])
    image.save(tmp_path / "labels.png")
    (text,) = lines_of(contest_of(tmp_path, tmp_path / "labels.png", channel_of))
    assert "sample a: a.png has the values 0, 1, 2, 3 by its palette" in text
    assert "in its truth 2 is background, as in one colour channel" in text and "foreground=(1,)" in text


def test_void_that_became_foreground_is_found(case: Callable[[str], Path], tmp_path: Path) -> None:
    def nonzero(data: Path, sample: Sample) -> Mask:
        return Mask((np.asarray(Image.open(data / sample.annotation[0])) > 0).astype(np.uint8))

    (text,) = lines_of(contest_of(tmp_path, case("ids_palette.png"), nonzero))
    assert "void, 255, is foreground" in text


@pytest.mark.parametrize("foreground", [(1,), (1, 2), (1, 2, 3)])
def test_chosen_numbers_give_no_word(case: Callable[[str], Path], tmp_path: Path, foreground: tuple[int, ...]) -> None:
    def truth(data: Path, sample: Sample) -> Mask:
        return mask_picture(data, sample, foreground=foreground)

    assert not lines_of(contest_of(tmp_path, case("ids_palette.png"), truth))


def test_lossy_masks_are_told(case: Callable[[str], Path], tmp_path: Path) -> None:
    (text,) = lines_of(contest_of(tmp_path, case("mask_lossy.jpg"), mask_picture))
    assert text.startswith("1 masks are JPEG files") and "look at some" in text


@pytest.mark.parametrize("name", ["mask.png", "mask.gif"])
def test_plain_masks_give_no_word(case: Callable[[str], Path], tmp_path: Path, name: str) -> None:
    assert not lines_of(contest_of(tmp_path, case(name), mask_picture))
