"""Heads of wheat: the layout of the download, photos without heads, and scores that are not compared."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from medalist.competition import load_competition
from medalist.errors import DataError
from medalist.formats.submission import suffix_of, write_submission
from medalist.records import Boxes

CONTEST = load_competition("global_wheat", Path(__file__).parents[2])
SEED = 1
drawing: Any = importlib.import_module("competitions.global_wheat.draw")


def test_the_layout_is_that_of_the_download(drawn: Path) -> None:
    assert {path.name for path in drawn.iterdir()} == {"train", "test", "train.csv", "sample_submission.csv"}


def test_reading_gives_back_what_was_drawn(drawn: Path) -> None:
    made = {one.name: one.heads for one in drawing.fields(SEED) if one.part == "train"}
    split = CONTEST.read(drawn)
    assert {sample.id for sample in split.train} == made.keys()
    for sample in split.train:
        truth, known = CONTEST.truth(drawn, sample), made[sample.id]
        assert isinstance(truth, Boxes)
        np.testing.assert_array_equal(np.sort(truth.labels), np.sort(known.labels))
        np.testing.assert_allclose(sorted(truth.xyxy.tolist()), sorted(known.xyxy.tolist()), atol=0.01)


def test_the_hidden_truth_goes_through_the_file(drawn: Path, tmp_path: Path) -> None:
    test = CONTEST.read(drawn).test
    hidden = drawing.hidden_truth(SEED)
    path = tmp_path / f"s{suffix_of(CONTEST.submission)}"
    write_submission(path, CONTEST.submission, [(sample.id, hidden[sample.id]) for sample in test])
    assert CONTEST.submission.validate(path, test, drawn / "sample_submission.csv") == []
    assert CONTEST.score(hidden, CONTEST.submission.parse(path, test)).value == pytest.approx(1.0)


def test_photos_without_heads_are_kept(drawn: Path) -> None:
    split = CONTEST.read(drawn)
    empty = [sample for sample in split.train if not sample.annotation]
    assert len(empty) == 2 and {sample.stratum for sample in empty} == {"unknown"}
    assert {sample.stratum for sample in split.train} == {"usask_1", "arvalis_1", "ethz_1", "unknown"}


def test_a_box_has_no_label_and_a_width() -> None:
    boxes = Boxes(np.array([[1, 2, 4, 6]], np.float32), np.zeros(1, np.int32), np.array([0.5], np.float32))
    assert CONTEST.submission.rows("a", boxes) == [("a", "0.5 1 2 3 4")]  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("old", "new", "match"),
    [
        ('"[', '"[nan, ', r"row 2, column bbox: 5 numbers; there must be four"),
        ('"[', '"[x', r"row 2: 'x\d+\.0' is not a finite number"),
        (', ', ', -9', r"csv: row 2: .*the corners are swapped|outside"),
    ],
)  # fmt: skip
def test_faults_of_the_boxes_are_named(root: Path, old: str, new: str, match: str) -> None:
    text = (root / "train.csv").read_text()
    if new == ", -9":  # a negative width
        first = text.splitlines()[1]
        box = first[first.index("[") + 1 : first.index("]")].split(", ")
        old, new = ", ".join(box), ", ".join([*box[:2], "-5", box[3]])
    (root / "train.csv").write_text(text.replace(old, new, 1))
    with pytest.raises(DataError, match=match) as caught:
        CONTEST.read(root)
    assert "\n" not in str(caught.value)
