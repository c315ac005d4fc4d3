"""Draw a small data set in the layout of the real one: streets that do not exist, with 19 classes and void."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from medalist.layouts.drawing import drawn_objects, painted, write_picture
from medalist.records import Mask

from .data import CLASSES, IDS

SIZE = (64, 128)  # height and width; real pictures have 1024 x 2048 pixels
CITIES = {"train": ("aachen", "bochum", "bremen"), "val": ("lindau",), "test": ("berlin", "bonn")}
SCENES = 4  # of each city
_COLOURS = np.random.default_rng(19).uniform(0.1, 0.9, (len(CLASSES) + 1, 3))  # the last one is void


def scene(seed: int, city: str, number: int) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Return a picture uint8[64, 128, 3], and its classes [64, 128], of which 19 is void.

    Four bands of classes, objects of five other classes, and the own car below, which is void.
    """
    rng = np.random.default_rng([seed, *city.encode(), number])
    classes = np.zeros(SIZE, np.uint8)
    grounds = rng.permutation(8)[:4]
    for band, (top, low) in enumerate(((0, 16), (16, 30), (30, 44), (44, 64))):
        classes[top:low] = grounds[band]
    objects = drawn_objects(rng, SIZE, 5, (5, 12))
    kinds = np.concatenate([[0], 8 + rng.permutation(11)])
    classes[objects > 0] = kinds[objects[objects > 0]]
    classes[58:, 30:98] = len(CLASSES)
    return painted(rng, classes, _COLOURS.tolist()), classes


def draw(folder: Path, seed: int) -> None:
    """Write the data set into `folder`, which must be empty or hold that of the same seed."""
    values = np.array([*IDS, 1], np.uint8)  # 1 is the ego vehicle
    colours = np.rint(255 * _COLOURS).astype(np.uint8)
    for part, cities in CITIES.items():
        for city in cities:
            for number in range(SCENES):
                name, (picture, classes) = _name(city, number), scene(seed, city, number)
                write_picture(folder / "leftImg8bit" / part / city / f"{name}_leftImg8bit.png", picture)
                if part != "test":
                    home = folder / "gtFine" / part / city
                    write_picture(home / f"{name}_gtFine_labelIds.png", values[classes])
                    write_picture(home / f"{name}_gtFine_color.png", colours[classes])


def hidden_truth(seed: int) -> dict[str, Mask]:
    """Return the truth of the test part by id. `draw` does not write it."""
    found = {_name(city, number): scene(seed, city, number)[1] for city in CITIES["test"] for number in range(SCENES)}
    return {name: Mask(np.where(one == len(CLASSES), 0, one), one == len(CLASSES)) for name, one in found.items()}


def _name(city: str, number: int) -> str:
    return f"{city}_000000_{number:06}"
