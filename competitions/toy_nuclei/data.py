"""Read the drawn contest: a folder for each image, and one csv with a run-length code for each object."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from medalist import layouts
from medalist.records import Instances, Sample, Split

LABELS = "stage1_train_labels.csv"


def read(root: Path) -> Split:
    """Read the samples under `root`; the stratum is the look of the image. Raises one DataError for all bad files."""
    return layouts.read_split(
        train=layouts.folder_per_image(root, "stage1_train"),
        test=layouts.folder_per_image(root, "stage1_test"),
        annotations=layouts.read_annotations(root / LABELS, "ImageId", "EncodedPixels"),
        order=layouts.ids_in(root / "sample_submission.csv", "ImageId"),
        stratum_of=appearance,
    )


def truth(root: Path, sample: Sample) -> Instances:
    """Return the blobs of a training sample, numbered in the order of the csv. Raises DataError for a bad code."""
    return layouts.instances(root / LABELS, sample)


def appearance(image: NDArray[np.uint8]) -> str:
    """Return the look of an image uint8[H, W, 3]: colour_stain, or by its brightness bright_gray or dark_gray."""
    if np.ptp(image, axis=2).mean() > 5:
        return "colour_stain"
    return "bright_gray" if image.mean() > 128 else "dark_gray"
