from __future__ import annotations

import csv
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from medalist.codecs.rle import encode_mask
from medalist.errors import DataError, SubmissionError
from medalist.formats.class_rle import ClassRleFormat
from medalist.formats.submission import check_submission, write_submission
from medalist.records import Instances, Mask, Sample

SIZE = (4, 5)
SAMPLES = [Sample(name, (), SIZE) for name in ("a_1.jpg", "b.jpg")]
CLASSES = ("background", "crack", "dent")
THREE = ClassRleFormat(CLASSES)
LAST = ClassRleFormat(CLASSES, ("ImageId", "EncodedPixels", "ClassId"), class_last=True, absent="left_out")
JOINED = ClassRleFormat(CLASSES, ("ImageId_ClassId", "EncodedPixels"))
NAMED = ClassRleFormat(CLASSES, ("Image_Label", "EncodedPixels"), class_ids=("crack", "dent"), empty="-1", order="row")
ZERO = ClassRleFormat(CLASSES, base=0, order="row", absent="left_out")
FORMATS = {"three": THREE, "last": LAST, "joined": JOINED, "named": NAMED, "zero": ZERO}


def mask(*places: tuple[int, int, int]) -> Mask:
    classes = np.zeros(SIZE, np.uint8)
    for y, x, number in places:
        classes[y, x] = number
    return Mask(classes)


def submission(tmp_path: Path, *rows: str, header: str = "ImageId,ClassId,EncodedPixels") -> Path:
    path = tmp_path / "s.csv"
    path.write_text("\n".join([header, *rows, ""]))
    return path


def said(form: ClassRleFormat, path: Path, reference: Path | None = None) -> list[str]:
    """What validate says; check_submission and parse agree with it."""
    problems = form.validate(path, SAMPLES, reference)
    if problems:
        with pytest.raises(SubmissionError) as caught:
            check_submission(path, form, SAMPLES, reference)
        assert str(caught.value).startswith(f"{path}: {problems[0]}") and "\n" not in str(caught.value)
        if reference is None:
            with pytest.raises(SubmissionError):
                form.parse(path, SAMPLES)
    else:
        check_submission(path, form, SAMPLES, reference)
    return [str(problem) for problem in problems]


