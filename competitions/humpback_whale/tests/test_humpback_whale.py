"""Humpback whales: the layout of the download, known whales as strata, and the allowed answers for held-out photos."""

from __future__ import annotations

import importlib
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from drawn_files import edit

from medalist.competition import load_competition
from medalist.errors import DataError, SubmissionError
from medalist.folds.folds import make_folds
from medalist.folds.settings import FoldsConfig
from medalist.formats.rankings import RankingFormat
from medalist.formats.submission import write_submission
from medalist.records import Ranking
from medalist.retrieval.splits import answerable, identity_of, right_names, splits_of_test

CONTEST = load_competition("humpback_whale", Path(__file__).parents[2])
SEED = 1
NEW = "new_whale"
drawing: Any = importlib.import_module("competitions.humpback_whale.draw")


def test_the_layout_is_that_of_the_download(root: Path) -> None:
    assert {path.name for path in root.iterdir()} == {"train", "test", "train.csv", "sample_submission.csv"}
    assert (root / "train.csv").read_text().splitlines()[0] == "Image,Id"
    header, *rows = (root / "sample_submission.csv").read_text().splitlines()
    assert header == "Image,Id"
    assert all(row.split(",")[1].split(" ")[0] == NEW and len(row.split(" ")) == 5 for row in rows)


def test_reading_gives_back_what_was_drawn(root: Path) -> None:
    split = CONTEST.read(root)
    photos = {photo.name: photo for photo in drawing.photos(SEED)}
    assert len(split.train) + len(split.test) == len(photos) == 67
    for sample in split.train:
        assert identity_of(sample) == sample.stratum == photos[sample.id].whale
        assert sample.images == (root / "train" / sample.id,)
        assert sample.size == (48, 96) and sample.group is None
    assert all(photos[sample.id].part == "test" and not sample.annotation for sample in split.test)
    sizes = Counter(identity_of(sample) for sample in split.train)
    assert sum(size == 1 for size in sizes.values()) == 4 and sizes[NEW] == 14 and max(sizes.values()) == 14


def test_test_photos_keep_the_order_of_the_sample_submission(root: Path) -> None:
    before = [sample.id for sample in CONTEST.read(root).test]
    edit(root / "sample_submission.csv", lambda lines: [lines[0], *lines[:0:-1]])
    assert [sample.id for sample in CONTEST.read(root).test] == before[::-1]


def test_lone_and_unnamed_whales_are_new_when_they_are_held_out(root: Path) -> None:
    train = CONTEST.read(root).train
    by_id = {sample.id: sample for sample in train}
    sizes = Counter(identity_of(sample) for sample in train)
    folds = make_folds(train, FoldsConfig(n=2, seed=0))
    assert CONTEST.retrieval is not None
    seen = 0
    for k in range(2):
        training = [by_id[name] for name in folds.training(k)]
        splits = CONTEST.retrieval.splits(training, [by_id[name] for name in folds.held_out(k)])
        truths = right_names(splits, by_id, "identities", NEW)
        for name, truth in truths.items():
            whale = identity_of(by_id[name])
            seen += 1
            # A whale with two photos has one in each fold, because a stratum is spread evenly over the folds.
            assert truth == Ranking((NEW if whale == NEW or sizes[whale] == 1 else whale,))
    assert seen == len(train)


def test_a_perfect_answer_to_the_test_part_and_names_that_no_whale_has(root: Path, tmp_path: Path) -> None:
    split = CONTEST.read(root)
    by_id = {sample.id: sample for sample in split.train}
    assert isinstance(CONTEST.submission, RankingFormat)
    form = CONTEST.submission.among(answerable(splits_of_test(split.test, split.train), by_id, "identities", NEW))
    truths = {sample.id: drawing.hidden_truth(SEED)[sample.id] for sample in split.test}
    assert sum(truth.names == (NEW,) for truth in truths.values()) == 4
    path = tmp_path / "s.csv"
    write_submission(path, form, truths.items())
    assert form.validate(path, split.test, root / "sample_submission.csv") == []
    assert CONTEST.score(truths, form.parse(path, split.test)).value == 1.0
    second = {name: Ranking(("w_0000000", *truth.names)) for name, truth in truths.items()}
    assert CONTEST.score(truths, second).value == 0.5
    with pytest.raises(SubmissionError, match="w_0000000"):
        write_submission(path, form, second.items())


@pytest.mark.parametrize(
    ("spoil", "match"),
    [
        (lambda root: (root / "train.csv").unlink(), r"train\.csv"),
        (lambda root: (root / "sample_submission.csv").unlink(), r"sample_submission\.csv"),
        (lambda root: (root / "test").rename(root / "tests"), r"test/0378215d4\.jpg"),
        (lambda root: edit(root / "train.csv", lambda rows: ["Image,Whale", *rows[1:]]), r"row 1: no column 'Id'"),
        (
            lambda root: edit(root / "train.csv", lambda rows: [*rows, rows[1]]),
            r"row 53, .*00c65bb58\.jpg.* second row",
        ),
        (
            lambda root: edit(root / "train.csv", lambda rows: [rows[0], "00c65bb58.jpg,", *rows[2:]]),
            "row 2, column Id",
        ),
        (lambda root: edit(root / "train.csv", lambda rows: [*rows, "../x.jpg,w_1"]), r"row 53, .*\.\./x\.jpg"),
        (lambda root: edit(root / "train.csv", lambda rows: [*rows, "lost.jpg,w_1"]), r"lost\.jpg"),
        (lambda root: (root / "train" / "00c65bb58.jpg").write_bytes(b"\xff\xd8\xff"), r"1 of .*00c65bb58\.jpg"),
    ],
)
def test_faults_of_the_files_are_named(root: Path, spoil: Callable[[Path], object], match: str) -> None:
    spoil(root)
    with pytest.raises(DataError, match=match) as caught:
        CONTEST.read(root)
    assert "\n" not in str(caught.value)
