"""Blood cells: the layout of the download, boxes without an area, and the answers through the file."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from medalist.competition import load_competition
from medalist.errors import DataError
from medalist.formats.submission import write_submission
from medalist.records import Boxes

CONTEST = load_competition("bccd", Path(__file__).parents[2])
SEED = 1
drawing: Any = importlib.import_module("competitions.bccd.draw")


def change(path: Path, old: str, new: str) -> None:
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))


def test_the_layout_is_that_of_the_download(drawn: Path) -> None:
    assert {path.name for path in drawn.iterdir()} == {
        "train_images", "train_annotations", "train_meta.csv", "test_images", "sample_submission.csv",
    }  # fmt: skip


def test_reading_gives_back_what_was_drawn(drawn: Path) -> None:
    split = CONTEST.read(drawn)
    made = {smear.name: smear for smear in drawing.smears(SEED)}
    assert (len(split.train), len(split.test)) == (20, 6)
    for sample in split.train:
        truth = CONTEST.truth(drawn, sample)
        assert isinstance(truth, Boxes) and truth.ignored is None
        np.testing.assert_array_equal(truth.xyxy, made[sample.id].cells.xyxy)
        np.testing.assert_array_equal(truth.labels, made[sample.id].cells.labels)
        assert sample.group == str(int(sample.id[-5:]) // 10)
        there = np.unique(truth.labels).tolist()
        assert sample.stratum == "+".join(("RBC", "WBC", "Platelets")[label] for label in there)


def test_the_hidden_truth_goes_through_the_file(drawn: Path, tmp_path: Path) -> None:
    test = CONTEST.read(drawn).test
    hidden = drawing.hidden_truth(SEED)
    path = tmp_path / "s.csv"
    write_submission(path, CONTEST.submission, [(sample.id, hidden[sample.id]) for sample in test])
    assert CONTEST.submission.validate(path, test, drawn / "sample_submission.csv") == []
    score = CONTEST.score(hidden, CONTEST.submission.parse(path, test))
    assert score.value == score.parts["ap50"] == 1.0


def test_a_box_without_area_is_no_truth(root: Path) -> None:
    before = CONTEST.truth(root, CONTEST.read(root).train[0])
    path = root / "train_annotations" / "BloodImage_00000.xml"
    empty = "<object><name>RBC</name><bndbox><xmin>5</xmin><ymin>5</ymin><xmax>5</xmax><ymax>9</ymax></bndbox></object>"
    change(path, "</annotation>", f"{empty}</annotation>")
    sample = CONTEST.read(root).train[0]
    truth = CONTEST.truth(root, sample)
    assert isinstance(truth, Boxes) and isinstance(before, Boxes)
    assert len(sample.annotation) == truth.count + 1 == before.count + 1
    assert sample.annotation[-1] == "5 5 5 9 - RBC"


@pytest.mark.parametrize(
    ("old", "new", "match"),
    [
        ("<name>RBC", "<name>rbc", r"00000\.xml, object 1: label 'rbc': the contest has no such label; .*'RBC'"),
        ("<xmin>", "<xmin>9", r"00000\.xml, object 1: x1, y1, x2, y2 = .*: the corners are swapped"),
        ("<xmin>", "<xmin>nan</xmin><xmin>", r"00000\.xml, object 1: 'nan' is not a finite number"),
        ("<annotation>", "<annotation", r"00000\.xml: not xml that can be read"),
        ("<annotation>", '<!DOCTYPE a [<!ENTITY b "c">]><annotation>', r"00000\.xml: not xml .*refused: DTDForbidden"),
    ],
)  # fmt: skip
def test_faults_of_the_boxes_are_named(root: Path, old: str, new: str, match: str) -> None:
    change(root / "train_annotations" / "BloodImage_00000.xml", old, new)
    with pytest.raises(DataError, match=match) as caught:
        CONTEST.read(root)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("spoil", "match"),
    [
        (lambda root: (root / "train_annotations" / "BloodImage_00003.xml").unlink(), r"'BloodImage_00003' is a train"),
        (lambda root: (root / "train_images" / "BloodImage_00003.jpg").unlink(), r"'BloodImage_00003' has a row"),
        (lambda root: (root / "sample_submission.csv").unlink(), r"sample_submission\.csv"),
    ],
)
def test_faults_of_the_files_are_named(root: Path, spoil: Callable[[Path], object], match: str) -> None:
    spoil(root)
    with pytest.raises(DataError, match=match):
        CONTEST.read(root)
