"""What `medalist new` cannot use is said in one line, and nothing is left half written."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from corpus import LAYOUTS, Layout
from drawn_files import edit

from medalist.discovery import writing
from medalist.discovery.choose import Answers
from medalist.errors import ConfigError, DataError, MedalistError
from medalist.workflows.new import create, propose

BY_NAME = {layout.name: layout for layout in LAYOUTS}


@pytest.fixture
def drawn(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], Path]:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "competitions").mkdir()

    def draw(name: str) -> Path:
        layout: Layout = BY_NAME[name]
        layout.draw(tmp_path / "data")
        return tmp_path / "data"

    (tmp_path / "data").mkdir()
    return draw


def line_of(data: Path, answers: Answers | None = None, name: str = "mine") -> str:
    with pytest.raises(MedalistError) as caught:
        propose(name, data, answers or Answers())
    assert "\n" not in str(caught.value)
    assert not list((data.parent / "competitions").iterdir()) and not (data.parent / "configs").exists()
    return str(caught.value)


def test_two_files_of_labels(drawn: Callable[[str], Path]) -> None:
    line = line_of(drawn("ships"))
    assert "two files may hold the truths: train_ship_segmentations" in line and "type --labels" in line


def test_a_csv_whose_images_are_missing(drawn: Callable[[str], Path]) -> None:
    data = drawn("salt")
    first = sorted((data / "train" / "images").iterdir())[0]
    first.unlink()
    line = line_of(data)
    assert "1 of 12 names in 'id' have no image in train/images" in line and first.stem in line


def test_test_images_that_are_missing(drawn: Callable[[str], Path]) -> None:
    data = drawn("salt")
    first = sorted((data / "test" / "images").iterdir())[0]
    first.unlink()
    line = line_of(data)
    assert "sample_submission.csv: 1 of 5 test images are not in test/images" in line and first.stem in line


@pytest.mark.parametrize(
    ("spoil", "match"),
    [
        (lambda data: shutil.rmtree(data / "train_images"), "no truths are found"),
        (lambda data: edit(data / "train.csv", lambda rows: [row.replace(",", ";") for row in rows]), "semicolons"),
        (lambda data: (data / "train.csv").write_bytes(b"id_code,diagnosis\n\xff\xfe,1\n"), "is not UTF-8"),
        (lambda data: (data / "train.csv").unlink(), "csv files: sample_submission.csv"),
        (lambda data: edit(data / "train.csv", lambda rows: [rows[0], *["zz,1"] * 3]), "'zz' is none of"),
    ],
)
def test_tables_that_cannot_be_used(spoil: Callable[[Path], object], match: str, drawn: Callable[[str], Path]) -> None:
    data = drawn("eyes")
    (data / "test.csv").unlink()
    spoil(data)
    assert match in line_of(data)


def test_files_that_are_no_images(drawn: Callable[[str], Path], tmp_path: Path) -> None:
    data = tmp_path / "data"
    assert "no files there" in line_of(data)
    (data / "a.dcm").write_bytes(b"1")
    assert "1 DICOM files (.dcm), which are not read as images" in line_of(data)
    (data / "train.zip").write_bytes(b"1")
    assert "train.zip; unpack it, or give the archive itself" in line_of(data)


def test_links_are_not_followed(drawn: Callable[[str], Path], tmp_path: Path) -> None:
    data = drawn("eyes")
    (data / "more").symlink_to(tmp_path)
    doubts = propose("mine", data, Answers()).finding.doubts
    assert any("1 links are not followed, the first is more" in line for line in doubts)


def test_answers_that_fit_nothing(drawn: Callable[[str], Path]) -> None:
    data = drawn("eyes")
    assert "--kind boxes: nothing of this kind is found; found: ordinal in train.csv" in line_of(data, Answers("boxes"))
    assert "--labels x.csv: no truths are found there; they are in: train.csv" in line_of(data, Answers(labels="x.csv"))
    assert "no such folder of images" in line_of(data, Answers(images="photos"))


@pytest.mark.parametrize(
    ("name", "match"),
    [("My-Contest", "type my_contest"), ("class", "no name of a competition"), ("../x", "no name"), ("aptos", "")],
)
def test_names_that_cannot_be_used(name: str, match: str, drawn: Callable[[str], Path]) -> None:
    assert match in line_of(drawn("eyes"), name=name)


def test_a_folder_that_is_there_is_not_replaced(drawn: Callable[[str], Path]) -> None:
    data = drawn("eyes")
    create(propose("mine", data, Answers()))
    with pytest.raises(ConfigError, match="is there already"):
        propose("mine", data, Answers())


def test_nothing_is_left_where_writing_fails(
    drawn: Callable[[str], Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    proposal = propose("mine", drawn("eyes"), Answers())

    def fails(*_: object) -> str:
        raise DataError("no")

    monkeypatch.setattr(writing, "baseline", fails)
    with pytest.raises(DataError):
        create(proposal)
    monkeypatch.undo()
    real = writing.written

    def full(path: Path) -> object:
        if path.name == "baseline.yaml":
            raise DataError("disk full")
        return real(path)

    monkeypatch.setattr(writing, "written", full)
    with pytest.raises(DataError):
        create(proposal)
    assert not list((tmp_path / "competitions").iterdir()) and not (tmp_path / "configs" / "mine").exists()
