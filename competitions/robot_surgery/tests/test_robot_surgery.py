"""Instruments: the picture in its black bars, three questions about one data folder, and folds by video."""

from __future__ import annotations

import importlib
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from medalist.codecs.images import read_image
from medalist.competition import load_competition
from medalist.errors import DataError
from medalist.folds.folds import make_folds
from medalist.folds.settings import FoldsConfig
from medalist.records import Mask

FOLDER = Path(__file__).parents[2]
CONTEST = load_competition("robot_surgery", FOLDER)
PARTS = load_competition("robot_surgery.parts", FOLDER)
INSTRUMENTS = load_competition("robot_surgery.instruments", FOLDER)
SEED = 1
drawing: Any = importlib.import_module("competitions.robot_surgery.draw")


def row(*pixels: int) -> Mask:
    return Mask(np.array([pixels], np.uint8))


def classes(contest: Any, root: Path, sample: Any) -> np.ndarray:
    truth = contest.truth(root, sample)
    assert isinstance(truth, Mask)
    return truth.classes


def test_the_layout_is_that_of_the_download(drawn: Path) -> None:
    video = drawn / "train" / "instrument_dataset_1"
    assert {path.name for path in video.iterdir()} == {"left_frames", "ground_truth"}
    assert {path.name for path in (video / "ground_truth").iterdir()} == set(drawing.VIDEOS["train"][0])
    with Image.open(video / "left_frames" / "frame000.png") as image:
        assert image.size == (1920, 1080)


def test_the_picture_is_cut_out_of_its_black_bars(drawn: Path) -> None:
    for sample in CONTEST.read(drawn).train[:2]:
        whole = read_image(sample.images[0])
        picture = CONTEST.image(sample.images[0])
        assert picture.shape == (*sample.size, 3) == (1024, 1280, 3)
        np.testing.assert_array_equal(picture, whole[28:1052, 320:1600])
        assert not whole[:, :320].any() and not whole[:, 1600:].any()


def test_parts_and_kinds_are_read_from_values_and_folders(drawn: Path) -> None:
    first = CONTEST.read(drawn).train[0]
    assert first.id == "instrument_dataset_1_frame000"
    names = drawing.VIDEOS["train"][0]
    assert names == ("Left_Prograsp_Forceps_labels", "Maryland_Bipolar_Forceps_labels", "Other_labels")
    left, maryland, probe = (mask[28:1052, 320:1600] for mask in drawing.frame(SEED, 0, 3)[1])
    parts = np.maximum(left, maryland) // 10
    np.testing.assert_array_equal(classes(PARTS, drawn, first), parts)
    np.testing.assert_array_equal(classes(CONTEST, drawn, first), parts > 0)  # without the probe
    kinds = np.where(left > 0, 2, np.where(maryland > 0, 1, np.where(probe > 0, 7, 0)))
    np.testing.assert_array_equal(classes(INSTRUMENTS, drawn, first), kinds)
    assert set(np.unique(parts)) == {0, 1, 2, 3}


def test_a_video_is_in_one_fold(drawn: Path) -> None:
    train = CONTEST.read(drawn).train
    folds = make_folds(train, FoldsConfig(n=2, seed=0))
    videos = [{name.rpartition("_")[0] for name in folds.held_out(fold)} for fold in range(2)]
    assert len(videos[0]) == len(videos[1]) == 2 and not videos[0] & videos[1]


def test_iou_is_a_mean_over_the_classes_of_each_frame() -> None:
    truths = {"a": row(0, 1, 1, 2), "b": row(0, 0, 0, 0), "c": row(0, 0, 0, 0), "d": row(3, 3, 0, 0)}
    answers = {"a": row(0, 1, 0, 2), "b": row(0, 0, 0, 0), "c": row(0, 0, 1, 0), "d": row(3, 3, 3, 0)}
    found = PARTS.score(truths, answers)
    assert found.by_sample == pytest.approx({"a": (1 / 2 + 1) / 2, "b": 1.0, "c": 0.0, "d": 2 / 3})
    assert found.value == pytest.approx((0.75 + 1 + 0 + 2 / 3) / 4)


@pytest.mark.parametrize(
    ("contest", "values"),
    [(CONTEST, {0, 255}), (PARTS, {0, 85, 170, 255}), (INSTRUMENTS, {0, 32, 64, 96, 128, 160, 192, 224})],
)
def test_the_pictures_of_a_submission_have_the_values_of_the_winners(
    contest: Any, values: set[int], tmp_path: Path
) -> None:
    all_classes = row(*range(len(contest.classes)))
    contest.submission.write(tmp_path / "s.zip", [("a", all_classes)])
    shutil.unpack_archive(tmp_path / "s.zip", tmp_path / "s")
    with Image.open(tmp_path / "s" / "a.png") as image:
        assert set(np.array(image).ravel().tolist()) == values


def cut(root: Path) -> None:
    path = root / "train" / "instrument_dataset_1" / "left_frames" / "frame000.png"
    Image.fromarray(np.zeros((1024, 1280, 3), np.uint8)).save(path)


@pytest.mark.parametrize(
    ("spoil", "match"),
    [
        (cut, r"1 frames in .*train: .*frame000\.png must have 1920x1080 pixels \(give the frames as they were"),
        (lambda root: shutil.rmtree(root / "train" / "instrument_dataset_2" / "ground_truth"), r"no mask of frame000"),
        (
            lambda root: (root / "train/instrument_dataset_4/ground_truth/Monopolar_Curved_Scissors_labels").rename(
                root / "train/instrument_dataset_4/ground_truth/Stapler_labels"
            ),
            r"a folder of no known instrument",
        ),
        (lambda root: shutil.rmtree(root / "test"), r"no folder 'test'"),
    ],
)
def test_faults_of_the_files_are_named(root: Path, spoil: Callable[[Path], object], match: str) -> None:
    spoil(root)
    with pytest.raises(DataError, match=match) as caught:
        CONTEST.read(root)
    assert "\n" not in str(caught.value)


def test_values_that_are_no_part_are_refused(root: Path) -> None:
    sample = CONTEST.read(root).train[0]
    Image.fromarray(np.full((1080, 1920), 7, np.uint8)).save(root / sample.annotation[0])
    with pytest.raises(DataError, match="values besides 0, 10"):
        PARTS.truth(root, sample)
