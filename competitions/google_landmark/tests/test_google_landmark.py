"""Google Landmark: two contests with one training part, queries without a right answer, and unseen landmarks."""

from __future__ import annotations

import importlib
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from drawn_files import edit

from medalist.competition import load_competition
from medalist.errors import DataError, SubmissionError
from medalist.folds.folds import make_folds
from medalist.folds.settings import FoldsConfig
from medalist.formats.rankings import RankingFormat
from medalist.formats.submission import write_submission
from medalist.records import Ranking
from medalist.retrieval.splits import answerable, identity_of, right_names, splits_of_test

FOLDER = Path(__file__).parents[2]
RECOGNITION = load_competition("google_landmark", FOLDER)
RETRIEVAL = load_competition("google_landmark.retrieval", FOLDER)
SEED = 1
drawing: Any = importlib.import_module("competitions.google_landmark.draw")
data: Any = importlib.import_module("competitions.google_landmark.data")


@pytest.fixture(scope="module")
def drawn(tmp_path_factory: pytest.TempPathFactory) -> Path:
    assert RECOGNITION.draw is not None
    folder = tmp_path_factory.mktemp("google_landmark")
    RECOGNITION.draw(folder, SEED)
    return folder


def test_the_layout_is_that_of_the_downloads(root: Path) -> None:
    for inside, parts in ((root, {"train", "test", "retrieval"}), (root / "retrieval", {"test", "index"})):
        csvs = {"train.csv", "sample_submission.csv"} if inside == root else {"sample_submission.csv"}
        assert {path.name for path in inside.iterdir()} == parts | csvs
    for path in root.rglob("*.jpg"):
        assert len(path.stem) == 16 and list(path.parts[-4:-1]) == list(path.stem[:3])
    assert (root / "train.csv").read_text().splitlines()[0] == "id,landmark_id"
    header, row, *_ = (root / "sample_submission.csv").read_text().splitlines()
    assert header == "id,landmarks" and len(row.split(",")[1].split(" ")) == 2
    assert (root / "retrieval" / "sample_submission.csv").read_text().splitlines()[0] == "id,images"


def test_reading_gives_back_what_was_drawn(root: Path) -> None:
    photos = {photo.id: photo for photo in drawing.photos(SEED)}
    recognition, retrieval = RECOGNITION.read(root), RETRIEVAL.read(root)
    for split, parts in ((recognition, ("train", "test", None)), (retrieval, ("train", "asked", "index"))):
        for samples, part in zip((split.train, split.test, split.gallery), parts, strict=True):
            assert {sample.id for sample in samples} == {name for name, one in photos.items() if one.part == part}
        for sample in split.train:
            assert identity_of(sample) == drawing.landmark(SEED, photos[sample.id].who)
        assert not any(sample.annotation for sample in (*split.test, *split.gallery))


def test_each_track_does_without_the_folders_of_the_other(root: Path) -> None:
    (root / "test").rename(root / "elsewhere")
    assert len(RETRIEVAL.read(root).gallery) == 24
    (root / "elsewhere").rename(root / "test")
    (root / "retrieval").rename(root / "elsewhere")
    assert len(RECOGNITION.read(root).test) == 18


def test_a_third_of_the_landmarks_is_held_out_whole() -> None:
    share = sum(data.held_whole(str(number)) for number in range(3000)) / 3000
    assert 0.3 < share < 0.37


def test_whole_landmarks_are_queries_without_an_answer_and_the_others_have_one(root: Path) -> None:
    train = RECOGNITION.read(root).train
    assert all((sample.group is None) != (sample.stratum is None) for sample in train)
    by_id = {sample.id: sample for sample in train}
    folds = make_folds(train, FoldsConfig(n=2, seed=0))
    assert RECOGNITION.retrieval is not None
    kinds: Counter[tuple[bool, bool]] = Counter()
    for k in range(2):
        training = [by_id[name] for name in folds.training(k)]
        splits = RECOGNITION.retrieval.splits(training, [by_id[name] for name in folds.held_out(k)])
        for name, truth in right_names(splits, by_id, "identities").items():
            kinds[data.held_whole(identity_of(by_id[name])), bool(truth.names)] += 1
    assert set(kinds) == {(True, False), (False, True)}


