"""Read the contest's files as Kaggle ships them: two folders of photos, and a csv with the whale of each photo."""

from __future__ import annotations

from pathlib import Path

from medalist import layouts
from medalist.records import Split

NEW = "new_whale"


def read(root: Path) -> Split:
    """Read the samples under `root`. Their ids are file names, as in the csv files.

    The stratum is the whale: each fold holds out a part of every whale's photos, and of the `new_whale` photos. Raises
    DataError that names the csv, the row and the photo.
    """
    train = root / "train.csv"
    return layouts.parted(
        train=layouts.listed(train, "Image", lambda name: root / "train" / name, identity="Id", stratum="Id"),
        test=layouts.listed(root / "sample_submission.csv", "Image", lambda name: root / "test" / name),
    )
