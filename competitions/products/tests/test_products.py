"""Stanford Online Products: its lists, unseen products, each photo as a query against all others, Recall@k and cuts."""

from __future__ import annotations

import importlib
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
from medalist.retrieval.splits import identity_of, right_names, splits_of_test

CONTEST = load_competition("products", Path(__file__).parents[2])
SEED = 1
drawing: Any = importlib.import_module("competitions.products.draw")
data: Any = importlib.import_module("competitions.products.data")


def test_the_layout_is_that_of_the_data_set(root: Path) -> None:
    lists = {"Ebay_train.txt", "Ebay_test.txt", "sample_submission.csv"}
    assert {path.name for path in root.iterdir()} == lists | {f"{kind}_final" for kind in drawing.KINDS}
    header, first, *_ = (root / "Ebay_train.txt").read_text().splitlines()
    assert (header, first) == ("image_id class_id super_class_id path", "1 1 1 bicycle_final/111085123872_0.JPG")


def test_reading_gives_back_what_was_drawn(root: Path) -> None:
    split = CONTEST.read(root)
    plan = {part: {str(one.image): one for one in photos} for part, photos in drawing.photos(SEED).items()}
    assert [sample.id for sample in split.train] == list(plan["train"])
    assert [sample.id for sample in split.test] == list(plan["test"]) == [sample.id for sample in split.gallery]
    for sample in split.train:
        photo = plan["train"][sample.id]
        assert identity_of(sample) == sample.group == str(photo.product)
        assert sample.stratum == sample.meta["kind"] == sample.images[0].parent.name
        assert sample.images == (root / photo.path,) and sample.size == drawing.SIZES[photo.shot % 3]
    assert not any(sample.annotation or sample.group for sample in split.test)


def test_reading_does_without_a_sample_submission_which_can_be_written(root: Path) -> None:
    before = (root / "sample_submission.csv").read_text()
    (root / "sample_submission.csv").unlink()
    split = CONTEST.read(root)
    data.write_sample_submission(root)
    assert (root / "sample_submission.csv").read_text() == before
    reference = root / "sample_submission.csv"
    assert CONTEST.submission.validate(reference, split.test, reference) == []


def test_held_out_products_are_unseen_and_every_photo_asks_all_others(root: Path) -> None:
    train = CONTEST.read(root).train
    by_id = {sample.id: sample for sample in train}
    folds = make_folds(train, FoldsConfig(n=3, seed=0))
    assert CONTEST.retrieval is not None
    for k in range(3):
        held_out, training = ([by_id[n] for n in names] for names in (folds.held_out(k), folds.training(k)))
        assert not {identity_of(sample) for sample in held_out} & {identity_of(sample) for sample in training}
        splits = CONTEST.retrieval.splits(training, held_out)
        truths = right_names(splits, by_id, "samples")
        assert list(truths) == [sample.id for sample in held_out]
        assert all(truth.names and name not in truth.names for name, truth in truths.items())


def test_the_published_truth_scores_best_and_the_photo_itself_is_no_answer(root: Path, tmp_path: Path) -> None:
    split = CONTEST.read(root)
    truths = data.published_truth(root)
    assert [len(truth.names) + 1 for truth in truths.values()] == [
        count for count in drawing.SHOTS["test"] for _ in range(count)
    ]
    (asked,) = splits_of_test(split.test, split.gallery)
    assert asked.queries == asked.gallery == tuple(truths)
    path = tmp_path / "s.csv"
    write_submission(path, CONTEST.submission, truths.items())
    assert CONTEST.submission.validate(path, split.test, root / "sample_submission.csv") == []
    assert CONTEST.score(truths, CONTEST.submission.parse(path, split.test)).value == 1.0
    itself = {name: Ranking((name,)) for name in truths}
    assert CONTEST.score(truths, itself).value == 0.0


def test_recall_at_its_four_cuts_by_hand() -> None:
    truths = {name: Ranking(("right", "also")) for name in "abcd"}
    wrong = [f"w{n}" for n in range(999)]
    answers = {
        "a": Ranking(("right", *wrong)),
        "b": Ranking((*wrong[:9], "also")),
        "c": Ranking((*wrong[:10], "right", "also")),
        "d": Ranking((*wrong, "right")),
    }
    score = CONTEST.score(truths, answers)
    assert score.value == 0.25
    assert score.parts == {"recall@1": 0.25, "recall@10": 0.5, "recall@100": 0.75, "recall@1000": 1.0}
    assert score.by_sample == {"a": 1.0, "b": 0.0, "c": 0.0, "d": 0.0}


@pytest.mark.parametrize(
    ("name", "change", "match"),
    [
        ("Ebay_test.txt", lambda rows: rows[1:], r"Ebay_test\.txt, row 1: expected"),
        ("Ebay_test.txt", lambda rows: [], r"Ebay_test\.txt, row 1: expected"),
        ("Ebay_test.txt", lambda rows: rows[:1], "the test part has no images"),
        ("Ebay_train.txt", lambda rows: [rows[0], "1 1 bicycle_final/x.JPG", *rows[2:]], "row 2: '1 1 bicycle_final"),
        ("Ebay_train.txt", lambda rows: [rows[0], "1 one 1 bicycle_final/x.JPG", *rows[2:]], "row 2: '1 one"),
        ("Ebay_train.txt", lambda rows: [rows[0], "1 1 1 ../x.JPG", *rows[2:]], r"row 2: '1 1 1 \.\./x"),
        ("Ebay_train.txt", lambda rows: [rows[0], "1 1 1 /etc/x.JPG", *rows[2:]], "row 2: '1 1 1 /etc"),
        ("Ebay_train.txt", lambda rows: [rows[0], "1 1 1 /x.JPG", *rows[2:]], "row 2: '1 1 1 /x"),
        ("Ebay_train.txt", lambda rows: [*rows, rows[3]], "row 36: image_id 3 is already in row 4"),
        ("Ebay_train.txt", lambda rows: [*rows, rows[3].replace("3 1 1", "99 1 1").replace("_2", "_77")], "_77"),
        ("Ebay_test.txt", lambda rows: [*rows, "99 1 1 bicycle_final/111085123872_0.JPG"], "product 1 is trained on"),
        ("Ebay_test.txt", lambda rows: [*rows, rows[1].replace("35 ", "34 ")], "'34'"),
    ],
)
def test_faults_of_the_lists_are_named(
    root: Path, name: str, change: Callable[[list[str]], list[str]], match: str
) -> None:
    edit(root / name, change)
    with pytest.raises(DataError, match=match) as caught:
        CONTEST.read(root)
    assert "\n" not in str(caught.value)


def test_a_list_that_is_missing_or_no_text_is_named(root: Path) -> None:
    (root / "Ebay_train.txt").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(DataError, match=r"Ebay_train\.txt: cannot be read"):
        CONTEST.read(root)
    (root / "Ebay_train.txt").unlink()
    with pytest.raises(DataError, match=r"Ebay_train\.txt: cannot be read.*--data"):
        CONTEST.read(root)
