"""Contrails: arrays are read without pickles, false colours by hand, folds by day, and one Dice over all pixels."""

from __future__ import annotations

import importlib
import json
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from medalist.competition import load_competition
from medalist.errors import DataError, SubmissionError
from medalist.formats.rle import RleFormat
from medalist.formats.submission import write_submission
from medalist.records import Mask

CONTEST = load_competition("contrails", Path(__file__).parents[2])
SEED = 1
drawing: Any = importlib.import_module("competitions.contrails.draw")


def first_record(root: Path, part: str = "train") -> Path:
    return min(path for path in (root / part).iterdir())


def row(*pixels: int) -> Mask:
    return Mask(np.array([pixels], np.uint8))


def test_the_layout_is_that_of_the_download(drawn: Path) -> None:
    assert {path.name for path in drawn.iterdir()} == {
        "train", "validation", "test", "train_metadata.json", "validation_metadata.json", "sample_submission.csv",
    }  # fmt: skip
    bands = {f"band_{band:02}.npy" for band in range(8, 17)}
    assert {path.name for path in first_record(drawn).iterdir()} == {*bands, "human_pixel_masks.npy"}
    assert {path.name for path in first_record(drawn, "test").iterdir()} == bands


def test_reading_gives_back_what_was_drawn(drawn: Path) -> None:
    split = CONTEST.read(drawn)
    assert (len(split.train), len(split.test)) == (16, 5)
    made = {**drawing.records(SEED, "train"), **drawing.records(SEED, "validation")}
    for sample in split.train:
        truth = CONTEST.truth(drawn, sample)
        assert isinstance(truth, Mask)
        np.testing.assert_array_equal(truth.classes, made[sample.id][1][..., 0])
        assert sample.size == (64, 64) and len(sample.images) == 3
        assert sample.stratum == ("with contrails" if truth.classes.any() else "empty")
    assert [sample.meta["part"] for sample in split.train] == ["train"] * 12 + ["validation"] * 4


def test_false_colours_by_hand(tmp_path: Path) -> None:
    """Frame 4 alone is seen. Red: 12.3 - 11.2 micrometres in -4..2; green: 11.2 - 8.4 in -4..5; blue: 11.2."""
    values = {11: 273.0, 14: 273.0, 15: 271.0}
    for band, value in values.items():
        frames = np.zeros((1, 2, 8), np.float32)
        frames[..., 4] = value
        np.save(tmp_path / f"band_{band}.npy", frames)
    red, green, blue = CONTEST.image(tmp_path / "band_11.npy")[0, 0].tolist()
    assert (red, green, blue) == (round(255 * 2 / 6), round(255 * 4 / 9), round(255 * 30 / 60))


def test_a_contrail_is_darker_in_red_and_green(drawn: Path) -> None:
    for sample in CONTEST.read(drawn).train:
        truth, image = CONTEST.truth(drawn, sample), CONTEST.image(sample.images[0]).astype(int)
        assert isinstance(truth, Mask)
        trail = truth.classes > 0
        if trail.any():
            assert image[trail][:, 0].mean() < image[~trail][:, 0].mean() - 30
            assert image[trail][:, 1].mean() < image[~trail][:, 1].mean() - 30


def test_pixels_without_a_value_are_black(root: Path) -> None:
    band = first_record(root) / "band_14.npy"
    values = np.load(band)
    values[3, 5, :] = np.nan
    values[4, 5, :] = np.inf
    np.save(band, values)
    image = CONTEST.image(first_record(root) / "band_11.npy")
    assert image[3, 5].tolist() == [0, 0, 0] and image.dtype == np.uint8


def test_records_of_one_day_share_a_group(drawn: Path) -> None:
    listed = json.loads((drawn / "train_metadata.json").read_text())
    groups = {sample.id: sample.group for sample in CONTEST.read(drawn).train}
    assert groups[listed[0]["record_id"]] == groups[listed[1]["record_id"]] == "2019-06-08"
    assert groups[listed[2]["record_id"]] == "2019-06-09"


