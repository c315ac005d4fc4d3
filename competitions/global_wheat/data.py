"""Read the contest's files as Kaggle ships them: two folders of photos, and a csv with a row for each head."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from medalist import layouts
from medalist.codecs.boxes import XYWH
from medalist.files import read_table
from medalist.layouts.box_files import csv_boxes
from medalist.records import Split

CLASSES = ("wheat",)


def read(root: Path) -> Split:
    """Read the samples under `root`. Raises one DataError for all bad files of a step.

    The stratum is the source of a photo, such as `usask_1`; `unknown` for photos without heads, which the csv lacks.
    """
    split = layouts.read_split(
        train=layouts.images_in_folder(root, "train"),
        test=layouts.images_in_folder(root, "test"),
        annotations=csv_boxes(root / "train.csv", "image_id", "bbox", CLASSES, coordinates=XYWH),
        missing="background",
        order=layouts.ids_in(root / "sample_submission.csv", "image_id"),
    )
    sources = {row["image_id"]: row["source"] for row in read_table(root / "train.csv", ("image_id", "source"))}
    return replace(split, train=tuple(replace(one, stratum=sources.get(one.id, "unknown")) for one in split.train))
