"""Steel: a row for each image and class, both forms of the table, and Dice over pairs of image and class."""

from __future__ import annotations

import importlib
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from drawn_files import edit

from medalist.competition import load_competition
from medalist.errors import DataError
from medalist.formats.submission import write_submission
from medalist.records import Mask

CONTEST = load_competition("severstal", Path(__file__).parents[2])
SEED = 1
drawing: Any = importlib.import_module("competitions.severstal.draw")


def row(*pixels: int) -> Mask:
    return Mask(np.array([pixels], np.uint8))


def test_the_layout_is_that_of_the_download(drawn: Path) -> None:
    names = {path.name for path in drawn.iterdir()}
    assert names == {"train_images", "test_images", "train.csv", "sample_submission.csv"}
    for name in ("train.csv", "sample_submission.csv"):
        header, *rows = (drawn / name).read_text().splitlines()
        assert header == "ImageId_ClassId,EncodedPixels"
        assert [line.partition(",")[0][-6:] for line in rows[:4]] == [f".jpg_{number}" for number in (1, 2, 3, 4)]


def test_reading_gives_back_what_was_drawn(drawn: Path) -> None:
    split = CONTEST.read(drawn)
    made = {sheet.name: sheet for sheet in drawing.sheets(SEED)}
    assert (len(split.train), len(split.test)) == (16, 5)
    for sample in split.train:
        truth = CONTEST.truth(drawn, sample)
        assert isinstance(truth, Mask)
        np.testing.assert_array_equal(truth.classes, made[sample.id].classes)
        there = [str(number) for number in np.unique(truth.classes) if number]
        assert sample.stratum == ("+".join(there) or "none")
    assert Counter(sample.stratum for sample in split.train)["none"] == 4


def test_the_later_form_of_the_table_says_the_same(root: Path) -> None:
    before = CONTEST.read(root)

    def later(rows: list[str]) -> list[str]:
        cells = [line.split(",") for line in rows[1:]]
        kept = [(*name.rsplit("_", 1), code) for name, code in cells if code]
        return ["ImageId,ClassId,EncodedPixels", *(",".join(one) for one in kept)]

    edit(root / "train.csv", later)
    after = CONTEST.read(root)
    assert [(one.id, one.stratum) for one in after.train] == [(one.id, one.stratum) for one in before.train]
    for one, other in zip(before.train, after.train, strict=True):
        ours, theirs = CONTEST.truth(root, one), CONTEST.truth(root, other)
        assert isinstance(ours, Mask) and isinstance(theirs, Mask)
        np.testing.assert_array_equal(ours.classes, theirs.classes)


def test_dice_over_pairs_of_image_and_class() -> None:
    """Empty truth with empty answer scores 1, for each of the four classes of each image."""
    truths = {"a": row(1, 1, 0, 0), "b": row(0, 0, 0, 0)}
    right = {"a": row(1, 1, 0, 0), "b": row(0, 0, 0, 0)}
    assert CONTEST.score(truths, right).value == 1.0
    nothing = {"a": row(0, 0, 0, 0), "b": row(0, 0, 0, 0)}
    assert CONTEST.score(truths, nothing).value == 7 / 8
    other = {"a": row(0, 1, 1, 0), "b": row(0, 0, 3, 0)}
    assert CONTEST.score(truths, other).value == (0.5 + 3 + 3 + 0) / 8
    assert CONTEST.score(truths, {"a": row(2, 2, 0, 0), "b": row(0, 0, 0, 0)}).value == 6 / 8


def test_every_image_has_four_rows(drawn: Path) -> None:
    assert CONTEST.submission.rows("a.jpg", row(0, 3, 3, 1)) == [  # type: ignore[union-attr]
        ("a.jpg_1", "4 1"), ("a.jpg_2", ""), ("a.jpg_3", "2 2"), ("a.jpg_4", ""),
    ]  # fmt: skip


def test_the_hidden_truth_goes_through_the_file(drawn: Path, tmp_path: Path) -> None:
    test = CONTEST.read(drawn).test
    hidden = drawing.hidden_truth(SEED)
    path = tmp_path / "s.csv"
    write_submission(path, CONTEST.submission, [(sample.id, hidden[sample.id]) for sample in test])
    assert CONTEST.submission.validate(path, test) == []
    assert CONTEST.score(hidden, CONTEST.submission.parse(path, test)).value == 1.0


def test_a_missing_row_of_a_class_is_named(drawn: Path, tmp_path: Path) -> None:
    test = CONTEST.read(drawn).test
    lines = (drawn / "sample_submission.csv").read_text().splitlines()
    (tmp_path / "s.csv").write_text("\n".join([*lines[:3], *lines[4:]]) + "\n")
    problems = CONTEST.submission.validate(tmp_path / "s.csv", test)
    assert any(problem.rule == "this class has no row" for problem in problems)


@pytest.mark.parametrize(
    ("spoil", "match"),
    [
        (lambda root: (root / "train.csv").unlink(), r"train\.csv"),
        (lambda root: edit(root / "train.csv", lambda rows: [*rows, rows[1]]), r"a second row"),
        (lambda root: edit(root / "train.csv", lambda rows: [*rows, "a.jpg_5,1 1"]), r"row 66, .*'a\.jpg_5': no class"),
        (lambda root: edit(root / "train.csv", lambda rows: [*rows, "lost.jpg_1,1 1"]), r"'lost\.jpg' has a row"),
    ],
)
def test_faults_of_the_files_are_named(root: Path, spoil: Callable[[Path], object], match: str) -> None:
    spoil(root)
    with pytest.raises(DataError, match=match) as caught:
        CONTEST.read(root)
    assert "\n" not in str(caught.value)


def test_classes_that_overlap_are_refused(root: Path) -> None:
    sample = CONTEST.read(root).train[0]
    edit(root / "train.csv", lambda rows: [rows[0], *(f"{line.partition(',')[0]},1 5" for line in rows[1:])])
    sample = CONTEST.read(root).train[0]
    with pytest.raises(DataError, match=r"5 pixels of class 2 are of class 1 too"):
        CONTEST.truth(root, sample)
