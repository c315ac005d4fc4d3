"""Reads the contest as Kaggle ships it: two folders of photos, and a csv with all labels of a photo in one cell."""

from __future__ import annotations

from pathlib import Path

from medalist import layouts
from medalist.layouts.label_tables import labelled
from medalist.records import Split

CLASSES = ("complex", "frog_eye_leaf_spot", "healthy", "powdery_mildew", "rust", "scab")


def read(root: Path) -> Split:
    """Read the samples under `root`; their ids are file names, as in the csv files.

    The stratum is the set of labels, whatever their order in the cell. Raises DataError that names every faulty row, or
    every photo that cannot be read.
    """
    train = root / "train.csv"
    return layouts.parted(
        labelled(train, "image", lambda name: root / "train_images" / name, "labels", separator=" ", classes=CLASSES),
        layouts.listed(root / "sample_submission.csv", "image", lambda name: root / "test_images" / name),
    )
