"""Slides: the layout of the download, folds by donor, and Dice by slide."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from drawn_files import edit
from PIL import Image

from medalist.competition import load_competition
from medalist.errors import DataError
from medalist.folds.folds import make_folds
from medalist.folds.settings import FoldsConfig
from medalist.formats.rle import RleFormat
from medalist.formats.submission import write_submission
from medalist.records import Mask

CONTEST = load_competition("hubmap", Path(__file__).parents[2])
SEED = 1
INFORMATION = "HuBMAP-20-dataset_information.csv"
drawing: Any = importlib.import_module("competitions.hubmap.draw")


def slide(*rows: str) -> Mask:
    return Mask(np.array([[int(one) for one in row] for row in rows], np.uint8))


def test_the_layout_is_that_of_the_download(drawn: Path) -> None:
    assert {path.name for path in drawn.iterdir()} == {
        "train", "test", "train.csv", "sample_submission.csv", INFORMATION,
    }  # fmt: skip
    assert (drawn / "train.csv").read_text().splitlines()[0] == "id,encoding"
    assert (drawn / "sample_submission.csv").read_text().splitlines()[0] == "id,predicted"
    with Image.open(next((drawn / "train").iterdir())) as image:
        assert image.format == "TIFF"


def test_reading_gives_back_what_was_drawn(root: Path) -> None:
    (root / "train" / "a-anatomical-structure.json").write_text("[]")  # files that the download has too
    split = CONTEST.read(root)
    made = {one.id: one for one in drawing.slides(SEED)}
    assert (len(split.train), len(split.test)) == (6, 5)
    for sample in split.all:
        np.testing.assert_array_equal(CONTEST.image(sample.images[0]), made[sample.id].image)
    for sample in split.train:
        truth = CONTEST.truth(root, sample)
        assert isinstance(truth, Mask)
        np.testing.assert_array_equal(truth.classes, made[sample.id].mask)
        assert sample.group == str(made[sample.id].donor)


def test_slides_of_a_donor_are_in_one_fold(drawn: Path) -> None:
    train = CONTEST.read(drawn).train
    folds = make_folds(train, FoldsConfig(n=3, seed=0))
    donors = {sample.id: sample.group for sample in train}
    held = [{donors[name] for name in folds.held_out(fold)} for fold in range(3)]
    assert not (held[0] & held[1] or held[0] & held[2] or held[1] & held[2])


def test_dice_is_a_mean_over_slides_and_1_where_both_are_empty() -> None:
    truths = {"a": slide("1100"), "b": slide("0000"), "c": slide("0000"), "d": slide("1111")}
    answers = {"a": slide("0110"), "b": slide("0000"), "c": slide("1000"), "d": slide("1111")}
    found = CONTEST.score(truths, answers)
    assert found.by_sample == {"a": 0.5, "b": 1.0, "c": 0.0, "d": 1.0}
    assert found.value == 2.5 / 4  # the Dice of all pixels together would be 0.77


def test_pixels_are_counted_down_the_columns() -> None:
    assert isinstance(CONTEST.submission, RleFormat)
    assert CONTEST.submission.rows("a", slide("010", "010")) == [("a", "3 2")]


def test_the_hidden_truth_goes_through_the_file(drawn: Path, tmp_path: Path) -> None:
    test = CONTEST.read(drawn).test
    hidden = drawing.hidden_truth(SEED)
    path = tmp_path / "s.csv"
    write_submission(path, CONTEST.submission, [(sample.id, hidden[sample.id]) for sample in test])
    assert CONTEST.submission.validate(path, test, drawn / "sample_submission.csv") == []
    assert CONTEST.score(hidden, CONTEST.submission.parse(path, test)).value == 1.0


@pytest.mark.parametrize(
    ("spoil", "match"),
    [
        (lambda root: edit(root / INFORMATION, lambda rows: rows[:2]), r"no patient_number of the slide"),
        (
            lambda root: edit(root / INFORMATION, lambda rows: [rows[0].replace("_n", "n"), *rows[1:]]),
            r"patient_number",
        ),
        (lambda root: next((root / "train").iterdir()).write_bytes(b"II*\0"), r"1 of 11 images cannot be read"),
        (lambda root: edit(root / "train.csv", lambda rows: rows[:-1]), r"without a row in the annotations"),
    ],
)
def test_faults_of_the_files_are_named(root: Path, spoil: Callable[[Path], object], match: str) -> None:
    spoil(root)
    with pytest.raises(DataError, match=match) as caught:
        CONTEST.read(root)
    assert "\n" not in str(caught.value)
