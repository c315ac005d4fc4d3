"""Read the contest's files as Kaggle ships them: two folders of images, and a csv with a row for each ship."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from medalist import layouts
from medalist.folds.overlaps import overlap_groups
from medalist.records import Grouping, Instances, Sample, Split

LABELS = "train_ship_segmentations_v2.csv"
CLASSES = ("none", "ship")
DAMAGED = ("6384c3e78.jpg",)
"""Training images of the download that are cut off; they are left out."""


def read(root: Path) -> Split:
    """Read the samples under `root`. Their ids are file names. Raises one DataError for all bad files of a step.

    The stratum says how many ships there are: none, 1, 2-4, 5 or more.
    """
    left_out = set(DAMAGED)
    split = layouts.read_split(
        train=[named for named in _named(root, "train_v2") if named[0] not in left_out],
        test=_named(root, "test_v2"),
        annotations={
            name: codes
            for name, codes in layouts.read_annotations(root / LABELS, "ImageId", "EncodedPixels").items()
            if name not in left_out
        },
        order=layouts.ids_in(root / "sample_submission_v2.csv", "ImageId"),
    )
    return replace(split, train=tuple(replace(one, stratum=_count(len(one.annotation))) for one in split.train))


def read_presence(root: Path) -> Split:
    """Read the same samples for the question whether an image shows a ship; folds are those of the ships."""
    split = read(root)
    return replace(split, train=tuple(replace(one, annotation=(CLASSES[bool(one.annotation)],)) for one in split.train))


def truth(root: Path, sample: Sample) -> Instances:
    """Return the ships of a training sample, numbered in the order of the csv. Raises DataError for a bad code."""
    return layouts.instances(root / LABELS, sample)


def groups(samples: Sequence[Sample]) -> Grouping:
    """Return the scenes: images of 768 pixels were cut from larger ones with offsets of thirds of their side."""
    return overlap_groups(samples, step=max(16, min(min(sample.size) for sample in samples) // 3))


def _named(root: Path, part: str) -> list[tuple[str, Path]]:
    return [(path.name, path) for _, path in layouts.images_in_folder(root, part)]


def _count(ships: int) -> str:
    if ships < 2:
        return "1 ship" if ships else "none"
    return "2-4 ships" if ships < 5 else "5 or more ships"