@pytest.mark.parametrize("form", FORMATS.values(), ids=FORMATS)
@settings(deadline=None, max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(classes=st.tuples(*[arrays(np.uint8, SIZE, elements=st.integers(0, 2))] * 2))
def test_answers_are_read_back_as_they_were(
    form: ClassRleFormat, classes: Sequence[np.ndarray], tmp_path: Path
) -> None:
    answers = {sample.id: Mask(one) for sample, one in zip(SAMPLES, classes, strict=True)}
    path = tmp_path / "s.csv"
    count = write_submission(path, form, answers.items())
    present = sum(int(number in one) for one in classes for number in (1, 2))
    assert count == (4 if form.absent == "rows" else present)
    assert said(form, path) == []
    back = form.parse(path, SAMPLES)
    assert list(back) == list(answers)
    for name, answer in back.items():
        assert isinstance(answer, Mask) and np.array_equal(answer.classes, answers[name].classes)
    with path.open() as file:  # each code is that of the class alone
        lines = list(csv.reader(file))[1:]
    codes = {code for line in lines for code in line if code and code[0].isdigit() and (" " in code)}
    assert codes == {
        encode_mask(one == number, form.order, form.base)
        for one in classes
        for number in (1, 2)
        if (one == number).any()
    }


def test_the_rows_of_each_form() -> None:
    answer = mask((0, 0, 2), (1, 0, 2))
    assert THREE.rows("a", answer) == [("a", "1", ""), ("a", "2", "1 2")]
    assert LAST.rows("a", answer) == [("a", "1 2", "2")]
    assert JOINED.rows("a", answer) == [("a_1", ""), ("a_2", "1 2")]
    assert NAMED.rows("a", answer) == [("a_crack", "-1"), ("a_dent", "1 1 6 1")]
    assert ZERO.rows("a", mask()) == []


def test_answers_that_cannot_be_written_are_refused() -> None:
    with pytest.raises(SubmissionError, match="the contest asks for a mask of classes, the answer is Instances"):
        THREE.rows("a", Instances(np.zeros(SIZE, np.int32)))
    with pytest.raises(
        SubmissionError, match=r"image a: the answer has the class 3, and the contest's classes are 0\.\.2"
    ):
        THREE.rows("a", mask((0, 0, 3)))


def test_every_broken_rule_is_told_with_its_row(tmp_path: Path) -> None:
    path = submission(
        tmp_path,
        "a_1.jpg,1,1 3",
        "a_1.jpg,2,3 1",  # shares pixel 3
        "a_1.jpg,2,9 1",  # a second row
        "b.jpg,3,1 1",  # no such class
        "b.jpg,1,20 2",  # past the end
        "c.jpg,1,",  # no such image
    )
    assert said(THREE, path) == [
        "row 3, column EncodedPixels, value '3 1': shares pixel 3 with row 2; classes must not overlap",
        "row 4, column ClassId, value '2': a second row for this image and class; the first is row 3",
        "row 5, column ClassId, value '3': no class of the contest; classes are written 1, 2",
        "row 6, column EncodedPixels, value '20 2': run 20 2 ends at 21, past the last pixel 20 (the image is 5 wide "
        "and 4 high)",
        "row 7, column ImageId, value 'c.jpg': this id is not asked for; did you mean 'b.jpg'?",
        "column ClassId, value 'b.jpg_2': this class has no row",
    ]


def test_pixels_are_counted_as_the_format_does(tmp_path: Path) -> None:
    row = ClassRleFormat(CLASSES, order="row")
    path = submission(tmp_path, "a_1.jpg,1,2 3", "a_1.jpg,2,4 1", "b.jpg,1,", "b.jpg,2,")
    assert "shares pixel 4 with row 2" in said(row, path)[0]
    later = replace(row, overlap="later")
    assert said(later, path) == []
    found = later.parse(path, SAMPLES)["a_1.jpg"]
    assert isinstance(found, Mask) and found.classes[0].tolist() == [0, 1, 1, 2, 0]


def test_absent_classes_have_a_row_or_none(tmp_path: Path) -> None:
    lacking = submission(tmp_path, "a_1.jpg,1,1 3", "b.jpg,1,", "b.jpg,2,")
    assert said(THREE, lacking) == ["column ClassId, value 'a_1.jpg_2': this class has no row"]
    left_out = replace(THREE, absent="left_out")
    assert "a class that the image does not have has no row" in said(left_out, lacking)[0]
    short = submission(tmp_path, "a_1.jpg,1,1 3")
    assert said(left_out, short) == []
    assert not left_out.parse(short, SAMPLES)["b.jpg"].classes.any()  # type: ignore[union-attr]
    assert "column ImageId, value 'b.jpg': this id is asked for and has no row" in said(THREE, short)


def test_a_file_without_rows_is_an_answer_only_where_absent_classes_are_left_out(tmp_path: Path) -> None:
    path = submission(tmp_path)
    left_out = replace(THREE, absent="left_out")
    assert said(left_out, path) == []
    assert [answer.classes.any() for answer in left_out.parse(path, SAMPLES).values()] == [False, False]  # type: ignore[union-attr]
    assert "there are no rows after the header" in said(THREE, path)[0]
    path.write_text("ImageId,Class,EncodedPixels\n")
    assert "the header must be" in said(left_out, path)[0]


def test_another_word_for_empty_is_told(tmp_path: Path) -> None:
    path = submission(tmp_path, "a_1.jpg,1,-1", "a_1.jpg,2,", "b.jpg,1,", "b.jpg,2, ")
    first, second = said(THREE, path)
    assert first.endswith("a class that the image does not have is written as an empty cell")
    assert second.startswith("row 5") and second.endswith("written as an empty cell")


def test_joined_ids_are_split_at_their_class(tmp_path: Path) -> None:
    header = "ImageId_ClassId,EncodedPixels"
    path = submission(tmp_path, "a_1.jpg_1,1 3", "a_1.jpg_2,", "b.jpg_1,", "b.jpg_7,", header=header)
    assert said(JOINED, path) == [
        "row 5, column ImageId_ClassId, value 'b.jpg_7': no class of the contest; classes are written 1, 2",
        "column ImageId_ClassId, value 'b.jpg_2': this class has no row",
    ]
    path = submission(tmp_path, "a_1.jpg_1,1 3", "a_1.jpg_2,", "b.jpg_1,", "b.jpg_2,", "a_1.jpg,", header=header)
    assert "value 'a_1.jpg'" in said(JOINED, path)[0]


def test_the_order_is_that_of_the_reference(tmp_path: Path) -> None:
    reference = tmp_path / "sample.csv"
    reference.write_text("ImageId_ClassId,EncodedPixels\nb.jpg_1,\nb.jpg_2,\na_1.jpg_1,\na_1.jpg_2,\n")
    header = "ImageId_ClassId,EncodedPixels"
    good = ["b.jpg_1,", "b.jpg_2,1 1", "a_1.jpg_1,", "a_1.jpg_2,"]
    assert said(JOINED, submission(tmp_path, *good, header=header), reference) == []
    turned = submission(tmp_path, *good[2:], *good[:2], header=header)
    assert (
        "ids must be in the order of the sample submission; here it has 'b.jpg'" in said(JOINED, turned, reference)[0]
    )
    classes = submission(tmp_path, good[1], good[0], *good[2:], header=header)
    assert "the rows of one image must be in the order of the classes: 1, 2" in said(JOINED, classes, reference)[0]
    assert said(replace(JOINED, ordered=False), classes, reference) == []
    reference.write_text("ImageId_ClassId,EncodedPixels\nb.jpg_1,\nb.jpg_2,\n")
    with pytest.raises(DataError, match=r"'a_1\.jpg_1': this test image and class is not asked for"):
        JOINED.validate(turned, SAMPLES, reference)


def test_settings_that_cannot_be_are_assertions() -> None:
    for options in (
        {"classes": ("background",)},
        {"columns": ("a",)},
        {"columns": ("a", "a")},
        {"columns": ("a", "b"), "class_last": True},
        {"class_ids": ("x",)},
        {"class_ids": ("x", "x")},
        {"empty": "1 1"},
        {"base": -1},
    ):
        with pytest.raises(AssertionError):
            ClassRleFormat(**{"classes": CLASSES, **options})  # type: ignore[arg-type]
