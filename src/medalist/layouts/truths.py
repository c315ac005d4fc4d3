"""Decode the truth of a sample from its annotation: run-length codes, or the name of a mask's file."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import numpy as np

from medalist.codecs.images import Orientation
from medalist.codecs.label_pictures import read_mask_picture
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


def mask_by_class(
    source: Path,
    sample: Sample,
    *,
    order: Literal["column", "row"] = "column",
    base: int = 1,
    overlap: Literal["refused", "later"] = "refused",
) -> Mask:
    """Decode a sample's annotation, one code for each class (see `read_annotations_by_class`), to classes uint8[H, W].

    The first code is that of class 1; "" is a class without pixels, and a sample without codes has only class 0.
    overlap: whether pixels of several classes are refused, or are of the last of these classes. `source` is the csv,
    for the error. Raises DataError, which names the csv, the image, the class and the rule, or the number of pixels.
    """
    classes = np.zeros(sample.size, np.uint8)
    for number, code in enumerate(sample.annotation, start=1):
        if not code:
            continue
        try:
            found = decode_mask(code, sample.size, order, base)
        except RleError as error:
            raise DataError(f"{source}: image {sample.id}: class {number}: {error}") from error
        both = classes[found]
        if overlap == "refused" and both.any():
            raise DataError(
                f"{source}: image {sample.id}: {np.count_nonzero(both):,} pixels of class {number} are of class "
                f"{int(both[both > 0][0])} too; type overlap='later' in mask_by_class, so that the later class counts"
            )
        classes[found] = number
    return Mask(classes)


def mask_picture(
    data: Path,
    sample: Sample,
    *,
    foreground: Sequence[int] | None = None,
    threshold: int | None = None,
    orientation: Orientation = "shown",
) -> Mask:
    """Read the mask file that a sample's annotation names (a path inside the folder `data`) as one class, 0 and 1.

    foreground: the values of the picture that are the class; threshold: its gray values from it on. Without both, the
    picture must have one value besides 0, which is 1 or white. Values are the numbers of a palette, never its colours.
    Raises DataError for a sample that does not name one file, and as `codecs.label_pictures.read_mask_picture` does,
    for example for a picture of several classes or with void.
    """
    if len(sample.annotation) != 1:
        raise DataError(f"image {sample.id} names {len(sample.annotation)} mask files; there must be one")
    return Mask(read_mask_picture(data / sample.annotation[0], foreground, threshold, orientation))
