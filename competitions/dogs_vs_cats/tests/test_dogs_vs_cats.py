"""Dogs and cats: classes from file names, probabilities of a dog in numeric order, log loss, refused files."""

from __future__ import annotations

import importlib
import math
import shutil
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from drawn_files import edit

from medalist.competition import load_competition
from medalist.errors import DataError, SubmissionError
from medalist.folds.folds import make_folds
from medalist.folds.settings import FoldsConfig
from medalist.formats.submission import write_submission
from medalist.records import Labels, Split

CONTEST = load_competition("dogs_vs_cats", Path(__file__).parents[2])
SEED = 1
drawing: Any = importlib.import_module("competitions.dogs_vs_cats.draw")


def dog(probability: float) -> Labels:
    return Labels(probabilities=np.array([1 - probability, probability]))


def test_classes_come_from_file_names(drawn: Path) -> None:
    split = CONTEST.read(drawn)
    assert {path.name for path in drawn.iterdir()} == {"train", "test", "sample_submission.csv"}
    assert {sample.id for sample in split.train} == {
        f"{one}.{number}" for one in ("cat", "dog") for number in range(24)
    }
    for sample in split.train:
        truth = CONTEST.truth(drawn, sample)
        assert isinstance(truth, Labels) and truth.names == (sample.stratum,) == (sample.id.partition(".")[0],)
        assert truth.probabilities is not None
        assert truth.probabilities.tolist() == ([1, 0] if truth.names == ("cat",) else [0, 1])
        assert sample.images == (drawn / "train" / f"{sample.id}.jpg",) and sample.group is None
    assert [sample.id for sample in split.test] == [str(number) for number in range(1, 13)], "as numbers, not as text"
    folds = make_folds(split.train, FoldsConfig(n=3))
    assert all(Counter(folds.stratum[name] for name in folds.held_out(k)) == {"cat": 8, "dog": 8} for k in range(3))


def send(probability: Callable[[bool], float], drawn: Path, path: Path) -> float:
    """Return the score of the test part after a submission was written and read back.

    `probability` gives the answer for a photo; its argument says whether the photo shows a dog.
    """
    split: Split = CONTEST.read(drawn)
    hidden = drawing.hidden_truth(SEED)
    answers = {sample.id: dog(probability(hidden[sample.id].names == ("dog",))) for sample in split.test}
    write_submission(path, CONTEST.submission, answers.items())
    assert CONTEST.submission.validate(path, split.test, drawn / "sample_submission.csv") == []
    return CONTEST.score(hidden, CONTEST.submission.parse(path, split.test)).value


def test_the_score_through_the_file_is_the_negated_log_loss(drawn: Path, tmp_path: Path) -> None:
    path = tmp_path / "s.csv"
    assert send(float, drawn, path) == pytest.approx(0, abs=1e-12)
    assert path.read_text().splitlines()[0] == "id,label"
    assert send(lambda _: 0.5, drawn, path) == pytest.approx(-math.log(2))
    assert send(lambda is_dog: 0.9 if is_dog else 0.2, drawn, path) == pytest.approx(
        (math.log(0.9) + math.log(0.8)) / 2
    )
    assert send(lambda is_dog: float(not is_dog), drawn, path) == pytest.approx(math.log(1e-15)), "clipped at 1e-15"


@pytest.mark.parametrize(
    ("cell", "rule"),
    [
        ("1.2", "must lie from 0 to 1"),
        ("-0.1", "must lie from 0 to 1"),
        ("nan", "must be a number"),
        ("dog", "must be a number"),
        ("0,5", "the row has 3 cells"),
        ("", "must be a number"),
    ],
)
def test_a_spoilt_file_is_refused(root: Path, cell: str, rule: str) -> None:
    reference, path = root / "sample_submission.csv", root / "s.csv"
    shutil.copy(reference, path)
    edit(path, lambda rows: [*rows[:2], f"2,{cell}", *rows[3:]])
    (problem,) = [one for one in CONTEST.submission.validate(path, CONTEST.read(root).test, reference) if one.row]
    assert problem.row == 3 and rule in problem.rule


def test_ids_that_are_sorted_as_text_are_refused(root: Path) -> None:
    reference, path = root / "sample_submission.csv", root / "s.csv"
    shutil.copy(reference, path)
    edit(path, lambda rows: [rows[0], *sorted(rows[1:])])
    (problem,) = CONTEST.submission.validate(path, CONTEST.read(root).test, reference)
    assert (problem.row, problem.value) == (3, "10") and "order of the sample submission" in problem.rule


def test_names_alone_cannot_be_sent(tmp_path: Path) -> None:
    with pytest.raises(SubmissionError, match="the contest asks for probabilities"):
        write_submission(tmp_path / "s.csv", CONTEST.submission, [("1", Labels(("dog",)))])


@pytest.mark.parametrize(
    ("spoil", "match"),
    [
        (lambda root: (root / "sample_submission.csv").unlink(), r"sample_submission\.csv"),
        (lambda root: (root / "train").rename(root / "training"), "no folder 'train' in"),
        (lambda root: (root / "train" / "cat.0.jpg").rename(root / "train" / "cow.0.jpg"), "train: 'cow.0' .*take"),
        (lambda root: (root / "train" / "cat.0.jpg").rename(root / "train" / "Cat.0.jpg"), "train: 'Cat.0' .*take"),
        (lambda root: (root / "test" / "7.jpg").unlink(), "'7' has a row in the sample submission but no test image"),
        (lambda root: shutil.copy(root / "test" / "7.jpg", root / "test" / "13.jpg"), "'13' is a test image without"),
        (lambda root: (root / "train" / "dog.3.jpg").write_bytes(b"\xff\xd8"), r"1 of 60 images .*dog\.3"),
    ],
)
def test_faults_of_the_files_are_named(root: Path, spoil: Callable[[Path], object], match: str) -> None:
    spoil(root)
    with pytest.raises(DataError, match=match) as caught:
        CONTEST.read(root)
    assert "\n" not in str(caught.value)
