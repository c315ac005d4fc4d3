"""Chests: the boxes of several radiologists are joined, and a picture without findings has a class of its own."""

from __future__ import annotations

import importlib
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from medalist.competition import load_competition
from medalist.errors import DataError
from medalist.formats.boxes import no_boxes
from medalist.formats.submission import suffix_of, write_submission
from medalist.records import Boxes

CONTEST = load_competition("vinbigdata", Path(__file__).parents[2])
SEED = 1
drawing: Any = importlib.import_module("competitions.vinbigdata.draw")


def test_the_layout_is_that_of_the_download(drawn: Path) -> None:
    assert {path.name for path in drawn.iterdir()} == {"train", "test", "train.csv", "sample_submission.csv"}


def test_reading_gives_back_what_was_drawn(drawn: Path) -> None:
    made = {one.name: one.findings for one in drawing.chests(SEED) if one.part == "train"}
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


def test_three_readers_are_one_truth(drawn: Path) -> None:
    sample = next(one for one in CONTEST.read(drawn).train if one.annotation)
    truth = CONTEST.truth(drawn, sample)
    assert isinstance(truth, Boxes) and len(sample.annotation) == 3 * truth.count
    assert {text.split()[4] for text in sample.annotation} == {"@R8", "@R9", "@R10"}


def test_boxes_that_hardly_overlap_stay_apart(drawn: Path) -> None:
    sample = CONTEST.read(drawn).train[0]
    texts = ("0 0 10 10 @R8 ILD", "0 0 10 8 @R9 ILD", "8 8 20 20 @R9 ILD", "0 0 10 10 @R8 Atelectasis")
    truth = CONTEST.truth(drawn, replace(sample, annotation=texts))
    assert isinstance(truth, Boxes)
    assert truth.labels.tolist() == [1, 5, 5]
    assert truth.xyxy.tolist() == [[0, 0, 10, 10], [0, 0, 10, 9], [8, 8, 20, 20]]


def test_no_finding_is_a_class(drawn: Path) -> None:
    nothing = no_boxes()
    assert CONTEST.submission.rows("a", nothing) == [("a", "14 1 0 0 1 1")]  # type: ignore[union-attr]
    false = Boxes(np.array([[5, 5, 9, 9]], np.float32), np.zeros(1, np.int32), np.ones(1, np.float32))
    assert CONTEST.score({"a": nothing, "b": false}, {"a": nothing, "b": false}).value == 1.0
    assert CONTEST.score({"a": nothing, "b": false}, {"a": false, "b": false}).value == pytest.approx((0 + 1 / 2) / 2)


def test_an_unknown_class_is_named(root: Path) -> None:
    text = (root / "train.csv").read_text().replace(",No finding,", ",no finding,", 1)
    (root / "train.csv").write_text(text)
    with pytest.raises(DataError, match=r"row \d+: one of its four numbers is missing"):
        CONTEST.read(root)
