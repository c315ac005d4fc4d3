"""Ships: the layout of the download, scenes found by their overlapping tiles, the metric's edges, and the track."""

from __future__ import annotations

import importlib
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from drawn_files import edit

from medalist.competition import find_groups, load_competition
from medalist.errors import DataError
from medalist.folds.folds import make_folds
from medalist.folds.settings import FoldsConfig
from medalist.formats.submission import write_submission
from medalist.records import Instances, Labels

CONTEST = load_competition("airbus_ships", Path(__file__).parents[2])
PRESENCE = load_competition("airbus_ships.presence", Path(__file__).parents[2])
SEED = 1
LABELS = "train_ship_segmentations_v2.csv"
drawing: Any = importlib.import_module("competitions.airbus_ships.draw")
reading: Any = importlib.import_module("competitions.airbus_ships.data")


def ships(*pixels: int) -> Instances:
    return Instances(np.array([pixels], np.int32))


def test_the_layout_is_that_of_the_download(drawn: Path) -> None:
    assert {path.name for path in drawn.iterdir()} == {"train_v2", "test_v2", LABELS, "sample_submission_v2.csv"}
    for name in (LABELS, "sample_submission_v2.csv"):
        header, first, *_ = (drawn / name).read_text().splitlines()
        assert header == "ImageId,EncodedPixels" and first.partition(",")[0].endswith(".jpg")


def test_reading_gives_back_what_was_drawn(drawn: Path) -> None:
    split = CONTEST.read(drawn)
    made = {tile.name: tile for tile in drawing.tiles(SEED)}
    assert (len(split.train), len(split.test)) == (12, 5)
    for sample in split.train:
        truth = CONTEST.truth(drawn, sample)
        assert isinstance(truth, Instances)
        np.testing.assert_array_equal(truth.labels, made[sample.id].labels)
        count = truth.count
        expected = "none" if not count else "1 ship" if count == 1 else "2-4 ships" if count < 5 else "5 or more ships"
        assert sample.stratum == expected
    assert Counter(sample.stratum for sample in split.train)["none"] >= 4


def test_tiles_of_a_scene_are_found_by_their_pixels_and_stay_in_one_fold(drawn: Path) -> None:
    split = CONTEST.read(drawn)
    scene = {tile.name: (tile.part, tile.scene) for tile in drawing.tiles(SEED)}
    grouping = find_groups(CONTEST, split)
    assert grouping is not None
    by_group: dict[str, set[tuple[str, int]]] = {}
    for name, group in grouping.group_of.items():
        by_group.setdefault(group, set()).add(scene[name])
    assert all(len(found) == 1 for found in by_group.values())  # nothing is joined that is not of one scene
    assert len(by_group) == len(set(scene.values()))  # and every scene is joined
    assert all(why.startswith("overlap offset ") for _, _, why in grouping.joins)
    folds = make_folds(split.train, FoldsConfig(n=3, seed=0), grouping.group_of)
    held = [{scene[name] for name in folds.held_out(fold)} for fold in range(3)]
    assert not (held[0] & held[1] or held[0] & held[2] or held[1] & held[2])


@pytest.mark.parametrize(
    ("truth", "answer", "value"),
    [
        (ships(0, 0, 0, 0), ships(0, 0, 0, 0), 1.0),
        (ships(0, 0, 0, 0), ships(1, 0, 0, 0), 0.0),
        (ships(1, 1, 0, 0), ships(0, 0, 0, 0), 0.0),
        (ships(1, 1, 0, 2), ships(1, 1, 0, 0), 5 / (5 + 4)),  # one found, one missed
        (ships(1, 1, 0, 0), ships(1, 1, 0, 2), 5 / (5 + 1)),  # one found, one too many
        (ships(1, 1, 1, 1), ships(1, 1, 0, 0), 0.0),  # an IoU of exactly 0.5 is not above 0.5
    ],
)
def test_f2_by_hand(truth: Instances, answer: Instances, value: float) -> None:
    assert CONTEST.score({"a": truth}, {"a": answer}).value == pytest.approx(value)


def test_the_mean_is_over_images() -> None:
    truths = {"a": ships(0, 0), "b": ships(0, 0), "c": ships(1, 2), "d": ships(1, 0)}
    answers = {"a": ships(0, 0), "b": ships(0, 1), "c": ships(1, 2), "d": ships(0, 1)}
    assert CONTEST.score(truths, answers).value == 0.5


def test_the_damaged_image_of_the_download_is_left_out(root: Path) -> None:
    before = len(CONTEST.read(root).train)
    name = reading.DAMAGED[0]
    (root / "train_v2" / name).write_bytes(b"\xff\xd8\xff")
    edit(root / LABELS, lambda rows: [*rows, f"{name},1 2"])
    assert len(CONTEST.read(root).train) == before


def test_the_track_asks_whether_there_is_a_ship(drawn: Path) -> None:
    split, ships_of = PRESENCE.read(drawn), {one.id: one.annotation for one in CONTEST.read(drawn).train}
    for sample in split.train:
        truth = PRESENCE.truth(drawn, sample)
        assert isinstance(truth, Labels)
        assert truth.names == ("ship" if ships_of[sample.id] else "none",)
    assert [one.id for one in split.test] == [one.id for one in CONTEST.read(drawn).test]


def test_both_questions_have_the_same_folds(drawn: Path) -> None:
    config = FoldsConfig(n=3, seed=4)
    one, other = CONTEST.read(drawn), PRESENCE.read(drawn)
    grouping = find_groups(CONTEST, one)
    assert grouping is not None
    assert make_folds(one.train, config, grouping.group_of) == make_folds(other.train, config, grouping.group_of)


def test_the_hidden_truth_goes_through_the_file(drawn: Path, tmp_path: Path) -> None:
    test = CONTEST.read(drawn).test
    hidden = drawing.hidden_truth(SEED)
    path = tmp_path / "s.csv"
    write_submission(path, CONTEST.submission, [(sample.id, hidden[sample.id]) for sample in test])
    assert CONTEST.submission.validate(path, test, drawn / "sample_submission_v2.csv") == []
    assert CONTEST.score(hidden, CONTEST.submission.parse(path, test)).value == 1.0


@pytest.mark.parametrize(
    ("spoil", "match"),
    [
        (lambda root: (root / LABELS).unlink(), r"train_ship_segmentations_v2\.csv"),
        (
            lambda root: next((root / "train_v2").iterdir()).write_bytes(b"\xff\xd8\xff"),
            r"1 of 17 images cannot be read",
        ),
        (
            lambda root: edit(root / LABELS, lambda rows: [*rows, f"{rows[1].partition(',')[0]},"]),
            r"an empty row beside",
        ),
        (lambda root: edit(root / LABELS, lambda rows: rows[:1]), r"without a row in the annotations"),
    ],
)
def test_faults_of_the_files_are_named(root: Path, spoil: Callable[[Path], object], match: str) -> None:
    spoil(root)
    with pytest.raises(DataError, match=match) as caught:
        CONTEST.read(root)
    assert "\n" not in str(caught.value)
