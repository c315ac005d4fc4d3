"""Draw a small contest in the layout of the real one: seas that do not exist, cut into tiles that overlap."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter

from medalist.formats.rle import RleFormat
from medalist.formats.submission import write_submission
from medalist.layouts.drawing import drawn_objects, made_up_id, painted, write_lines, write_picture
from medalist.postprocess.watershed import in_reading_order, largest_pieces
from medalist.records import Instances

SIDE, STEP = 192, 64  # the real tiles have 768 pixels, and offsets of 256
# Rows and columns of steps at which tiles of a scene begin, and the ships of the scene.
SCENES = {"train": ((2, 2, 9), (1, 3, 0), (2, 1, 6), (1, 1, 3), (1, 1, 0), (1, 1, 1)), "test": ((2, 2, 4), (1, 1, 2))}
SEA, SHIP = (0.1, 0.2, 0.28), (0.75, 0.72, 0.7)


class Tile(NamedTuple):
    """One image: its file name, its part, its scene, uint8[192, 192, 3], and its numbered ships."""

    name: str
    part: str
    scene: int
    image: NDArray[np.uint8]
    labels: NDArray[np.int32]


def tiles(seed: int) -> list[Tile]:
    """Return all tiles, sorted by name: 12 for training, of 6 scenes, and 5 for the test, of 2 scenes."""
    found = []
    for part, scenes in SCENES.items():
        for scene, (rows, columns, ships) in enumerate(scenes):
            rng = np.random.default_rng([seed, part == "test", scene])
            size = (SIDE + (rows - 1) * STEP, SIDE + (columns - 1) * STEP)
            labels = drawn_objects(rng, size, ships, (5, 11))
            image = painted(rng, labels > 0, (SEA, SHIP), 0.02)
            waves = 12 * gaussian_filter(rng.standard_normal(size), 3) / 0.1
            image = np.clip(image + np.clip(waves, 0, 60)[..., None], 0, 255).astype(np.uint8)
            for row, column in np.ndindex(rows, columns):
                box = np.s_[row * STEP : row * STEP + SIDE, column * STEP : column * STEP + SIDE]
                name = f"{made_up_id('airbus_ships', seed, part, scene, row, column, length=9)}.jpg"
                inside = in_reading_order(largest_pieces(labels[box], 5))
                found.append(Tile(name, part, scene, image[box], inside))
    return sorted(found, key=lambda one: one.name)


def draw(folder: Path, seed: int) -> None:
    """Write the contest into `folder`, which must be empty or hold the contest of the same seed."""
    drawn = tiles(seed)
    for tile in drawn:
        write_picture(folder / f"{tile.part}_v2" / tile.name, np.ascontiguousarray(tile.image))
    train = ((tile.name, Instances(tile.labels)) for tile in drawn if tile.part == "train")
    write_submission(folder / "train_ship_segmentations_v2.csv", RleFormat(), train)
    asked = (f"{tile.name},1 2" for tile in drawn if tile.part == "test")  # "1 2", as in the real file
    write_lines(folder / "sample_submission_v2.csv", ["ImageId,EncodedPixels", *asked])


def hidden_truth(seed: int) -> dict[str, Instances]:
    """Return the truth of the test part by id. `draw` does not write it."""
    return {tile.name: Instances(tile.labels) for tile in tiles(seed) if tile.part == "test"}
