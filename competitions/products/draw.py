"""Draw a small data set in the layout of the real one, with products that do not exist."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from medalist.files import write_text
from medalist.layouts.drawing import identity_picture, write_picture

from .data import COLUMNS, write_sample_submission

KINDS = ("bicycle", "cabinet", "chair", "coffee_maker", "fan", "kettle")
SIZES = ((64, 64), (48, 64), (64, 40))  # height and width in pixels
SHOTS = {"train": (7, 5, 4, 4, 3, 3, 2, 2, 2, 2), "test": (6, 4, 3, 3, 2, 2, 2)}  # photos of each product


class Photo(NamedTuple):
    """One photo: its number, the number of its product, the number of its kind, its path, and its shot number."""

    image: int
    product: int
    kind: int
    path: str
    shot: int


def photos(seed: int) -> dict[str, list[Photo]]:
    """Return all photos: 34 training and 22 test photos. Images and products are numbered from 1 through both parts."""
    parts: dict[str, list[Photo]] = {}
    image = product = 0
    for part, counts in SHOTS.items():
        parts[part] = []
        for count in counts:
            product += 1
            kind = (product - 1) % len(KINDS)
            for shot in range(count):
                image += 1
                name = f"{111_085_122_871 + 1_000 * seed + product}_{shot}.JPG"
                parts[part].append(Photo(image, product, kind + 1, f"{KINDS[kind]}_final/{name}", shot))
    return parts


def draw(folder: Path, seed: int) -> None:
    """Write the data set into `folder`, which must be empty or hold the data set of the same seed."""
    for part, drawn in photos(seed).items():
        for photo in drawn:
            picture = identity_picture(seed, photo.product, photo.shot, SIZES[photo.shot % len(SIZES)])
            write_picture(folder / photo.path, picture)
        rows = [f"{one.image} {one.product} {one.kind} {one.path}\n" for one in drawn]
        write_text(folder / f"Ebay_{part}.txt", "".join([f"{COLUMNS}\n", *rows]))
    write_sample_submission(folder)
