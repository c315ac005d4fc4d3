from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import tifffile
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from medalist.codecs import windows
from medalist.codecs.windows import DecodedPicture
from medalist.competition import Competition
from medalist.data.items import contest_reader, reader
from medalist.data.settings import ImageConfig
from medalist.data.tiling import mirrored_places
from medalist.data.windows import WindowedImage, contest_opener, opener
from medalist.formats.rle import RleFormat

IMAGE = np.random.default_rng(0).integers(20, 200, (45, 33, 3)).astype(np.uint8)


@pytest.mark.parametrize("name", ["x.png", "x.tif"])
@pytest.mark.parametrize("contrast", ["as_is", "stretch"])
@pytest.mark.parametrize("invert", [False, True])
def test_windows_are_made_ready_as_whole_images_are(
    tmp_path: Path, name: str, contrast: str, invert: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(windows, "SMALL_PIXELS", 0)
    monkeypatch.setattr("medalist.data.windows.COUNTED", 100)
    config = ImageConfig.model_validate({"contrast": contrast, "invert": invert})
    if name == "x.png":
        Image.fromarray(IMAGE).save(tmp_path / name)
    else:
        tifffile.imwrite(tmp_path / name, IMAGE, photometric="rgb", tile=(16, 16), metadata=None)
    whole = reader(65535, config)(tmp_path / name)
    image = opener(65535, config, tmp_path)(tmp_path / name)
    assert image.size == (45, 33)
    np.testing.assert_array_equal(image.window(slice(0, 45), slice(0, 33)), whole)
    np.testing.assert_array_equal(image.window(slice(7, 30), slice(3, 4)), whole[7:30, 3:4])


def test_an_image_of_one_value_is_not_stretched(tmp_path: Path) -> None:
    Image.fromarray(np.full((5, 5, 3), 90, np.uint8)).save(tmp_path / "x.png")
    image = opener(65535, ImageConfig(contrast="stretch", invert=True), tmp_path)(tmp_path / "x.png")
    assert np.unique(image.window(slice(0, 5), slice(0, 5))).tolist() == [165]


def test_a_contest_that_reads_its_images_itself_is_seen_so_by_windows(tmp_path: Path) -> None:
    """A picture that is cut out of its bars is cut out in tiles too."""
    Image.fromarray(IMAGE).save(tmp_path / "x.png")
    plain = Competition("a", Path, max, min, RleFormat(), white=200)  # type: ignore[arg-type]
    cut = replace(plain, read_image=lambda path: plain.image(path)[5:40, 3:30])
    config = ImageConfig(contrast="stretch", invert=True)
    for contest, size in ((plain, (45, 33)), (cut, (35, 27))):
        image = contest_opener(contest, config, tmp_path)(tmp_path / "x.png")
        assert image.size == size
        whole = contest_reader(contest, config)(tmp_path / "x.png")
        np.testing.assert_array_equal(image.window(slice(2, size[0]), slice(1, 20)), whole[2:, 1:20])


@given(st.integers(1, 9), st.integers(0, 30), st.integers(0, 30))
def test_places_are_mirrored_as_numpy_pads(length: int, before: int, after: int) -> None:
    expected = np.pad(np.arange(length), (before, after), mode="symmetric")
    assert mirrored_places(range(-before, length + after), length).tolist() == expected.tolist()


@given(st.integers(0, 20), st.integers(1, 60), st.integers(0, 20), st.integers(1, 60))
def test_mirrored_windows_are_those_of_a_padded_image(top: int, height: int, left: int, width: int) -> None:
    padded = np.pad(IMAGE[:9, :7], ((20, 80), (20, 80), (0, 0)), mode="symmetric")
    image = WindowedImage(DecodedPicture(IMAGE[:9, :7]))
    found = image.mirrored(range(top - 20, top - 20 + height), range(left - 20, left - 20 + width))
    np.testing.assert_array_equal(found, padded[top : top + height, left : left + width])
