"""Draw a small contest in the layout of the real one: made-up retinas, whose lesions show their grade."""

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

from .data import GRADES

SIZES = ((40, 48), (48, 48), (40, 60))  # heights and widths in pixels; the last size cuts off parts of the circle
COUNTS = {"train": (25, 5, 13, 3, 5), "test": (4, 1, 2, 1, 2)}  # photos of each grade, in the shares of the real data


class Lesion(NamedTuple):
    """One sort of lesion: number of spots for each grade 0 to 4, radius in pixels (from, to), and colour 0..1."""

    spots: tuple[int, int, int, int, int]
    radius: tuple[float, float]
    colour: tuple[float, float, float]


LESIONS = (
    Lesion((0, 0, 0, 0, 2), (6, 8), (0.35, 0.05, 0.05)),  # bleeding into the vitreous body
    Lesion((0, 0, 0, 4, 5), (2, 3), (0.3, 0.02, 0.02)),  # haemorrhages
    Lesion((0, 0, 5, 8, 8), (1, 2), (1.0, 0.95, 0.5)),  # exudates
    Lesion((0, 4, 6, 10, 10), (0.8, 1.3), (0.35, 0.05, 0.02)),  # microaneurysms
)


class Photo(NamedTuple):
    """One photo: its id, its number among all photos, its part ("train" or "test") and its grade."""

    name: str
    number: int
    part: str
    grade: int


def photos(seed: int) -> list[Photo]:
    """Return all photos of the contest, sorted by id: 51 training photos and 10 test photos."""
    drawn = [(part, grade) for part, counts in COUNTS.items() for grade, n in enumerate(counts) for _ in range(n)]
    named = (sha256(f"aptos {seed} {number}".encode()).hexdigest()[:12] for number in range(len(drawn)))
    return sorted(Photo(name, number, *drawn[number]) for number, name in enumerate(named))


def draw(folder: Path, seed: int) -> None:
    """Write the contest into `folder`, which must be empty or hold the contest of the same seed."""
    drawn = photos(seed)
    for photo in drawn:
        picture = retina(np.random.default_rng([seed, photo.number]), photo.grade, SIZES[photo.number % len(SIZES)])
        write_picture(folder / f"{photo.part}_images" / f"{photo.name}.png", picture)
    asked = [photo.name for photo in drawn if photo.part == "test"]
    tables = {
        "train": ["id_code,diagnosis", *(f"{photo.name},{photo.grade}" for photo in drawn if photo.part == "train")],
        "test": ["id_code", *asked],
        "sample_submission": ["id_code,diagnosis", *(f"{name},0" for name in asked)],
    }
    for name, lines in tables.items():
        write_text(folder / f"{name}.csv", "".join(f"{line}\n" for line in lines))


def hidden_truth(seed: int) -> dict[str, Labels]:
    """Return the truth of the test part by id. `draw` does not write it."""
    return {photo.name: Labels((GRADES[photo.grade],)) for photo in photos(seed) if photo.part == "test"}


def retina(rng: Generator, grade: int, size: tuple[int, int]) -> NDArray[np.uint8]:
    """Return a picture uint8[h, w, 3] of `size` (h, w): a retina on black, with the lesions of its grade."""
    y, x = np.mgrid[: size[0], : size[1]] - np.reshape(size, (2, 1, 1)) / 2
    radius = 0.46 * size[1] if size[0] == size[1] else 0.42 * size[1]
    seen = np.hypot(x, y) < radius
    image = np.where(seen[..., None], rng.uniform((0.6, 0.25, 0.05), (0.8, 0.4, 0.15)), 0)
    side = rng.choice((-1, 1))
    disc = np.hypot(x - side * radius / 2, y) < radius / 6
    for bend in rng.uniform(0.3, 0.6, 2) * (-1, 1):  # two arcs that begin in the optic disc
        arc = np.abs(y - bend * (radius - np.abs(x + side * radius / 2))) < 0.8
        image[seen & arc] = (0.5, 0.1, 0.05)
    image[seen & disc] = (0.95, 0.8, 0.4)
    for lesion in LESIONS:
        for _ in range(lesion.spots[grade]):
            angle, reach = rng.uniform(0, 2 * np.pi), radius * np.sqrt(rng.uniform(0, 0.7))
            away = np.hypot(x - reach * np.cos(angle), y - reach * np.sin(angle))
            image[seen & (away < rng.uniform(*lesion.radius))] = lesion.colour
    image = image * rng.uniform(0.8, 1.1) + 0.02 * rng.standard_normal(image.shape) * seen[..., None]
    picture: NDArray[np.uint8] = np.rint(np.clip(image, 0, 1) * 255).astype(np.uint8)
    return picture
