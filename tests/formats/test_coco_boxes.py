"""The JSON of COCO is tested beside the other formats of boxes; here is what pycocotools reads of it."""

from __future__ import annotations

import contextlib
import io
import json
from pathlib import Path

import numpy as np
from pycocotools.coco import COCO

from medalist.formats.coco_boxes import CocoBoxesFormat
from medalist.records import Boxes


def test_pycocotools_reads_what_is_written(tmp_path: Path) -> None:
    boxes = Boxes(np.array([[1.5, 2, 4, 6.25]], np.float32), np.ones(1, np.int32), np.full(1, 0.9, np.float32))
    assert CocoBoxesFormat(classes=("a", "b"), categories=(3, 7)).write(tmp_path / "s.json", [("5", boxes)]) == 1
    with contextlib.redirect_stdout(io.StringIO()):
        coco = COCO()
        coco.dataset = {"images": [{"id": 5}], "categories": [{"id": 7}], "annotations": []}
        coco.createIndex()
        read = coco.loadRes(json.loads((tmp_path / "s.json").read_text()))
    (one,) = read.dataset["annotations"]
    assert (one["bbox"], one["score"], one["category_id"], one["area"]) == ([1.5, 2, 2.5, 4.25], 0.9, 7, 10.625)
