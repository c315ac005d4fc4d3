from __future__ import annotations

import importlib
import re
import shutil
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from scipy.ndimage import gaussian_filter

from medalist.competition import Competition, Retrieval, load_competition
from medalist.errors import DataError
from medalist.folds.folds import make_folds
from medalist.folds.settings import FoldsConfig
from medalist.formats.rankings import RankingFormat
from medalist.formats.submission import write_submission
from medalist.records import Ranking, RetrievalSplit, Sample, Split
from medalist.retrieval.splits import answerable, splits_of_test

SEED = 4
COMPETITIONS = Path(__file__).parents[2]
OMNIGLOT = load_competition("omniglot", COMPETITIONS)
ONESHOT = load_competition("omniglot.oneshot", COMPETITIONS)
drawing: Any = importlib.import_module("competitions.omniglot.draw")


@pytest.fixture(scope="module")
def drawn(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("omniglot")
    assert OMNIGLOT.draw is not None
    OMNIGLOT.draw(folder, SEED)
    return folder


@pytest.fixture
def root(drawn: Path, tmp_path: Path) -> Path:
    """Return a copy of the drawn data, which a test may change."""
    return shutil.copytree(drawn, tmp_path / "omniglot")


def retrieval(competition: Competition) -> Retrieval:
    assert competition.retrieval is not None
    return competition.retrieval


def form(folder: Path) -> set[str]:
    """Return the paths with the free parts of their names left out, without the note that the real folder has."""
    found = {str(path.relative_to(folder)) for path in folder.rglob("*")} - {"README.md"}
    found = {re.sub("[0-9a-f]{12}", "ID", path) for path in found}
    found = {re.sub("^train_images/[^/]+", "train_images/ALPHABET", path) for path in found}
    return {re.sub(r"\d\d+", "N", path) for path in found}


def headers(folder: Path) -> dict[str, str]:
    return {path.name: path.read_text().split("\n")[0] for path in folder.glob("*.csv")}


def splits_of_fold(competition: Competition, split: Split, n: int, fold: int) -> tuple[RetrievalSplit, ...]:
    held_out = set(make_folds(split.train, FoldsConfig(n=n)).held_out(fold))
    held = [sample for sample in split.train if sample.id in held_out]
    return retrieval(competition).splits([s for s in split.train if s.id not in held_out], held)


# -------------------------------------------------------------------------------- drawing


def test_images_have_one_bit_ink_is_black_and_paper_white(drawn: Path) -> None:
    for path in [*drawn.rglob("*.png")][::7]:
        with Image.open(path) as image:
            assert (image.mode, image.size) == ("1", (105, 105))
            assert 0.8 < np.array(image).mean() < 1
        assert path.read_bytes()[24] == 1


@pytest.mark.data
def test_the_form_on_disk_is_that_of_the_real_data(drawn: Path, contest_data: Callable[[str], Path]) -> None:
    real = contest_data("omniglot")
    assert form(drawn) == form(real)
    assert headers(drawn) == headers(real)
    for name in headers(real):
        assert b"\r" not in (drawn / name).read_bytes() + (real / name).read_bytes()


# -------------------------------------------------------------------------------- reading


def test_the_retrieval_split_is_read(drawn: Path) -> None:
    split = OMNIGLOT.read(drawn)
    assert (len(split.train), len(split.test), len(split.gallery)) == (400, 40, 80)
    first = split.train[0]
    assert first.id == "Drawn_1/character01/0001_01.png"
    assert (first.annotation, first.group, first.meta) == (("Drawn_1/character01",), "Drawn_1", {"drawer": "1"})
    assert set(Counter(sample.annotation for sample in split.train).values()) == {20}


def test_the_runs_are_read_with_their_galleries(drawn: Path) -> None:
    split = ONESHOT.read(drawn)
    assert split.train == OMNIGLOT.read(drawn).train
    splits = splits_of_test(split.test, split.gallery)
    assert [(len(asked.queries), len(asked.gallery)) for asked in splits] == [(20, 20)] * 2
    assert splits[1].queries[:2] == ("run02/test/item01", "run02/test/item02")
    assert splits[1].gallery[-1] == "run02/training/class20"


@pytest.mark.parametrize("competition", [OMNIGLOT, ONESHOT], ids=lambda one: one.name)
def test_the_hidden_truth_scores_best_through_the_file(competition: Competition, drawn: Path, tmp_path: Path) -> None:
    split = competition.read(drawn)
    truths = drawing.hidden_truth(SEED)
    hidden = {sample.id: truths[sample.id] for sample in split.test}
    assert {len(truth.names) for truth in hidden.values()} == ({10} if competition is OMNIGLOT else {1})
    splits = splits_of_test(split.test, split.gallery)
    assert isinstance(competition.submission, RankingFormat)
    form = competition.submission.among(answerable(splits, {}, "samples"))
    path = tmp_path / "s.csv"
    write_submission(path, form, hidden.items())
    reference = drawn / str(competition.sample_submission)
    assert form.validate(path, split.test, reference) == []
    assert competition.score(hidden, form.parse(path, split.test)).value == 1.0
    sample = form.parse(reference, split.test)
    assert competition.score(hidden, sample).value < 0.3


def test_a_class_image_of_another_run_is_refused(root: Path, tmp_path: Path) -> None:
    split = ONESHOT.read(root)
    assert isinstance(ONESHOT.submission, RankingFormat)
    form = ONESHOT.submission.among(answerable(splits_of_test(split.test, split.gallery), {}, "samples"))
    path = tmp_path / "s.csv"
    reference = root / str(ONESHOT.sample_submission)
    path.write_text(reference.read_text().replace("item03,run01", "item03,run02", 1))
    (problem,) = form.validate(path, split.test, reference)
    assert (problem.row, problem.column, problem.value) == (4, "class_image", "run02/training/class01")


def test_likeness_tells_drawn_characters_better_than_chance(drawn: Path) -> None:
    """Blurred and centred pixels, without training, answer over a third of the items right; chance is one in twenty."""
    split = ONESHOT.read(drawn)
    truths = drawing.hidden_truth(SEED)
    truths = {sample.id: truths[sample.id] for sample in split.test}
    seen = {sample.id: blurred(sample) for sample in (*split.test, *split.gallery)}
    answers = {}
    for asked in splits_of_test(split.test, split.gallery):
        for query in asked.queries:
            best = max(asked.gallery, key=lambda name: float(seen[query] @ seen[name]))
            answers[query] = Ranking((best,))
    assert ONESHOT.score(truths, answers).value > 0.35


def blurred(sample: Sample) -> np.ndarray:
    with Image.open(sample.images[0]) as image:
        ink = 1.0 - np.array(image)
    middle = np.argwhere(ink).mean(axis=0).astype(int)
    soft = gaussian_filter(np.roll(ink, 52 - middle, axis=(0, 1)), 3).ravel()
    return np.asarray(soft / np.linalg.norm(soft))


@pytest.mark.parametrize(
    ("spoil", "match"),
    [
        (lambda root: (root / "train.csv").unlink(), r"train\.csv"),
        (lambda root: (root / "gallery.csv").write_text("id\n"), "the gallery has no images"),
        (lambda root: (root / "query.csv").write_text("id\nx\n"), "has a row in the sample submission but no row in"),
        (lambda root: (root / "train_images" / "Drawn_1" / "character01" / "0001_01.png").unlink(), "1 of 400 images"),
        (
            lambda root: (root / "train.csv").write_text("path,alphabet,character,label,drawer\n../x.png,a,b,a/b,1\n"),
            r"value '\.\./x\.png': no id of an image",
        ),
        (
            lambda root: (root / "gallery.csv").write_text((root / "query.csv").read_text()),
            "ids in two parts",
        ),
    ],
)
def test_faults_of_the_retrieval_files_are_named(root: Path, spoil: Callable[[Path], object], match: str) -> None:
    spoil(root)
    with pytest.raises(DataError, match=match) as caught:
        OMNIGLOT.read(root)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("items", "match"),
    [
        ("run01/test/item01\nrun03/test/item01", "run03/test/item01.*run03/test/item01"),
        ("../test/item01", "no id of an image"),
        ("run01/test/item01\nrun01/test/item01", "row 3, column item, .*a second row"),
        ("", "row 2, column item, value '': no id"),
    ],
)
def test_faults_of_the_runs_are_named(root: Path, items: str, match: str) -> None:
    rows = "".join(f"{item},run01/training/class01\n" for item in items.split("\n"))
    (root / "oneshot_sample_submission.csv").write_text(f"item,class_image\n{rows}")
    with pytest.raises(DataError, match=match):
        ONESHOT.read(root)


