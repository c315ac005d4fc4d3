"""Read the same photos for another question: does a photo show a fruit, a vegetable or a package?"""

from __future__ import annotations

from pathlib import Path

from medalist import layouts
from medalist.layouts.label_tables import labelled
from medalist.records import Split

KINDS = ("Fruit", "Packages", "Vegetables")


def read_kinds(root: Path) -> Split:
    """Read the photos under `root`. Raises one DataError that names all bad files.

    The label is the kind and the group is the product: a fold holds out products that its network has not seen, as in
    the test part. The test part is all photos of the other products, first the photos of query.csv.
    """

    def image(name: str) -> Path:
        return root / "test_images" / f"{name}.jpg"

    train = root / "train.csv"
    return layouts.parted(
        labelled(train, "id", lambda name: root / "train_images" / f"{name}.jpg", "kind", classes=KINDS, group="label"),
        [sample for part in ("query", "gallery") for sample in layouts.listed(root / f"{part}.csv", "id", image)],
    )
