"""Streets: values of label pictures, void that weighs nothing, folds by city, and a submission of pictures."""

from __future__ import annotations

import importlib
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from medalist.competition import load_competition
from medalist.errors import DataError
from medalist.folds.folds import make_folds
from medalist.folds.settings import FoldsConfig
from medalist.records import Mask

CONTEST = load_competition("cityscapes", Path(__file__).parents[2])
SEED = 1
drawing: Any = importlib.import_module("competitions.cityscapes.draw")
reading: Any = importlib.import_module("competitions.cityscapes.data")
LABELS = "gtFine/train/aachen/aachen_000000_000000_gtFine_labelIds.png"


def street(*pixels: int, void: tuple[int, ...] = ()) -> Mask:
    found = np.array([pixels], np.uint8)
    return Mask(found, np.isin(np.arange(len(pixels)), void)[np.newaxis] if void else None)


def test_the_layout_is_that_of_the_archives(drawn: Path) -> None:
    assert {path.name for path in drawn.iterdir()} == {"leftImg8bit", "gtFine"}
    assert (drawn / LABELS).is_file()
    assert (drawn / "leftImg8bit" / "train" / "aachen" / "aachen_000000_000000_leftImg8bit.png").is_file()


def test_the_19_classes_have_the_values_of_the_data_sets_scripts() -> None:
    assert len(reading.IDS) == 19 == len(CONTEST.classes)
    assert (CONTEST.classes[0], CONTEST.classes[13], CONTEST.classes[18]) == ("road", "car", "bicycle")
    assert (reading.IDS[7], reading.IDS[26], reading.IDS[33]) == ("road", "car", "bicycle")
    assert sorted((*reading.IDS, *reading.VOID)) == [*range(34), 255]


def test_reading_gives_back_what_was_drawn(drawn: Path) -> None:
    split = CONTEST.read(drawn)
    assert (len(split.train), len(split.test)) == (16, 8)
    for sample in split.train:
        city, _, number = sample.id.split("_")
        picture, classes = drawing.scene(SEED, city, int(number))
        truth = CONTEST.truth(drawn, sample)
        assert isinstance(truth, Mask) and truth.void is not None
        np.testing.assert_array_equal(truth.void, classes == 19)
        np.testing.assert_array_equal(truth.classes, np.where(classes == 19, 0, classes))
        np.testing.assert_array_equal(CONTEST.image(sample.images[0]), picture)
        assert sample.group == city and sample.meta["part"] == ("val" if city == "lindau" else "train")


def test_a_city_is_in_one_fold(drawn: Path) -> None:
    train = CONTEST.read(drawn).train
    folds = make_folds(train, FoldsConfig(n=4, seed=0))
    cities = [{name.partition("_")[0] for name in folds.held_out(fold)} for fold in range(4)]
    assert all(len(held) == 1 for held in cities) and len(set.union(*cities)) == 4


def test_mean_iou_over_all_pixels_without_void() -> None:
    truths = {"a": street(0, 0, 1, 0, void=(3,)), "b": street(1, 1, 2, 2)}
    answers = {"a": street(0, 0, 1, 5), "b": street(1, 2, 2, 2)}
    found = CONTEST.score(truths, answers)
    # Classes 0, 1 and 2 have IoUs of 2/2, 2/3 and 2/3; class 5 is answered on void alone, and does not count.
    assert found.value == pytest.approx((1 + 2 / 3 + 2 / 3) / 3)
    worse = CONTEST.score(truths, {**answers, "a": street(0, 5, 1, 0)})
    assert worse.value == pytest.approx((1 / 2 + 2 / 3 + 2 / 3 + 0) / 4)  # a class that only the answers have has 0


def test_the_submission_has_pictures_of_the_data_sets_values(drawn: Path, tmp_path: Path) -> None:
    test = CONTEST.read(drawn).test
    hidden = drawing.hidden_truth(SEED)
    path = tmp_path / "s.zip"
    CONTEST.submission.write(path, [(sample.id, hidden[sample.id]) for sample in test])  # type: ignore[union-attr]
    assert CONTEST.submission.validate(path, test) == []
    assert CONTEST.score(hidden, CONTEST.submission.parse(path, test)).value == 1.0
    shutil.unpack_archive(path, tmp_path / "s")
    assert {one.name for one in (tmp_path / "s").iterdir()} == {f"{sample.id}.png" for sample in test}
    with Image.open(tmp_path / "s" / f"{test[0].id}.png") as image:
        assert set(np.array(image).ravel().tolist()) <= set(reading.IDS)


def unknown(root: Path) -> None:
    Image.fromarray(np.full((64, 128), 40, np.uint8)).save(root / LABELS)


def test_a_value_that_the_data_set_lacks_is_named(root: Path) -> None:
    unknown(root)
    with pytest.raises(DataError, match=r"aachen_000000_000000: .*the value 40 \(8,192 pixels\) is no class") as caught:
        CONTEST.truth(root, CONTEST.read(root).train[0])
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("spoil", "match"),
    [
        (lambda root: (root / LABELS).unlink(), r"'aachen_000000_000000' is a train image without a mask"),
        (lambda root: shutil.rmtree(root / "leftImg8bit" / "val"), r"no folder 'val'"),
        (lambda root: shutil.rmtree(root / "gtFine"), r"no folder .*gtFine"),
    ],
)
def test_faults_of_the_files_are_named(root: Path, spoil: Callable[[Path], object], match: str) -> None:
    spoil(root)
    with pytest.raises(DataError, match=match) as caught:
        CONTEST.read(root)
    assert "\n" not in str(caught.value)
