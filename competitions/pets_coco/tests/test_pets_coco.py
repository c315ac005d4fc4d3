"""Pets: a contest in the form of COCO, with crowds, and a JSON list as submission."""

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

CONTEST = load_competition("pets_coco", Path(__file__).parents[2])
SEED = 1
drawing: Any = importlib.import_module("competitions.pets_coco.draw")


def test_the_layout_is_that_of_the_download(drawn: Path) -> None:
    assert {path.name for path in drawn.iterdir()} == {"train", "test", "annotations"}


def test_reading_gives_back_what_was_drawn(drawn: Path) -> None:
    made = {str(one.number): one.heads for one in drawing.pictures(SEED) if one.part == "train"}
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
    assert CONTEST.submission.validate(path, test) == []
    assert CONTEST.score(hidden, CONTEST.submission.parse(path, test)).value == pytest.approx(1.0)


def test_crowds_are_not_judged(drawn: Path) -> None:
    split = CONTEST.read(drawn)
    truths = {sample.id: CONTEST.truth(drawn, sample) for sample in split.train}
    crowded = [truth for truth in truths.values() if isinstance(truth, Boxes) and truth.ignored is not None]
    assert len(crowded) >= 2 and all(one.ignored is not None and one.ignored.sum() == 1 for one in crowded)
    silent = {
        name: one if one.ignored is None else Boxes(one.xyxy[~one.ignored], one.labels[~one.ignored], one.scores[1:])
        for name, one in truths.items() if isinstance(one, Boxes)
    }  # fmt: skip
    assert CONTEST.score(truths, silent).value == 1.0


@pytest.mark.parametrize(
    ("old", "new", "match"),
    [
        ('"id": 17', '"id": 1', r"annotation \d+: category_id 17 is no category"),
        ('"name": "cat"', '"name": "cats"', r"label 'cats': the contest has no such label; did you mean 'cat'"),
        ('"image_id": 101', '"image_id": 7', r"annotation 1: image_id 7 is no image of the file"),
        ('"file_name": "0', '"file_name": "../0', r"'\.\./0+101\.jpg' is no file inside"),
        ('"id": 102', '"id": 101', r"images, entry 2: the id 101 is there twice"),
        ('"annotations"', '"boxes"', r"no list 'annotations'"),
    ],
)
def test_faults_of_the_json_are_named(root: Path, old: str, new: str, match: str) -> None:
    path = root / "annotations" / "train.json"
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))
    with pytest.raises(DataError, match=match) as caught:
        CONTEST.read(root)
    assert "\n" not in str(caught.value)


def test_other_numbers_of_categories_are_refused(root: Path) -> None:
    path = root / "annotations" / "train.json"
    path.write_text(path.read_text().replace('"id": 17', '"id": 3').replace('"category_id": 17', '"category_id": 3'))
    with pytest.raises(DataError, match=r"its categories are \{'cat': 3, 'dog': 18\}, not \{'cat': 17, 'dog': 18\}"):
        CONTEST.read(root)
