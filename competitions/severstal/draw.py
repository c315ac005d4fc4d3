"""Draw a small contest in the layout of the real one: steel that does not exist, with four kinds of defects."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from medalist.formats.class_rle import ClassRleFormat
from medalist.formats.submission import write_submission
from medalist.layouts.drawing import drawn_objects, made_up_id, painted, write_lines, write_picture
from medalist.records import Mask

from .data import CLASSES, DEFECTS

SIZE = (64, 400)  # height and width; real pictures have 256 x 1600 pixels
COUNTS = {"train": 16, "test": 5}
COLOURS = ((0.4, 0.4, 0.4), (0.15, 0.15, 0.15), (0.65, 0.62, 0.6), (0.25, 0.2, 0.2), (0.8, 0.8, 0.8))


class Sheet(NamedTuple):
    """One picture: its file name, its part, uint8[h, w, 3], and its classes."""

    name: str
    part: str
    image: NDArray[np.uint8]
    classes: NDArray[np.uint8]


def sheets(seed: int) -> list[Sheet]:
    """Return all pictures, sorted by name. Every fourth has no defect; the others have one to three kinds."""
    found = []
    for part, count in COUNTS.items():
        names = sorted(f"{made_up_id('severstal', seed, part, n, length=9)}.jpg" for n in range(count))
        for number, name in enumerate(names):
            rng = np.random.default_rng([seed, part == "test", number])
            objects = drawn_objects(rng, SIZE, 0 if number % 4 == 3 else 3, (8, 20))
            kinds = np.array([0, *(1 + (number + more) % 4 for more in range(3))], np.uint8)
            classes = kinds[objects]
            found.append(Sheet(name, part, painted(rng, classes, COLOURS), classes))
    return sorted(found, key=lambda sheet: sheet.name)


def draw(folder: Path, seed: int) -> None:
    """Write the contest into `folder`, which must be empty or hold the contest of the same seed."""
    form = ClassRleFormat(CLASSES, columns=("ImageId_ClassId", "EncodedPixels"))
    drawn = sheets(seed)
    for sheet in drawn:
        write_picture(folder / f"{sheet.part}_images" / sheet.name, sheet.image)
    train = ((sheet.name, Mask(sheet.classes)) for sheet in drawn if sheet.part == "train")
    write_submission(folder / "train.csv", form, train)
    asked = (f"{sheet.name}_{one},1 1" for sheet in drawn if sheet.part == "test" for one in DEFECTS)
    write_lines(folder / "sample_submission.csv", ["ImageId_ClassId,EncodedPixels", *asked])


def hidden_truth(seed: int) -> dict[str, Mask]:
    """Return the truth of the test part by id. `draw` does not write it."""
    return {sheet.name: Mask(sheet.classes) for sheet in sheets(seed) if sheet.part == "test"}
