"""Read the contest's files: a csv for each part, and one folder of photos for training and one for the test part."""

from __future__ import annotations

from pathlib import Path

from medalist import layouts
from medalist.records import Sample, Split


def asks(sample: Sample) -> bool:
    """Return whether the photo is a query: it is in the source's test list. Photos of its other lists are the gallery.

    The test part is made in the same way.
    """
    return sample.meta["official_split"] == "test"


def read(root: Path) -> Split:
    """Read the photos under `root`. Raises one DataError that names all bad files.

    The identity and the group are the product, the stratum is its kind (Fruit, Packages, Vegetables).
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
