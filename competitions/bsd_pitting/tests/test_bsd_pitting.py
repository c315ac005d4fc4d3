"""Pitting: the layout on disk, groups by position and serial number, the two metrics, and what is refused."""

from __future__ import annotations

import importlib
from collections import Counter, defaultdict
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from drawn_files import edit

from medalist.competition import load_competition
from medalist.errors import DataError
from medalist.files import read_table
from medalist.formats.submission import write_submission
from medalist.records import Mask

CONTEST = load_competition("bsd_pitting", Path(__file__).parents[2])
SEED = 1
drawing: Any = importlib.import_module("competitions.bsd_pitting.draw")


def mask(*rows: str) -> Mask:
    return Mask(np.array([[int(one) for one in row] for row in rows], np.uint8))


def test_the_layout_is_that_of_the_real_contest(drawn: Path, contest_data: Callable[[str], Path]) -> None:
    real = contest_data("bsd_pitting")
    assert {path.name for path in drawn.iterdir()} == {path.name for path in real.iterdir()} - {"README.md"}
    for name in ("train.csv", "train_meta.csv", "sample_submission.csv"):
        header = (real / name).read_text().splitlines()[0].split(",")
        assert list(read_table(drawn / name, header)[0]) == header
    assert {path.suffix for path in (real / "train_images").iterdir()} == {".jpg"}


def test_reading_gives_back_what_was_drawn(drawn: Path) -> None:
    split = CONTEST.read(drawn)
    made = {one.id: one for one in drawing.pictures(SEED)}
    assert (len(split.train), len(split.test)) == (21, 7)
    for sample in split.train:
        one = made[sample.id]
        truth = CONTEST.truth(drawn, sample)
        assert isinstance(truth, Mask)
        np.testing.assert_array_equal(truth.classes, one.mask)
        assert (sample.group, sample.size) == (one.sequence, one.image.shape[:2])
        assert sample.stratum == f"type {one.type}, {'with a pit' if one.mask.any() else 'empty'}"
    assert Counter(sample.stratum for sample in split.train)["type 2, empty"] == 6


def test_pits_only_grow_within_a_sequence() -> None:
    by_sequence = defaultdict(list)
    for one in sorted(drawing.pictures(SEED), key=lambda one: one.number):
        by_sequence[one.sequence].append(one.mask)
    for masks in by_sequence.values():
        assert all((after >= before).all() for before, after in pairwise(masks))


def test_the_score_by_hand() -> None:
    truths = {"a": mask("0110"), "b": mask("0000"), "c": mask("0000"), "d": mask("1100")}
    answers = {"a": mask("0111"), "b": mask("0000"), "c": mask("0001"), "d": mask("0000")}
    found = CONTEST.score(truths, answers)
    assert found.by_sample == {"a": pytest.approx(2 * 2 / 5), "b": 1.0, "c": 0.0, "d": 0.0}
    assert found.value == pytest.approx((0.8 + 1) / 4)
    assert found.parts["precision"] == pytest.approx((0.4 + 1) / 4)  # IoU 2/3 is above 0.50, 0.55, 0.60 and 0.65


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
        (lambda root: (root / "train_meta.csv").unlink(), r"train_meta\.csv"),
        (lambda root: edit(root / "train_meta.csv", lambda rows: rows[:-1]), r"no row for the training image"),
        (lambda root: edit(root / "train.csv", lambda rows: [*rows, rows[1]]), r"row 23, .*second row"),
        (lambda root: edit(root / "train.csv", lambda rows: [rows[0], *rows[2:]]), r"without a row"),
        (lambda root: edit(root / "sample_submission.csv", lambda rows: rows[:-1]), r"images and csv do not fit"),
    ],
)
def test_faults_of_the_files_are_named(root: Path, spoil: Callable[[Path], object], match: str) -> None:
    spoil(root)
    with pytest.raises(DataError, match=match) as caught:
        CONTEST.read(root)
    assert "\n" not in str(caught.value)


@pytest.mark.data
def test_the_real_data(contest_data: Callable[[str], Path]) -> None:
    """The README of the data: 281 of 462 training pictures have a pit, and so has every one of type 1."""
    root = contest_data("bsd_pitting")
    split = CONTEST.read(root)
    assert (len(split.train), len(split.test)) == (462, 172)
    assert sum(bool(sample.annotation) for sample in split.train) == 281
    strata = Counter(sample.stratum for sample in split.train)
    assert set(strata) == {"type 1, with a pit", "type 2, with a pit", "type 2, empty"}
    areas = [int(CONTEST.truth(root, sample).classes.sum()) for sample in split.train if sample.annotation]  # type: ignore[union-attr]
    assert (min(areas), int(np.median(areas)), max(areas)) == (11, 631, 3566)
    empty = {sample.id: Mask(np.zeros(sample.size, np.uint8)) for sample in split.train}
    truths = {sample.id: CONTEST.truth(root, sample) for sample in split.train}
    assert CONTEST.score(truths, empty).value == pytest.approx(181 / 462)
