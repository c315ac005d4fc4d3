from __future__ import annotations

import io
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import tifffile
from numpy.typing import NDArray
from PIL import Image

from medalist.competition import Competition
from medalist.contest import Contest
from medalist.errors import DataError
from medalist.formats.rle import RleFormat
from medalist.layouts import images_in_folder, mask, read_split
from medalist.metrics.masks import mean_dice
from medalist.records import Grouping
from medalist.reporter import SilentReporter
from medalist.workflows.check import images_decode
from medalist.workflows.seen import implausible_images

RANDOM = np.random.default_rng(6)


def contest_of(root: Path, white: int = 65535) -> Contest:
    train, test = images_in_folder(root, "train"), images_in_folder(root, "test")
    split = read_split(train, test, {name: () for name, _ in train})
    competition = Competition("x", lambda data: split, mask, mean_dice, RleFormat(), white=white)
    return Contest(competition, root, split)


def grouped(contest: Contest) -> Contest:
    """The contest with groups, so that nothing is said of copies."""
    return replace(contest, competition=replace(contest.competition, groups=lambda samples: Grouping({})))


def lines_of(contest: Contest, quiet: SilentReporter) -> list[str]:
    return list(implausible_images(contest, images_decode(contest, quiet)))


def texture(height: int = 80, width: int = 96) -> NDArray[np.uint8]:
    coarse = RANDOM.integers(0, 256, (height // 4, width // 4, 3)).astype(np.uint8)
    return np.asarray(Image.fromarray(coarse).resize((width, height)))


def put(root: Path, part: str, **images: NDArray[np.uint8]) -> None:
    (root / part).mkdir(exist_ok=True)
    for name, image in images.items():
        Image.fromarray(image).save(root / part / f"{name}.png")


@pytest.mark.parametrize(("bits", "white"), [(8, 255), (10, 1023), (12, 4095), (14, 16383)])
def test_few_bits_in_16_are_told_with_the_white_to_type(
    tmp_path: Path, quiet: SilentReporter, bits: int, white: int
) -> None:
    for part, values in (("train", [0, white // 3]), ("test", [1, white])):
        (tmp_path / part).mkdir()
        tifffile.imwrite(tmp_path / part / f"{part}.tif", np.array([values], np.uint16), photometric="minisblack")
    (text,) = lines_of(grouped(contest_of(tmp_path)), quiet)
    assert f"brightest value of 2 images with 16 bits is {white} of 65535" in text
    assert f"hold {bits} bits, type white={white} in the Competition" in text
    assert not lines_of(grouped(contest_of(tmp_path, white)), quiet)


def test_twelve_bits_are_told(case: Callable[[str], Path], tmp_path: Path, quiet: SilentReporter) -> None:
    for part in ("train", "test"):
        (tmp_path / part).mkdir()
        (tmp_path / part / f"{part}.tif").write_bytes(case("twelve_bits_in_16.tif").read_bytes())
    (text,) = lines_of(grouped(contest_of(tmp_path)), quiet)
    assert "is 4095 of 65535" in text and "16 of 255 as the largest value" in text and "type white=4095" in text


def test_deep_images_that_use_their_bits_give_no_word(tmp_path: Path, quiet: SilentReporter) -> None:
    for part in ("train", "test"):
        (tmp_path / part).mkdir()
        values = np.array([[0, 40000]], np.uint16)
        tifffile.imwrite(tmp_path / part / f"{part}.tif", values, photometric="minisblack")
    assert not lines_of(grouped(contest_of(tmp_path)), quiet)


def test_pages_that_are_not_read_are_told(tmp_path: Path, quiet: SilentReporter) -> None:
    for part in ("train", "test"):
        (tmp_path / part).mkdir()
        with tifffile.TiffWriter(tmp_path / part / f"{part}.tif") as file:
            for _ in range(3):
                file.write(texture()[..., 0], photometric="minisblack")
    (text,) = lines_of(contest_of(tmp_path), quiet)
    assert "2 images have several pages, of which only the first full one is read: train, test" in text


def test_near_copies_without_groups_are_told(tmp_path: Path, quiet: SilentReporter) -> None:
    one, other = texture(), texture()
    packed = io.BytesIO()
    Image.fromarray(one[:, ::-1]).resize((70, 60)).save(packed, "JPEG", quality=80)
    again = np.asarray(Image.open(packed))
    put(tmp_path, "train", a=one, b=other, c=again, d=texture())
    put(tmp_path, "test", t=other // 2 + 20, u=texture())
    contest = contest_of(tmp_path)
    (text,) = lines_of(contest, quiet)
    assert text.startswith("1 pairs of training images are near copies of each other, and 1 pairs join training and")
    assert "for example a and c" in text and "groups=field_groups" in text
    assert not lines_of(grouped(contest), quiet)
    train = tuple(replace(sample, group="g") for sample in contest.split.train)
    assert not lines_of(replace(contest, split=replace(contest.split, train=train)), quiet)


def test_pictures_of_one_sort_are_no_copies(tmp_path: Path, quiet: SilentReporter) -> None:
    """They share a strong outline, as pictures of eyes do."""
    down, right = np.mgrid[:80, :96]
    disc = ((down - 40) ** 2 + (right - 48) ** 2 < 36**2)[..., None]
    for part in ("train", "test"):
        put(tmp_path, part, **{f"{part}{n}": (disc * (150 + texture() // 8)).astype(np.uint8) for n in range(4)})
    assert not lines_of(contest_of(tmp_path), quiet)


def test_images_that_are_too_large_to_be_read_whole_are_decoded_by_windows(
    tmp_path: Path, quiet: SilentReporter, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(tmp_path, "train", a=texture(), b=texture())
    put(tmp_path, "test", c=texture())
    for module in ("workflows.seen", "codecs.headers"):
        monkeypatch.setattr(f"medalist.{module}.MOST_PIXELS", 1000)
    monkeypatch.setattr("medalist.codecs.windows.SMALL_PIXELS", 0)
    contest = contest_of(tmp_path)
    assert images_decode(contest, quiet).bad == []
    path = tmp_path / "train" / "b.png"
    path.write_bytes(path.read_bytes()[:-300])
    (tmp_path / "test" / "c.png").write_bytes((tmp_path / "train" / "a.png").read_bytes())
    wide = replace(contest.split.test[0], size=(96, 80))
    split = replace(contest.split, test=(wide,))
    with pytest.raises(
        DataError, match=r"^2 bad images: sample b: .*b\.png: damaged or cut off.*; sample c: "
    ) as raised:
        images_decode(replace(contest, split=split), quiet)
    assert "is (80, 96), but its size was given as (96, 80)" in str(raised.value)
