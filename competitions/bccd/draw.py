"""Draw a small contest in the layout of the real one: smears that do not exist, with three kinds of cells."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from medalist.files import write_text
from medalist.layouts.drawing import drawn_objects, painted, write_lines, write_picture
from medalist.records import Boxes

from .data import CLASSES

SIZE = (96, 128)  # height and width; real photos have 480 x 640 pixels
COUNTS = {"train": 20, "test": 6}
KINDS = ((9, (7, 9)), (1, (12, 14)), (2, (2, 3)))  # how many cells of a class at most, and their radius
COLOURS = ((0.85, 0.8, 0.78), (0.75, 0.4, 0.4), (0.35, 0.2, 0.55), (0.5, 0.35, 0.6))


class Smear(NamedTuple):
    """One photo: its id, its part, uint8[h, w, 3], and its cells."""

    name: str
    part: str
    image: NDArray[np.uint8]
    cells: Boxes


def smears(seed: int) -> list[Smear]:
    """Return all photos, sorted by id; blocks of ten numbers are in one part."""
    found = []
    for number in range(sum(COUNTS.values())):
        rng = np.random.default_rng([seed, number])
        kinds, corners, labels = np.zeros(SIZE, np.uint8), [], []
        for label, (count, radius) in enumerate(KINDS):
            objects = drawn_objects(rng, SIZE, int(rng.integers(label == 0, count + 1)), radius)
            objects[kinds > 0] = 0
            for one in np.unique(objects[objects > 0]).tolist():
                down, right = np.nonzero(objects == one)
                corners.append((right.min(), down.min(), right.max() + 1, down.max() + 1))
                labels.append(label)
            kinds[objects > 0] = label + 1
        cells = Boxes(np.array(corners, np.float32), np.array(labels, np.int32), np.ones(len(labels), np.float32))
        part = "train" if number < COUNTS["train"] else "test"
        found.append(Smear(f"BloodImage_{number:05d}", part, painted(rng, kinds, COLOURS), cells))
    return found


def draw(folder: Path, seed: int) -> None:
    """Write the contest into `folder`, which must be empty or hold the contest of the same seed."""
    drawn = smears(seed)
    for one in drawn:
        write_picture(folder / f"{one.part}_images" / f"{one.name}.jpg", one.image)
        if one.part == "train":
            write_text(folder / "train_annotations" / f"{one.name}.xml", _xml(one), flush=False)
    blocks = [f"{one.name},{int(one.name[-5:]) // 10},train" for one in drawn if one.part == "train"]
    write_lines(folder / "train_meta.csv", ["image_id,block,official_split", *blocks])
    asked = (f"{one.name},RBC 0.5 0 0 100 100" for one in drawn if one.part == "test")
    write_lines(folder / "sample_submission.csv", ["image_id,PredictionString", *asked])


def hidden_truth(seed: int) -> dict[str, Boxes]:
    """Return the truth of the test part by id. `draw` does not write it."""
    return {one.name: one.cells for one in smears(seed) if one.part == "test"}


def _xml(smear: Smear) -> str:
    objects = "".join(
        f"\t<object>\n\t\t<name>{CLASSES[label]}</name>\n\t\t<difficult>0</difficult>\n\t\t<bndbox>"
        + "".join(f"<{key}>{value:g}</{key}>" for key, value in zip(("xmin", "ymin", "xmax", "ymax"), box, strict=True))
        + "</bndbox>\n\t</object>\n"
        for label, box in zip(smear.cells.labels.tolist(), smear.cells.xyxy.tolist(), strict=True)
    )
    return f"<annotation>\n\t<filename>{smear.name}.jpg</filename>\n{objects}</annotation>\n"
