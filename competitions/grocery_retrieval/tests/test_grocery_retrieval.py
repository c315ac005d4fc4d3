from __future__ import annotations

import csv
import importlib
import re
import shutil
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from medalist.competition import load_competition
from medalist.errors import DataError
from medalist.folds.folds import make_folds
from medalist.folds.settings import FoldsConfig
from medalist.formats.rankings import RankingFormat
from medalist.formats.submission import write_submission
from medalist.records import Ranking, RetrievalSplit, Split
from medalist.retrieval.splits import answerable, right_names, splits_of_test

SEED = 6
GROCERY = load_competition("grocery_retrieval", Path(__file__).parents[2])
drawing: Any = importlib.import_module("competitions.grocery_retrieval.draw")


@pytest.fixture(scope="module")
def drawn(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("grocery")
    assert GROCERY.draw is not None
    GROCERY.draw(folder, SEED)
    return folder


@pytest.fixture
def root(drawn: Path, tmp_path: Path) -> Path:
    """Return a copy of the drawn data, which a test may change."""
    return shutil.copytree(drawn, tmp_path / "grocery")


def form(folder: Path) -> set[str]:
    """Return the paths with each id replaced by ID, without the note that the real folder has."""
    found = {str(path.relative_to(folder)) for path in folder.rglob("*")} - {"README.md"}
    return {re.sub("[0-9a-f]{12}", "ID", path) for path in found}


def splits_of_fold(split: Split, n: int, fold: int) -> tuple[RetrievalSplit, ...]:
    held_out = set(make_folds(split.train, FoldsConfig(n=n)).held_out(fold))
    held = [sample for sample in split.train if sample.id in held_out]
    assert GROCERY.retrieval is not None
    return GROCERY.retrieval.splits([s for s in split.train if s.id not in held_out], held)


@pytest.mark.data
def test_the_form_on_disk_is_that_of_the_real_data(drawn: Path, contest_data: Callable[[str], Path]) -> None:
    real = contest_data("grocery_retrieval")
    assert form(drawn) == form(real)
    for path in real.glob("*.csv"):
        assert (drawn / path.name).read_text().split("\n")[0] == path.read_text().split("\n")[0]
        assert b"\r" not in (drawn / path.name).read_bytes() + path.read_bytes()
    for folder in (drawn, real):
        for path in [*folder.rglob("*.jpg")][::20]:
            with Image.open(path) as image:
                assert (image.format, image.mode, min(image.size)) == ("JPEG", "RGB", 144)


def test_what_was_drawn_is_read(drawn: Path) -> None:
    split = GROCERY.read(drawn)
    assert (len(split.train), len(split.test), len(split.gallery)) == (63, 18, 24)
    with (drawn / "train.csv").open(newline="") as file:
        rows = {row["id"]: row for row in csv.DictReader(file)}
    for sample in split.train:
        row = rows[sample.id]
        assert (*sample.annotation, sample.group, sample.stratum) == (row["label"], row["label"], row["kind"])
        assert sample.meta == {"coarse_label": row["coarse_label"], "official_split": row["official_split"]}
    assert {sample.size for sample in split.all} == {(144, 144), (144, 192), (192, 144)}


def test_the_hidden_truth_scores_best_through_the_file(drawn: Path, tmp_path: Path) -> None:
    split = GROCERY.read(drawn)
    hidden = drawing.hidden_truth(SEED)
    assert set(hidden) == {sample.id for sample in split.test}
    assert isinstance(GROCERY.submission, RankingFormat)
    form = GROCERY.submission.among(answerable(splits_of_test(split.test, split.gallery), {}, "samples"))
    path = tmp_path / "s.csv"
    write_submission(path, form, [(sample.id, hidden[sample.id]) for sample in split.test])
    assert form.validate(path, split.test, drawn / "sample_submission.csv") == []
    assert GROCERY.score(hidden, form.parse(path, split.test)).value == 1.0
    assert GROCERY.score(hidden, form.parse(drawn / "sample_submission.csv", split.test)).value < 0.5
    half = {name: Ranking(truth.names[:1]) for name, truth in hidden.items()}
    assert GROCERY.score(hidden, half).value == pytest.approx(1 / 4), "one of four right photos, at the first place"


def test_photos_of_the_test_list_ask_those_of_the_others(drawn: Path) -> None:
    split = GROCERY.read(drawn)
    by_id = {sample.id: sample for sample in split.train}
    for fold in range(3):
        (asked,) = splits_of_fold(split, 3, fold)
        assert {by_id[name].meta["official_split"] for name in asked.queries} == {"test"}
        assert {by_id[name].meta["official_split"] for name in asked.gallery} == {"train", "val"}
        products = {by_id[name].group for name in (*asked.queries, *asked.gallery)}
        assert len(products) == 3 and len({by_id[name].stratum for name in asked.queries}) == 3
        truths = right_names([asked], by_id, "samples")
        assert {len(truth.names) for truth in truths.values()} == {4}


def test_a_product_of_one_list_alone_is_fine(root: Path) -> None:
    text = (root / "train.csv").read_text()
    only_asks = re.sub(r"(Product-0,.*),(train|val),", r"\1,test,", text)
    only_answers = re.sub(r"(Product-1,.*),(test),", r"\1,train,", only_asks)
    (root / "train.csv").write_text(only_answers)
    split = GROCERY.read(root)
    by_id = {sample.id: sample for sample in split.train}
    truths = right_names([asked for fold in range(3) for asked in splits_of_fold(split, 3, fold)], by_id, "samples")
    found = Counter((*by_id[name].annotation, bool(truth.names)) for name, truth in truths.items())
    assert found["Product-0", False] == 7 and found["Product-0", True] == found["Product-1", True] == 0
    assert GROCERY.score(truths, truths).value == 1.0


@pytest.mark.parametrize(
    ("spoil", "match"),
    [
        (lambda root: (root / "gallery.csv").unlink(), r"gallery\.csv"),
        (lambda root: (root / "train.csv").write_text("id,label\na,b\n"), r"train\.csv, row 1: no column 'kind'"),
        (lambda root: shutil.rmtree(root / "test_images"), "18 of 18 images cannot be read"),
        (lambda root: next((root / "train_images").iterdir()).write_bytes(b"\xff\xd8"), "1 of 63 images cannot"),
        (lambda root: (root / "gallery.csv").write_text((root / "query.csv").read_text()), "in two parts"),
        (
            lambda root: (root / "train.csv").write_text(
                (root / "train.csv").read_text().replace("Product-3,", ",", 1)
            ),
            r"row \d+, column label: an image without an identity",
        ),
    ],
)
def test_faults_of_the_files_are_named(root: Path, spoil: Callable[[Path], object], match: str) -> None:
    spoil(root)
    with pytest.raises(DataError, match=match) as caught:
        GROCERY.read(root)
    assert "\n" not in str(caught.value)


@pytest.mark.data
def test_the_real_data(contest_data: Callable[[str], Path]) -> None:
    split = GROCERY.read(contest_data("grocery_retrieval"))
    assert (len(split.train), len(split.test), len(split.gallery)) == (1197, 168, 384)
    assert len({sample.annotation for sample in split.train}) == 57
    assert max(Counter(sample.annotation for sample in split.train).values()) == 21
    assert {sample.stratum for sample in split.train} == {"Fruit", "Packages", "Vegetables"}
    by_id = {sample.id: sample for sample in split.train}
    splits = [asked for fold in range(5) for asked in splits_of_fold(split, 5, fold)]
    assert sum(len(one.queries) for one in splits) == 541 and sum(len(one.gallery) for one in splits) == 656
    assert all(truth.names for truth in right_names(splits, by_id, "samples").values())
