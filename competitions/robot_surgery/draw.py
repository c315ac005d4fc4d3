"""Draw a small contest in the layout of the real one: tissue that does not exist, and instruments that move over it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from medalist.layouts.drawing import painted, write_picture

from .data import FRAME

FRAMES = {"train": 2, "test": 5}
# The folders of masks of each video; those of the test part are not written.
VIDEOS = {
    "train": (
        ("Left_Prograsp_Forceps_labels", "Maryland_Bipolar_Forceps_labels", "Other_labels"),
        ("Large_Needle_Driver_Left_labels", "Right_Prograsp_Forceps_labels"),
        ("Vessel_Sealer_labels", "Grasping_Retractor_labels"),
        ("Monopolar_Curved_Scissors_labels",),
    ),
    "test": (("Right_Prograsp_Forceps_labels",),),
}
COLOURS = ((0.55, 0.2, 0.18), (0.75, 0.75, 0.78), (0.5, 0.5, 0.55), (0.9, 0.9, 0.85))
SCALE = 8  # all is drawn with an eighth of the pixels a side, and enlarged


def frame(seed: int, place: int, labels: int) -> tuple[NDArray[np.uint8], list[NDArray[np.uint8]]]:
    """Return a frame uint8[1080, 1920, 3], and a mask uint8[1080, 1920] of 0, 10, 20 and 30 for each folder."""
    rng = np.random.default_rng([seed, place])
    down, right = np.indices((FRAME[0] // SCALE, FRAME[1] // SCALE))
    inside = (down >= 4) & (down < 131) & (right >= 40) & (right < 200)  # black bars around the picture
    masks = []
    for at in range(labels):
        row, reach = 40 * at + 14 + 20 * (place % 2) + int(rng.integers(5)), 100 + 25 * (place % 3)
        near = inside & (np.abs(down - row) < 8) & (right < reach)
        masks.append(np.where(near, 10 + 10 * (right > reach - 40) + 10 * (right > reach - 20), 0).astype(np.uint8))
    image = painted(rng, np.max(masks, axis=0) // 10, COLOURS) * inside[..., None].astype(np.uint8)
    block = np.ones((SCALE, SCALE), np.uint8)
    return np.kron(image, block[..., None]), [np.kron(mask, block) for mask in masks]


def draw(folder: Path, seed: int) -> None:
    """Write the contest into `folder`, which must be empty or hold the contest of the same seed."""
    place = 0
    for part, videos in VIDEOS.items():
        for number, labels in enumerate(videos, start=1):
            home = folder / part / f"instrument_dataset_{number if part == 'train' else number + 8}"
            for name in (f"frame{at:03}.png" for at in range(FRAMES[part])):
                image, masks = frame(seed, place, len(labels))
                place += 1
                write_picture(home / "left_frames" / name, image)
                for label, mask in zip(labels, masks, strict=True):
                    if part == "train":
                        write_picture(home / "ground_truth" / label / name, mask)
