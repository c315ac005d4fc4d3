"""Draw a small contest in the layout of the real one: layers that do not exist, and bodies of salt in them."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter

from medalist.formats.rle import RleFormat
from medalist.formats.submission import write_submission
from medalist.layouts.drawing import made_up_id, write_lines, write_picture
from medalist.records import Mask

SIDE = 101
COUNTS = {"train": 24, "test": 8}


class Tile(NamedTuple):
    """One image: its id, its part, its depth, uint8[101, 101], and its salt."""

    id: str
    part: str
    depth: int
    image: NDArray[np.uint8]
    mask: NDArray[np.uint8]


def tiles(seed: int) -> list[Tile]:
    """Return all tiles, sorted by id. Of eight, three have no salt (one of them one colour), and one is all salt."""
    found = []
    for part, count in COUNTS.items():
        names = sorted(made_up_id("tgs_salt", seed, part, number, length=10) for number in range(count))
        for number, name in enumerate(names):
            rng = np.random.default_rng([seed, part == "test", number])
            found.append(Tile(name, part, int(rng.integers(50, 960)), *_tile(rng, number % 8)))
    return sorted(found, key=lambda tile: tile.id)


def _tile(rng: Generator, kind: int) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Kinds 0 to 3 have salt above or below a border, 4 is all salt, 5 and 6 have none, 7 has one colour and none."""
    down, right = np.indices((SIDE, SIDE)) / SIDE
    if kind == 7:
        return np.zeros((SIDE, SIDE), np.uint8), np.zeros((SIDE, SIDE), np.uint8)
    border = rng.uniform(0.35, 0.65) + rng.uniform(-0.25, 0.25) * np.sin(np.pi * right)
    mask = (down > border) == (kind % 2 == 0) if kind < 4 else np.full((SIDE, SIDE), kind == 4)
    layers = np.sin(2 * np.pi * (rng.uniform(6, 12) * down + rng.uniform(-2, 2) * right))
    grain = gaussian_filter(rng.standard_normal((SIDE, SIDE)), 1) * 2
    clean = np.where(mask, 1.5 + 0.35 * grain, layers + 0.2 * grain)
    return np.clip(120 + 50 * clean, 0, 255).astype(np.uint8), mask.astype(np.uint8)


def draw(folder: Path, seed: int) -> None:
    """Write the contest into `folder`, which must be empty or hold the contest of the same seed."""
    form = RleFormat(("id", "rle_mask"), row_per="image")
    drawn = tiles(seed)
    for tile in drawn:
        write_picture(folder / tile.part / "images" / f"{tile.id}.png", np.repeat(tile.image[..., None], 3, axis=2))
        if tile.part == "train":
            write_picture(folder / "train" / "masks" / f"{tile.id}.png", tile.mask * np.uint8(255))
    train = ((tile.id, Mask(tile.mask)) for tile in drawn if tile.part == "train")
    write_submission(folder / "train.csv", form, train)
    write_lines(folder / "depths.csv", ["id,z", *(f"{tile.id},{tile.depth}" for tile in drawn)])
    asked = (f"{tile.id},1 1" for tile in drawn if tile.part == "test")  # "1 1", as in the real file
    write_lines(folder / "sample_submission.csv", ["id,rle_mask", *asked])


def hidden_truth(seed: int) -> dict[str, Mask]:
    """Return the truth of the test part by id. `draw` does not write it."""
    return {tile.id: Mask(tile.mask) for tile in tiles(seed) if tile.part == "test"}
