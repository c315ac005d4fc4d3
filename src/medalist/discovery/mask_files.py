"""Evidence of masks that are files: one for each image, of one class or of several, or one for each object."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from medalist.codecs.images import read_image
from medalist.codecs.label_pictures import VOID, counted, read_label_colours, read_label_ids, read_mask_picture
from medalist.discovery.finding import Finding, MaskFiles, ObjectMasks, Part
from medalist.discovery.look import Look
from medalist.discovery.pictures import ImageSet, words_of
from medalist.errors import DataError

LOOKED = 40
"""The most masks whose pixels are read."""

_MOST_VALUES = 60  # more are no classes: a mask saved with smoothing, or numbers of objects
_HALF = 128
_SURE, _PROBABLE = 0.85, 0.6


def find_mask_files(look: Look) -> Iterator[Finding]:
    """Yield a finding for each folder of masks that belongs to images."""
    for objects in look.objects:
        images = next(one for one in look.sets if one.folder == objects.folder and one.form == "per_image")
        if images.for_test:
            continue
        part = Part(images)
        count = sum(objects.counts.values())
        evidence = (f"{objects.folder}/<id>/{objects.inside}: {count:,} mask files of {len(part.ids):,} images",)
        truth = ObjectMasks(objects.folder, objects.inside)
        yield Finding("instances", truth, f"{objects.folder}/<id>/{objects.inside}", part, evidence, _PROBABLE + 0.1)
    for images, masks, ending in _pairs(look):
        found = _of_files(look, images, masks, ending)
        if found is not None:
            yield found


def _pairs(look: Look) -> Iterator[tuple[ImageSet, ImageSet, str]]:
    """Image sets with the masks of their images, and what a mask's name has behind the id."""
    yield from (pair for pair in look.among if not pair[0].for_test)
    for masks in (one for one in look.sets if one.of_masks and one.form != "per_image"):
        best: tuple[float, tuple[ImageSet, ImageSet, str]] | None = None
        for images in look.training_sets:
            pair = _joined(images, masks) if images.form != "per_image" else None
            if pair is None:
                continue
            # Of the image sets that a folder of masks fits, the one beside it with as many files is meant.
            near = len(set(images.folder.split("/")) & set(masks.folder.split("/")))
            rank = near + len(masks.files) / max(len(masks.files), len(images.files)) + 0.5 * images.for_training
            if best is None or rank > best[0]:
                best = (rank, pair)
        if best is not None and not (masks.for_test and not masks.for_training):
            yield best[1]


def _joined(images: ImageSet, masks: ImageSet) -> tuple[ImageSet, ImageSet, str] | None:
    """Images and their masks, with what the name of a mask has behind the id; None where they do not belong together.

    Names of images may have an ending too, and there may be several files of masks for each image.
    """
    ending = _ending(images, masks)
    if ending is not None:
        return images, masks, ending
    common = _common_end(list(images.files))
    if not common or images.form == "per_image":
        return None
    ended = images.ended(common)
    first = next(iter(ended.files))
    endings = sorted(name.removeprefix(first) for name in masks.files if name.startswith(first))
    endings.sort(key=lambda one: not words_of(one) & {"ids", "mask", "label", "labels"} or "instance" in one.lower())
    for ending in endings:
        some = masks.ended(ending)
        if ending and some.files.keys() <= ended.files.keys() and len(some.files) > len(ended.files) / 2:
            return ended, some, ending
    return None


def _common_end(names: Sequence[str]) -> str:
    """What all names have at their end, from its first underscore or hyphen on; "" where there is no such sign."""
    one, *others = names
    length = next((n for n in range(len(one), 0, -1) if all(name.endswith(one[-n:]) for name in others)), 0)
    found = re.search(r"[_-].*", one[len(one) - length :]) if others else None
    return found[0] if found else ""


def _ending(images: ImageSet, masks: ImageSet) -> str | None:
    """What every mask's name has behind the id of its image; None where the masks are of other images."""
    first = next(iter(masks.files))
    starts = {name for length in range(1, len(first) + 1) if (name := first[:length]) in images.files}
    for ending in sorted({"", *(first.removeprefix(name) for name in starts)}, key=len):
        if all(name.endswith(ending) and name.removesuffix(ending) in images.files for name in masks.files):
            return ending
    return None


