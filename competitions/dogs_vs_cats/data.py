"""Read the contest's files as Kaggle ships them: two folders of photos; a training photo's name has its class."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from medalist import layouts
from medalist.formats.submission import shortened
from medalist.layouts.faults import refuse
from medalist.records import Split

CLASSES = ("cat", "dog")


def read(root: Path) -> Split:
    """Read the samples under `root`: training ids are `cat.0`, `dog.0` and so on, test ids are numbers.

    The stratum is the class. Raises DataError that names every training photo whose name has no class, every id that
    stands only in the test folder or only in the sample submission, or every photo that cannot be read.
    """
    train = layouts.images_in_folder(root, "train")
    classes = {name: name.partition(".")[0] for name, _ in train}
    bad = [f"'{shortened(name)}'" for name, label in classes.items() if label not in CLASSES]
    refuse(f"{root / 'train'}", bad, "photos are named cat.<number>.jpg or dog.<number>.jpg; take the others out")
    split = layouts.read_split(
        train,
        layouts.images_in_folder(root, "test"),
        {name: (label,) for name, label in classes.items()},
        layouts.ids_in(root / "sample_submission.csv", "id"),
    )
    return Split(tuple(replace(sample, stratum=classes[sample.id]) for sample in split.train), split.test)
