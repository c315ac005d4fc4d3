"""Read the contest's files as Kaggle ships them: images, a csv of run-length codes, a csv of depths."""

from __future__ import annotations

from dataclasses import replace
from math import ceil
from pathlib import Path

from medalist import layouts
from medalist.records import Mask, Sample, Split


def read(root: Path) -> Split:
    """Read the samples under `root`; `meta` has the depth `z` as text.

    Raises one DataError for all bad files of a step. The stratum is the share of salt, in tenths rounded up: `0 %` has
    no salt, `10 %` has up to a tenth.
    """
    split = layouts.read_split(
        train=layouts.images_in_folder(root / "train", "images"),
        test=layouts.images_in_folder(root / "test", "images"),
        annotations=layouts.read_annotations(root / "train.csv", "id", "rle_mask", row_per="image"),
        order=layouts.ids_in(root / "sample_submission.csv", "id"),
        table=root / "depths.csv",
        meta=("z",),
    )
    return replace(split, train=tuple(replace(one, stratum=_share(root, one)) for one in split.train))


def truth(root: Path, sample: Sample) -> Mask:
    """Return the salt of a training sample as one mask. Raises DataError for a bad code."""
    return layouts.mask(root / "train.csv", sample)


def _share(root: Path, sample: Sample) -> str:
    return f"{10 * ceil(10 * float(truth(root, sample).classes.mean()))} %"
