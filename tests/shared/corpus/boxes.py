"""Layouts of contests of boxes."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from corpus.layout import SIZE, Layout, blank, ids, objects, picture, rng_of, save, table
from medalist.layouts.drawing import tight_boxes

NAMES = ("bolt", "nut", "washer")


def _drawn(root: Path, name: str, folder: str, suffix: str) -> Iterator[tuple[str, NDArray[np.float32]]]:
    rng = rng_of(name)
    for one in ids(name, 12, 9):
        labels = objects(rng)
        save(root / folder / f"{one}{suffix}", picture(rng, labels, 3), quality=95)
        yield one, tight_boxes(labels)


def _list_cells(root: Path) -> None:
    """As global wheat: "[x, y, w, h]" in one cell, one class, images without boxes."""
    rows = []
    for number, (name, boxes) in enumerate(_drawn(root, "wheat", "train", ".jpg")):
        if number % 6 == 0:
            continue
        rows += [f'{name},64,48,"[{x1}, {y1}, {x2 - x1}, {y2 - y1}]",farm_{number % 3}' for x1, y1, x2, y2 in boxes]
    table(root / "train.csv", "image_id,width,height,bbox,source", [(row,) for row in rows])
    test = ids("wheat test", 5, 9)
    blank(root, "test", test, ".jpg", rng_of("wheat test"))
    table(root / "sample_submission.csv", "image_id,PredictionString", [(name, "1.0 0 0 50 50") for name in test])


def _annotators(root: Path) -> None:
    """As VinBigData: classes by name and number, annotators, a label of images without a box."""
    rows = []
    for number, (name, boxes) in enumerate(_drawn(root, "chest", "train", ".png")):
        if number % 4 == 0:
            rows.append((name, "No finding", 3, "R1", "", "", "", ""))
        else:
            rows += [(name, NAMES[k], k, f"R{k}", *box) for k, box in enumerate(boxes)]
    table(root / "train.csv", "image_id,class_name,class_id,rad_id,x_min,y_min,x_max,y_max", rows)
    test = ids("chest test", 5, 9)
    blank(root, "test", test, ".png", rng_of("chest test"))
    table(root / "sample_submission.csv", "image_id,PredictionString", [(name, "3 1 0 0 1 1") for name in test])


def _voc(root: Path) -> None:
    """As Pascal VOC: an xml for each image, the first pixel is 1."""
    for name, boxes in _drawn(root, "voc", "VOC2007/JPEGImages", ".jpg"):
        objects_ = "".join(
            f"<object><name>{NAMES[k]}</name><difficult>0</difficult><bndbox><xmin>{x1 + 1:.0f}</xmin>"
            f"<ymin>{y1 + 1:.0f}</ymin><xmax>{x2:.0f}</xmax><ymax>{y2:.0f}</ymax></bndbox></object>"
            for k, (x1, y1, x2, y2) in enumerate(boxes)
        )
        path = root / "VOC2007" / "Annotations" / f"{name}.xml"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"<annotation><filename>{name}.jpg</filename>{objects_}</annotation>")


def _coco(root: Path) -> None:
    """As COCO: annotations/instances_train2017.json, categories with gaps."""
    images, annotations = [], []
    for number, (name, boxes) in enumerate(_drawn(root, "coco", "train2017", ".jpg"), start=1):
        images.append({"id": number, "file_name": f"{name}.jpg", "width": SIZE[1], "height": SIZE[0]})
        for k, (x1, y1, x2, y2) in enumerate(boxes.tolist()):
            box = [x1, y1, x2 - x1, y2 - y1]
            annotations.append({"id": len(annotations), "image_id": number, "category_id": 10 * k + 7, "bbox": box})
    categories = [{"id": 10 * k + 7, "name": name} for k, name in enumerate(NAMES)]
    folder = root / "annotations"
    folder.mkdir()
    whole = {"images": images, "annotations": annotations, "categories": categories}
    (folder / "instances_train2017.json").write_text(json.dumps(whole))
    test = ids("coco test", 5, 9)
    blank(root, "test2017", test, ".jpg", rng_of("coco test"))
    listed = [{"id": 900 + k, "file_name": f"{name}.jpg"} for k, name in enumerate(test)]
    (folder / "image_info_test2017.json").write_text(json.dumps({"images": listed, "categories": categories}))


def _yolo(root: Path) -> None:
    """As exports of YOLO: images/train, labels/train, data.yaml, and a file of classes among the labels."""
    for name, boxes in _drawn(root, "yolo", "images/train", ".jpg"):
        lines = [
            f"{k} {(x1 + x2) / 128:.6f} {(y1 + y2) / 96:.6f} {(x2 - x1) / 64:.6f} {(y2 - y1) / 48:.6f}\n"
            for k, (x1, y1, x2, y2) in enumerate(boxes)
        ]
        path = root / "labels" / "train" / f"{name}.txt"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("".join(lines))
    (root / "labels" / "train" / "classes.txt").write_text("\n".join(NAMES))
    (root / "data.yaml").write_text("train: images/train\nnc: 3\nnames: [bolt, nut, washer]\n")
    blank(root, "images/test", ids("yolo test", 5), ".jpg", rng_of("yolo test"))


def _corner_columns(root: Path) -> None:
    """As a table of cars: four columns, names with a suffix, images without a row, a folder for each part."""
    rows = []
    for number, (name, boxes) in enumerate(_drawn(root, "traffic", "data/training_images", ".jpg")):
        rows += [(f"{name}.jpg", *box) for box in boxes if number % 5]
    table(root / "data" / "train_solution_bounding_boxes (1).csv", "image,xmin,ymin,xmax,ymax", rows)
    test = ids("traffic test", 5)
    blank(root, "data/testing_images", test, ".jpg", rng_of("traffic test"))
    asked = [(f"{name}.jpg", "") for name in test]
    table(root / "data" / "sample_submission.csv", "image,bounds", asked)


def _shares(root: Path) -> None:
    """As open images: shares of the sides, in columns of another order."""
    rows = []
    for name, boxes in _drawn(root, "open", "train", ".jpg"):
        rows += [(name, NAMES[k], x1 / 64, x2 / 64, y1 / 48, y2 / 48) for k, (x1, y1, x2, y2) in enumerate(boxes)]
    table(root / "train-annotations-bbox.csv", "ImageID,LabelName,XMin,XMax,YMin,YMax", rows)
    test = ids("open test", 5)
    blank(root, "test", test, ".jpg", rng_of("open test"))
    table(root / "sample_submission.csv", "ImageId,PredictionString", [(name, "bolt 0.5 0 0 0.5 0.5") for name in test])


def _sizes(root: Path) -> None:
    """As RSNA: x, y, width, height and empty cells where there is nothing."""
    rows = []
    for number, (name, boxes) in enumerate(_drawn(root, "pneumonia", "stage_2_train_images", ".png")):
        some = [(name, x1, y1, x2 - x1, y2 - y1, 1) for x1, y1, x2, y2 in boxes]
        rows += some if number % 3 else [(name, "", "", "", "", 0)]
    table(root / "stage_2_train_labels.csv", "patientId,x,y,width,height,Target", rows)
    test = ids("pneumonia test", 5)
    blank(root, "stage_2_test_images", test, ".png", rng_of("pneumonia test"))
    asked = [(name, "0.5 0 0 20 20") for name in test]
    table(root / "stage_2_sample_submission.csv", "patientId,PredictionString", asked)


BOXES = (
    Layout("wheat", _list_cells, "boxes", "train.csv", "train", "test",
           ("coordinates=XYWH", 'parts=("score", "box")', 'missing="background"'), (12, 5)),
    Layout("chest", _annotators, "boxes", "train.csv", "train", "test",
           ('annotator="rad_id"', 'nothing="3"', 'empty="3 1 0 0 1 1"', 'label_column="class_id"'), (12, 5)),
    Layout("voc", _voc, "boxes", "VOC2007/Annotations", "VOC2007/JPEGImages", None,
           ('voc_boxes(layouts.images_in_folder(data, "VOC2007/Annotations", (".xml",)), CLASSES)',
            'CLASSES = ("bolt", "nut", "washer")'), (12, 0)),
    Layout("coco", _coco, "boxes", "annotations/instances_train2017.json", "train2017", "test2017",
           ("CATEGORIES = (7, 17, 27)", "CocoBoxesFormat(classes=CLASSES, categories=CATEGORIES)"), (12, 5)),
    Layout("yolo", _yolo, "boxes", "labels/train", "images/train", "images/test",
           ('CLASSES = ("bolt", "nut", "washer")', "yolo_boxes(files, CLASSES, sizes)"), (12, 5)),
    Layout("traffic", _corner_columns, "boxes", "data/train_solution_bounding_boxes (1).csv", "data/training_images",
           "data/testing_images", ('("xmin", "ymin", "xmax", "ymax")', 'CLASSES = ("object",)'), (12, 5)),
    Layout("open", _shares, "boxes", "train-annotations-bbox.csv", "train", "test",
           ('BoxCoordinates("xyxy", normalised=True)', '("XMin", "YMin", "XMax", "YMax")'), (12, 5)),
    Layout("pneumonia", _sizes, "boxes", "stage_2_train_labels.csv", "stage_2_train_images", "stage_2_test_images",
           ('("x", "y", "width", "height")', "coordinates=XYWH"), (12, 5)),
)  # fmt: skip
