"""Draw a small contest in the layout of the real one: made-up leaves, whose marks show their labels."""

from __future__ import annotations

from hashlib import sha256
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from medalist.files import write_text
from medalist.layouts.drawing import write_picture
from medalist.records import Labels

from .data import CLASSES

SIZE = (40, 48)  # height and width in pixels
# The numbers of training and test photos with each cell of labels. The shares are about those of the real contest.
CELLS = {
    "scab": (11, 2),
    "healthy": (10, 2),
    "frog_eye_leaf_spot": (7, 1),
    "rust": (5, 1),
    "complex": (5, 1),
    "powdery_mildew": (5, 1),
    "scab frog_eye_leaf_spot": (3, 1),
    "scab frog_eye_leaf_spot complex": (2, 1),
    "frog_eye_leaf_spot complex": (1, 0),
    "rust frog_eye_leaf_spot": (1, 0),
    "rust complex": (1, 0),
    "powdery_mildew complex": (1, 0),
}


class Mark(NamedTuple):
    """The marks of a disease on a leaf: number of spots, radius in pixels (from, to), colours 0..1 of rim, middle."""

    spots: int
    radius: tuple[float, float]
    colour: tuple[float, float, float]
    middle: tuple[float, float, float]


MARKS = {
    "powdery_mildew": Mark(3, (7, 10), (0.8, 0.85, 0.85), (0.95, 0.95, 0.95)),
    "complex": Mark(2, (7, 10), (0.55, 0.4, 0.1), (0.4, 0.25, 0.1)),
    "scab": Mark(4, (3, 5), (0.15, 0.2, 0.1), (0.1, 0.1, 0.05)),
    "frog_eye_leaf_spot": Mark(4, (3, 4), (0.45, 0.1, 0.3), (0.85, 0.75, 0.55)),
    "rust": Mark(9, (1.5, 2.5), (0.95, 0.6, 0.05), (0.95, 0.35, 0.05)),
}


class Photo(NamedTuple):
    """One photo: its file name, its number among all photos, its part, and the cell of its labels."""

    name: str
    number: int
    part: str
    cell: str


def photos(seed: int) -> list[Photo]:
    """Return all photos of the contest, sorted by name: 52 training photos and 10 test photos."""
    cells = [("train", cell) for cell, (count, _) in CELLS.items() for _ in range(count)]
    cells += [("test", cell) for cell, (_, count) in CELLS.items() for _ in range(count)]
    named = (sha256(f"plant_pathology {seed} {number}".encode()).hexdigest()[:16] for number in range(len(cells)))
    return sorted(Photo(f"{name}.jpg", number, *cells[number]) for number, name in enumerate(named))


def draw(folder: Path, seed: int) -> None:
    """Write the contest into `folder`, which must be empty or hold the contest of the same seed."""
    drawn = photos(seed)
    for photo in drawn:
        picture = leaf(np.random.default_rng([seed, photo.number]), photo.cell.split(" "))
        write_picture(folder / f"{photo.part}_images" / photo.name, picture)
    train = [f"{photo.name},{photo.cell}\n" for photo in drawn if photo.part == "train"]
    asked = [f"{photo.name},healthy\n" for photo in drawn if photo.part == "test"]
    for table, rows in (("train", train), ("sample_submission", asked)):
        write_text(folder / f"{table}.csv", "".join(["image,labels\n", *rows]))


def hidden_truth(seed: int) -> dict[str, Labels]:
    """Return the truth of the test part by id. `draw` does not write it."""
    cells = {photo.name: photo.cell.split(" ") for photo in photos(seed) if photo.part == "test"}
    return {name: Labels(tuple(label for label in CLASSES if label in cell)) for name, cell in cells.items()}


def leaf(rng: Generator, labels: list[str]) -> NDArray[np.uint8]:
    """Return a picture uint8[40, 48, 3]: a leaf with the marks of its labels. Larger spots lie below smaller ones."""
    y, x = np.mgrid[: SIZE[0], : SIZE[1]]
    y, x = y - SIZE[0] / 2 - rng.uniform(-2, 2), x - SIZE[1] / 2 - rng.uniform(-2, 2)
    turn = rng.uniform(0, np.pi)
    along, across = x * np.cos(turn) + y * np.sin(turn), y * np.cos(turn) - x * np.sin(turn)
    body = (along / 21) ** 2 + (across / 15) ** 2 < 1
    image = np.where(body[..., None], rng.uniform((0.15, 0.45, 0.1), (0.3, 0.65, 0.25)), rng.uniform(0.3, 0.5, 3))
    image[body & (np.abs(across) < 0.7)] += 0.12
    for label, mark in MARKS.items():
        for _ in range(mark.spots if label in labels else 0):
            angle, reach, radius = rng.uniform(0, 2 * np.pi), np.sqrt(rng.uniform(0, 0.8)), rng.uniform(*mark.radius)
            away = np.hypot(along - 21 * reach * np.cos(angle), across - 15 * reach * np.sin(angle))
            image[body & (away < radius)] = mark.colour
            image[body & (away < radius / 2)] = mark.middle
    image = image * rng.uniform(0.85, 1.1) + 0.03 * rng.standard_normal(image.shape)
    return np.rint(np.clip(image, 0, 1) * 255).astype(np.uint8)
