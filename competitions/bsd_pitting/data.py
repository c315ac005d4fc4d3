"""Read the contest's files: two folders of pictures, a csv of run-length codes, a csv of positions and times."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from medalist import layouts
from medalist.metrics.masks import mean_dice, mean_precision_over_iou
from medalist.records import Mask, Sample, Score, Split


def read(root: Path) -> Split:
    """Read the samples under `root`. Raises one DataError for all bad files of a step.

    The group is the sequence: the position on the spindle, where the camera stands still, or, for type 1, the serial
    number. The stratum is the type and whether there is a pit.
    """
    split = layouts.read_split(
        train=layouts.images_in_folder(root, "train_images"),
        test=layouts.images_in_folder(root, "test_images"),
        annotations=layouts.read_annotations(root / "train.csv", "id", "rle_mask", row_per="image"),
        order=layouts.ids_in(root / "sample_submission.csv", "id"),
        table=root / "train_meta.csv",
        group="sequence",
        meta=("type", "time"),
    )
    return replace(split, train=tuple(replace(sample, stratum=_look(sample)) for sample in split.train))


def truth(root: Path, sample: Sample) -> Mask:
    """Return the pits of a training sample as one mask. Raises DataError for a bad code."""
    return layouts.mask(root / "train.csv", sample)


def score(truths: Mapping[str, Mask], answers: Mapping[str, Mask]) -> Score:
    """Return the mean Dice over pictures, where an empty truth with an empty answer scores 1.

    parts: `precision`, the score by TGS Salt's metric, and `precision@0.50` ... `precision@0.95`.
    """
    precision = mean_precision_over_iou(truths, answers)
    return replace(mean_dice(truths, answers), parts={"precision": precision.value, **precision.parts})


def _look(sample: Sample) -> str:
    return f"type {sample.meta['type']}, {'with a pit' if sample.annotation else 'empty'}"
