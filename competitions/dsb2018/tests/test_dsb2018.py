from __future__ import annotations

import csv
import importlib
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from medalist.competition import load_competition
from medalist.errors import DataError
from medalist.records import Instances

DSB2018 = load_competition("dsb2018", Path(__file__).parents[2])
appearance: Callable[[Any], str] = importlib.import_module("competitions.dsb2018.data").appearance


def draw(root: Path, part: str, name: str, pixels: np.ndarray) -> None:
    path = root / part / name / "images" / f"{name}.png"
    path.parent.mkdir(parents=True)
    Image.fromarray(pixels).save(path)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Return a folder in the form of the download: RGBA images with a folder of masks beside them."""
    dark = np.full((4, 6, 4), (9, 9, 9, 255), np.uint8)
    stain = np.full((4, 6, 4), (200, 120, 190, 255), np.uint8)
    draw(tmp_path, "stage1_train", "a", dark)
    draw(tmp_path, "stage1_train", "b", stain)
    (tmp_path / "stage1_train" / "a" / "masks").mkdir()
    Image.fromarray(np.zeros((4, 6), np.uint8)).save(tmp_path / "stage1_train" / "a" / "masks" / "1.png")
    draw(tmp_path, "stage1_test", "c", 255 - dark + np.uint8(255))
    draw(tmp_path, "stage1_test", "d", np.full((5, 5), 220, np.uint8))
    (tmp_path / "stage1_train_labels.csv").write_text("ImageId,EncodedPixels\nb,1 4\na,6 2\na,1 1\n")
    (tmp_path / "sample_submission.csv").write_text("ImageId,EncodedPixels\nd,1 1\nc,1 1\n")
    return tmp_path


def test_the_download_is_read(root: Path) -> None:
    split = DSB2018.read(root)
    assert [(one.id, one.size, one.stratum, one.annotation) for one in split.train] == [
        ("a", (4, 6), "dark_gray", ("6 2", "1 1")),
        ("b", (4, 6), "colour_stain", ("1 4",)),
    ]
    assert [(one.id, one.size, one.stratum) for one in split.test] == [
        ("d", (5, 5), "bright_gray"),
        ("c", (4, 6), "bright_gray"),
    ]


def test_pixels_are_counted_from_1_down_the_columns(root: Path) -> None:
    truth = DSB2018.truth(root, DSB2018.read(root).train[0])
    assert isinstance(truth, Instances)
    expected = np.zeros((4, 6), int)
    expected[1, 1] = expected[2, 1] = 1  # pixels 6 and 7, counted down columns of 4 pixels
    expected[0, 0] = 2
    np.testing.assert_array_equal(truth.labels, expected)


def test_a_bad_code_names_csv_image_and_object(root: Path) -> None:
    (root / "stage1_train_labels.csv").write_text("ImageId,EncodedPixels\nb,1 4\na,6 2\na,24 2\n")
    sample = DSB2018.read(root).train[0]
    with pytest.raises(DataError, match=r"stage1_train_labels\.csv: image a: object 2: .*24 2"):
        DSB2018.truth(root, sample)


@pytest.mark.parametrize(
    ("spoil", "match"),
    [
        (lambda root: (root / "stage1_train_labels.csv").unlink(), r"stage1_train_labels\.csv"),
        (lambda root: (root / "sample_submission.csv").unlink(), r"sample_submission\.csv"),
        (lambda root: (root / "stage1_train").rename(root / "train"), "no folder 'stage1_train' in .*--data"),
        (lambda root: (root / "stage1_test").rename(root / "test"), "no folder 'stage1_test' in .*--data"),
        (
            lambda root: (root / "stage1_test" / "c" / "images" / "c.png").unlink(),
            "c/images holds no image",
        ),
        (
            lambda root: (root / "stage1_train_labels.csv").write_text("ImageId,rle\na,1 1\n"),
            r"stage1_train_labels\.csv.*EncodedPixels",
        ),
        (
            lambda root: (root / "stage1_train_labels.csv").write_text("ImageId,EncodedPixels\na,1 1\nz,1 1\n"),
            "'z' has a row .* but no train image; 'b' is a train image without a row",
        ),
        (
            lambda root: (root / "stage1_test" / "c" / "images" / "c.png").write_bytes(b"\x89PNG"),
            r"1 of 4 images cannot be read: 'c': .*c\.png",
        ),
    ],
)
def test_faults_of_the_files_are_named(root: Path, spoil: Callable[[Path], object], match: str) -> None:
    spoil(root)
    with pytest.raises(DataError, match=match) as caught:
        DSB2018.read(root)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("colour", "expected"),
    [
        ((0, 0, 0), "dark_gray"),
        ((58, 58, 58), "dark_gray"),
        ((205, 205, 205), "bright_gray"),
        ((255, 255, 255), "bright_gray"),
        ((90, 60, 120), "colour_stain"),
        ((250, 235, 250), "colour_stain"),
    ],
)
def test_looks(colour: tuple[int, int, int], expected: str) -> None:
    for size in ((1, 1), (3, 5), (64, 48)):
        assert appearance(np.full((*size, 3), colour, np.uint8)) == expected


@pytest.mark.data
def test_the_real_contest(contest_data: Callable[[str], Path]) -> None:
    root = contest_data("dsb2018")
    split = DSB2018.read(root)
    assert (len(split.train), len(split.test)) == (498, 166)
    assert sum(len(sample.annotation) for sample in split.train) == 22_108
    with (root / "stage1_train_meta.csv").open(newline="") as file:
        meta = {row["ImageId"]: row for row in csv.DictReader(file)}
    for sample in split.train:
        row = meta[sample.id]
        assert sample.stratum == row["Modality"]
        assert sample.size == (int(row["Height"]), int(row["Width"]))
        assert len(sample.annotation) == int(row["Objects"])
    strata = Counter(sample.stratum for sample in split.test)
    assert strata == {"dark_gray": 135, "colour_stain": 27, "bright_gray": 4}
