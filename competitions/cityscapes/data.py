"""Read the data set's files as its archives have them: a folder for each city, with pictures and label pictures."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from medalist import layouts
from medalist.records import Mask, Sample, Split

IDS = {
    7: "road", 8: "sidewalk", 11: "building", 12: "wall", 13: "fence", 17: "pole", 19: "traffic light",
    20: "traffic sign", 21: "vegetation", 22: "terrain", 23: "sky", 24: "person", 25: "rider", 26: "car", 27: "truck",
    28: "bus", 31: "train", 32: "motorcycle", 33: "bicycle",
}  # fmt: skip
"""The class of each value of `*_gtFine_labelIds.png` that is judged."""
CLASSES = tuple(IDS.values())
VOID = tuple(value for value in (*range(34), 255) if value not in IDS)
"""The other values, which are void: ego vehicle, static, parking, rail track, bridge, caravan and so on."""

PARTS = ("train", "val")


def read(root: Path) -> Split:
    """Read the samples under `root`: `train` and `val` are training samples, and `meta` has the part of each.

    The group is the city. Raises DataError, which names every picture without labels, every label picture without a
    picture, and every file that cannot be read.
    """
    pictures = {part: layouts.images_in_tree(root / "leftImg8bit", part, "_leftImg8bit") for part in (*PARTS, "test")}
    split = layouts.read_split(
        train=[named for part in PARTS for named in pictures[part]],
        test=pictures["test"],
        masks=[named for part in PARTS for named in layouts.images_in_tree(root / "gtFine", part, "_gtFine_labelIds")],
        root=root,
    )
    part_of = {name: part for part, named in pictures.items() for name, _ in named}
    return replace(
        split,
        train=tuple(
            replace(one, group=one.images[0].parent.name, meta={"part": part_of[one.id]}) for one in split.train
        ),
    )


def truth(root: Path, sample: Sample) -> Mask:
    """Return the classes of a training picture, and its void. Raises DataError for values that the data set lacks."""
    return layouts.label_masks(root, sample, CLASSES, ids=IDS, ignore=VOID)
