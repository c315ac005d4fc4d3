"""Draw a small contest in the layout of the real one: animals that do not exist, some of them in a crowd."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from medalist.files import write_json
from medalist.layouts.drawing import drawn_objects, painted, tight_boxes, write_picture
from medalist.records import Boxes

from .data import CATEGORIES, CLASSES

SIZE = (96, 120)  # height and width
COUNTS = {"train": 14, "test": 4}
COLOURS = ((0.5, 0.6, 0.4), (0.85, 0.6, 0.3), (0.3, 0.25, 0.2))


class Picture(NamedTuple):
    """One picture: its number, its part, uint8[h, w, 3], and its heads; every fifth has a crowd."""

    number: int
    part: str
    image: NDArray[np.uint8]
    heads: Boxes


def pictures(seed: int) -> list[Picture]:
    """Return all pictures, sorted by number; every seventh shows nothing."""
    found = []
    for at, part in enumerate(part for part, count in COUNTS.items() for _ in range(count)):
        rng = np.random.default_rng([seed, at])
        objects = drawn_objects(rng, SIZE, 0 if at % 7 == 6 else 4, (8, 16))
        xyxy = tight_boxes(objects)
        labels = rng.integers(0, len(CLASSES), len(xyxy)).astype(np.int32)
        crowd = np.arange(len(xyxy)) == (1 if at % 5 == 0 else -1)
        image = painted(rng, np.concatenate([[0], labels + 1])[objects], COLOURS)
        scores = np.ones(len(labels), np.float32)
        found.append(Picture(101 + at, part, image, Boxes(xyxy, labels, scores, crowd if crowd.any() else None)))
    return found


def draw(folder: Path, seed: int) -> None:
    """Write the contest into `folder`, which must be empty or hold the contest of the same seed."""
    drawn = pictures(seed)
    for one in drawn:
        write_picture(folder / one.part / _file(one), one.image)
    for part in COUNTS:
        own = [one for one in drawn if one.part == part]
        images = [{"id": one.number, "file_name": _file(one), "width": SIZE[1], "height": SIZE[0]} for one in own]
        whole = {"images": images, "categories": [
            {"id": number, "name": name} for number, name in zip(CATEGORIES, CLASSES, strict=True)
        ]}  # fmt: skip
        if part == "train":
            whole["annotations"] = [
                {"id": 10 * one.number + row, "image_id": one.number, "category_id": CATEGORIES[label],
                 "bbox": [x1, y1, x2 - x1, y2 - y1], "area": (x2 - x1) * (y2 - y1),
                 "iscrowd": int(one.heads.ignored is not None and bool(one.heads.ignored[row]))}
                for one in own
                for row, (label, (x1, y1, x2, y2)) in enumerate(
                    zip(one.heads.labels.tolist(), one.heads.xyxy.tolist(), strict=True))
            ]  # fmt: skip
        write_json(folder / "annotations" / f"{part}.json", whole)


def hidden_truth(seed: int) -> dict[str, Boxes]:
    """Return the truth of the test part by id. `draw` does not write it."""
    return {str(one.number): one.heads for one in pictures(seed) if one.part == "test"}


def _file(picture: Picture) -> str:
    return f"{picture.number:012d}.jpg"
