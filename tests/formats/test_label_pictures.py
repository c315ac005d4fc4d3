from __future__ import annotations

import io
import zipfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray
from PIL import Image

from medalist.errors import SubmissionError
from medalist.formats.label_pictures import LabelPictureFormat
from medalist.formats.submission import check_submission, suffix_of, write_submission
from medalist.records import Instances, Mask, Sample

SIZE = (4, 5)
SAMPLES = [Sample(name, (), SIZE) for name in ("a", "b")]
CLASSES = ("road", "car", "sky")
RAW = LabelPictureFormat(CLASSES, ids=(7, 26, 23), name="results/{id}_pred.png")
PLAIN = LabelPictureFormat(CLASSES)


def png(values: NDArray[np.generic], mode: str | None = None) -> bytes:
    file = io.BytesIO()
    image = Image.fromarray(values, mode=mode) if mode else Image.fromarray(values)
    if mode == "P":
        image.putpalette([255, 0, 0] * 256)
    image.save(file, "PNG")
    return file.getvalue()


GOOD = png(np.zeros(SIZE, np.uint8))


def archive(path: Path, **files: bytes) -> Path:
    with zipfile.ZipFile(path, "w") as made:
        for name, data in files.items():
            made.writestr(f"{name}.png", data)
    return path


def said(form: LabelPictureFormat, path: Path) -> list[str]:
    problems = form.validate(path, SAMPLES)
    if problems:
        for call in (lambda: check_submission(path, form, SAMPLES, None), lambda: form.parse(path, SAMPLES)):
            with pytest.raises(SubmissionError) as caught:
                call()
            assert str(caught.value).startswith(f"{path}: {problems[0]}") and "\n" not in str(caught.value)
    return [str(problem) for problem in problems]


