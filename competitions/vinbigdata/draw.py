"""Draw a small contest in the layout of the real one: chests that do not exist, marked by three radiologists."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from medalist.layouts.drawing import drawn_objects, made_up_id, painted, tight_boxes, write_lines, write_picture
from medalist.records import Boxes

from .data import CLASSES, NOTHING

SIZE = (128, 112)  # height and width; real pictures have about 2800 x 2400 pixels
COUNTS = {"train": 16, "test": 5}
READERS = ("R8", "R9", "R10")
GRAYS = tuple((0.2 + 0.05 * label,) * 3 for label in range(len(CLASSES)))


class Chest(NamedTuple):
    """One picture: its id, its part, uint8[h, w, 3], and its findings."""

    name: str
    part: str
    image: NDArray[np.uint8]
    findings: Boxes


def chests(seed: int) -> list[Chest]:
    """Return all pictures, sorted by id. Every other one shows nothing."""
    found = []
    for part, count in COUNTS.items():
        for number in range(count):
            rng = np.random.default_rng([seed, part == "test", number])
            objects = drawn_objects(rng, SIZE, 3 * (number % 2), (9, 18), 6)
            xyxy = tight_boxes(objects)
            labels = rng.integers(0, len(CLASSES) - 1, len(xyxy)).astype(np.int32)
            picture = painted(rng, np.concatenate([[0], labels + 1])[objects], ((0.1, 0.1, 0.1), *GRAYS), 0.02)
            name = made_up_id("vinbigdata", seed, part, number, length=32)
            found.append(Chest(name, part, picture, Boxes(xyxy, labels, np.ones(len(labels), np.float32))))
    return sorted(found, key=lambda one: one.name)


def draw(folder: Path, seed: int) -> None:
    """Write the contest into `folder`, which must be empty or hold the contest of the same seed."""
    drawn, rows = chests(seed), []
    for one in drawn:
        write_picture(folder / one.part / f"{one.name}.png", one.image)
        for moved, reader in enumerate(READERS if one.part == "train" else ()):
            boxes = zip(one.findings.labels.tolist(), (one.findings.xyxy + moved - 1).tolist(), strict=True)
            for label, (x1, y1, x2, y2) in boxes:
                rows.append(f"{one.name},{CLASSES[label]},{label},{reader},{x1:.1f},{y1:.1f},{x2:.1f},{y2:.1f}")
            if not one.findings.count:
                rows.append(f"{one.name},{NOTHING},14,{reader},,,,")
    write_lines(folder / "train.csv", ["image_id,class_name,class_id,rad_id,x_min,y_min,x_max,y_max", *rows])
    asked = (f"{one.name},14 1 0 0 1 1" for one in drawn if one.part == "test")
    write_lines(folder / "sample_submission.csv", ["image_id,PredictionString", *asked])


def hidden_truth(seed: int) -> dict[str, Boxes]:
    """Return the truth of the test part by id. `draw` does not write it."""
    return {one.name: one.findings for one in chests(seed) if one.part == "test"}
