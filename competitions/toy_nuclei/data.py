"""Reads the drawn contest: a folder an image, and one csv with a run-length code an object."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from medalist import layouts
from medalist.records import Instances, Sample, Split

LABELS = "stage1_train_labels.csv"


def read(root: Path) -> Split:
    """Read the samples under `root`, with the look of each as its stratum; DataError names all bad files."""
    return layouts.read_split(
        train=layouts.folder_per_image(root, "stage1_train"),
        test=layouts.folder_per_image(root, "stage1_test"),
        annotations=layouts.read_annotations(root / LABELS, "ImageId", "EncodedPixels"),
        order=layouts.ids_in(root / "sample_submission.csv", "ImageId"),
        stratum_of=appearance,
    )


def truth(root: Path, sample: Sample) -> Instances:
    """Decode the blobs of a train sample, numbered in the order of the csv; raises DataError."""
    return layouts.instances(root / LABELS, sample)


def appearance(image: NDArray[np.uint8]) -> str:
    """Tell how an image uint8[H, W, 3] was drawn: with stain, or by the side that its brightness lies on."""
    if np.ptp(image, axis=2).mean() > 5:
        return "colour_stain"
    return "bright_gray" if image.mean() > 128 else "dark_gray"
