"""Happywhale: the layout of the download, corrected species, and species as strata of individuals with one photo."""

from __future__ import annotations

import importlib
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from drawn_files import edit

from medalist.competition import load_competition
from medalist.errors import DataError
from medalist.folds.folds import make_folds
from medalist.folds.settings import FoldsConfig
from medalist.formats.submission import write_submission
from medalist.records import Ranking
from medalist.retrieval.splits import identity_of, right_names

CONTEST = load_competition("happywhale", Path(__file__).parents[2])
SEED = 1
NEW = "new_individual"
drawing: Any = importlib.import_module("competitions.happywhale.draw")


def test_the_layout_is_that_of_the_download(root: Path) -> None:
    assert {path.name for path in root.iterdir()} == {
        "train_images", "test_images", "train.csv", "sample_submission.csv",
    }  # fmt: skip
    assert (root / "train.csv").read_text().splitlines()[0] == "image,species,individual_id"
    header, *rows = (root / "sample_submission.csv").read_text().splitlines()
    assert header == "image,predictions"
    assert all(len(row.split(",")[1].split(" ")) == 5 for row in rows)
    written = (root / "train.csv").read_text()
    assert all(word in written for word in ("bottlenose_dolpin", "kiler_whale", "globis", "pilot_whale"))


def test_reading_gives_back_what_was_drawn(root: Path) -> None:
    split = CONTEST.read(root)
    photos = {photo.name: photo for photo in drawing.photos(SEED)}
    assert len(split.train) + len(split.test) == len(photos) == 58
    for sample in split.train:
        photo = photos[sample.id]
        assert identity_of(sample) == drawing.individual(SEED, photo.who)
        assert sample.images == (root / "train_images" / sample.id,)
        assert sample.size == drawing.SIZES[photo.shot % 3]
    assert [sample.id for sample in split.test] == sorted(
        name for name, photo in photos.items() if photo.part == "test"
    )


def test_species_are_mended_and_an_individual_has_one(root: Path) -> None:
    train = CONTEST.read(root).train
    assert {sample.meta["species"] for sample in train} == {
        "beluga", "humpback_whale", "bottlenose_dolphin", "killer_whale", "short_finned_pilot_whale",
    }  # fmt: skip
    assert len({(identity_of(sample), sample.meta["species"]) for sample in train}) == 14


def test_strata_are_individuals_and_species_for_those_with_one_photo(root: Path) -> None:
    train = CONTEST.read(root).train
    count = Counter(identity_of(sample) for sample in train)
    for sample in train:
        lone = count[identity_of(sample)] == 1
        assert sample.stratum == (sample.meta["species"] if lone else identity_of(sample))
    assert sum(size == 1 for size in count.values()) == 5


def test_only_lone_photos_are_new_when_they_are_held_out(root: Path) -> None:
    train = CONTEST.read(root).train
    by_id = {sample.id: sample for sample in train}
    count = Counter(identity_of(sample) for sample in train)
    folds = make_folds(train, FoldsConfig(n=2, seed=0))
    assert CONTEST.retrieval is not None
    new = []
    for k in range(2):
        training = [by_id[name] for name in folds.training(k)]
        splits = CONTEST.retrieval.splits(training, [by_id[name] for name in folds.held_out(k)])
        truths = right_names(splits, by_id, "identities", NEW)
        new += [name for name, truth in truths.items() if truth == Ranking((NEW,))]
    assert sorted(new) == sorted(sample.id for sample in train if count[identity_of(sample)] == 1)


def test_a_perfect_answer_to_the_test_part(root: Path, tmp_path: Path) -> None:
    split = CONTEST.read(root)
    truths = {sample.id: drawing.hidden_truth(SEED)[sample.id] for sample in split.test}
    known = {identity_of(sample) for sample in split.train} | {NEW}
    assert {name for truth in truths.values() for name in truth.names} == known
    path = tmp_path / "s.csv"
    write_submission(path, CONTEST.submission, truths.items())
    assert CONTEST.submission.validate(path, split.test, root / "sample_submission.csv") == []
    assert CONTEST.score(truths, CONTEST.submission.parse(path, split.test)).value == 1.0


@pytest.mark.parametrize(
    ("spoil", "match"),
    [
        (lambda root: (root / "train.csv").unlink(), r"train\.csv"),
        (lambda root: (root / "train_images").rename(root / "train"), r"08a20859994771\.jpg"),
        (lambda root: edit(root / "train.csv", lambda rows: ["image,kind,individual_id", *rows[1:]]), "'species'"),
        (
            lambda root: edit(root / "train.csv", lambda rows: [*rows, rows[1]]),
            r"row 43, .*08a20859994771.* second row",
        ),
        (
            lambda root: edit(root / "train.csv", lambda rows: [rows[0], "08a20859994771.jpg,beluga,", *rows[2:]]),
            "row 2, column individual_id",
        ),
        (
            lambda root: edit(root / "train.csv", lambda rows: [rows[0], f"{rows[1][:-12]}{NEW}", *rows[2:]]),
            "'new_individual' is in 1 rows",
        ),
    ],
)
def test_faults_of_the_files_are_named(root: Path, spoil: Callable[[Path], object], match: str) -> None:
    spoil(root)
    with pytest.raises(DataError, match=match) as caught:
        CONTEST.read(root)
    assert "\n" not in str(caught.value)
