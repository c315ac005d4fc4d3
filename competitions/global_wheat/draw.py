"""Draw a small contest in the layout of the real one: fields that do not exist, with heads of wheat."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from medalist.formats.boxes import no_boxes
from medalist.layouts.drawing import drawn_objects, made_up_id, painted, tight_boxes, write_lines, write_picture
from medalist.records import Boxes

SIDE = 128  # real photos have 1024 pixels
COUNTS = {"train": 14, "test": 5}
SOURCES = ("usask_1", "arvalis_1", "ethz_1")
FIELD, HEAD = (0.35, 0.4, 0.2), (0.8, 0.75, 0.45)


class Field(NamedTuple):
    """One photo: its id, its part, its source, uint8[h, w, 3], and its heads."""

    name: str
    part: str
    source: str
    image: NDArray[np.uint8]
    heads: Boxes


def fields(seed: int) -> list[Field]:
    """Return all photos, sorted by id. Every seventh shows no head."""
    found = []
    for part, count in COUNTS.items():
        for number in range(count):
            rng = np.random.default_rng([seed, part == "test", number])
            objects = drawn_objects(rng, (SIDE, SIDE), 0 if number % 7 == 6 else 12, (5, 11))
            xyxy = tight_boxes(objects)
            heads = no_boxes()
            if len(xyxy):
                heads = Boxes(xyxy, np.zeros(len(xyxy), np.int32), np.ones(len(xyxy), np.float32))
            name = made_up_id("global_wheat", seed, part, number, length=9)
            found.append(Field(name, part, SOURCES[number % 3], painted(rng, objects > 0, (FIELD, HEAD)), heads))
    return sorted(found, key=lambda one: one.name)


def draw(folder: Path, seed: int) -> None:
    """Write the contest into `folder`, which must be empty or hold the contest of the same seed."""
    drawn = fields(seed)
    for one in drawn:
        write_picture(folder / one.part / f"{one.name}.jpg", one.image)
    rows = [
        f'{one.name},{SIDE},{SIDE},"[{x1:.1f}, {y1:.1f}, {x2 - x1:.1f}, {y2 - y1:.1f}]",{one.source}'
        for one in drawn
        if one.part == "train"
        for x1, y1, x2, y2 in one.heads.xyxy.tolist()
    ]
    write_lines(folder / "train.csv", ["image_id,width,height,bbox,source", *rows])
    asked = (f"{one.name},1.0 0 0 50 50" for one in drawn if one.part == "test")
    write_lines(folder / "sample_submission.csv", ["image_id,PredictionString", *asked])


def hidden_truth(seed: int) -> dict[str, Boxes]:
    """Return the truth of the test part by id. `draw` does not write it."""
    return {one.name: one.heads for one in fields(seed) if one.part == "test"}
