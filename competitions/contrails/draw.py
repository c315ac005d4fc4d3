"""Draw a small contest in the layout of the real one: skies that do not exist, with contrails that drift."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter

from medalist.files import write_text, written
from medalist.layouts.drawing import made_up_id, write_lines
from medalist.records import Mask

from .data import FRAME

SIDE, FRAMES = 64, 8  # the real records have 256 pixels a side
COUNTS = {"train": 12, "validation": 4, "test": 5}
DAY = 86400


def records(seed: int, part: str) -> dict[str, tuple[dict[int, NDArray[np.float32]], NDArray[np.int32]]]:
    """Return the records of a part by id: the bands float32[64, 64, 8] and the contrails int32[64, 64, 1].

    Every fourth has no contrail.
    """
    names = sorted(str(int(made_up_id("contrails", seed, part, n), 16)) for n in range(COUNTS[part]))
    places = {part: place for place, part in enumerate(COUNTS)}
    return {n: _record(np.random.default_rng([seed, places[part], at]), at % 4 != 3) for at, n in enumerate(names)}


def _record(rng: Generator, seen: bool) -> tuple[dict[int, NDArray[np.float32]], NDArray[np.int32]]:
    turn, place = rng.uniform(0, np.pi), rng.uniform(-14, 14)
    down, right = np.indices((SIDE, SIDE)) - SIDE / 2
    across = down * np.cos(turn) + right * np.sin(turn)
    trails = np.stack([seen * (np.abs(across - place - frame + FRAME) < 1.5) for frame in range(FRAMES)], axis=2)
    ground = 284 + 40 * gaussian_filter(rng.standard_normal((SIDE, SIDE)), 8)[..., None] - 8 * trails
    noise = 0.2 * rng.standard_normal((9, SIDE, SIDE, FRAMES))
    shift = {11: -2 + 3.5 * trails, 15: -1 - 2.5 * trails}
    bands = {b: (ground + shift.get(b, 0) + noise[b - 8]).astype(np.float32) for b in range(8, 17)}
    return bands, trails[..., FRAME : FRAME + 1].astype(np.int32)


def draw(folder: Path, seed: int) -> None:
    """Write the contest into `folder`, which must be empty or hold the contest of the same seed."""
    for part in COUNTS:
        drawn = records(seed, part)
        for name, (bands, mask) in drawn.items():
            arrays = {f"band_{band:02}": values for band, values in bands.items()}
            for stem, values in arrays.items() if part == "test" else (*arrays.items(), ("human_pixel_masks", mask)):
                with written(folder / part / name / f"{stem}.npy", flush=False) as path:
                    np.save(path, values)
        listed = [{"record_id": n, "timestamp": 1.56e9 + DAY * (at // 2)} for at, n in enumerate(drawn)]
        if part != "test":
            write_text(folder / f"{part}_metadata.json", json.dumps(listed))
    write_lines(folder / "sample_submission.csv", ["record_id,encoded_pixels", *(f"{n},-" for n in drawn)])


def hidden_truth(seed: int) -> dict[str, Mask]:
    """Return the truth of the test part by id. `draw` does not write it."""
    return {name: Mask(mask[..., 0].astype(np.uint8)) for name, (_, mask) in records(seed, "test").items()}