@pytest.mark.parametrize("form", [RAW, PLAIN], ids=["raw", "plain"])
@settings(deadline=None, max_examples=20, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(classes=st.tuples(*[arrays(np.uint8, SIZE, elements=st.integers(0, 2))] * 2))
def test_answers_are_read_back_as_they_were(
    form: LabelPictureFormat, classes: tuple[NDArray[np.uint8], ...], tmp_path: Path
) -> None:
    answers = {sample.id: Mask(one) for sample, one in zip(SAMPLES, classes, strict=True)}
    path = tmp_path / "s.zip"
    assert write_submission(path, form, answers.items()) == 2
    assert said(form, path) == []
    back = form.parse(path, SAMPLES)
    assert list(back) == ["a", "b"]
    for name, answer in back.items():
        assert isinstance(answer, Mask) and np.array_equal(answer.classes, answers[name].classes)
    again = tmp_path / "again.zip"
    write_submission(again, form, answers.items())
    assert again.read_bytes() == path.read_bytes(), "equal answers give equal archives"


def test_pictures_have_the_ids_of_the_contest(tmp_path: Path) -> None:
    path = tmp_path / "s.zip"
    write_submission(path, RAW, [("a", Mask(np.array([[0, 1, 2]], np.uint8)))])
    with zipfile.ZipFile(path) as made:
        assert made.namelist() == ["results/a_pred.png"]
        with Image.open(io.BytesIO(made.read("results/a_pred.png"))) as image:
            assert image.mode == "L" and np.asarray(image).tolist() == [[7, 26, 23]]
    assert suffix_of(RAW) == ".zip"


def test_answers_that_cannot_be_written_leave_no_file(tmp_path: Path) -> None:
    path = tmp_path / "s.zip"
    for name, answer, told in (
        ("a", Instances(np.zeros(SIZE, np.int32)), "asks for a mask of classes"),
        ("a", Mask(np.full(SIZE, 3, np.uint8)), r"the answer has the class 3, and the contest's classes are 0\.\.2"),
        ("../a", Mask(np.zeros(SIZE, np.uint8)), "cannot be the name of a file"),
        ("a\nb", Mask(np.zeros(SIZE, np.uint8)), "cannot be the name of a file"),
    ):
        form = LabelPictureFormat(CLASSES, name="x/{id}/y.png") if ".." in name else PLAIN
        with pytest.raises(SubmissionError, match=told):
            write_submission(path, form, [("b", Mask(np.zeros(SIZE, np.uint8))), (name, answer)])
        assert not list(tmp_path.iterdir())


def test_every_broken_rule_is_told_with_its_file(tmp_path: Path) -> None:
    path = archive(tmp_path / "s.zip", a=png(np.full(SIZE, 9, np.uint8)), c=GOOD)
    assert said(PLAIN, path) == [
        "value 'a.png': values that are no class: 9 (20 pixels); ids are 0, 1, 2",
        "value 'b.png': this image is asked for and has no picture",
        "value 'c.png': no such image is asked for",
    ]


@pytest.mark.parametrize(
    ("data", "told"),
    [
        (png(np.zeros((5, 4), np.uint8)), "4x5 pixels, and the image has 5x4"),
        (png(np.zeros((*SIZE, 3), np.uint8)), "not a gray or palette PNG of 8 bits"),
        (png(np.zeros(SIZE, np.uint16)), "not a gray or palette PNG of 8 bits"),
        (b"no picture", "not a PNG"),
        (GOOD[:48], "a damaged PNG"),
        (b"", "not a PNG"),
        (bytes(100_000), "a file of 100,000 bytes is no picture of 5x4 pixels"),
    ],
)
def test_pictures_that_are_none_are_told(tmp_path: Path, data: bytes, told: str) -> None:
    (line,) = said(PLAIN, archive(tmp_path / "s.zip", a=data, b=GOOD))
    assert line.startswith("value 'a.png': ") and told in line


def test_numbers_of_a_palette_are_ids_and_never_its_colours(tmp_path: Path) -> None:
    values = np.arange(20, dtype=np.uint8).reshape(SIZE) % 3
    path = archive(tmp_path / "s.zip", a=png(values, "P"), b=GOOD)
    assert said(PLAIN, path) == []
    found = PLAIN.parse(path, SAMPLES)["a"]
    assert isinstance(found, Mask) and np.array_equal(found.classes, values)


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_two_files_of_one_name_are_told(tmp_path: Path) -> None:
    path = archive(tmp_path / "s.zip", a=GOOD, b=GOOD)
    with zipfile.ZipFile(path, "a") as made:
        made.writestr("a.png", GOOD)
    assert said(PLAIN, path) == ["value 'a.png': the archive has two files of this name"]


def test_what_is_no_archive_is_told(tmp_path: Path) -> None:
    path = tmp_path / "s.zip"
    for content in (b"", b"id,rle\na,\n", archive(tmp_path / "x.zip", a=GOOD, b=GOOD).read_bytes()[:-30]):
        path.write_bytes(content)
        assert "not a .zip" in said(PLAIN, path)[0]
    with pytest.raises(SubmissionError, match=r"gone\.zip: cannot be read"):
        PLAIN.validate(tmp_path / "gone.zip", SAMPLES)


def test_a_damaged_member_is_told(tmp_path: Path) -> None:
    path = archive(tmp_path / "s.zip", a=GOOD, b=GOOD)
    content = bytearray(path.read_bytes())
    content[content.index(b"IDAT") + 6] ^= 255
    path.write_bytes(content)
    assert "value 'a.png': cannot be read (Bad CRC-32" in said(PLAIN, path)[0]


def test_folders_in_the_archive_are_no_pictures(tmp_path: Path) -> None:
    path = archive(tmp_path / "s.zip", a=GOOD, b=GOOD)
    with zipfile.ZipFile(path, "a") as made:
        made.mkdir("results")
    assert said(PLAIN, path) == []


def test_settings_that_cannot_be_are_assertions() -> None:
    for options in (
        {"name": "x.png"},
        {"name": "{id}.jpg"},
        {"name": "../{id}.png"},
        {"name": "/{id}.png"},
        {"ids": (1, 2)},
        {"ids": (1, 2, 2)},
        {"ids": (1, 2, 256)},
        {"classes": ("a",)},
    ):
        with pytest.raises(AssertionError):
            LabelPictureFormat(**{"classes": CLASSES, **options})  # type: ignore[arg-type]
