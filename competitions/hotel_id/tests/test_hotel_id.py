"""Hotel-ID: the layout of the download, visits that are held out as a whole, and queries that have a right answer."""

from __future__ import annotations

import importlib
from collections import defaultdict
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from drawn_files import edit

from medalist.competition import load_competition
from medalist.errors import DataError
from medalist.folds.folds import make_folds
from medalist.folds.settings import FoldsConfig
from medalist.formats.submission import write_submission
from medalist.records import Sample
from medalist.retrieval.splits import identity_of, right_names

CONTEST = load_competition("hotel_id", Path(__file__).parents[2])
SEED = 1
drawing: Any = importlib.import_module("competitions.hotel_id.draw")
data: Any = importlib.import_module("competitions.hotel_id.data")


def test_the_layout_is_that_of_the_download(root: Path) -> None:
    assert {path.name for path in root.iterdir()} == {
        "train_images", "test_images", "train.csv", "sample_submission.csv",
    }  # fmt: skip
    assert {path.name for path in (root / "train_images").iterdir()} == {"0", "3", "5", "87"}
    header, row, *_ = (root / "train.csv").read_text().splitlines()
    assert header == "image,chain,hotel_id,timestamp"
    datetime.strptime(row.split(",")[3], "%Y-%m-%d %H:%M:%S")
    assert (root / "sample_submission.csv").read_text().splitlines()[0] == "image,hotel_id"


def test_reading_gives_back_what_was_drawn(root: Path) -> None:
    split = CONTEST.read(root)
    photos = {photo.name: photo for photo in drawing.photos(SEED)}
    assert (len(split.train), len(split.test)) == (38, 11)
    for sample in split.train:
        photo = photos[sample.id]
        assert identity_of(sample) == sample.stratum == drawing.hotel_id(SEED, photo.hotel)
        assert sample.meta == {"chain": str(drawing.CHAINS[photo.hotel]), "timestamp": str(photo.taken)}
        assert sample.images[0].parent.name == sample.meta["chain"]
        assert sample.size == drawing.SIZES[photo.shot % 2]


def test_a_visit_is_what_follows_within_ten_minutes(root: Path) -> None:
    seen: defaultdict[str, list[Sample]] = defaultdict(list)
    for sample in CONTEST.read(root).train:
        assert sample.group is not None
        seen[sample.group].append(sample)
    assert sorted(map(len, seen.values())) == sorted(count for visits in drawing.VISITS for count in visits)
    assert all(len({identity_of(sample) for sample in visit}) == 1 for visit in seen.values())
    noon = datetime(2018, 4, 16, 12)
    minutes = {"a": 0, "b": 10, "c": 20, "d": 31, "e": 31, "f": 0}
    taken = {name: noon + timedelta(minutes=after) for name, after in minutes.items()}
    photos = [Sample(name, (), (1, 1), ("7" if name != "f" else "8",)) for name in "fedcba"]
    first, second, other = "7 2018-04-16 12:00:00", "7 2018-04-16 12:31:00", "8 2018-04-16 12:00:00"
    assert data.visits(photos, taken) == dict(zip("abcdef", [first, first, first, second, second, other], strict=True))


def test_held_out_photos_ask_other_visits_of_known_hotels(root: Path) -> None:
    train = CONTEST.read(root).train
    by_id = {sample.id: sample for sample in train}
    folds = make_folds(train, FoldsConfig(n=3, seed=0))
    assert CONTEST.retrieval is not None
    left_out = 0
    for k in range(3):
        held_out = [by_id[name] for name in folds.held_out(k)]
        splits = CONTEST.retrieval.splits([by_id[name] for name in folds.training(k)], held_out)
        assert all(truth.names for truth in right_names(splits, by_id, "identities").values())
        (split,) = splits
        assert set(split.gallery) == set(folds.training(k))
        visits = {by_id[name].group for name in split.gallery}
        assert not any(by_id[name].group in visits for name in split.queries)
        left_out += len(held_out) - len(split.queries)
    # Hotels with one visit have no queries. Other hotels have, where one of their visits is in the training part.
    assert left_out >= sum(sum(visits) for visits in drawing.VISITS if len(visits) == 1)
    assert left_out < len(train) / 2


def test_a_perfect_answer_to_the_test_part(root: Path, tmp_path: Path) -> None:
    split = CONTEST.read(root)
    truths = {sample.id: drawing.hidden_truth(SEED)[sample.id] for sample in split.test}
    path = tmp_path / "s.csv"
    write_submission(path, CONTEST.submission, truths.items())
    assert CONTEST.submission.validate(path, split.test, root / "sample_submission.csv") == []
    assert CONTEST.score(truths, CONTEST.submission.parse(path, split.test)).value == 1.0


@pytest.mark.parametrize(
    ("row", "match"),
    [
        ("06b98caabdcaa62d.jpg,zero,46608,2018-05-27 17:01:49", r"row 2, image '06b98caabdcaa62d\.jpg'.*'zero'"),
        ("06b98caabdcaa62d.jpg,..,46608,2018-05-27 17:01:49", "row 2, .*number"),
        ("06b98caabdcaa62d.jpg,3,46608,2018-05-27 17:01:49", r"train_images/3/06b98caabdcaa62d\.jpg"),
        ("06b98caabdcaa62d.jpg,0,46608,2018-13-27 17:01:49", "row 2, .*2018-13-27"),
        ("06b98caabdcaa62d.jpg,0,46608,27.5.2018", r"row 2, .*27\.5\.2018"),
        ("06b98caabdcaa62d.jpg,0,,2018-05-27 17:01:49", "row 2, column hotel_id"),
        ("06b98caabdcaa62d.jpg,0,46608", "row 2: 3 cells"),
        ("lost.jpg,0,46608,2018-05-27 17:01:49", r"lost\.jpg"),
    ],
)
def test_faults_of_the_csv_are_named(root: Path, row: str, match: str) -> None:
    edit(root / "train.csv", lambda rows: [rows[0], row, *rows[2:]])
    with pytest.raises(DataError, match=match) as caught:
        CONTEST.read(root)
    assert "\n" not in str(caught.value)


def test_a_photo_in_two_rows_is_named(root: Path) -> None:
    edit(root / "train.csv", lambda rows: [*rows, rows[1]])
    with pytest.raises(DataError, match=r"row 40, .*06b98caabdcaa62d\.jpg.*second row"):
        CONTEST.read(root)
