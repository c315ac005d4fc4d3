"""Evidence of boxes in files: json of COCO, xml of Pascal VOC, txt of YOLO."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import PurePosixPath
from typing import Any

import numpy as np
import yaml
from defusedxml import DefusedXmlException
from defusedxml import ElementTree as SafeTree

from medalist.codecs.boxes import NUMBER, PIXELS, VOC, YOLO
from medalist.discovery.finding import BoxFiles, CocoFile, Finding, Part
from medalist.discovery.listing import joined
from medalist.discovery.look import Look
from medalist.discovery.pictures import TEST, ImageSet, words_of
from medalist.errors import DataError
from medalist.files import read_json, reason
from medalist.reading import read_bytes, read_text

LOOKED = 2000
"""The most files of boxes that are read, spread evenly."""

_SURE = 0.9


def find_box_files(look: Look) -> Iterator[Finding]:
    """Yield a finding for each json, and for each folder of xml or txt files."""
    yield from _jsons(look)
    yield from _files(look)


# ------------------------------------------------------------------------------------------------- json


def _jsons(look: Look) -> Iterator[Finding]:
    wholes: dict[str, Any] = {}
    for file in list(look.listing.files(".json"))[:50]:
        try:
            whole = read_json(look.root / file, DataError)
        except DataError:
            continue
        if isinstance(whole, dict) and isinstance(whole.get("images"), list) and whole["images"]:
            wholes[file] = whole
    tests = [file for file in wholes if words_of(file) & TEST]
    for file, whole in wholes.items():
        boxes, named = whole.get("annotations"), whole.get("categories")
        if file in tests or not isinstance(boxes, list) or not isinstance(named, list) or not boxes:
            continue
        if not all(isinstance(one, dict) and type(one.get("id")) is int and one.get("name") for one in named):
            continue
        files = [str(one.get("file_name", "")) for one in whole["images"] if isinstance(one, dict)]
        images, found = _holding(look.training_sets, files)
        if images is None:
            continue
        used = {one.get("category_id") for one in boxes if isinstance(one, dict)}
        kept = [one for one in named if one["id"] in used]
        base = _base(images, files)
        if base is None:
            continue
        test, test_base = _test_json(look, wholes, tests)
        classes, categories = tuple(str(one["name"]) for one in kept), tuple(one["id"] for one in kept)
        truth = CocoFile(file, base, classes, categories, test, test_base)
        evidence = (
            f"{file}: COCO's form, {len(files):,} images and {len(boxes):,} boxes of {len(kept)} classes",
            f"{found:,} of {len(files):,} file names are images of {images.folder}",
        )
        doubts = [f"{len(named) - len(kept)} categories have no box, and are left out"] * (len(named) > len(kept))
        if sum("segmentation" in one for one in boxes if isinstance(one, dict)):
            doubts.append("the json has outlines too, which are not read: masks of COCO have no layout")
        yield Finding("boxes", truth, file, Part(images, "name"), evidence, _SURE, tuple(doubts))


def _base(images: ImageSet, files: Sequence[str]) -> str | None:
    """The folder in which the file names of a json lie; None where they lie in no folder above the images."""
    there = set(images.files.values())
    parts = images.folder.split("/") if images.folder != "." else []
    for depth in range(len(parts), -1, -1):
        folder = "/".join(parts[:depth]) or "."
        if sum(joined(folder, file) in there for file in files) > len(files) / 2:
            return folder
    return None


def _test_json(look: Look, wholes: Mapping[str, Any], tests: Sequence[str]) -> tuple[str, str]:
    """The json of the test images with the folder of its file names; "" where there is none."""
    for test in tests:
        files = [str(one.get("file_name", "")) for one in wholes[test]["images"] if isinstance(one, dict)]
        images, _ = _holding([one for one in look.sets if one.for_test], files)
        base = None if images is None else _base(images, files)
        if base is not None:
            return test, base
    return "", ""


def _holding(sets: Sequence[ImageSet], files: Sequence[str]) -> tuple[ImageSet | None, int]:
    """The set that has most of these files, with their number; None where no set has more than half."""
    best: tuple[int, ImageSet | None] = (0, None)
    for images in sets:
        names = {path.rpartition("/")[2] for path in images.files.values()}
        count = sum(PurePosixPath(file).name in names for file in files)
        if count > best[0]:
            best = (count, images)
    return (best[1], best[0]) if best[0] > len(files) / 2 else (None, best[0])


# ------------------------------------------------------------------------------------------------- xml and txt


def _files(look: Look) -> Iterator[Finding]:
    for suffix, form in ((".xml", "voc"), (".txt", "yolo")):
        for folder, names in look.listing.folders.items():
            stems = {PurePosixPath(name).stem: name for name in names if name.lower().endswith(suffix)}
            if len(stems) < 2 or words_of(folder) & TEST:
                continue
            for images in look.training_sets:
                there = [stem for stem in stems if stem in images.files]
                if images.form == "flat" and len(there) > len(stems) / 2 and _beside(folder, images.folder):
                    make = _voc if form == "voc" else _yolo
                    found = make(look, folder, {stem: stems[stem] for stem in there}, images)
                    if found is not None:
                        yield found
                    break


def _beside(folder: str, images: str) -> bool:
    """Whether two folders do not say that they are of different parts: train/labels and valid/images are."""
    return not (words_of(folder) ^ words_of(images)) & {"train", "valid", "val", "validation"}


def _voc(look: Look, folder: str, names: Mapping[str, str], images: ImageSet) -> Finding | None:
    classes: Counter[str] = Counter()
    low, some = np.inf, list(names.values())
    for name in some[:: max(1, -(-len(some) // LOOKED))]:
        try:
            root = SafeTree.fromstring(read_bytes(look.root / joined(folder, name), 64 * 1024**2), forbid_dtd=True)
        except (OSError, SafeTree.ParseError, DefusedXmlException, ValueError) as error:
            raise DataError(f"{joined(folder, name)}: not xml that can be read ({reason(error)})") from error
        for one in root.iter("object"):
            classes[(one.findtext("name") or "").strip()] += 1
            numbers = [(one.findtext(f"bndbox/{key}") or "").strip() for key in ("xmin", "ymin")]
            low = min([low, *(float(word) for word in numbers if NUMBER.fullmatch(word))])
    if not classes or "" in classes:
        return None
    coordinates = PIXELS if low < 1 else VOC
    evidence = (
        f"{folder}: an xml of Pascal VOC for {len(names):,} of {len(images.files):,} images of {images.folder}",
        f"{sum(classes.values()):,} boxes of {len(classes)} classes: {', '.join(sorted(classes)[:8])}",
        f"the smallest coordinate is {low:g}, so the first pixel is {0 if low < 1 else 1}",
    )
    doubts = ["where the last pixel is no part of its box, type PIXELS in place of VOC"] * (coordinates is VOC)
    if len(some) > LOOKED:
        doubts.append(f"classes are those of {LOOKED:,} files; `check` names others")
    partial = len(names) < len(images.files)
    truth = BoxFiles(folder, "voc", tuple(sorted(classes)), coordinates, partial)
    return Finding("boxes", truth, folder, Part(images), evidence, _SURE, (*doubts, *without_boxes(partial)))


def without_boxes(partial: bool) -> list[str]:
    """A doubt where some images have no file or row of boxes."""
    return ["some images have no file or row of boxes: read as images without boxes"] * partial


def _yolo(look: Look, folder: str, names: Mapping[str, str], images: ImageSet) -> Finding | None:
    highest, count, some = -1, 0, list(names.values())
    for name in some[:: max(1, -(-len(some) // LOOKED))]:
        try:
            lines = read_text(look.root / joined(folder, name), 64 * 1024**2).splitlines()
        except (OSError, UnicodeDecodeError):
            return None
        for words in filter(None, (line.split() for line in lines)):
            if len(words) != 5 or not words[0].isdigit() or not all(map(NUMBER.fullmatch, words)):
                return None
            if not all(-0.01 <= float(word) <= 1.01 for word in words[1:]):
                return None
            highest, count = max(highest, int(words[0][:5])), count + 1
    if highest < 0:
        return None
    classes, where = _yolo_names(look)
    doubts = []
    if len(classes) <= highest:
        classes = tuple(f"class_{number}" for number in range(highest + 1))
        doubts.append("no file names the classes; put their names into CLASSES")
    evidence = (
        f"{folder}: a txt of YOLO for {len(names):,} of {len(images.files):,} images of {images.folder}",
        f"{count:,} boxes of classes 0..{highest}" + (f", named in {where}" if not doubts else ""),
    )
    partial = len(names) < len(images.files)
    truth = BoxFiles(folder, "yolo", classes, YOLO, partial)
    return Finding("boxes", truth, folder, Part(images), evidence, _SURE, (*doubts, *without_boxes(partial)))


def _yolo_names(look: Look) -> tuple[tuple[str, ...], str]:
    """The names of the classes, and the file that has them: a yaml with `names`, or a list of lines."""
    for file in look.listing.files(".yaml", ".yml"):
        try:
            whole = yaml.safe_load(read_text(look.root / file, 256 * 1024))
        except (OSError, UnicodeDecodeError, yaml.YAMLError, RecursionError):
            continue
        names = whole.get("names") if isinstance(whole, dict) else None
        if isinstance(names, dict):
            names = [names[key] for key in sorted(names)] if all(type(key) is int for key in names) else None
        if isinstance(names, list) and names and len({*map(str, names)}) == len(names):
            return tuple(map(str, names)), file
    for file in look.listing.files("classes.txt", ".names", "labels.txt"):
        try:
            lines = read_text(look.root / file, 256 * 1024).split("\n")
        except (OSError, UnicodeDecodeError):
            continue
        names = [line.strip() for line in lines if line.strip()]
        if names and len(set(names)) == len(names):
            return tuple(names), file
    return (), ""
