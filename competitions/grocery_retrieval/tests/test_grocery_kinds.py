"""Kinds of groceries: each fold and the test part have unseen products, and there is no sample submission."""

from __future__ import annotations

import shutil
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

from medalist.competition import load_competition
from medalist.errors import DataError
from medalist.folds.folds import make_folds
from medalist.folds.settings import FoldsConfig
from medalist.formats.submission import write_submission
from medalist.records import Labels

SEED = 6
FOLDER = Path(__file__).parents[2]
CONTEST = load_competition("grocery_retrieval.kinds", FOLDER)
PHOTOS = load_competition("grocery_retrieval", FOLDER)


@pytest.fixture(scope="module")
def drawn(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("grocery")
    assert CONTEST.draw is not None
    CONTEST.draw(folder, SEED)
    return folder


@pytest.fixture
def root(drawn: Path, tmp_path: Path) -> Path:
    """Return a copy of the drawn data, which a test may change."""
    return Path(shutil.copytree(drawn, tmp_path / "grocery"))


def test_the_photos_are_those_of_the_other_question(drawn: Path) -> None:
    split, photos = CONTEST.read(drawn), PHOTOS.read(drawn)
    by_id = {sample.id: sample for sample in photos.train}
    for sample in split.train:
        assert sample.annotation == (by_id[sample.id].stratum,) == (sample.stratum,)
        assert (sample.group, sample.images) == (by_id[sample.id].group, by_id[sample.id].images)
    assert len(split.train) == len(photos.train) == 63
    queries = (drawn / "query.csv").read_text().splitlines()[1:]
    assert [sample.id for sample in split.test[: len(queries)]] == queries
    assert {sample.id for sample in split.test} == {sample.id for sample in (*photos.test, *photos.gallery)}
    assert len(split.test) == 42 and split.gallery == ()
    assert not any(sample.annotation for sample in split.test)


def test_a_fold_is_asked_about_products_that_it_has_not_seen(drawn: Path) -> None:
    split = CONTEST.read(drawn)
    group = {sample.id: sample.group for sample in split.train}
    folds = make_folds(split.train, FoldsConfig(n=3))
    for k in range(3):
        held = {group[name] for name in folds.held_out(k)}
        assert len(held) == 3 and not held & {group[name] for name in folds.training(k)}
        assert set(Counter(folds.stratum[name] for name in folds.held_out(k)).values()) == {7}


def test_answers_go_through_the_file_without_a_sample_submission(drawn: Path, tmp_path: Path) -> None:
    split, path = CONTEST.read(drawn), tmp_path / "s.csv"
    assert CONTEST.sample_submission is None
    truths = {sample.id: Labels(sample.annotation) for sample in split.train}
    write_submission(path, CONTEST.submission, truths.items())
    assert CONTEST.score(truths, CONTEST.submission.parse(path, split.train)).value == 1.0
    fruit = {name: Labels(("Fruit",)) for name in truths}
    assert CONTEST.score(truths, fruit).value == pytest.approx(1 / 3)
    answers = [(sample.id, Labels(("Fruit",))) for sample in split.test]
    write_submission(path, CONTEST.submission, answers[::-1])
    assert CONTEST.submission.validate(path, split.test) == [], "any order will do"
    write_submission(path, CONTEST.submission, answers[1:])
    (problem,) = CONTEST.submission.validate(path, split.test)
    assert problem.value == split.test[0].id and "no row" in problem.rule
    path.write_text(path.read_text().replace("Fruit", "fruit", 1))
    assert "did you mean 'Fruit'" in CONTEST.submission.validate(path, split.test)[0].rule


@pytest.mark.parametrize(
    ("spoil", "match"),
    [
        (lambda root: (root / "query.csv").unlink(), r"query\.csv"),
        (
            lambda root: (root / "train.csv").write_text(
                (root / "train.csv").read_text().replace(",Fruit,", ",Fruits,", 1)
            ),
            "column kind, value 'Fruits': .*did you mean 'Fruit'",
        ),
        (lambda root: (root / "gallery.csv").write_text((root / "query.csv").read_text()), "in two parts"),
    ],
)
def test_faults_of_the_files_are_named(root: Path, spoil: Callable[[Path], object], match: str) -> None:
    spoil(root)
    with pytest.raises(DataError, match=match) as caught:
        CONTEST.read(root)
    assert "\n" not in str(caught.value)


@pytest.mark.data
def test_the_real_data(contest_data: Callable[[str], Path]) -> None:
    split = CONTEST.read(contest_data("grocery_retrieval"))
    assert (len(split.train), len(split.test)) == (1197, 552)
    assert Counter(sample.stratum for sample in split.train) == {"Fruit": 420, "Packages": 462, "Vegetables": 315}
    group = {sample.id: sample.group for sample in split.train}
    folds = make_folds(split.train, FoldsConfig())
    held = [{group[name] for name in folds.held_out(k)} for k in range(5)]
    assert sorted(map(len, held)) == [11, 11, 11, 12, 12] and len(set.union(*held)) == 57