def test_times_may_be_text(root: Path) -> None:
    path = root / "train_metadata.json"
    listed = json.loads(path.read_text())
    listed[0]["timestamp"] = "2019-12-24T23:50:00Z"
    path.write_text(json.dumps(listed))
    groups = {sample.id: sample.group for sample in CONTEST.read(root).train}
    assert groups[listed[0]["record_id"]] == "2019-12-24"


def test_one_dice_over_all_pixels() -> None:
    truths = {"a": row(*[1] * 50), "b": row(*[0] * 50)}
    answers = {"a": row(*[1] * 50), "b": row(1, *[0] * 49)}
    assert CONTEST.score(truths, answers).value == pytest.approx(100 / 101)  # the mean over images would be 0.5
    assert CONTEST.score({"b": truths["b"]}, {"b": truths["b"]}).value == 1.0


def test_an_empty_answer_is_a_dash(drawn: Path, tmp_path: Path) -> None:
    test = CONTEST.read(drawn).test
    empty = Mask(np.zeros((64, 64), np.uint8))
    assert isinstance(CONTEST.submission, RleFormat)
    assert CONTEST.submission.rows("a", empty) == [("a", "-")]
    path = tmp_path / "s.csv"
    path.write_text("\n".join(["record_id,encoded_pixels", *(f"{sample.id}," for sample in test)]) + "\n")
    problems = CONTEST.submission.validate(path, test)
    assert problems[0].row == 2 and "written as '-'" in problems[0].rule
    with pytest.raises(SubmissionError):
        CONTEST.submission.parse(path, test)


def test_the_hidden_truth_goes_through_the_file(drawn: Path, tmp_path: Path) -> None:
    test = CONTEST.read(drawn).test
    hidden = drawing.hidden_truth(SEED)
    path = tmp_path / "s.csv"
    write_submission(path, CONTEST.submission, [(sample.id, hidden[sample.id]) for sample in test])
    assert CONTEST.submission.validate(path, test, drawn / "sample_submission.csv") == []
    assert CONTEST.score(hidden, CONTEST.submission.parse(path, test)).value == 1.0


def test_the_reader_goes_to_other_processes(drawn: Path) -> None:
    image = pickle.loads(pickle.dumps(CONTEST.image))(CONTEST.read(drawn).train[0].images[0])
    np.testing.assert_array_equal(image, CONTEST.image(CONTEST.read(drawn).train[0].images[0]))


def of_objects(root: Path) -> None:
    np.save(first_record(root) / "band_14.npy", np.array([{}], object), allow_pickle=True)


@pytest.mark.parametrize(
    ("spoil", "match"),
    [
        (of_objects, r"1 bad records in .*train: .*band_14\.npy: an array of object; only arrays of numbers are read"),
        (lambda root: (first_record(root) / "band_15.npy").unlink(), r"band_15\.npy: No such file"),
        (
            lambda root: np.save(first_record(root) / "band_11.npy", np.zeros((64, 64, 8), "<U3")),
            r"band_11\.npy: an array",
        ),
        (lambda root: np.save(first_record(root) / "band_11.npy", np.zeros((64, 64, 3))), r"must have one shape"),
        (lambda root: (root / "train_metadata.json").write_text("{}"), r"is not in train_metadata\.json"),
        (lambda root: (root / "train_metadata.json").write_text('[{"record_id": 1}]'), r"no list of records"),
        (lambda root: (first_record(root) / "human_pixel_masks.npy").write_bytes(b"no array"), r"no \.npy file"),
        (lambda root: (root / "sample_submission.csv").write_text("record_id,encoded_pixels\n1,-\n"), r"'1' has a row"),
    ],
)
def test_faults_of_the_files_are_named(root: Path, spoil: Callable[[Path], object], match: str) -> None:
    spoil(root)
    with pytest.raises(DataError, match=match) as caught:
        CONTEST.read(root)
    assert "\n" not in str(caught.value)


def test_a_mask_with_other_values_is_refused(root: Path) -> None:
    np.save(first_record(root) / "human_pixel_masks.npy", np.full((64, 64, 1), 255))
    with pytest.raises(DataError, match=r"human_pixel_masks\.npy: a mask has 0 and 1, and this has 255"):
        CONTEST.truth(root, CONTEST.read(root).train[0])
