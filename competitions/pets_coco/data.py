"""Read a contest in the form of COCO: a json for each part, and one folder of pictures for each."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from medalist import layouts
from medalist.errors import DataError
from medalist.layouts.box_files import annotated
from medalist.layouts.coco_files import coco_boxes, coco_images
from medalist.records import Sample, Split

CLASSES = ("cat", "dog")
CATEGORIES = (17, 18)
"""The `category_id` of each class, which are those of COCO."""


def read(root: Path) -> Split:
    """Read the samples under `root`. Their ids are the numbers of images in the json.

    The stratum is the set of classes. Raises one DataError for all bad files of a step, and for categories of the json
    that are others than CATEGORIES.
    """
    part = coco_boxes(root / "annotations" / "train.json", CLASSES, key="id")
    known = dict(zip(CLASSES, CATEGORIES, strict=True))
    if part.categories != known:
        raise DataError(f"{root / 'annotations' / 'train.json'}: its categories are {part.categories}, not {known}")
    test = coco_images(root / "annotations" / "test.json", key="id")
    split = layouts.read_split(
        train=[(name, root / "train" / file) for name, file in part.images],
        test=[(name, root / "test" / file) for name, file in test],
        annotations=part.annotations,
        order=[name for name, _ in test],
    )
    return replace(split, train=tuple(replace(one, stratum=_classes(one)) for one in split.train))


def _classes(sample: Sample) -> str:
    return "+".join(sorted({box.label for box in annotated(sample) or ()})) or "none"
