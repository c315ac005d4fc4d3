"""Read the contest's files as Kaggle ships them: a folder for each image, and one csv with a run-length code a row."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from medalist import layouts
from medalist.records import Instances, Sample, Split

LABELS = "stage1_train_labels.csv"


def read(root: Path) -> Split:
    """Read the samples under `root`. Raises one DataError that names all bad files.

    The stratum is the look of the image. It is computed from the pixels, because the contest does not declare it.
    """
    return layouts.read_split(
        train=layouts.folder_per_image(root, "stage1_train"),
        test=layouts.folder_per_image(root, "stage1_test"),
        annotations=layouts.read_annotations(root / LABELS, "ImageId", "EncodedPixels"),
        order=layouts.ids_in(root / "sample_submission.csv", "ImageId"),
        stratum_of=appearance,
    )


def truth(root: Path, sample: Sample) -> Instances:
    """Return the nuclei of a training sample, numbered in the order of the csv. Raises DataError for a bad code."""
    return layouts.instances(root / LABELS, sample)


def appearance(image: NDArray[np.uint8]) -> str:
    """Return how an image uint8[H, W, 3] was made, judged by its colour and its brightness.

    colour_stain: tissue under purple or pink stain, so the channels differ; bright_gray: brightfield, dark nuclei on
    a light ground; dark_gray: fluorescence, light nuclei on a dark ground. In the contest's images the mean spread of
    the channels is 0 for gray images and at least 11 for stained ones. The mean brightness of gray images is below 58
    or above 205.
    """
    small = np.ascontiguousarray(np.moveaxis(image[::4, ::4], 2, 0))  # 1 pixel of 16 gives the same result
    spread = small.max(axis=0) - small.min(axis=0)
    if spread.mean() > 5:
        return "colour_stain"
    return "bright_gray" if small.mean() > 128 else "dark_gray"
