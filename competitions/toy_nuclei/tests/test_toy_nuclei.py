"""The drawn contest: its form on disk, its truth, its tiles, and that only the seed decides what is drawn."""

from __future__ import annotations

import csv
import importlib
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image
from scipy import ndimage

from medalist.competition import Competition, load_competition
from medalist.formats.submission import write_submission
from medalist.records import Instances

SEED = 2018
COMPETITIONS = Path(__file__).parents[2]
LOOKS = {"dark_gray", "colour_stain", "bright_gray"}


@pytest.fixture(scope="module")
def toy() -> Competition:
    return load_competition("toy_nuclei", COMPETITIONS)


@pytest.fixture(scope="module")
def root(toy: Competition, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("toy_nuclei")
    assert toy.draw is not None
    toy.draw(folder, SEED)
    return folder


def drawing(toy: Competition) -> Any:
    return importlib.import_module(f"competitions.{toy.name}.draw")


@pytest.fixture(scope="module")
def tiles(toy: Competition) -> list[Any]:
    return list(drawing(toy).tiles(SEED))


def pixels(path: Path) -> NDArray[np.uint8]:
    with Image.open(path) as image:
        return np.array(image)


def files(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def form(folder: Path) -> set[str]:
    """Return the paths with each id replaced by ID, without the two notes that we added to the real contest's data."""
    found = {re.sub("[0-9a-f]{64}", "ID", str(p.relative_to(folder))) for p in folder.rglob("*")}
    return found - {"README.md", "stage1_train_meta.csv"}


def table(path: Path) -> list[list[str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.reader(file))


def test_the_form_on_disk(root: Path) -> None:
    assert form(root) == {
        "stage1_train", "stage1_train/ID", "stage1_train/ID/images", "stage1_train/ID/images/ID.png",
        "stage1_test", "stage1_test/ID", "stage1_test/ID/images", "stage1_test/ID/images/ID.png",
        "stage1_train_labels.csv", "sample_submission.csv",
    }  # fmt: skip
    labels, sample = table(root / "stage1_train_labels.csv"), table(root / "sample_submission.csv")
    assert labels[0] == sample[0] == ["ImageId", "EncodedPixels"]
    train = sorted(path.name for path in (root / "stage1_train").iterdir())
    test = sorted(path.name for path in (root / "stage1_test").iterdir())
    assert list(dict.fromkeys(name for name, _ in labels[1:])) == train
    assert sample[1:] == [[name, "1 1"] for name in test]
    assert (len(train), len(test)) == (48, 16)
    shapes = {pixels(path).shape for path in root.rglob("*.png")}
    assert shapes == {(128, 128), (128, 128, 3)}


@pytest.mark.data
def test_the_form_on_disk_is_that_of_the_real_contest(root: Path, contest_data: Callable[[str], Path]) -> None:
    real = contest_data("dsb2018")
    assert form(root) == form(real)
    for name in ("stage1_train_labels.csv", "sample_submission.csv"):
        ours, theirs = table(root / name), table(real / name)
        assert ours[0] == theirs[0]
        assert (root / name).read_bytes().count(b"\r") == (real / name).read_bytes().count(b"\r") == 0
    assert {row[1] for row in table(real / "sample_submission.csv")[1:]} == {"1 1"}


def test_reading_gives_back_what_was_drawn(toy: Competition, root: Path, tiles: list[Any]) -> None:
    split = toy.read(root)
    drawn = {tile.id: tile for tile in tiles}
    assert {s.id for s in split.train} == {tile.id for tile in drawn.values() if tile.part == "train"}
    assert {s.id for s in split.test} == {tile.id for tile in drawn.values() if tile.part == "test"}
    for sample in split.train:
        truth = toy.truth(root, sample)
        assert isinstance(truth, Instances)
        assert len(sample.annotation) == truth.count
        np.testing.assert_array_equal(truth.labels, drawn[sample.id].labels)
    for sample in (*split.train, *split.test):
        np.testing.assert_array_equal(pixels(sample.images[0]), drawn[sample.id].image)
        assert sample.size == (128, 128)
        assert (drawn[sample.id].image.ndim == 3) == (sample.stratum == "colour_stain")
    for part in (split.train, split.test):
        assert {sample.stratum for sample in part} == LOOKS


def test_objects_are_numbered_connected_and_visible(tiles: list[Any]) -> None:
    for tile in tiles:
        numbers, sizes = np.unique(tile.labels[tile.labels > 0], return_counts=True)
        assert numbers.tolist() == list(range(1, len(numbers) + 1))
        assert (sizes >= 12).all()
        assert all(ndimage.label(tile.labels == number)[1] == 1 for number in numbers)


@pytest.mark.parametrize("seed", [SEED, 0])
def test_some_images_are_empty_and_many_objects_touch(toy: Competition, seed: int) -> None:
    tiles = list(drawing(toy).tiles(seed))
    for part in ("train", "test"):
        assert 1 <= sum(not tile.labels.any() for tile in tiles if tile.part == part) <= 5
    touching = sum(ndimage.label(tile.labels > 0)[1] < tile.labels.max() for tile in tiles)
    assert touching > len(tiles) // 2


def test_an_empty_image_has_one_row_without_a_code(toy: Competition, root: Path) -> None:
    empty = {s.id for s in toy.read(root).train if not s.annotation}
    rows = table(root / "stage1_train_labels.csv")[1:]
    assert empty
    assert sorted(name for name, code in rows if not code) == sorted(empty)


def test_tiles_of_a_field_go_on_over_their_border_and_stay_in_one_part(tiles: list[Any]) -> None:
    fields: dict[int, list[Any]] = {}
    for tile in tiles:
        fields.setdefault(tile.field, []).append(tile)
    assert all(len({tile.part for tile in cut}) == 1 for cut in fields.values())
    assert sum(len(cut) > 1 for cut in fields.values()) >= 5

    def step(one: NDArray[np.uint8], other: NDArray[np.uint8]) -> float:
        return float(np.abs(one.astype(int) - other.astype(int)).mean())

    across, turned = 0.0, 0.0
    for cut in fields.values():
        pairs = [(a.image, b.image) for a, b in zip(cut[::2], cut[1::2], strict=False)]  # side by side
        above = zip(cut[:2], cut[2:], strict=False)
        pairs += [(a.image.swapaxes(0, 1), b.image.swapaxes(0, 1)) for a, b in above]
        for left, right in pairs:
            inside = (step(left[:, -2], left[:, -1]) + step(right[:, 0], right[:, 1])) / 2
            assert step(left[:, -1], right[:, 0]) < 1.5 * inside + 1
            across += step(left[:, -1], right[:, 0])
            turned += step(left[:, -1], right[::-1, 0])
    assert turned > 2 * across  # borders do not fit when one of them is reversed


def test_the_hidden_truth_scores_best_and_lies_nowhere_on_disk(toy: Competition, root: Path) -> None:
    hidden = drawing(toy).hidden_truth(SEED)
    assert set(hidden) == {sample.id for sample in toy.read(root).test}
    assert toy.score(hidden, hidden).value == 1.0
    labels = (root / "stage1_train_labels.csv").read_text()
    assert not any(name in labels for name in hidden)


def test_the_submission_carries_the_truth(toy: Competition, root: Path, tmp_path: Path) -> None:
    test = toy.read(root).test
    hidden = drawing(toy).hidden_truth(SEED)
    path = tmp_path / "submission.csv"
    write_submission(path, toy.submission, [(sample.id, hidden[sample.id]) for sample in test])
    assert toy.submission.validate(path, test, root / "sample_submission.csv") == []
    back = toy.submission.parse(path, test)
    assert toy.score(hidden, back).value == 1.0
