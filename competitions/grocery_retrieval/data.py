"""Reads the contest: a csv for each part, and the photos of both parts in a folder each."""

from __future__ import annotations

from pathlib import Path

from medalist import layouts
from medalist.records import Sample, Split


def asks(sample: Sample) -> bool:
    """Whether the photo is of the source's test list: those ask in the test part too, and train and val answer."""
    return sample.meta["official_split"] == "test"


def read(root: Path) -> Split:
    """Read the photos under `root`; raises DataError that names every bad file at once.

    The identity and the group are the fine class, the stratum is its kind (Fruit, Packages, Vegetables).
    """

    def image(name: str) -> Path:
        return root / "test_images" / f"{name}.jpg"

    train = layouts.listed(
        root / "train.csv",
        "id",
        lambda name: root / "train_images" / f"{name}.jpg",
        identity="label",
        group="label",
        stratum="kind",
        meta=("coarse_label", "official_split"),
    )
    order = layouts.ids_in(root / "sample_submission.csv", "id")
    test = layouts.listed(root / "query.csv", "id", image, order=order)
    return layouts.parted(train, test, layouts.listed(root / "gallery.csv", "id", image))