def test_a_run_without_class_images_is_named(root: Path) -> None:
    shutil.rmtree(root / "oneshot" / "run02" / "training")
    with pytest.raises(DataError, match=r"run02/training holds no class images"):
        ONESHOT.read(root)


# -------------------------------------------------------------------------------- splits


def test_some_drawers_ask_and_others_answer(drawn: Path) -> None:
    split = OMNIGLOT.read(drawn)
    by_id = {sample.id: sample for sample in split.train}
    for fold in range(5):
        (asked,) = splits_of_fold(OMNIGLOT, split, 5, fold)
        assert len(asked.queries) == 4 * 5 and len(asked.gallery) == 4 * 10
        assert {int(by_id[name].meta["drawer"]) for name in asked.queries} == set(range(1, 6))
        assert {int(by_id[name].meta["drawer"]) for name in asked.gallery} == set(range(6, 16))
        assert len({by_id[name].group for name in (*asked.queries, *asked.gallery)}) == 1


@pytest.mark.data
def test_the_real_data(contest_data: Callable[[str], Path]) -> None:
    root = contest_data("omniglot")
    split = OMNIGLOT.read(root)
    assert (len(split.train), len(split.test), len(split.gallery)) == (2720, 530, 1060)
    assert {sample.size for sample in split.all} == {(105, 105)}
    alphabets = Counter(sample.group for sample in split.train)
    assert alphabets == {"Balinese": 480, "Early_Aramaic": 440, "Greek": 480, "Korean": 800, "Latin": 520}
    folds = make_folds(split.train, FoldsConfig())
    assert sorted(len(folds.held_out(fold)) for fold in range(5)) == sorted(alphabets.values())
    asked = sum(len(one.queries) for fold in range(5) for one in splits_of_fold(OMNIGLOT, split, 5, fold))
    assert asked == 136 * 5


@pytest.mark.data
def test_the_real_runs_and_the_splits_built_like_them(contest_data: Callable[[str], Path]) -> None:
    root = contest_data("omniglot")
    split = ONESHOT.read(root)
    official = splits_of_test(split.test, split.gallery)
    assert [(len(asked.queries), len(asked.gallery)) for asked in official] == [(20, 20)] * 20
    for fold in range(5):
        splits = splits_of_fold(ONESHOT, split, 5, fold)
        assert [(len(asked.queries), len(asked.gallery)) for asked in splits] == [(20, 20)] * 20
