"""Cars: GIF masks, codes along the rows, folds by car, and Dice with its edges."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from medalist.competition import load_competition
from medalist.errors import DataError
from medalist.files import read_table
from medalist.folds.folds import make_folds
from medalist.folds.settings import FoldsConfig
from medalist.formats.rle import RleFormat
from medalist.formats.submission import write_submission
from medalist.layouts import mask
from medalist.records import Mask, Sample

CONTEST = load_competition("carvana", Path(__file__).parents[2])
SEED = 1
drawing: Any = importlib.import_module("competitions.carvana.draw")


def row(*pixels: int) -> Mask:
    return Mask(np.array([pixels], np.uint8))


def test_the_layout_is_that_of_the_download(drawn: Path) -> None:
    names = {path.name for path in drawn.iterdir()}
    assert names == {"train", "train_masks", "test", "train_masks.csv", "sample_submission.csv"}
    photos = {path.name for path in (drawn / "train").iterdir()}
    assert {path.name for path in (drawn / "train_masks").iterdir()} == {
        photo.replace(".jpg", "_mask.gif") for photo in photos
    }
    with Image.open(next((drawn / "train_masks").iterdir())) as image:
        assert image.format == "GIF"


def test_reading_gives_back_what_was_drawn(drawn: Path) -> None:
    split = CONTEST.read(drawn)
    made = {photo.name: photo for photo in drawing.photos(SEED)}
    assert (len(split.train), len(split.test)) == (16, 8)
    for sample in split.train:
        truth = CONTEST.truth(drawn, sample)
        assert isinstance(truth, Mask)
        np.testing.assert_array_equal(truth.classes, made[sample.id].mask)


def test_masks_and_codes_of_the_contest_say_the_same(drawn: Path) -> None:
    """The csv of codes is not read; it has the pixels along the rows."""
    assert isinstance(CONTEST.submission, RleFormat)
    split = CONTEST.read(drawn)
    codes = {one["img"]: one["rle_mask"] for one in read_table(drawn / "train_masks.csv", ("img", "rle_mask"))}
    for sample in split.train:
        by_code = mask(drawn, Sample(sample.id, (), sample.size, (codes[sample.id],)), order="row")
        truth = CONTEST.truth(drawn, sample)
        assert isinstance(truth, Mask)
        np.testing.assert_array_equal(by_code.classes, truth.classes)
        assert CONTEST.submission.rows(sample.id, truth) == [(sample.id, codes[sample.id])]


def test_all_views_of_a_car_are_in_one_fold(drawn: Path) -> None:
    train = CONTEST.read(drawn).train
    folds = make_folds(train, FoldsConfig(n=4, seed=0))
    cars = [{name.partition("_")[0] for name in folds.held_out(fold)} for fold in range(4)]
    assert all(len(held) == 1 for held in cars) and len(set.union(*cars)) == 4


def test_dice_by_hand() -> None:
    truths = {"a": row(1, 1, 0, 0), "b": row(0, 0, 0, 0), "c": row(0, 0, 0, 0)}
    answers = {"a": row(0, 1, 1, 0), "b": row(0, 0, 0, 0), "c": row(0, 0, 0, 1)}
    assert CONTEST.score(truths, answers).by_sample == {"a": 0.5, "b": 1.0, "c": 0.0}


def test_one_false_pixel_on_an_empty_image_costs_that_image() -> None:
    """The mean over images gives 0.5, where the Dice of all pixels together is 0.990."""
    truths = {"a": Mask(np.ones((5, 10), np.uint8)), "b": Mask(np.zeros((5, 10), np.uint8))}
    one = np.zeros((5, 10), np.uint8)
    one[2, 2] = 1
    assert CONTEST.score(truths, {"a": truths["a"], "b": Mask(one)}).value == 0.5


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
        (lambda root: next((root / "train_masks").iterdir()).unlink(), r"is a train image without a mask"),
        (lambda root: next((root / "train").iterdir()).unlink(), r"has a mask but no train image"),
        (lambda root: (root / "train" / "photo.jpg").write_bytes(b""), r"'photo\.jpg' \(photos are named"),
        (lambda root: (root / "test").rename(root / "tests"), r"no folder 'test'"),
    ],
)
def test_faults_of_the_files_are_named(root: Path, spoil: Callable[[Path], object], match: str) -> None:
    spoil(root)
    with pytest.raises(DataError, match=match) as caught:
        CONTEST.read(root)
    assert "\n" not in str(caught.value)
