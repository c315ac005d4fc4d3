"""The usual ways a contest lies on disk: images in folders, and a csv of run-length codes beside them.

A contest's `read` is a few calls from here:

    return read_split(
        train=images_in_folder(root, "train_images"),
        test=images_in_folder(root, "test_images"),
        annotations=read_annotations(root / "train.csv", "id", "rle_mask", row_per="image"),
        order=ids_in(root / "sample_submission.csv", "id"),
    )

and its `truth` is one: `return mask(root / "train.csv", sample)`, or `instances(...)`. A contest of identities
lists its samples by a csv: `listed(root / "train.csv", "id", lambda name: root / "train" / name, identity="label")`.
A contest of labels does that by `layouts.label_tables`.
Everything wrong with the files of one step is told in one DataError, not only the first fault.
"""

from medalist.layouts.folders import IMAGE_SUFFIXES, Images, folder_per_image, images_in_folder
from medalist.layouts.splits import StratumOf, parted, read_split, with_sizes
from medalist.layouts.tables import ids_in, listed, read_annotations
from medalist.layouts.truths import instances, mask

__all__ = [
    "IMAGE_SUFFIXES",
    "Images",
    "StratumOf",
    "folder_per_image",
    "ids_in",
    "images_in_folder",
    "instances",
    "listed",
    "mask",
    "parted",
    "read_annotations",
    "read_split",
    "with_sizes",
]