def test_one_photo_of_each_held_out_landmark_asks(root: Path) -> None:
    train = RETRIEVAL.read(root).train
    by_id = {sample.id: sample for sample in train}
    folds = make_folds(train, FoldsConfig(n=3, seed=0))
    assert RETRIEVAL.retrieval is not None
    for k in range(3):
        held_out = [by_id[name] for name in folds.held_out(k)]
        training = [by_id[name] for name in folds.training(k)]
        assert not {identity_of(sample) for sample in held_out} & {identity_of(sample) for sample in training}
        (split,) = RETRIEVAL.retrieval.splits(training, held_out)
        assert sorted((*split.queries, *split.gallery)) == sorted(folds.held_out(k))
        assert sorted(identity_of(by_id[name]) for name in split.queries) == sorted(set(map(identity_of, held_out)))
        truths = right_names((split,), by_id, "samples")
        sizes = Counter(map(identity_of, held_out))
        assert all(len(truth.names) == sizes[identity_of(by_id[name])] - 1 for name, truth in truths.items())
        assert RETRIEVAL.retrieval.splits(training, held_out[::-1])[0].queries == split.queries or len(sizes) == 1


def test_recognition_is_answered_with_a_confidence_or_not_at_all(root: Path, tmp_path: Path) -> None:
    split = RECOGNITION.read(root)
    by_id = {sample.id: sample for sample in split.train}
    assert isinstance(RECOGNITION.submission, RankingFormat)
    form = RECOGNITION.submission.among(answerable(splits_of_test(split.test, split.train), by_id, "identities"))
    hidden, _ = drawing.hidden_truth(SEED)
    truths = {sample.id: hidden[sample.id] for sample in split.test}
    perfect = {name: Ranking(truth.names, 0.9 - 0.01 * n) for n, (name, truth) in enumerate(truths.items())}
    path = tmp_path / "s.csv"
    write_submission(path, form, perfect.items())
    assert sum(line.endswith(",") for line in path.read_text().splitlines()) == 8
    assert form.validate(path, split.test, root / "sample_submission.csv") == []
    assert RECOGNITION.score(truths, form.parse(path, split.test)).value == pytest.approx(1.0)
    # Distractors with a higher confidence than all right answers cost: the first right answer is only the ninth.
    (some,) = {next(truth.names[0] for truth in truths.values() if truth.names)}
    loud = {name: answer if answer.names else Ranking((some,), 1.0) for name, answer in perfect.items()}
    expected = sum(right / (8 + right) for right in range(1, 11)) / 10
    assert RECOGNITION.score(truths, loud).value == pytest.approx(expected)
    with pytest.raises(SubmissionError, match="confidence"):
        write_submission(path, form, [(split.test[0].id, Ranking((some,)))])


def test_retrieval_names_photos_of_the_index_alone(root: Path, tmp_path: Path) -> None:
    split = RETRIEVAL.read(root)
    by_id = {sample.id: sample for sample in split.all}
    assert isinstance(RETRIEVAL.submission, RankingFormat)
    form = RETRIEVAL.submission.among(answerable(splits_of_test(split.test, split.gallery), by_id, "samples"))
    _, truths = drawing.hidden_truth(SEED)
    path = tmp_path / "s.csv"
    write_submission(path, form, ((sample.id, truths[sample.id]) for sample in split.test))
    assert form.validate(path, split.test, root / "retrieval" / "sample_submission.csv") == []
    assert RETRIEVAL.score(truths, form.parse(path, split.test)).value == pytest.approx(1.0)
    with pytest.raises(SubmissionError, match=split.train[0].id):
        form.rows(split.test[0].id, Ranking((split.train[0].id,)))


@pytest.mark.parametrize(
    ("spoil", "match"),
    [
        (lambda root: (root / "train.csv").unlink(), r"train\.csv"),
        (lambda root: edit(root / "train.csv", lambda rows: [*rows, "00"]), "row 48"),
        (lambda root: edit(root / "train.csv", lambda rows: [*rows, "00,7"]), r"train/0/0/00\.jpg"),
        (lambda root: edit(root / "train.csv", lambda rows: [*rows, "a/../../../x,7"]), "row 48, .*column id"),
        (lambda root: edit(root / "train.csv", lambda rows: [*rows, rows[1]]), "row 48, .*second row"),
        (lambda root: edit(root / "train.csv", lambda rows: [*rows[:-1], f"{rows[-1][:16]},"]), "landmark_id"),
        (lambda root: (root / "retrieval" / "index").rename(root / "index"), "no photos in .*index"),
        (lambda root: (root / "retrieval" / "test").rename(root / "asked"), "retrieval/test/"),
        (
            lambda root: next((root / "retrieval" / "index").rglob("*.jpg")).rename(
                next((root / "retrieval" / "index").glob("*/*/*")) / "xyz0000000000000.jpg"
            ),
            r"1 photos are in the wrong folder, first .*xyz0000000000000\.jpg",
        ),
    ],
)
def test_faults_of_the_files_are_named(root: Path, spoil: Callable[[Path], object], match: str) -> None:
    spoil(root)
    with pytest.raises(DataError, match=match) as caught:
        RETRIEVAL.read(root)
    assert "\n" not in str(caught.value)
