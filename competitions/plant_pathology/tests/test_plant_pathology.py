"""Plant pathology: the layout of the download, labels in one cell, the mean over photos, and refused files."""

from __future__ import annotations

import importlib
import shutil
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from drawn_files import edit

from medalist.competition import load_competition
from medalist.errors import DataError
from medalist.folds.folds import make_folds
from medalist.folds.settings import FoldsConfig
from medalist.formats.submission import write_submission
from medalist.records import Labels, Split

CONTEST = load_competition("plant_pathology", Path(__file__).parents[2])
SEED = 1
drawing: Any = importlib.import_module("competitions.plant_pathology.draw")
data: Any = importlib.import_module("competitions.plant_pathology.data")


def names(answer: object) -> tuple[str, ...]:
    assert isinstance(answer, Labels)
    return answer.names


def test_the_layout_is_that_of_the_download(drawn: Path) -> None:
    parts = {"train_images", "test_images", "train.csv", "sample_submission.csv"}
    assert {path.name for path in drawn.iterdir()} == parts
    for name in ("train.csv", "sample_submission.csv"):
        header, *rows = (drawn / name).read_text().splitlines()
        assert header == "image,labels"
        assert all(len(row.partition(".jpg,")[0]) == 16 for row in rows)


def test_reading_gives_back_what_was_drawn(drawn: Path) -> None:
    split = CONTEST.read(drawn)
    photos = {photo.name: photo for photo in drawing.photos(SEED)}
    assert len(split.train) + len(split.test) == len(photos) == 62
    for sample in split.train:
        cell = photos[sample.id].cell.split(" ")
        truth = names(CONTEST.truth(drawn, sample))
        assert set(truth) == set(cell) and list(truth) == sorted(truth), "in the order of the classes"
        assert sample.stratum == " ".join(sorted(cell)) and sample.group is None
        assert sample.images == (drawn / "train_images" / sample.id,) and sample.size == drawing.SIZE
    assert {sample.id for sample in split.test} == drawing.hidden_truth(SEED).keys()
    rare = [stratum for stratum, count in Counter(sample.stratum for sample in split.train).items() if count == 1]
    assert len(rare) == 4 and all(" " in str(stratum) for stratum in rare)


def test_rare_combinations_are_dealt_over_the_folds(drawn: Path) -> None:
    split = CONTEST.read(drawn)
    folds = make_folds(split.train, FoldsConfig(n=3))
    for stratum, count in Counter(sample.stratum for sample in split.train).items():
        held = [sum(folds.stratum[name] == stratum for name in folds.held_out(k)) for k in range(3)]
        assert sum(held) == count and max(held) - min(held) <= 1, stratum


def send(answers: dict[str, Labels], split: Split, path: Path) -> float:
    """Return the score of answers to the test part, after a submission file was written and read back."""
    write_submission(path, CONTEST.submission, answers.items())
    assert CONTEST.submission.validate(path, split.test) == []
    return CONTEST.score(drawing.hidden_truth(SEED), CONTEST.submission.parse(path, split.test)).value


def test_the_score_is_the_mean_over_photos(drawn: Path, tmp_path: Path) -> None:
    split, hidden = CONTEST.read(drawn), drawing.hidden_truth(SEED)
    path = tmp_path / "s.csv"
    assert send({sample.id: hidden[sample.id] for sample in split.test}, split, path) == 1.0
    # Two of ten photos are healthy. Scab is alone on two (2/2), has one more label on one (2/3), two more on one (2/4).
    assert send({sample.id: Labels(("healthy",)) for sample in split.test}, split, path) == pytest.approx(0.2)
    scab = (2 + 2 / 3 + 2 / 4) / 10
    assert send({sample.id: Labels(("scab",)) for sample in split.test}, split, path) == pytest.approx(scab)
    assert send({sample.id: Labels() for sample in split.test}, split, path) == 0.0, "an empty cell may be sent"


@pytest.mark.parametrize(
    ("cell", "rule"),
    [
        ("scab rust scab", "place 3 is also at place 1"),
        ("scab,rust", "the row has 3 cells"),
        ("scab|rust", "separated by ' ', not by '|'"),
        ("scab  rust", "an extra ' ' at place 2"),
        ("Scab", "did you mean 'scab'"),
        ("frog eye leaf spot", "no such label"),
    ],
)
def test_a_spoilt_file_is_refused(root: Path, cell: str, rule: str) -> None:
    reference, path = root / "sample_submission.csv", root / "s.csv"
    shutil.copy(reference, path)
    edit(path, lambda rows: [*rows[:2], f"{rows[2].partition(',')[0]},{cell}", *rows[3:]])
    (problem,) = [one for one in CONTEST.submission.validate(path, CONTEST.read(root).test, reference) if one.row]
    assert problem.row == 3 and rule in problem.rule


@pytest.mark.parametrize(
    ("spoil", "match"),
    [
        (lambda root: (root / "train.csv").unlink(), r"train\.csv"),
        (lambda root: (root / "test_images").rename(root / "tests"), "10 of 10 images cannot be read"),
        (lambda root: edit(root / "train.csv", lambda rows: ["image,label", *rows[1:]]), "row 1: no column 'labels'"),
        (lambda root: edit(root / "train.csv", lambda rows: [*rows, rows[1]]), "row 54, .* second row"),
        (lambda root: edit(root / "train.csv", lambda rows: [*rows, "x.jpg,scab rest"]), "'rest': .*'rust'"),
        (lambda root: edit(root / "train.csv", lambda rows: [*rows, "x.jpg,scab scab"]), "row 54, .* twice"),
        (lambda root: edit(root / "train.csv", lambda rows: [*rows, "x.jpg,rust"]), r"1 of 53 images .*x\.jpg"),
    ],
)
def test_faults_of_the_files_are_named(root: Path, spoil: Callable[[Path], object], match: str) -> None:
    spoil(root)
    with pytest.raises(DataError, match=match) as caught:
        CONTEST.read(root)
    assert "\n" not in str(caught.value)
