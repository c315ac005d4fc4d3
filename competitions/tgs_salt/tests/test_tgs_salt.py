"""Salt: the layout of the download, depths, images of one colour, and the edges of the metric."""

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
from medalist.formats.rle import RleFormat
from medalist.formats.submission import write_submission
from medalist.records import Mask

CONTEST = load_competition("tgs_salt", Path(__file__).parents[2])
SEED = 1
drawing: Any = importlib.import_module("competitions.tgs_salt.draw")


def salt(share: float) -> Mask:
    """A mask of 101x101 whose first columns are salt."""
    flat = np.arange(101 * 101) < round(share * 101 * 101)
    return Mask(flat.reshape(101, 101).T.astype(np.uint8))


def test_the_layout_is_that_of_the_download(drawn: Path) -> None:
    assert {path.name for path in drawn.iterdir()} == {
        "train", "test", "train.csv", "depths.csv", "sample_submission.csv",
    }  # fmt: skip
    assert {path.name for path in (drawn / "train").iterdir()} == {"images", "masks"}
    heads = [
        (drawn / name).read_text().splitlines()[0] for name in ("train.csv", "depths.csv", "sample_submission.csv")
    ]
    assert heads == ["id,rle_mask", "id,z", "id,rle_mask"]


def test_reading_gives_back_what_was_drawn(drawn: Path) -> None:
    split = CONTEST.read(drawn)
    made = {tile.id: tile for tile in drawing.tiles(SEED)}
    assert (len(split.train), len(split.test)) == (24, 8)
    for sample in split.train:
        truth = CONTEST.truth(drawn, sample)
        assert isinstance(truth, Mask)
        np.testing.assert_array_equal(truth.classes, made[sample.id].mask)
        np.testing.assert_array_equal(CONTEST.image(sample.images[0])[..., 1], made[sample.id].image)
    assert all(one.size == (101, 101) and one.meta == {"z": str(made[one.id].depth)} for one in split.all)


def test_the_stratum_is_the_share_of_salt(drawn: Path) -> None:
    train = CONTEST.read(drawn).train
    shares = {sample.id: CONTEST.truth(drawn, sample).classes.mean() for sample in train}  # type: ignore[union-attr]
    for sample in train:
        assert sample.stratum is not None and sample.stratum.endswith(" %")
        top = int(sample.stratum.removesuffix(" %")) / 100
        assert top - 0.1 < shares[sample.id] <= top or shares[sample.id] == top == 0
    strata = Counter(sample.stratum for sample in train)
    assert strata["0 %"] == 9 and strata["100 %"] == 3


def test_an_image_of_one_colour_is_read_and_has_no_salt(drawn: Path) -> None:
    plain = [one for one in CONTEST.read(drawn).train if np.ptp(CONTEST.image(one.images[0])) == 0]
    assert len(plain) == 3
    assert all(one.stratum == "0 %" and not one.annotation for one in plain)


@pytest.mark.parametrize(
    ("truth", "answer", "value"),
    [
        (0.0, 0.0, 1.0),
        (0.0, 0.001, 0.0),
        (0.001, 0.0, 0.0),
        (0.79, 0.0, 0.0),  # the code that many copied, and a public grader, find an IoU of 0.792 here
        (1.0, 0.0, 0.0),  # and 1.0 here: its histogram of a constant mask has one bin
        (1.0, 1.0, 1.0),
        (1.0, 0.551, 0.2),  # IoUs above 0.50 and 0.55
    ],
)
def test_the_edges_of_the_metric(truth: float, answer: float, value: float) -> None:
    assert CONTEST.score({"a": salt(truth)}, {"a": salt(answer)}).value == pytest.approx(value)


def test_pixels_are_counted_down_the_columns(drawn: Path, tmp_path: Path) -> None:
    test = CONTEST.read(drawn).test
    column = np.zeros((101, 101), np.uint8)
    column[1:4, 2] = 1
    assert isinstance(CONTEST.submission, RleFormat)
    assert CONTEST.submission.rows(test[0].id, Mask(column)) == [(test[0].id, f"{2 * 101 + 2} 3")]


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
        (lambda root: (root / "depths.csv").unlink(), r"depths\.csv"),
        (lambda root: edit(root / "depths.csv", lambda rows: rows[:1]), r"no row for the training image"),
        (lambda root: edit(root / "train.csv", lambda rows: [*rows, rows[1]]), r"row 26, .*second row"),
        (
            lambda root: edit(
                root / "train.csv", lambda rows: [rows[0], f"{rows[1].split(',')[0]},10201 2", *rows[2:]]
            ),
            r"train\.csv: image .*past the last pixel 10201",
        ),
        (lambda root: (root / "test" / "images").rename(root / "test" / "pictures"), r"no folder 'images'"),
    ],
)
def test_faults_of_the_files_are_named(root: Path, spoil: Callable[[Path], object], match: str) -> None:
    spoil(root)
    with pytest.raises(DataError, match=match) as caught:
        CONTEST.read(root)
    assert "\n" not in str(caught.value)
