"""Draw a small contest in the layout of the real one: a town that does not exist, with vehicles of nine classes."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from medalist.formats.points import PointsFormat
from medalist.formats.submission import write_submission
from medalist.layouts.drawing import drawn_objects, painted, tight_boxes, write_picture
from medalist.records import Boxes

from .data import CLASSES, RADII, TABLE

SIZE = (360, 400)  # height and width; real photos have 2000 x 2000 pixels
COUNTS = {"training": 8, "test": 3}
FORM = PointsFormat(classes=CLASSES, radii=RADII)
COLOURS = ((0.45, 0.45, 0.43), *((0.1 * label, 0.9 - 0.1 * label, 0.5) for label in range(len(CLASSES))))


class Photo(NamedTuple):
    """One photo: its id, its part, uint8[h, w, 3], and its vehicles as squares around their middles."""

    name: str
    part: str
    image: NDArray[np.uint8]
    vehicles: Boxes


def photos(seed: int) -> list[Photo]:
    """Return all photos, sorted by id; two of each square of the map. One shows no vehicle."""
    found = []
    for part, count in COUNTS.items():
        for number in range(count):
            rng = np.random.default_rng([seed, part == "test", number])
            objects = drawn_objects(rng, SIZE, 0 if (part, number) == ("training", 3) else 9, (8, 14), 40)
            xyxy = tight_boxes(objects)
            labels = rng.permutation(len(CLASSES))[: len(xyxy)].astype(np.int32)
            picture = painted(rng, np.concatenate([[0], labels + 1])[objects], COLOURS)
            middles = np.round((xyxy[:, :2] + xyxy[:, 2:]) / 2).astype(int).tolist()
            points = sorted((label, x, y) for label, (x, y) in zip(labels.tolist(), middles, strict=True))
            name = f"{'TQ' if part == 'training' else 'SU'}{2370 + number // 2}_{number % 2}_0"
            found.append(Photo(name, part, picture, FORM.squares(points)))
    return sorted(found, key=lambda one: one.name)


def draw(folder: Path, seed: int) -> None:
    """Write the contest into `folder`, which must be empty or hold the contest of the same seed."""
    drawn = photos(seed)
    for one in drawn:
        write_picture(folder / one.part / f"{one.name}.jpg", one.image)
    write_submission(folder / TABLE, FORM, ((one.name, one.vehicles) for one in drawn if one.part == "training"))


def hidden_truth(seed: int) -> dict[str, Boxes]:
    """Return the truth of the test part by id. `draw` does not write it."""
    return {one.name: one.vehicles for one in photos(seed) if one.part == "test"}
