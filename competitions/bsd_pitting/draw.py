"""Draw a small contest in the layout of the real one: spindles that do not exist, whose pits grow over time."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from medalist.formats.rle import RleFormat
from medalist.formats.submission import write_submission
from medalist.layouts.drawing import drawn_objects, made_up_id, painted, write_lines, write_picture
from medalist.records import Mask

SIZES = {1: (56, 160), 2: (48, 96)}  # height and width of pictures of each type
# Type and number of pictures of each sequence; the first third of a sequence of type 2 is empty.
SEQUENCES = {"train": ((2, 6), (2, 6), (2, 6), (1, 1), (1, 2)), "test": ((2, 6), (1, 1))}
STEEL, PIT, BACK = (0.55, 0.55, 0.6), (0.2, 0.16, 0.14), (0.12, 0.12, 0.12)


class Picture(NamedTuple):
    """One picture: its id, its part, its type, its sequence, its number there, uint8[h, w, 3], and its pits."""

    id: str
    part: str
    type: int
    sequence: str
    number: int
    image: NDArray[np.uint8]
    mask: NDArray[np.uint8]


def pictures(seed: int) -> list[Picture]:
    """Return all pictures, sorted by id: 21 for training and 7 for the test."""
    found = []
    for part, sequences in SEQUENCES.items():
        for place, (kind, count) in enumerate(sequences):
            name = f"{place + 1}77500_315" if kind == 2 else f"KGT1-S-{place:03}-A02"
            rng = np.random.default_rng([seed, part == "test", place])
            pits = drawn_objects(rng, SIZES[kind], 3, (5, 8))
            down, right = np.indices(SIZES[kind])
            thread = (down + right // 4) % 24 < 2  # dark grooves that cross the spindle
            for number in range(count):
                grown = count if kind == 1 else max(0, number - count // 3 + 1)
                mask = (pits > 0) & (pits <= grown)
                image = painted(rng, np.where(mask, 1, np.where(thread, 2, 0)), (STEEL, PIT, BACK))
                key = made_up_id("bsd_pitting", seed, part, place, number)
                found.append(Picture(key, part, kind, f"{part} {name}", number, image, mask.astype(np.uint8)))
    return sorted(found, key=lambda one: one.id)


def draw(folder: Path, seed: int) -> None:
    """Write the contest into `folder`, which must be empty or hold the contest of the same seed."""
    form = RleFormat(("id", "rle_mask"), row_per="image")
    drawn = pictures(seed)
    for one in drawn:
        write_picture(folder / f"{one.part}_images" / f"{one.id}.jpg", one.image)
    train = [one for one in drawn if one.part == "train"]
    write_submission(folder / "train.csv", form, ((one.id, Mask(one.mask)) for one in train))
    header = "id,width,height,type,sequence,time,pits,source_name"
    rows = (
        f"{one.id},{one.image.shape[1]},{one.image.shape[0]},{one.type},{one.sequence},2008302050{one.number:02},"
        f"{int(one.mask.any())},drawn_{one.number}"
        for one in train
    )
    write_lines(folder / "train_meta.csv", [header, *rows])
    write_lines(folder / "sample_submission.csv", ["id,rle_mask", *(f"{o.id}," for o in drawn if o.part == "test")])


def hidden_truth(seed: int) -> dict[str, Mask]:
    """Return the truth of the test part by id. `draw` does not write it."""
    return {one.id: Mask(one.mask) for one in pictures(seed) if one.part == "test"}
