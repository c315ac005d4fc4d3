"""Vehicles: points become squares and points again, and every fault of the table is named."""

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

CONTEST = load_competition("safe_passage", Path(__file__).parents[2])
SEED = 1
drawing: Any = importlib.import_module("competitions.safe_passage.draw")


def test_the_layout_is_that_of_the_download(drawn: Path) -> None:
    assert {path.name for path in drawn.iterdir()} == {"training", "test", "trainingObservations.csv"}


def test_reading_gives_back_what_was_drawn(drawn: Path) -> None:
    made = {one.name: one.vehicles for one in drawing.photos(SEED) if one.part == "training"}
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


def test_photos_of_a_square_of_the_map_are_a_group(drawn: Path) -> None:
    groups = [sample.group for sample in CONTEST.read(drawn).train]
    assert groups == ["TQ2370", "TQ2370", "TQ2371", "TQ2371", "TQ2372", "TQ2372", "TQ2373", "TQ2373"]


def test_points_within_the_radius_are_right() -> None:
    form = CONTEST.submission
    truth = {"a": form.squares([(0, 100, 100), (8, 50, 50)])}  # type: ignore[union-attr]
    answer = {"a": form.squares([(0, 100, 113), (8, 50, 95), (1, 9, 9)])}  # type: ignore[union-attr]
    score = CONTEST.score(truth, answer)  # the motorcycle is 13 pixels away, the bus 45
    assert (score.parts["tp"], score.parts["fp"], score.parts["fn"], score.value) == (1, 2, 1, 0.25)


@pytest.mark.parametrize(
    ("old", "new", "match"),
    [
        (",A,", ",Z,", r"row 2, column class, value 'Z': no class"),
        (",None", ",1760:456F", r"row \d+, column detections: '1760:456F' is no point"),
        (",None", ",9:9999", r"row \d+, column detections: 9:9999 lies outside the image, which is 400 wide"),
    ],
)
def test_faults_of_the_table_are_named(root: Path, old: str, new: str, match: str) -> None:
    path = root / "trainingObservations.csv"
    path.write_text(path.read_text().replace(old, new, 1))
    with pytest.raises(DataError, match=match) as caught:
        CONTEST.read(root)
    assert "\n" not in str(caught.value)
