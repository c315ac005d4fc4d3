"""Read the contest's files as Kaggle ships them: pictures of steel, and a csv with a row for each image and class."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from medalist import layouts
from medalist.reading import TABLE_BYTES, open_file
from medalist.records import Mask, Sample, Split

DEFECTS = ("1", "2", "3", "4")
CLASSES = ("background", *DEFECTS)


def read(root: Path) -> Split:
    """Read the samples under `root`. Their ids are file names. Raises one DataError for all bad files of a step.

    `train.csv` may have the form of the contest (`ImageId_ClassId,EncodedPixels`, four rows an image) or the later one
    (`ImageId,ClassId,EncodedPixels`, rows of defects alone). The stratum is the set of classes, as `1+3`, or `none`.
    """
    codes = layouts.read_annotations_by_class(root / "train.csv", _columns(root / "train.csv"), DEFECTS)
    joined = layouts.ids_in(root / "sample_submission.csv", "ImageId_ClassId")
    split = layouts.read_split(
        train=[(path.name, path) for _, path in layouts.images_in_folder(root, "train_images")],
        test=[(path.name, path) for _, path in layouts.images_in_folder(root, "test_images")],
        annotations=codes,
        missing="background",
        order=list(dict.fromkeys(name.rpartition("_")[0] for name in joined)),
    )
    return replace(split, train=tuple(replace(sample, stratum=_defects(sample)) for sample in split.train))


def truth(root: Path, sample: Sample) -> Mask:
    """Return the defects of a training picture as classes. Raises DataError for a bad code and for shared pixels."""
    return layouts.mask_by_class(root / "train.csv", sample)


def _columns(path: Path) -> tuple[str, ...]:
    later = ("ImageId", "ClassId", "EncodedPixels")
    if path.is_file():
        with open_file(path, TABLE_BYTES) as file:
            if b"ClassId" in file.readline(1000).replace(b"ImageId_ClassId", b"").split(b","):
                return later
    return ("ImageId_ClassId", "EncodedPixels")


def _defects(sample: Sample) -> str:
    return "+".join(name for name, code in zip(DEFECTS, sample.annotation, strict=False) if code) or "none"
