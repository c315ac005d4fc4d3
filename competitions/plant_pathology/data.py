"""Read the contest's files as Kaggle ships them: two folders of photos, a csv with a photo's labels in one cell."""

from __future__ import annotations

from pathlib import Path

from medalist import layouts
from medalist.layouts.label_tables import labelled
from medalist.records import Split

CLASSES = ("complex", "frog_eye_leaf_spot", "healthy", "powdery_mildew", "rust", "scab")


def read(root: Path) -> Split:
    """Read the samples under `root`. Their ids are file names, as in the csv files.

    The stratum is the set of labels; their order in the cell does not matter. Raises DataError that names every faulty
    row, or every photo that cannot be read.
    """
    train = root / "train.csv"
    return layouts.parted(
        labelled(train, "image", lambda name: root / "train_images" / name, "labels", separator=" ", classes=CLASSES),
        layouts.listed(root / "sample_submission.csv", "image", lambda name: root / "test_images" / name),
    )
