"""Read the contest's files as Kaggle ships them: photos, and for each training photo a mask as GIF."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from medalist import layouts
from medalist.formats.submission import shortened
from medalist.layouts.faults import refuse
from medalist.records import Split


def read(root: Path) -> Split:
    """Read the samples under `root`. Their ids are file names; the group is the car, of which there are 16 photos.

    Raises DataError, which names every photo without a mask, every mask without a photo, every training photo whose
    name has no car, every id that only the test folder or only the sample submission has, and every file that cannot
    be read.
    """
    train = [(path.name, path) for _, path in layouts.images_in_folder(root, "train")]
    refuse(
        f"{root / 'train'}",
        [f"'{shortened(name)}'" for name, _ in train if not name.partition("_")[2]],
        "photos are named <car>_<number of the view>.jpg; take the others out",
    )
    split = layouts.read_split(
        train=train,
        test=[(path.name, path) for _, path in layouts.images_in_folder(root, "test")],
        masks=[(f"{name}.jpg", path) for name, path in layouts.masks_in_folder(root, "train_masks", "_mask")],
        root=root,
        order=layouts.ids_in(root / "sample_submission.csv", "img"),
    )
    return replace(split, train=tuple(replace(one, group=one.id.partition("_")[0]) for one in split.train))
