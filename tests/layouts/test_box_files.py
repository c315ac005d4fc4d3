"""Boxes in files: the same boxes in every form, odd ones that are kept, and hostile files."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from refusals import one_line

from medalist.codecs.boxes import PIXELS, XYWH, BoxCoordinates
from medalist.errors import DataError
from medalist.layouts.box_files import annotated, box_truth, csv_boxes, voc_boxes, yolo_boxes
from medalist.layouts.coco_files import coco_boxes, coco_images
from medalist.records import Boxes, Sample

CLASSES = ("car", "red bus")
KNOWN = {"one": ("10 20 30 60 - car", "0 0 50 100 - red bus"), "two": ()}
SIZES = {"one": (100, 50), "two": (100, 50)}


def xml(*boxes: tuple[str, Sequence[object]], more: str = "") -> str:
    keys = ("xmin", "ymin", "xmax", "ymax")
    objects = "".join(
        f"<object><name>{name}</name>{more}<bndbox>"
        + "".join(f"<{key}>{value}</{key}>" for key, value in zip(keys, four, strict=True))
        + "</bndbox></object>"
        for name, four in boxes
    )
    return f"<annotation>{objects}</annotation>"


def listed(folder: Path, texts: dict[str, str], suffix: str) -> list[tuple[str, Path]]:
    for name, text in texts.items():
        (folder / f"{name}{suffix}").write_text(text)
    return [(name, folder / f"{name}{suffix}") for name in texts]


def test_the_same_boxes_in_every_form(tmp_path: Path) -> None:
    first = xml(("car", (11, 21, 30, 60)), ("red bus", (1, 1, 50, 100)))  # pixels from 1, the last one included
    assert voc_boxes(listed(tmp_path, {"one": first, "two": xml()}, ".xml"), CLASSES) == KNOWN
    lines = "0 0.4 0.4 0.4 0.4\n\n1 0.5 0.5 1 1\n"
    assert yolo_boxes(listed(tmp_path, {"one": lines, "two": ""}, ".txt"), CLASSES, SIZES) == KNOWN
    (tmp_path / "b.csv").write_text("id,x,y,w,h,kind\none,10,20,20,40,car\none,0,0,50,100,red bus\ntwo,,,,,\n")
    four = ("x", "y", "w", "h")
    assert csv_boxes(tmp_path / "b.csv", "id", four, CLASSES, label_column="kind", coordinates=XYWH) == KNOWN
    shares = BoxCoordinates("xyxy", normalised=True)
    (tmp_path / "c.csv").write_text('id,box,kind\none,"[0.2, 0.2, 0.6, 0.6]",car\none,"[0, 0, 1, 1]",red bus\n')
    read = csv_boxes(tmp_path / "c.csv", "id", "box", CLASSES, label_column="kind", coordinates=shares, sizes=SIZES)
    assert read["one"] == KNOWN["one"]
    part = coco_boxes(coco(tmp_path), CLASSES)
    assert part.annotations == KNOWN
    assert part.images == (("one", "a/one.jpg"), ("two", "a/two.jpg")) and part.categories == {"car": 3, "red bus": 9}


def coco(folder: Path, **changes: object) -> Path:
    whole = {
        "images": [{"id": 5, "file_name": "a/one.jpg"}, {"id": 6, "file_name": "a/two.jpg"}],
        "categories": [{"id": 3, "name": "car"}, {"id": 9, "name": "red bus"}],
        "annotations": [
            {"image_id": 5, "category_id": 3, "bbox": [10, 20, 20, 40]},
            {"image_id": 5, "category_id": 9, "bbox": [0, 0, 50.0, 100], "iscrowd": 0},
        ],
    }
    (folder / "coco.json").write_text(json.dumps(whole | changes))
    return folder / "coco.json"


def test_what_becomes_the_id_of_a_sample(tmp_path: Path) -> None:
    path = coco(tmp_path)
    assert [name for name, _ in coco_images(path)] == ["one", "two"]
    assert [name for name, _ in coco_images(path, "name")] == ["one.jpg", "two.jpg"]
    assert [name for name, _ in coco_images(path, "id")] == ["5", "6"]


def truth_of(*texts: str) -> Boxes:
    return box_truth(CLASSES)(Path(), Sample("one", (), (100, 50), texts))


def test_a_truth_is_what_lies_in_the_image_and_is_a_class() -> None:
    truth = truth_of(
        "10 20 30 60 - car", "10 20 10 60 - car", "60 0 70 9 - car", "-5 0 5 9.5 - red bus", "0 0 9 9 - lorry"
    )
    assert truth.xyxy.tolist() == [[10, 20, 30, 60], [-5, 0, 5, 9.5]]
    assert truth.labels.tolist() == [0, 1] and truth.scores.tolist() == [1, 1] and truth.ignored is None
    assert truth.xyxy.dtype == np.float32 and truth.labels.dtype == np.int32 and truth.scores.dtype == np.float32
    assert truth_of().xyxy.shape == (0, 4)


def test_crowds_and_difficult_objects_are_ignored(tmp_path: Path) -> None:
    hard = xml(("car", (1, 1, 9, 9)), more="<difficult>1</difficult>")
    texts = voc_boxes(listed(tmp_path, {"one": hard}, ".xml"), CLASSES)["one"]
    crowd = {"image_id": 6, "category_id": 3, "bbox": [0, 0, 5, 5], "iscrowd": 1}
    more = coco_boxes(coco(tmp_path, annotations=[crowd]), CLASSES).annotations["two"]
    truth = truth_of(*texts, *more, "0 0 9 9 @R1 car")
    assert truth.ignored is not None and truth.ignored.tolist() == [True, True, False]


def test_labels_of_no_class_may_be_left_out(tmp_path: Path) -> None:
    files = listed(tmp_path, {"one": xml(("lorry", (1, 2, 3, 4)))}, ".xml")
    assert "did you mean" not in one_line(DataError, lambda: voc_boxes(files, CLASSES))
    kept = voc_boxes(files, CLASSES, PIXELS, "left_out")["one"]
    assert kept == ("1 2 3 4 - lorry",) and truth_of(*kept).count == 0


def test_annotations_of_other_kinds_are_not_boxes() -> None:
    assert annotated(Sample("a", (), (1, 1), ("1 3 10 5",))) is None
    assert annotated(Sample("a", (), (1, 1), ("a b c d - car",))) is None
    with pytest.raises(DataError, match="sample one: its annotation is no text of boxes"):
        truth_of("masks/one.png")


def test_all_faults_stand_in_one_list(tmp_path: Path) -> None:
    bad = xml(("car", (5, 1, 1, 9)), ("car", ("nan", 1, 2, 3)), ("cars", (1, 1, 2, 2)), ("car", ("1e999", 1, 2, 3)))
    files = listed(tmp_path, {"one": bad, "two": "<annotation"}, ".xml")
    message = one_line(DataError, lambda: voc_boxes(files, CLASSES))
    for part in (
        "one.xml, object 1: x1, y1, x2, y2 = 5, 1, 1, 9: the corners are swapped",
        "one.xml, object 2: 'nan' is not a finite number",
        "one.xml, object 3: label 'cars': the contest has no such label; did you mean 'car'?",
        "one.xml, object 4: x1, y1, x2, y2 = inf, 1, 2, 3: too large",
        "two.xml: not xml that can be read",
    ):
        assert part in message


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (xml().replace("<annotation>", '<annotation xmlns="urn:a">'), "begins with <{urn:a}annotation>, not with"),
        ("<annotations>" + xml() + "</annotations>", "begins with <annotations>, not with <annotation> as VOC has it"),
        (xml(("car", (1, 1, 2, 2)), more="<difficult>yes</difficult>"), "difficult is 'yes'; it must be 0 or 1"),
        ("<annotation><object><name>car</name></object></annotation>", "object 1: one of its four numbers is missing"),
    ],
)
def test_xml_of_another_form_is_no_image_without_objects(text: str, said: str, tmp_path: Path) -> None:
    files = listed(tmp_path, {"one": text}, ".xml")
    assert said in one_line(DataError, lambda: voc_boxes(files, CLASSES))


BOMB = '<!DOCTYPE a [<!ENTITY b "bbbb"><!ENTITY c "&b;&b;">]><annotation>&c;</annotation>'
OUTSIDE = '<!DOCTYPE a [<!ENTITY b SYSTEM "file:///etc/hostname">]><annotation>&b;</annotation>'


@pytest.mark.parametrize("text", [BOMB, OUTSIDE, "", "\0", "<a>" * 10])
def test_hostile_xml_is_refused(text: str, tmp_path: Path) -> None:
    files = listed(tmp_path, {"one": text}, ".xml")
    assert "one.xml: not xml that can be read" in one_line(DataError, lambda: voc_boxes(files, CLASSES))


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="there are no named pipes")
def test_a_pipe_is_no_file(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "one.xml")
    assert "a named pipe" in one_line(DataError, lambda: voc_boxes([("one", tmp_path / "one.xml")], CLASSES))


@pytest.mark.parametrize(
    ("line", "match"),
    [
        ("0 0.5 0.5 1", "one.txt, line 1: 4 words; there must be a class and four numbers"),
        ("2 0.5 0.5 1 1", "one.txt, line 1: class '2' is not within 0..1"),
        ("car 0.5 0.5 1 1", "one.txt, line 1: class 'car' is not within 0..1"),
        ("0 0.5 0.5 -1 1", "one.txt, line 1: cx, cy, w, h = 0.5, 0.5, -1, 1: the corners are swapped"),
    ],
)
def test_faults_of_yolo_files(line: str, match: str, tmp_path: Path) -> None:
    files = listed(tmp_path, {"one": line}, ".txt")
    assert match in one_line(DataError, lambda: yolo_boxes(files, CLASSES, SIZES))


def test_boxes_of_an_image_that_is_not_there(tmp_path: Path) -> None:
    files = listed(tmp_path, {"lost": "0 0.5 0.5 1 1"}, ".txt")
    assert "boxes without an image: 'lost'" in one_line(DataError, lambda: yolo_boxes(files, CLASSES, SIZES))


@pytest.mark.parametrize(
    ("changes", "match"),
    [
        ({"annotations": [{"image_id": 5, "category_id": 3, "bbox": [1, 2, 3]}]}, "annotation 1: must have image_id"),
        ({"annotations": [{"image_id": True, "category_id": 3, "bbox": [1, 2, 3, 4]}]}, "annotation 1: must have"),
        ({"annotations": [{"image_id": 5, "category_id": 3, "bbox": [1, 2, None, 4]}]}, "'None' is not a finite"),
        ({"annotations": [{"image_id": 5, "category_id": 3, "bbox": [1, 2, True, 4]}]}, "'True' is not a finite"),
        (
            {"annotations": [{"image_id": 5, "category_id": 3, "bbox": [1, 2, 3, 4], "iscrowd": "1"}]},
            "annotation 1: iscrowd is '1'; it must be 0 or 1",
        ),
        ({"annotations": {}}, "no list 'annotations'"),
        ({"images": [{"id": 5, "file_name": "/etc/passwd"}]}, "'/etc/passwd' is no file inside"),
        ({"images": [{"id": 5, "file_name": "x\\..\\y"}]}, "is no file inside"),
        ({"images": [{"id": 5, "file_name": "a/one.jpg"}, {"id": 6, "file_name": "one.png"}]}, "'one' is there twice"),
        ({"categories": [{"id": 3}]}, "entry 1: must have id, a whole number, and name, a text"),
        ({"categories": [{"id": 3, "name": "car"}, {"id": 9, "name": "car"}]}, "categories: the name 'car' is there"),
    ],
)
def test_faults_of_coco_files(changes: dict[str, object], match: str, tmp_path: Path) -> None:
    path = coco(tmp_path, **changes)
    assert match in one_line(DataError, lambda: coco_boxes(path, CLASSES))
    (tmp_path / "list.json").write_text("[]")
    assert "no list 'images'" in one_line(DataError, lambda: coco_images(tmp_path / "list.json"))


@pytest.mark.data
def test_blood_cells_are_the_same_in_xml_csv_and_json(contest_data) -> None:
    data = contest_data("bccd")
    classes = ("RBC", "WBC", "Platelets")
    table = csv_boxes(data / "train.csv", "image_id", ("xmin", "ymin", "xmax", "ymax"), classes, label_column="label")
    part = coco_boxes(data / "train_coco.json", classes)
    files = [(path.stem, path) for path in sorted((data / "train_annotations").glob("*.xml"))]
    drawn = voc_boxes(files, classes, PIXELS)
    assert table == part.annotations
    odd = {name for name in drawn if drawn[name] != table[name]}
    assert odd == {"BloodImage_00338", "BloodImage_00343"}
    assert sum(map(len, drawn.values())) == sum(map(len, table.values())) + 2
