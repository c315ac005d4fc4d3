"""APTOS: the layout of the download, grades as strata in their real shares, the kappa, and which files are refused."""

from __future__ import annotations

import importlib
import shutil
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from drawn_files import edit
from sklearn.metrics import cohen_kappa_score

from medalist.competition import load_competition
from medalist.errors import DataError
from medalist.folds.folds import make_folds
from medalist.folds.settings import FoldsConfig
from medalist.formats.submission import write_submission
from medalist.records import Labels

CONTEST = load_competition("aptos", Path(__file__).parents[2])
SEED = 1
drawing: Any = importlib.import_module("competitions.aptos.draw")


def test_reading_gives_back_what_was_drawn(drawn: Path) -> None:
    split = CONTEST.read(drawn)
    photos = {photo.name: photo for photo in drawing.photos(SEED)}
    assert len(split.train) + len(split.test) == len(photos) == 61
    for sample in split.train:
        truth = CONTEST.truth(drawn, sample)
        assert isinstance(truth, Labels) and truth.names == (sample.stratum,) == (str(photos[sample.id].grade),)
        assert sample.images == (drawn / "train_images" / f"{sample.id}.png",)
        assert sample.size == drawing.SIZES[photos[sample.id].number % 3] and sample.group is None
    assert Counter(sample.stratum for sample in split.train) == {"0": 25, "1": 5, "2": 13, "3": 3, "4": 5}
    assert {sample.id for sample in split.test} == drawing.hidden_truth(SEED).keys()


def test_every_fold_holds_out_every_grade(drawn: Path) -> None:
    folds = make_folds(CONTEST.read(drawn).train, FoldsConfig(n=3))
    assert all({folds.stratum[name] for name in folds.held_out(k)} == set("01234") for k in range(3))


def test_test_photos_keep_the_order_of_the_sample_submission(root: Path) -> None:
    before = [sample.id for sample in CONTEST.read(root).test]
    edit(root / "sample_submission.csv", lambda lines: [lines[0], *lines[:0:-1]])
    assert [sample.id for sample in CONTEST.read(root).test] == before[::-1]


def test_the_score_through_the_file_is_the_quadratic_kappa(drawn: Path, tmp_path: Path) -> None:
    split, hidden = CONTEST.read(drawn), drawing.hidden_truth(SEED)
    path, order = tmp_path / "s.csv", [sample.id for sample in split.test]
    truth = [int(hidden[name].names[0]) for name in order]
    for grades, due in (
        (truth, 1.0),
        ([0] * 10, 0.0),
        ([min(grade + 1, 4) for grade in truth], None),
        ([4 - grade for grade in truth], None),
    ):
        answers = {name: Labels((str(grade),)) for name, grade in zip(order, grades, strict=True)}
        write_submission(path, CONTEST.submission, answers.items())
        assert CONTEST.submission.validate(path, split.test, drawn / "sample_submission.csv") == []
        score = CONTEST.score(hidden, CONTEST.submission.parse(path, split.test)).value
        assert score == pytest.approx(cohen_kappa_score(truth, grades, weights="quadratic"))
        assert due is None or score == pytest.approx(due)


@pytest.mark.parametrize(
    ("cell", "rule"),
    [
        ("2.0", "did you mean '2'"),
        ("5", "no such label"),
        ("-1", "no such label"),
        ("", "there must be a label"),
        ("1 2", "2 labels; the contest asks for exactly one"),
    ],
)
def test_a_spoilt_file_is_refused(root: Path, cell: str, rule: str) -> None:
    reference, path = root / "sample_submission.csv", root / "s.csv"
    shutil.copy(reference, path)
    edit(path, lambda rows: [*rows[:2], f"{rows[2].partition(',')[0]},{cell}", *rows[3:]])
    (problem,) = CONTEST.submission.validate(path, CONTEST.read(root).test, reference)
    assert (problem.row, problem.column) == (3, "diagnosis") and rule in problem.rule


@pytest.mark.parametrize(
    ("spoil", "match"),
    [
        (lambda root: (root / "test.csv").unlink(), r"test\.csv"),
        (lambda root: (root / "train_images").rename(root / "images"), "51 of 51 images cannot be read"),
        (lambda root: edit(root / "train.csv", lambda rows: ["id,diagnosis", *rows[1:]]), "row 1: no column 'id_code'"),
        (lambda root: edit(root / "train.csv", lambda rows: [*rows, "x,5"]), "row 53, column diagnosis, value '5'"),
        (lambda root: edit(root / "train.csv", lambda rows: [*rows, "x,"]), "row 53, .* without a label"),
        (lambda root: edit(root / "test.csv", lambda rows: rows[:-1]), "has a row in the sample submission but no"),
        (lambda root: edit(root / "test.csv", lambda rows: [*rows, "x"]), "'x' is a row in the list .* without"),
    ],
)
def test_faults_of_the_files_are_named(root: Path, spoil: Callable[[Path], object], match: str) -> None:
    spoil(root)
    with pytest.raises(DataError, match=match) as caught:
        CONTEST.read(root)
    assert "\n" not in str(caught.value)
