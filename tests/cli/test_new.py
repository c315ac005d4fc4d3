"""`medalist new` from the command line: an archive becomes a contest that is checked, and may be trained untouched."""

from __future__ import annotations

import io
import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from corpus import LAYOUTS

Command = Callable[..., Any]
BY_NAME = {layout.name: layout for layout in LAYOUTS}
ONE_OF_EACH = ("salt", "png", "steel", "voc_masks", "nuclei", "wheat", "coco", "eyes", "drivers", "cactus", "planet",
               "tubes", "whales", "shop")  # fmt: skip


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MEDALIST_OFFLINE", "1")
    for name in ("MEDALIST_DATA", "MEDALIST_RUNS"):
        monkeypatch.delenv(name, raising=False)
    (tmp_path / "competitions").mkdir()
    return tmp_path


def draw(name: str, home: Path) -> Path:
    (home / "data").mkdir()
    BY_NAME[name].draw(home / "data")
    return home / "data"


def test_an_archive_becomes_a_checked_contest(medalist: Command, home: Path) -> None:
    data = draw("salt", home)
    inner = io.BytesIO()
    with zipfile.ZipFile(inner, "w") as train:
        for path in sorted((data / "train").rglob("*.png")):
            train.write(path, path.relative_to(data).as_posix())
        train.writestr("__MACOSX/train/images/._x.png", b"junk")
    shutil.rmtree(data / "train")
    with zipfile.ZipFile(home / "salt.zip", "w") as whole:
        whole.writestr("train.zip", inner.getvalue())
        whole.writestr("Thumbs.db", b"junk")
        for path in sorted(one for one in data.rglob("*") if one.is_file()):
            whole.write(path, path.relative_to(data).as_posix())
    ended = medalist("new", "my_salt", "--data", home / "salt.zip", "--yes")
    assert (ended.code, ended.err) == (0, "")
    for text in ("mask: a mask of one class", "train/images (12)", "written and parsed back, score 1.000000", "CHOOSE"):
        assert text in ended.out
    assert sorted(one.name for one in (home / "competitions" / "my_salt").iterdir() if one.name != "__pycache__") == [
        "README.md", "__init__.py", "tests",
    ]  # fmt: skip
    assert (home / "salt" / "train" / "images").is_dir() and (home / "configs" / "my_salt" / "baseline.yaml").is_file()


def test_where_nobody_can_be_asked_nothing_is_written(medalist: Command, home: Path) -> None:
    ended = medalist("new", "mine", "--data", draw("eyes", home))
    assert ended.code == 2 and "type --yes" in ended.line and "a grade for each image" in ended.out
    assert not list((home / "competitions").iterdir())
    ended = medalist("new", "mine", "--data", home / "data", "--kind", "mosk")
    assert ended.code == 2 and "no such kind; there are mask, classes" in ended.line


def test_a_check_that_fails_says_where_the_files_are(medalist: Command, home: Path) -> None:
    data = draw("eyes", home)
    image = sorted((data / "train_images").iterdir())[3]
    image.write_bytes(image.read_bytes()[:-40])
    ended = medalist("new", "mine", "--data", data, "--yes")
    assert ended.code == 2 and "is written, and `check` refuses it" in ended.line and image.stem in ended.line


@pytest.mark.slow
@pytest.mark.parametrize("name", ONE_OF_EACH)
def test_the_baseline_trains_untouched(name: str, medalist: Command, home: Path) -> None:
    layout = BY_NAME[name]
    words = [word for key, value in layout.answers.items() for word in (f"--{key}", value)]
    ended = medalist("new", f"my_{name}", "--data", draw(name, home), "--yes", *words)
    assert (ended.code, ended.err) == (0, "")
    config = home / "configs" / f"my_{name}" / "baseline.yaml"
    tiny = ("train.epochs=1", "tracking=none")
    ended = medalist("--quiet", "train", config, "--fold", "0", *tiny)
    assert ended.code == 0, ended.err
