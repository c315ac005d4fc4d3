"""Read masks of several classes, with void, from the files that contests store them in; and objects, one file each."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from medalist.codecs.class_tables import (
    ClassTable,
    Colour,
    NamedClass,
    colour_of,
    nearest_colour,
    number_of,
    packed,
    table_of_colours,
    table_of_ids,
)
from medalist.codecs.images import Orientation, image_turn
from medalist.codecs.label_pictures import VOID, read_label_colours, read_label_ids, read_mask_picture
from medalist.errors import ConfigError, DataError
from medalist.records import Instances, Mask, Sample

VOID_NAME = "void"
"""The name in `files` for a file of void pixels."""

Missing = Literal["refused", "background"]
"""What a missing mask file means."""

_NAMED = 6  # the most values or colours that one message lists


def label_masks(
    data: Path,
    sample: Sample,
    classes: Sequence[str],
    *,
    ids: Mapping[int, NamedClass] | None = None,
    colours: Mapping[Colour, NamedClass] | None = None,
    files: Sequence[str] = (),
    ignore: Sequence[int] | Sequence[Colour] = (),
    missing: Missing = "refused",
    overlap: Literal["refused", "later"] = "refused",
    threshold: int | None = None,
    orientation: Orientation = "shown",
) -> Mask:
    """Read the mask files that a sample's annotation names (paths inside the folder `data`) as classes and void.

    The values of a picture are the numbers of its palette, never the palette's colours, or its gray values of up to 16
    bits. Without `ids`, `colours` and `files` they are the numbers of `classes`. Every value must be a class or void.

    Args:
        data: the folder of the contest.
        sample: its annotation names one file, or with `files` one for each of them.
        classes: the names of the classes, as `Competition.classes` has them.
        ids: the class of each value, by name or number: `{26: "car"}`, or `{0: 0, 255: 1}`.
        colours: the class of each colour, where colours stand for classes: `{(128, 64, 128): "road"}`.
        files: the class of each path of the annotation, where each class has a file of its own: a mask that
            `mask_picture` can read. "void" is a file of void pixels. Pixels of no file are class 0.
        ignore: the values, or with `colours` the colours, that are void.
        missing: "background" where a sample without a file, or a class without one, has only class 0.
        overlap: of `files`: whether pixels of several classes are refused, or are of the later one in `files`.
        threshold: of `files`: the gray values from it on are the class.
        orientation: how EXIF orientations are read, as the Competition has it.

    Raises DataError for a file that is missing, is a JPEG (with `files` it may be one), or has another size than the
    image; for values and colours that are neither class nor void, with the number of their pixels; and for pixels of
    several classes. Raises ConfigError for arguments that do not fit, such as a name of no class.
    """
    if (ids is not None) + (colours is not None) + bool(files) > 1 or (files and ignore):
        raise ConfigError("label_masks: give one of ids, colours and files; ignore is not for files, see 'void' there")
    if files:
        return _of_files(data, sample, classes, files, missing, overlap, threshold, orientation)
    if len(sample.annotation) > 1 or (not sample.annotation and missing == "refused"):
        hint = "type files=(...), with the class of each" if sample.annotation else "type missing='background'"
        raise DataError(
            f"image {sample.id} names {len(sample.annotation)} mask files; there must be one, or {hint} in label_masks"
        )
    path = _path(data, sample.annotation[0], missing) if sample.annotation else None
    if path is None:
        return Mask(np.zeros(sample.size, np.uint8))
    table = _table(ids, colours, ignore, classes)
    values = read_label_ids(path, orientation) if colours is None else packed(read_label_colours(path, orientation))
    _refuse_size(sample, path, values.shape)
    numbers, void, unknown = table.translate(values)
    if unknown:
        told = _unknown_ids(unknown, classes, ids is None) if colours is None else _unknown_colours(unknown, table)
        raise DataError(f"sample {sample.id}: {path}: {told}")
    return Mask(numbers, void)


def object_masks(
    data: Path, sample: Sample, *, threshold: int | None = None, orientation: Orientation = "shown"
) -> Instances:
    """Read the mask files that a sample's annotation names, one for each object, as objects in their order.

    A sample without files has no object. Raises DataError for a file that `mask_picture` cannot read, that has another
    size than the image or no pixel of an object, and for objects that share pixels; it names the files and the number
    of pixels.
    """
    labels = np.zeros(sample.size, np.int32)
    for number, text in enumerate(sample.annotation, start=1):
        path = data / text
        mask = _mask_of(path, sample, threshold, orientation)
        if not mask.any():
            raise DataError(f"sample {sample.id}: {path}: no pixel of an object; take the file out")
        shared = labels[mask]
        if shared.any():
            other = int(shared[shared > 0][0])
            raise DataError(
                f"sample {sample.id}: {path} shares {_pixels(int(np.count_nonzero(shared == other)))} with "
                f"{sample.annotation[other - 1]}; objects must not overlap: take the pixels out of one of them"
            )
        labels[mask] = number
    return Instances(labels)


def _of_files(
    data: Path,
    sample: Sample,
    classes: Sequence[str],
    files: Sequence[str],
    missing: Missing,
    overlap: Literal["refused", "later"],
    threshold: int | None,
    orientation: Orientation,
) -> Mask:
    """Join the masks of single classes."""
    texts = sample.annotation
    if not texts and missing == "background":
        texts = ("",) * len(files)
    if len(texts) != len(files):
        raise DataError(
            f"image {sample.id} names {len(texts)} mask files, and label_masks has files of {len(files)} classes: "
            f"{', '.join(files)}"
        )
    numbers = [None if name == VOID_NAME else number_of(name, classes) for name in files]
    found = np.zeros(sample.size, np.uint8)
    marked = np.zeros(sample.size, np.bool_)
    void: NDArray[np.bool_] | None = None
    for name, number, text in zip(files, numbers, texts, strict=True):
        if not text and missing == "refused":
            raise DataError(
                f"image {sample.id} has no mask file of '{name}'; put it there, or type missing='background' where it "
                "has no such pixels"
            )
        path = _path(data, text, missing) if text else None
        if path is None:
            continue
        mask = _mask_of(path, sample, threshold, orientation)
        if number is None:
            void = mask if mask.any() else None
            continue
        both = marked & mask
        if overlap == "refused" and both.any():
            other = classes[int(found[both][0])]
            raise DataError(
                f"sample {sample.id}: {path}: {_pixels(int(np.count_nonzero(both)))} of '{name}' are '{other}' too; "
                "correct the masks, or type overlap='later' in label_masks, so that the later class counts"
            )
        found[mask] = number
        marked |= mask
    if void is not None:
        found[void] = 0
    return Mask(found, void)


def _path(data: Path, text: str, missing: Missing) -> Path | None:
    """The file that a text names; None where there is none and that means background."""
    path = data / text
    return None if missing == "background" and not path.exists() else path


def _mask_of(path: Path, sample: Sample, threshold: int | None, orientation: Orientation) -> NDArray[np.bool_]:
    mask = read_mask_picture(path, None, threshold, orientation)
    _refuse_size(sample, path, mask.shape)
    return mask.view(np.bool_)


def _table(
    ids: Mapping[int, NamedClass] | None,
    colours: Mapping[Colour, NamedClass] | None,
    ignore: Sequence[int] | Sequence[Colour],
    classes: Sequence[str],
) -> ClassTable:
    numbers = [value for value in ignore if isinstance(value, int)]
    shades = [value for value in ignore if not isinstance(value, int)]
    if shades if colours is None else numbers:
        what = "numbers, as the values of the pictures are" if colours is None else "colours, as stand for the classes"
        raise ConfigError(f"label_masks: ignore must have {what}")
    return table_of_ids(ids, numbers, classes) if colours is None else table_of_colours(colours, shades, classes)


def _refuse_size(sample: Sample, path: Path, size: tuple[int, ...]) -> None:
    """Raise DataError where a mask has another size than its image."""
    if size == sample.size:
        return
    hint = "there must be a value for each pixel of the image"
    if size == sample.size[::-1] and sample.images and image_turn(sample.images[0]) != 1:
        hint = "the image has an EXIF orientation: was the mask made on the pixels as stored, or as shown?"
    raise DataError(
        f"sample {sample.id}: {path} is {size[1]}x{size[0]} pixels, its image {sample.size[1]}x{sample.size[0]} (width "
        f"x height); {hint}"
    )


def _unknown_ids(unknown: Mapping[int, int], classes: Sequence[str], plain: bool) -> str:
    """What is wrong with values that are no class, and what to type. plain: whether values are numbers of classes."""
    shown = [f"{value} ({_pixels(count)})" for value, count in sorted(unknown.items())]
    told = f"the value{'s' * (len(shown) > 1)} {_listed(shown)} {'are' if len(shown) > 1 else 'is'} no class"
    values = sorted(unknown)[:_NAMED]
    if not plain:
        return f"{told} of `ids`; give the class of each there, or make them void: ignore=({_listed_all(values)},)"
    there = f"{told}; the contest has {len(classes)}, 0..{len(classes) - 1}"
    if list(unknown) == [VOID] and len(classes) == 2:
        return f"{there}: type ids={{0: 0, {VOID}: 1}} where it is '{classes[1]}', or ignore=({VOID},) where it is void"
    return (
        f"{there}: type ids={{{values[0]}: ...}} with the class of each value of the pictures, or make them void: "
        f"ignore=({_listed_all(values)},)"
    )


def _unknown_colours(unknown: Mapping[int, int], table: ClassTable) -> str:
    """What is wrong with colours that are not in the table, the most frequent first, and what to do."""
    shown: list[str] = []
    for number, count in sorted(unknown.items(), key=lambda item: (-item[1], item[0])):
        near = nearest_colour(number, table) if len(shown) < _NAMED else None
        hint = f", the nearest is {colour_of(near)}" if near is not None else ""
        shown.append(f"{colour_of(number)} ({_pixels(count)}{hint})")
    many = len(shown) > 1
    return (
        f"the colour{'s' * many} {_listed(shown)} {'are' if many else 'is'} not in the table of colours; add "
        f"{'them' if many else 'it'} to colours or to ignore, or repair the picture where it was scaled with smoothing"
    )


def _listed(shown: Sequence[str]) -> str:
    more = f" and {len(shown) - _NAMED} more" if len(shown) > _NAMED else ""
    return f"{', '.join(shown[:_NAMED])}{more}"


def _listed_all(values: Sequence[int]) -> str:
    return ", ".join(map(str, values))


def _pixels(count: int) -> str:
    return f"{count:,} pixel{'' if count == 1 else 's'}"
