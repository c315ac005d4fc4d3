"""Read the contest's csv, where several radiologists have marked each picture, and pictures made of its DICOM files."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from medalist import layouts
from medalist.layouts.box_files import annotated, boxes_in, csv_boxes
from medalist.records import Boxes, Sample, Split

NOTHING = "No finding"
CLASSES = (
    "Aortic enlargement", "Atelectasis", "Calcification", "Cardiomegaly", "Consolidation", "ILD", "Infiltration",
    "Lung Opacity", "Nodule/Mass", "Other lesion", "Pleural effusion", "Pleural thickening", "Pneumothorax",
    "Pulmonary fibrosis", NOTHING,
)  # fmt: skip
SAME = 0.4
"""Boxes of one class with a larger IoU are the same finding, marked by several radiologists."""


def read(root: Path) -> Split:
    """Read the samples under `root`. Raises one DataError for all bad files of a step. The stratum is finding or none.

    A box keeps the name of its radiologist as its mark.
    """
    split = layouts.read_split(
        train=layouts.images_in_folder(root, "train"),
        test=layouts.images_in_folder(root, "test"),
        annotations=csv_boxes(
            root / "train.csv",
            "image_id",
            ("x_min", "y_min", "x_max", "y_max"),
            CLASSES,
            label_column="class_name",
            annotator="rad_id",
            nothing=NOTHING,
        ),
        order=layouts.ids_in(root / "sample_submission.csv", "image_id"),
    )
    look = {one.id: "finding" if one.annotation else "none" for one in split.train}
    return replace(split, train=tuple(replace(one, stratum=look[one.id]) for one in split.train))


def truth(root: Path, sample: Sample) -> Boxes:
    """Return the findings of a training picture, with the boxes of several radiologists joined to their mean.

    A picture without findings has no box; the metric and the format turn this into the class `No finding`.
    """
    boxes = boxes_in(sample, annotated(sample) or (), CLASSES)
    joined = [_joined(boxes.xyxy[boxes.labels == label]) for label in range(len(CLASSES))]
    labels = np.repeat(np.arange(len(CLASSES)), [len(one) for one in joined]).astype(np.int32)
    return Boxes(np.concatenate(joined), labels, np.ones(len(labels), np.float32))


def _joined(xyxy: NDArray[np.float32]) -> NDArray[np.float32]:
    """The means of boxes that overlap, the box with the most others first."""
    means = []
    left = xyxy.astype(np.float64)
    while len(left):
        sides = np.minimum(left[:, None, 2:], left[None, :, 2:]) - np.maximum(left[:, None, :2], left[None, :, :2])
        inter = np.prod(np.maximum(sides, 0), axis=2)
        areas = np.prod(left[:, 2:] - left[:, :2], axis=1)
        near = inter / (areas[:, None] + areas[None] - inter) > SAME
        chosen = near[near.sum(axis=1).argmax()]
        means.append(left[chosen].mean(axis=0))
        left = left[~chosen]
    return np.array(means, np.float32).reshape(-1, 4)