def _of_files(look: Look, images: ImageSet, masks: ImageSet, ending: str) -> Finding | None:
    paths = list(masks.files.values())
    some = [look.root / path for path in paths[:: max(1, -(-len(paths) // LOOKED))]]
    part = Part(images)
    partial = len(masks.files) < len(images.files)
    named = f"<id>{ending}{masks.suffixes[0]}"
    evidence = [f"{masks.folder}/{named}: a mask file for {len(masks.files):,} of {len(images.files):,} images"]
    doubts = []
    if partial:
        lost = len(images.files) - len(masks.files)
        doubts.append(f"{lost:,} images have no mask: read as images without anything")
    source = masks.folder if not images.apart else f"{masks.folder}/*{ending}"
    if _one_class(some):
        evidence.append(f"{len(some)} masks have two values: one class")
        truth = MaskFiles(masks, ending, partial=partial)
        return Finding("mask", truth, source, part, tuple(evidence), _SURE, tuple(doubts))
    values, lossy = _values(some)
    if values is None:
        colours = None if lossy else _colours(some)
        if colours is not None and len(colours) > 1:
            evidence.append(f"{len(some)} masks have {len(colours)} colours, which stand for classes")
            doubts.append("colours that only other masks have are refused by `check`; add them to COLOURS")
            truth = MaskFiles(masks, ending, colours=colours, partial=partial)
            return Finding("classes", truth, source, part, tuple(evidence), _SURE, tuple(doubts))
        if not all(_gray(path) for path in some[:5]):
            return None
    if values is None or len(values) > _MOST_VALUES:
        evidence.append(f"{len(some)} masks have many gray values")
        doubts.append(f"the class is taken from the gray value {_HALF} on; where values number objects, write `truth`")
        truth = MaskFiles(masks, ending, threshold=_HALF, partial=partial)
        return Finding("mask", truth, source, part, tuple(evidence), 0.4, tuple(doubts))
    void = (VOID,) if VOID in values and max((v for v in values if v != VOID), default=0) < _HALF else ()
    kept = tuple(value for value in sorted(values) if value not in void)
    evidence.append(f"{len(some)} masks have the values {', '.join(map(str, sorted(values)[:12]))}: classes")
    doubts += [f"{VOID} is read as void, pixels that are not judged"] * bool(void)
    doubts.append("values that only other masks have are refused by `check`; add them to CLASSES")
    truth = MaskFiles(masks, ending, values=kept, void=void, partial=partial)
    return Finding("classes", truth, source, part, tuple(evidence), _SURE, tuple(doubts))


def _one_class(paths: Sequence[Path]) -> bool:
    """Whether all masks can be read as masks of one class, and have the same value for it."""
    found = set()
    for path in paths:
        try:
            read_mask_picture(path)
            found |= set(_raw(path))
        except DataError:
            return False
    return len(found - {0}) <= 1 or found - {0} <= {1, 255} or _is_lossy(paths)


def _raw(path: Path) -> list[int]:
    try:
        ids = read_label_ids(path)
    except DataError:
        return []
    return list(counted(ids)) if ids.dtype == np.uint8 else [int(value) for value in np.unique(ids)]


def _is_lossy(paths: Sequence[Path]) -> bool:
    return all(path.suffix.lower() in (".jpg", ".jpeg") for path in paths)


def _values(paths: Sequence[Path]) -> tuple[set[int] | None, bool]:
    """All values of some masks, and whether they are JPEG files; None where they are no numbers of classes."""
    found: Counter[int] = Counter()
    for path in paths:
        try:
            ids = read_label_ids(path)
        except DataError:
            return None, _is_lossy(paths)
        found.update(int(value) for value in np.unique(ids))
    return set(found), False


def _colours(paths: Sequence[Path]) -> tuple[tuple[int, int, int], ...] | None:
    found: Counter[tuple[int, int, int]] = Counter()
    for path in paths:
        try:
            pixels = read_label_colours(path).reshape(-1, 3).astype(np.int64)
        except DataError:
            return None
        packed, counts = np.unique(pixels @ np.array([65536, 256, 1]), return_counts=True)
        if len(packed) > _MOST_VALUES:
            return None
        for number, count in zip(packed.tolist(), counts.tolist(), strict=True):
            found[number >> 16, number >> 8 & 255, number & 255] += count
        if len(found) > _MOST_VALUES:
            return None
    black = (0, 0, 0)
    return tuple(sorted(found, key=lambda colour: (colour != black, -found[colour])))


def _gray(path: Path) -> bool:
    try:
        pixels = read_image(path)
    except DataError:
        return False
    return bool((np.ptp(pixels.astype(np.int16), axis=2) < 12).all())
