"""Answers to any images as files that other programs read, each read back by another reader."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from PIL import Image

from medalist.codecs.rle import decode_labels, decode_mask
from medalist.competition import load_competition
from medalist.errors import DataError, MedalistError
from medalist.formats.labels import LabelsFormat
from medalist.predictor import open_run
from medalist.records import Boxes, Instances, Labels, Mask, Ranking, VectorPrediction
from medalist.reporter import SilentReporter
from medalist.workflows.answer_files import AnswerFiles, images_of, write_answers

from ..conftest import Identities, Toy

PIXELS = np.random.default_rng(4).integers(0, 256, (30, 40, 3)).astype(np.uint8)
MASK = np.zeros((30, 40), np.uint8)
MASK[2:9, 3:20], MASK[12:20, 5:9] = 1, 2
LABELS = np.zeros((30, 40), np.int32)
LABELS[2:9, 3:20], LABELS[12:20, 5:9] = 1, 2


@pytest.fixture
def contest(at_home: Path) -> Any:
    return load_competition("toy_nuclei")


def rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def test_masks_are_pictures_of_class_numbers_or_codes(contest: Any, tmp_path: Path) -> None:
    png, rle = AnswerFiles(tmp_path / "png", contest), AnswerFiles(tmp_path / "rle", contest, "rle", overlays=False)
    for out in (png, rle):
        out.add("deep/a", Path("a.png"), PIXELS, Mask(MASK))
        out.finish()
    with Image.open(tmp_path / "png" / "masks" / "deep" / "a.png") as picture:
        assert picture.mode == "P" and (np.asarray(picture) == MASK).all()
    with Image.open(tmp_path / "png" / "overlays" / "deep" / "a.png") as drawn:
        assert drawn.size[0] == 256
    found = rows(tmp_path / "rle" / "masks.csv")
    assert [row["class"] for row in found] == ["1", "2"] and not (tmp_path / "rle" / "overlays").exists()
    for number, row in enumerate(found, start=1):
        size = int(row["height"]), int(row["width"])
        assert (decode_mask(row["rle"], size) == (number == MASK)).all()


def test_instances_are_pictures_of_16_bits_or_codes(contest: Any, tmp_path: Path) -> None:
    png, rle = AnswerFiles(tmp_path / "png", contest), AnswerFiles(tmp_path / "rle", contest, "rle")
    for out in (png, rle):
        out.add("a", Path("a.png"), PIXELS, Instances(LABELS))
        out.finish()
    read = cv2.imread(str(tmp_path / "png" / "masks" / "a.png"), cv2.IMREAD_UNCHANGED)
    assert read is not None and read.dtype == np.uint16 and (read == LABELS).all()
    codes = [row["rle"] for row in rows(tmp_path / "rle" / "masks.csv")]
    assert (decode_labels(codes, (30, 40)) == LABELS).all()
    many = np.arange(70_000, dtype=np.int32).reshape(200, 350)
    with pytest.raises(DataError, match=r"69999 objects do not fit .* --as rle"):
        png.add("b", Path("b.png"), np.zeros((200, 350, 3), np.uint8), Instances(many))


def test_boxes_are_coco(contest: Any, tmp_path: Path) -> None:
    contest = replace(contest, submission=LabelsFormat(("id", "labels"), classes=("cat", "dog")))
    out = AnswerFiles(tmp_path, contest)
    boxes = Boxes(np.array([[1, 2, 11, 6]], np.float32), np.array([1], np.int32), np.array([0.5], np.float32))
    out.add("a", Path("x/a.png"), PIXELS, boxes)
    out.add("b", Path("x/b.png"), PIXELS, Boxes(boxes.xyxy[:0], boxes.labels[:0], boxes.scores[:0]))
    out.finish()
    found = json.loads((tmp_path / "boxes.json").read_text())
    assert [one["file_name"] for one in found["images"]] == ["x/a.png", "x/b.png"]
    assert found["categories"] == [{"id": 1, "name": "cat"}, {"id": 2, "name": "dog"}]
    assert found["annotations"] == [
        {
            "id": 1,
            "image_id": 1,
            "category_id": 2,
            "bbox": [1.0, 2.0, 10.0, 4.0],
            "area": 40.0,
            "score": 0.5,
            "iscrowd": 0,
        }
    ]


def test_labels_rankings_and_vectors_are_tables(contest: Any, tmp_path: Path) -> None:
    named = replace(contest, submission=LabelsFormat(("id", "labels"), classes=("cat", "dog")))
    out = AnswerFiles(tmp_path / "labels", named)
    out.add('a,"b', Path("a.png"), PIXELS, Labels(("dog", "cat"), np.array([0.25, 0.75])))
    out.finish()
    assert rows(tmp_path / "labels" / "labels.csv") == [
        {"image": 'a,"b', "labels": "dog cat", "cat": "0.250000", "dog": "0.750000"}
    ]
    out = AnswerFiles(tmp_path / "rankings", contest)
    out.add("a", Path("a.png"), PIXELS, Ranking(("w1", "w2"), 0.5))
    out.finish()
    assert rows(tmp_path / "rankings" / "rankings.csv")[0]["names"] == "w1 w2"
    out = AnswerFiles(tmp_path / "vectors", contest)
    for number in (1, 2):
        out.add(f"v{number}", Path("a.png"), PIXELS, VectorPrediction(np.full(3, number, np.float32)))
    out.finish()
    assert np.load(tmp_path / "vectors" / "vectors.npy")[:, 0].tolist() == [1, 2]
    assert [row["image"] for row in rows(tmp_path / "vectors" / "vectors.csv")] == ["v1", "v2"]


def test_images_are_named_apart_and_hostile_names_are_refused(tmp_path: Path) -> None:
    for name in ("one/a.png", "two/a.png", "two/b.jpg"):
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        Image.fromarray(PIXELS).save(path)
    found = images_of([tmp_path / "one", tmp_path / "two"])
    assert [name for name, _ in found] == ["one/a.png", "two/a.png", "b"]
    assert images_of([tmp_path / "two" / "b.jpg"]) == [("b", tmp_path / "two" / "b.jpg")]
    with pytest.raises(DataError, match="two images have the name"):
        images_of([tmp_path / "one", tmp_path / "one"])
    with pytest.raises(DataError, match="no such file or folder"):
        images_of([tmp_path / "three"])
    (tmp_path / "list.csv").write_text("id,path\n../../x,one/a.png\n")
    with pytest.raises(DataError, match="is no name for a file"):
        images_of([tmp_path / "list.csv"])


def test_bad_files_stop_or_are_left_out(contest: Any, tmp_path: Path) -> None:
    def read(path: Path) -> Any:
        if path.name == "bad":
            raise DataError("bad: no image")
        return PIXELS

    files = [("a", Path("good")), ("b", Path("bad"))]

    def run(out: str, some: list[tuple[str, Path]], skip: bool) -> list[str]:
        return write_answers(
            some, read, lambda _: Mask(MASK), AnswerFiles(tmp_path / out, contest), SilentReporter(), skip
        )

    with pytest.raises(DataError, match="bad: no image; type --skip-bad"):
        run("x", files, False)
    assert run("y", files, True) == ["bad: no image"]
    with pytest.raises(DataError, match="none of 1 files can be read"):
        run("z", files[1:], True)
    with pytest.raises(MedalistError, match="is there already"):
        run("y", files, True)


def test_a_run_answers_any_images_by_command(
    trained: Toy, medalist: Callable[..., Any], at_home: Path, tmp_path: Path
) -> None:
    (tmp_path / "in").mkdir()
    Image.fromarray(PIXELS).save(tmp_path / "in" / "x.png")
    command = ("--runs", str(trained.runs), "predict", "toy_nuclei/tiny", "--images", str(tmp_path / "in"))
    done = medalist(*command, "-o", str(tmp_path / "out"))
    assert done.code == 0 and "1 image answered" in done.out, done
    right = open_run(trained.run.folder).answer(PIXELS)
    assert isinstance(right, Instances)
    read = cv2.imread(str(tmp_path / "out" / "masks" / "x.png"), cv2.IMREAD_UNCHANGED)
    assert read is not None and (read == right.labels).all() and (tmp_path / "out" / "overlays" / "x.png").is_file()
    for words, line in (
        ((*command, "-o", str(tmp_path / "out")), "is there already"),
        (command, "-o is missing"),
        ((*command, "-o", str(tmp_path / "new"), "--as", "gif"), "expected png or rle"),
        (("--runs", str(trained.runs), "predict", "toy_nuclei/tiny", "-o", "x"), "are for --images"),
    ):
        assert line in medalist(*words).line


def test_a_run_without_a_gallery_writes_vectors(
    trained_whales: Identities, medalist: Callable[..., Any], at_home: Path, tmp_path: Path
) -> None:
    Image.fromarray(PIXELS).save(tmp_path / "x.png")
    command = (
        "--runs",
        str(trained_whales.runs),
        "predict",
        "humpback_whale/tiny",
        "--images",
        str(tmp_path / "x.png"),
    )
    done = medalist(*command, "-o", str(tmp_path / "out"))
    assert done.code == 0 and "has no gallery" in done.out, done
    assert np.load(tmp_path / "out" / "vectors.npy").shape == (1, 16)
