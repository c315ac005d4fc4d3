"""Read the contest's files as Kaggle ships them: two folders of photos, a csv of grades, a csv of the test ids."""

from __future__ import annotations

from pathlib import Path

from medalist import layouts
from medalist.layouts.label_tables import labelled
from medalist.records import Split

GRADES = ("0", "1", "2", "3", "4")


def read(root: Path) -> Split:
    """Read the samples under `root`. The stratum is the grade.

    Raises DataError that names every faulty row, every id that stands in only one of test.csv and
    sample_submission.csv, or every photo that cannot be read.
    """
    order = layouts.ids_in(root / "sample_submission.csv", "id_code")
    return layouts.parted(
        labelled(
            root / "train.csv",
            "id_code",
            lambda name: root / "train_images" / f"{name}.png",
            "diagnosis",
            classes=GRADES,
        ),
        layouts.listed(root / "test.csv", "id_code", lambda name: root / "test_images" / f"{name}.png", order=order),
    )
