"""Read boxes from COCO's json: one file with the images, the categories and the boxes of a part."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, Literal

from medalist.codecs.boxes import XYWH, BoxCoordinates
from medalist.errors import DataError
from medalist.files import read_json
from medalist.formats.submission import shortened
from medalist.layouts.box_files import CROWD, PLAIN, Annotations, BoxList, Unknown
from medalist.layouts.faults import refuse

Key = Literal["id", "name", "stem"]
"""What becomes the id of a sample: the id of the image in the json, its file's name, or that without the suffix."""


@dataclass(frozen=True)
class CocoPart:
    """What a json says.

    images: the id and the file name of each image, in the order of the json. annotations: the texts of its boxes by id,
    as `layouts.box_files` has them; () for an image without boxes. categories: the `category_id` of each class by name.
    """

    images: tuple[tuple[str, str], ...]
    annotations: Annotations
    categories: dict[str, int]


def coco_boxes(
    path: Path,
    classes: Sequence[str],
    key: Key = "stem",
    coordinates: BoxCoordinates = XYWH,
    unknown: Unknown = "refused",
) -> CocoPart:
    """Read a json of COCO's form; boxes with `iscrowd` keep this mark.

    Raises DataError, which names every image, category and box without the keys that are needed, every id that is there
    twice, every box of an image or category that is not in the file, and what `layouts.box_files` says.
    Source: https://cocodataset.org/#format-data
    """
    whole = read_json(path, DataError)
    faults: list[str] = []
    images = _by_id(whole, "images", {"id": int, "file_name": str}, faults)
    categories = _by_id(whole, "categories", {"id": int, "name": str}, faults)
    names = {number: _key(number, one["file_name"], key) for number, one in images.items()}
    unsafe = [name for one in images.values() if _outside(name := one["file_name"])]
    faults += [f"images: '{shortened(name)}' is no file inside the contest's folder" for name in unsafe]
    seen: set[str] = set()
    for name in names.values():
        if name in seen:
            faults.append(f"images: '{shortened(name)}' is there twice")
        seen.add(name)
    twice = [name for name, count in Counter(one["name"] for one in categories.values()).items() if count > 1]
    faults += [f"categories: the name '{shortened(name)}' is there twice" for name in twice]
    boxes = BoxList(classes, unknown, faults=faults)
    for number, one in enumerate(_listed(whole, "annotations", faults), start=1):
        where = f"annotation {number}"
        if not _has(one, {"image_id": int, "category_id": int, "bbox": list}) or len(one["bbox"]) != 4:
            faults.append(f"{where}: must have image_id and category_id, whole numbers, and bbox with four numbers")
        elif one.get("iscrowd") not in (None, 0, 1):
            faults.append(f"{where}: iscrowd is {shortened(repr(one['iscrowd']))}; it must be 0 or 1")
        elif one["image_id"] not in images:
            faults.append(f"{where}: image_id {shortened(str(one['image_id']))} is no image of the file")
        elif one["category_id"] not in categories:
            faults.append(f"{where}: category_id {shortened(str(one['category_id']))} is no category of the file")
        else:
            words = [repr(value) if type(value) in (int, float) else str(value) for value in one["bbox"]]
            mark = CROWD if one.get("iscrowd") else PLAIN
            boxes.add(where, names[one["image_id"]], categories[one["category_id"]]["name"], words, mark)
    return CocoPart(
        tuple((names[number], one["file_name"]) for number, one in images.items()),
        boxes.texts(str(path), coordinates, known=list(names.values())),
        {one["name"]: number for number, one in categories.items()},
    )


def coco_images(path: Path, key: Key = "stem") -> tuple[tuple[str, str], ...]:
    """Return the id and the file name of each image of a json, in its order. Raises DataError as `coco_boxes` does."""
    faults: list[str] = []
    images = _by_id(read_json(path, DataError), "images", {"id": int, "file_name": str}, faults)
    faults += [f"images: '{shortened(one['file_name'])}' is no file inside the contest's folder"
               for one in images.values() if _outside(one["file_name"])]  # fmt: skip
    refuse(str(path), faults, "download the contest again")
    return tuple((_key(number, one["file_name"], key), one["file_name"]) for number, one in images.items())


def _listed(whole: Any, part: str, faults: list[str]) -> list[Any]:
    found = whole.get(part) if isinstance(whole, dict) else None
    if not isinstance(found, list):
        faults.append(f"no list '{part}'")
        return []
    return found


def _by_id(whole: Any, part: str, keys: dict[str, type], faults: list[str]) -> dict[int, dict[str, Any]]:
    found: dict[int, dict[str, Any]] = {}
    for number, one in enumerate(_listed(whole, part, faults), start=1):
        if not _has(one, keys):
            wanted = " and ".join(
                f"{name}, {'a whole number' if kind is int else 'a text'}," for name, kind in keys.items()
            )
            faults.append(f"{part}, entry {number}: must have {wanted.removesuffix(',')}")
        elif one["id"] in found:
            faults.append(f"{part}, entry {number}: the id {shortened(str(one['id']))} is there twice")
        else:
            found[one["id"]] = one
    return found


def _has(one: Any, keys: dict[str, type]) -> bool:
    return isinstance(one, dict) and all(type(one.get(name)) is kind for name, kind in keys.items())


def _key(number: int, file: str, key: Key) -> str:
    match key:
        case "id":
            return str(number)
        case "name":
            return PurePosixPath(file).name
        case "stem":
            return PurePosixPath(file).stem


def _outside(file: str) -> bool:
    path = PurePosixPath(file.replace("\\", "/"))
    return path.is_absolute() or ".." in path.parts or not file.strip() or not file.isprintable() or ":" in file
