"""Read the contest's files: two folders of photos, an xml of boxes for each training photo, a csv of blocks."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from medalist import layouts
from medalist.codecs.boxes import PIXELS
from medalist.layouts.box_files import annotated, voc_boxes
from medalist.records import Sample, Split

CLASSES = ("RBC", "WBC", "Platelets")


def read(root: Path) -> Split:
    """Read the samples under `root`. Raises one DataError for all bad files of a step.

    The boxes are those of the xml, whose corners are taken as they are, as the source's own csv does. The group is the
    block of ten consecutive photos, which may be of one smear. The stratum is the set of classes.
    """
    split = layouts.read_split(
        train=layouts.images_in_folder(root, "train_images"),
        test=layouts.images_in_folder(root, "test_images"),
        annotations=voc_boxes(layouts.images_in_folder(root, "train_annotations", (".xml",)), CLASSES, PIXELS),
        order=layouts.ids_in(root / "sample_submission.csv", "image_id"),
        table=root / "train_meta.csv",
        id_column="image_id",
        group="block",
        meta=("official_split",),
    )
    return replace(split, train=tuple(replace(sample, stratum=_classes(sample)) for sample in split.train))


def _classes(sample: Sample) -> str:
    there = {box.label for box in annotated(sample) or ()}
    return "+".join(name for name in CLASSES if name in there) or "none"
