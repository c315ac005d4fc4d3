"""Draw a small contest in the layout of the real one: slides of tissue that does not exist."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from medalist.files import written
from medalist.formats.rle import RleFormat
from medalist.formats.submission import write_submission
from medalist.layouts.drawing import drawn_objects, made_up_id, painted, write_lines
from medalist.records import Mask

SIZES = ((192, 256), (192, 256), (224, 160))  # heights and widths; real slides have tens of thousands of pixels a side
DONORS = {"train": (67548, 67548, 67112, 67112, 65631, 68250), "test": (68304, 67347, 63921, 67302, 67026)}
GLASS, TISSUE, GLOMERULUS = (0.93, 0.92, 0.94), (0.85, 0.6, 0.75), (0.6, 0.35, 0.6)


class Slide(NamedTuple):
    """One slide: its id, its part, the number of its donor, uint8[h, w, 3], and its glomeruli."""

    id: str
    part: str
    donor: int
    image: NDArray[np.uint8]
    mask: NDArray[np.uint8]


def slides(seed: int) -> list[Slide]:
    """Return all slides, sorted by id: 6 for training, of 4 donors, and 5 for the test."""
    found = []
    for part, donors in DONORS.items():
        for number, donor in enumerate(donors):
            rng = np.random.default_rng([seed, part == "test", number])
            size = SIZES[number % len(SIZES)]
            down, right = (np.indices(size) / np.reshape(size, (2, 1, 1)) - 0.5) * 2
            tissue = down**2 + right**2 < 0.8 + 0.1 * np.sin(5 * np.arctan2(down, right) + rng.uniform(0, 6))
            objects = drawn_objects(rng, size, 8, (8, 14))
            classes = np.where(objects > 0, 2, tissue)
            image = painted(rng, classes, (GLASS, TISSUE, GLOMERULUS))
            name = made_up_id("hubmap", seed, part, number, length=9)
            found.append(Slide(name, part, donor, image, (objects > 0).astype(np.uint8)))
    return sorted(found, key=lambda slide: slide.id)


def draw(folder: Path, seed: int) -> None:
    """Write the contest into `folder`, which must be empty or hold the contest of the same seed."""
    drawn = slides(seed)
    for slide in drawn:
        with written(folder / slide.part / f"{slide.id}.tiff", flush=False) as path:
            Image.fromarray(slide.image).save(path, format="TIFF")
    train = ((slide.id, Mask(slide.mask)) for slide in drawn if slide.part == "train")
    write_submission(folder / "train.csv", RleFormat(("id", "encoding"), row_per="image"), train)
    asked = (f"{slide.id}," for slide in drawn if slide.part == "test")
    write_lines(folder / "sample_submission.csv", ["id,predicted", *asked])
    rows = (f"{one.id}.tiff,{one.image.shape[1]},{one.image.shape[0]},{one.donor}" for one in drawn)
    header = "image_file,width_pixels,height_pixels,patient_number"
    write_lines(folder / "HuBMAP-20-dataset_information.csv", [header, *rows])


def hidden_truth(seed: int) -> dict[str, Mask]:
    """Return the truth of the test part by id. `draw` does not write it."""
    return {slide.id: Mask(slide.mask) for slide in slides(seed) if slide.part == "test"}
