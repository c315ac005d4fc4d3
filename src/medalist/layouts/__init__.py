"""Read contests that are stored in the usual ways: images in folders, with a csv of run-length codes or labels.

A contest's `read` calls a few functions of this room:

    return read_split(
        train=images_in_folder(root, "train_images"),
        test=images_in_folder(root, "test_images"),
        annotations=read_annotations(root / "train.csv", "id", "rle_mask", row_per="image"),
        order=ids_in(root / "sample_submission.csv", "id"),
    )

The contest's `truth` is one call: `return mask(root / "train.csv", sample)`, or `instances(...)`. Where masks
are pictures, `masks=masks_in_folder(root, "train_masks")` and `root=root` take the place of the annotations, and the
truth is `mask_picture(data, sample)` for one class, `label_masks(data, sample, CLASSES, ...)` for several, and
`object_masks(data, sample)` for objects, each in a file of its own (`masks=masks_per_object(root, "train")`). A contest
of identities lists its samples from a csv:
`listed(root / "train.csv", "id", lambda name: root / "train" / name, identity="label")`. A contest of labels uses
`layouts.label_tables`.
Each step raises one DataError for all faults of its files, not only for the first fault.
"""

from medalist.layouts.folders import (
    IMAGE_SUFFIXES,
    MASK_SUFFIXES,
    Images,
    folder_per_image,
    folders_in,
    images_in_folder,
    images_in_tree,
    masks_in_folder,
    masks_per_object,
)
from medalist.layouts.label_masks import label_masks, object_masks
from medalist.layouts.splits import StratumOf, parted, read_split, with_sizes
from medalist.layouts.tables import ids_in, listed, read_annotations, read_annotations_by_class
from medalist.layouts.truths import instances, mask, mask_by_class, mask_picture

__all__ = [
    "IMAGE_SUFFIXES",
    "MASK_SUFFIXES",
    "Images",
    "StratumOf",
    "folder_per_image",
    "folders_in",
    "ids_in",
    "images_in_folder",
    "images_in_tree",
    "instances",
    "label_masks",
    "listed",
    "mask",
    "mask_by_class",
    "mask_picture",
    "masks_in_folder",
    "masks_per_object",
    "object_masks",
    "parted",
    "read_annotations",
    "read_annotations_by_class",
    "read_split",
    "with_sizes",
]
