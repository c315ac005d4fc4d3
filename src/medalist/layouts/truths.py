"""Decode the truth of a sample from its annotation."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import numpy as np

from medalist.codecs.rle import RleError, decode_labels, decode_mask
from medalist.errors import DataError
from medalist.records import Instances, Mask, Sample


def instances(source: Path, sample: Sample, order: Literal["column", "row"] = "column", base: int = 1) -> Instances:
    """Decode a sample's annotation, one code for each object, to int32[H, W] with objects numbered in file order.

    `source` is the csv, for the error. Raises DataError, which names the csv, the image, the object and the rule.
    """
    try:
        return Instances(decode_labels(sample.annotation, sample.size, order, base))
    except RleError as error:
        raise DataError(f"{source}: image {sample.id}: {error}") from error


def mask(source: Path, sample: Sample, order: Literal["column", "row"] = "column", base: int = 1) -> Mask:
    """Decode a sample's annotation to one binary mask uint8[H, W]; several codes of an image are joined.

    `source` is the csv, for the error. Raises DataError, which names the csv, the image and the rule.
    """
    classes = np.zeros(sample.size, np.uint8)
    try:
        for code in sample.annotation:
            classes |= decode_mask(code, sample.size, order, base)
    except RleError as error:
        raise DataError(f"{source}: image {sample.id}: {error}") from error
    return Mask(classes)
