"""Boxes in a csv: every convention by hand, round trips, and one line for each fault."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from refusals import one_line

from medalist.codecs.boxes import VOC, XYWH, YOLO
from medalist.errors import SubmissionError
from medalist.formats.box_words import sized
from medalist.formats.boxes import BoxesFormat, BoxRowsFormat, no_boxes
from medalist.formats.coco_boxes import CocoBoxesFormat
from medalist.formats.submission import AnyFormat, suffix_of, write_submission
from medalist.records import Boxes, Labels, Sample

SAMPLES = [Sample("7", (), (50, 100)), Sample("8", (), (50, 100)), Sample("9", (), (60, 80))]
CELLS = ("RBC", "WBC")
PLAIN = BoxesFormat(classes=CELLS)
WHEAT = BoxesFormat(classes=("wheat",), parts=("score", "box"), coordinates=XYWH)
CHEST = BoxesFormat(classes=("nodule", "mass lesion"), labels=("0", "1"), empty="14 1 0 0 1 1", decimals=0)
ROWS = BoxRowsFormat(classes=CELLS)
COCO = CocoBoxesFormat(classes=CELLS, categories=(1, 18))


def boxes(*rows: tuple[float, ...]) -> Boxes:
    """Each row is label, score, x1, y1, x2, y2."""
    table = np.array(rows, np.float64).reshape(-1, 6)
    return Boxes(table[:, 2:].astype(np.float32), table[:, 0].astype(np.int32), table[:, 1].astype(np.float32))


TWO = boxes((0, 0.5, 1, 2, 3, 4), (1, 0.25, 10.5, 20, 30, 40))


@pytest.mark.parametrize(
    ("form", "cell"),
    [
        (PLAIN, "RBC 0.5 1 2 3 4 WBC 0.25 10.5 20 30 40"),
        (CHEST, "0 0.5 1 2 3 4 1 0.25 10 20 30 40"),
        (BoxesFormat(classes=CELLS, parts=("box", "label")), "1 2 3 4 RBC 10.5 20 30 40 WBC"),
        (BoxesFormat(classes=CELLS, coordinates=VOC), "RBC 0.5 2 3 3 4 WBC 0.25 11.5 21 30 40"),
        (BoxesFormat(classes=CELLS, coordinates=XYWH), "RBC 0.5 1 2 2 2 WBC 0.25 10.5 20 19.5 20"),
        (BoxesFormat(classes=CELLS, decimals=2, score_decimals=3),
         "RBC 0.500 1.00 2.00 3.00 4.00 WBC 0.250 10.50 20.00 30.00 40.00"),
        (BoxesFormat(classes=CELLS, coordinates=YOLO).sized(SAMPLES),
         "RBC 0.5 0.02 0.06 0.02 0.04 WBC 0.25 0.2025 0.6 0.195 0.4"),
    ],
)  # fmt: skip
def test_each_convention_by_hand(form: BoxesFormat, cell: str) -> None:
    assert form.rows("7", TWO) == [("7", cell)]


def test_one_class_needs_no_label() -> None:
    assert WHEAT.rows("7", boxes((0, 1, 1, 2, 3, 5))) == [("7", "1 1 2 2 3")]
    with pytest.raises(AssertionError, match="only one class"):
        BoxesFormat(classes=CELLS, parts=("score", "box"))


def test_an_image_without_boxes() -> None:
    assert PLAIN.rows("7", no_boxes()) == [("7", "")]
    assert CHEST.rows("7", no_boxes()) == [("7", "14 1 0 0 1 1")]
    assert ROWS.rows("7", no_boxes()) == []
    said = BoxRowsFormat(classes=CELLS, empty=("none", "1", "0", "0", "1", "1"))
    assert said.rows("7", no_boxes()) == [("7", "none", "1", "0", "0", "1", "1")]


def random_boxes(seed: int, count: int, classes: int) -> Boxes:
    rng = np.random.default_rng(seed)
    low = rng.uniform(-3, 45, (count, 2))
    xyxy = np.concatenate([low, low + rng.uniform(4, 30, (count, 2))], axis=1).astype(np.float32)
    scores = rng.uniform(0, 1, count).astype(np.float32)
    return Boxes(xyxy, rng.integers(0, classes, count).astype(np.int32), scores)


FORMS: dict[str, AnyFormat] = {
    "plain": PLAIN,
    "wheat": WHEAT,
    "chest": CHEST,
    "yolo": BoxesFormat(classes=CELLS, coordinates=YOLO).sized(SAMPLES),
    "voc": BoxesFormat(classes=CELLS, coordinates=VOC, decimals=1, score_decimals=4),
    "rows": ROWS,
    "said rows": BoxRowsFormat(classes=CELLS, empty=("none", "1", "0", "0", "1", "1")),
    "coco": COCO,
    "rounded coco": CocoBoxesFormat(classes=CELLS, categories=(1, 18), decimals=2, score_decimals=5),
}


@pytest.mark.parametrize("name", FORMS)
def test_what_is_written_is_read_back_and_written_again(name: str, tmp_path: Path) -> None:
    form = FORMS[name]
    classes = len(form.classes)  # type: ignore[union-attr]
    answers = {"7": random_boxes(1, 9, classes), "8": no_boxes(), "9": random_boxes(2, 5, classes)}
    paths = [tmp_path / f"{number}{suffix_of(form)}" for number in range(2)]
    write_submission(paths[0], form, answers.items())
    assert form.validate(paths[0], SAMPLES) == []
    read = form.parse(paths[0], SAMPLES)
    assert list(read) == ["7", "8", "9"]
    write_submission(paths[1], form, read.items())
    assert paths[0].read_bytes() == paths[1].read_bytes()
    exact = name in ("plain", "wheat", "yolo", "rows", "said rows", "coco")
    for sample_id, one in answers.items():
        found = read[sample_id]
        assert isinstance(found, Boxes) and found.ignored is None
        assert found.xyxy.dtype == np.float32 and found.labels.dtype == np.int32 and found.scores.dtype == np.float32
        np.testing.assert_array_equal(found.labels, one.labels)
        np.testing.assert_allclose(found.xyxy, one.xyxy, atol=0 if exact else 0.51)
        np.testing.assert_allclose(found.scores, one.scores, atol=0 if exact else 1e-4)


def problem(form: AnyFormat, text: str, tmp_path: Path) -> str:
    path = tmp_path / f"s{suffix_of(form)}"
    path.write_text(text)
    problems = form.validate(path, SAMPLES)
    message = one_line(SubmissionError, lambda: form.parse(path, SAMPLES))
    assert str(problems[0]) in message
    return str(problems[0])


@pytest.mark.parametrize(
    ("cell", "match"),
    [
        (
            "RBC 0.5 1 2 3",
            "row 2, column PredictionString, value 'RBC 0.5 1 2 3': 5 words; a box has 6: label sc",
        ),
        ("rbc 0.5 1 2 3 4", "box 1: the contest has no such label; did you mean 'RBC'?"),
        ("RBC 1.5 1 2 3 4", "value '1.5': box 1: a score must be within 0..1"),
        ("RBC nan 1 2 3 4", "value 'nan': box 1: score must be a number"),
        ("RBC 0.5 1 2 3 4 WBC 0.5 1 2 inf 4", "value 'inf': box 2: x2 must be a number"),
        ("RBC 0.5 1 2 1e999 4", "box 1: the box has no area"),
        ("RBC 0.5 3 2 1 4", "value '1': box 1: x2 must be above x1"),
        ("RBC 0.5 1 2 3 2", "value '2': box 1: the box has no area"),
        ("RBC 0.5 200 2 300 4", "box 1: the box lies outside the image, which is 100 wide and 50 high"),
        ("RBC\t0.5 1 2 3 4", "a tab or another unprintable character"),
        ("none", "an image without boxes is written as an empty cell"),
    ],
)
def test_faults_of_a_cell(cell: str, match: str, tmp_path: Path) -> None:
    assert match in problem(PLAIN, f"image_id,PredictionString\n7,{cell}\n8,\n9,\n", tmp_path)


def test_spaces_between_words_do_not_matter_and_boxes_may_reach_over_the_edge(tmp_path: Path) -> None:
    (tmp_path / "s.csv").write_text("image_id,PredictionString\n7, RBC  0.5 -1 2 300 4 \n8,\n9,\n")
    found = PLAIN.parse(tmp_path / "s.csv", SAMPLES)["7"]
    assert isinstance(found, Boxes) and found.xyxy.tolist() == [[-1, 2, 300, 4]]


def test_the_empty_cell_of_another_contest_is_named(tmp_path: Path) -> None:
    said = problem(CHEST, "image_id,PredictionString\n7,\n8,14 1 0 0 1 1\n9,14 1 0 0 1 1\n", tmp_path)
    assert "an image without boxes is written as '14 1 0 0 1 1'" in said


@pytest.mark.parametrize(
    ("rows", "match"),
    [
        ("7,RBC,0.5,1,2,3,4\n6,RBC,0.5,1,2,3,4", "row 3, column image_id, value '6': this id is not asked for"),
        ("7,RBC,0.5,1,2,3,4\n7,RBC,0.5,1,2,x,4", "row 3, column x2, value 'x': x2 must be a number"),
        ("7,RBC,0.5,1,2,3", "row 2, value '7,RBC,0.5,1,2,3': the row has 6 cells"),
    ],
)
def test_faults_of_rows(rows: str, match: str, tmp_path: Path) -> None:
    assert match in problem(ROWS, f"{','.join(ROWS.columns)}\n{rows}\n", tmp_path)


def test_a_file_of_nothing_is_valid_where_nothing_has_no_row(tmp_path: Path) -> None:
    (tmp_path / "s.csv").write_text(f"{','.join(ROWS.columns)}\n")
    assert ROWS.validate(tmp_path / "s.csv", SAMPLES) == []
    assert [answer.count for answer in ROWS.parse(tmp_path / "s.csv", SAMPLES).values()] == [0, 0, 0]


GOOD = {"image_id": 7, "category_id": 18, "bbox": [1, 2, 3, 4], "score": 0.5}


@pytest.mark.parametrize(
    ("change", "match"),
    [
        ({"image_id": 6}, "row 2, column image_id, value '6': no image of this id is asked for"),
        ({"image_id": True}, "column image_id, value 'true'"),
        ({"category_id": 2}, "column category_id, value '2': the contest has no such label"),
        ({"category_id": [1] * 1000}, "column category_id, value '[1, 1, 1"),
        ({"bbox": [1, 2, 3]}, "column bbox, value '[1, 2, 3]': must be four numbers: x, y, w, h"),
        ({"bbox": [1, 2, 0, 4]}, "column bbox, value '[1, 2, 0, 4]': the box has no area"),
        ({"score": float("nan")}, "column score, value 'NaN': must be a number"),
        ({"score": 2}, "column score, value '2': a score must be within 0..1"),
    ],
)
def test_faults_of_json(change: dict[str, object], match: str, tmp_path: Path) -> None:
    assert match in problem(COCO, json.dumps([GOOD, GOOD | change]), tmp_path)


@pytest.mark.parametrize(
    ("text", "match"),
    [
        ("", "not JSON"),
        ("{}", "value '{}': must be a list"),
        ("[" * 100_000, "not JSON"),
        ("[[[[1]]]]", "row 1, value '[[[1]]]': must be an object"),
        (f"[{'9' * 5000}]", "a whole number of 5000 digits"),
        ('[{"image_id": 7}]', "column category_id, value '{\"image_id\": 7}': this key is missing"),
    ],
)
def test_other_json_is_refused(text: str, match: str, tmp_path: Path) -> None:
    assert match in problem(COCO, text, tmp_path)


def test_answers_that_cannot_be_written() -> None:
    def said(answer: object, form: BoxesFormat = PLAIN) -> str:
        return one_line(SubmissionError, lambda: form.rows("7", answer))  # type: ignore[arg-type]

    assert "asks for boxes, the answer is Labels; use a config whose task.kind is detect" in said(Labels(("RBC",)))
    assert "box 0: its label is not within 0..1" in said(boxes((2, 1, 1, 2, 3, 4)))
    assert "box 1: its score is not within" in said(boxes((1, 1, 1, 2, 3, 4), (1, 1.5, 1, 2, 3, 4)))
    assert "box 0: its corners are not finite" in said(boxes((1, 1, 1, 2, np.inf, 4)))
    assert "box 0: it has no area" in said(boxes((1, 1, 1, 2, 1, 4)))
    assert "sized(form, samples)" in said(TWO, BoxesFormat(classes=CELLS, coordinates=YOLO))


def test_ids_that_must_be_numbers(tmp_path: Path) -> None:
    with pytest.raises(SubmissionError, match="image 07: the contest asks for ids that are whole numbers"):
        COCO.write(tmp_path / "s.json", [("07", TWO)])
    named = CocoBoxesFormat(classes=CELLS, categories=(1, 18), numbers=False)
    named.write(tmp_path / "n.json", [("7", TWO)])
    assert json.loads((tmp_path / "n.json").read_text())[0]["image_id"] == "7"


def test_formats_are_bound_to_sizes_only_where_they_write_by_them() -> None:
    assert sized(PLAIN, SAMPLES) is PLAIN and sized(COCO, SAMPLES) is COCO
    bound = sized(BoxesFormat(classes=CELLS, coordinates=YOLO), SAMPLES)
    assert isinstance(bound, BoxesFormat) and bound.rows("9", boxes((0, 1, 0, 0, 80, 30))) == [
        ("9", "RBC 1 0.5 0.25 1 0.5")
    ]
