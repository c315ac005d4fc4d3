"""Draw a small contest in the layout of the real one: cars that do not exist, seen from four sides."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from medalist.codecs.rle import encode_mask
from medalist.files import written
from medalist.layouts.drawing import made_up_id, painted, write_lines, write_picture
from medalist.records import Mask

SIZE = (64, 96)  # height and width
CARS, VIEWS = {"train": 4, "test": 2}, 4
WALL, WHEEL = (0.85, 0.86, 0.88), (0.1, 0.1, 0.1)


class Photo(NamedTuple):
    """One photo: its file name, its part, uint8[h, w, 3], and the car."""

    name: str
    part: str
    image: NDArray[np.uint8]
    mask: NDArray[np.bool_]


def photos(seed: int) -> list[Photo]:
    """Return all photos, sorted by name. The views of a car go around it, and the car moves through the picture."""
    found = []
    for part, count in CARS.items():
        for car in range(count):
            rng = np.random.default_rng([seed, part == "test", car])
            name, paint = made_up_id("carvana", seed, part, car), rng.uniform(0.1, 0.7, 3).tolist()
            for view in range(VIEWS):
                wheels, mask = _car(22 + 52 * (view % 2), 14 + 3 * (view // 2), rng.uniform(0.9, 1.1))
                image = painted(rng, np.where(wheels, 2, mask), (WALL, paint, WHEEL), 0.01)
                found.append(Photo(f"{name}_{view + 1:02}.jpg", part, image, mask))
    return sorted(found, key=lambda one: one.name)


def _car(middle: int, reach: int, scale: float) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """The wheels, and the whole car: a body, a cabin and two wheels around the column `middle`."""
    y, x = np.indices(SIZE) - np.array([40, middle])[:, None, None]
    reach = round(reach * scale)
    body = (np.abs(x) < reach) & (np.abs(y) < 8)
    cabin = (np.abs(x) < reach // 2) & (y > -18) & (y < 0)
    wheels = np.hypot(np.abs(x) - reach // 2, y - 8) < 5
    return wheels, body | cabin | wheels


def draw(folder: Path, seed: int) -> None:
    """Write the contest into `folder`, which must be empty or hold the contest of the same seed."""
    drawn = photos(seed)
    for photo in drawn:
        write_picture(folder / photo.part / photo.name, photo.image)
        if photo.part == "train":
            with written(folder / "train_masks" / photo.name.replace(".jpg", "_mask.gif"), flush=False) as path:
                Image.fromarray(photo.mask).save(path, format="GIF")
    train = [photo for photo in drawn if photo.part == "train"]
    codes = (f"{photo.name},{encode_mask(photo.mask, 'row')}" for photo in train)
    write_lines(folder / "train_masks.csv", ["img,rle_mask", *codes])
    asked = (f"{photo.name}," for photo in drawn if photo.part == "test")
    write_lines(folder / "sample_submission.csv", ["img,rle_mask", *asked])


def hidden_truth(seed: int) -> dict[str, Mask]:
    """Return the truth of the test part by id. `draw` does not write it."""
    return {photo.name: Mask(photo.mask.astype(np.uint8)) for photo in photos(seed) if photo.part == "test"}
