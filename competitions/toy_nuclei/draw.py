"""Draw the contest: blobs like nuclei under three kinds of microscope, in tiles cut from larger fields of view."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray
from PIL import Image
from scipy.ndimage import gaussian_filter

from medalist.files import written
from medalist.formats.rle import RleFormat
from medalist.formats.submission import write_submission
from medalist.postprocess.watershed import in_reading_order, largest_pieces
from medalist.records import Instances

TILE = 128
VISIBLE = 12  # pixels that a blob must show in a tile to be an object there


class Look(NamedTuple):
    """The look of images from one kind of microscope; colours are gray or RGB in 0..1, lengths in pixels."""

    paper: tuple[float, ...]
    ink: tuple[float, ...]
    shade: tuple[float, float]  # ink of a blob at its rim and in its middle
    grain: float
    ghost: tuple[float, float]  # ink and blur of the large pale shapes that are not objects
    light: float  # how uneven the light is
    gain: tuple[float, float]  # the range from which the brightness of a whole field is drawn
    noise: float


LOOKS = {
    "dark": Look((0.05,), (1.0,), (0.5, 1.0), 0.3, (0.22, 6.0), 0.8, (0.35, 1.0), 0.012),
    "stain": Look((0.88, 0.8, 0.88), (0.38, 0.16, 0.56), (1, 0.65), 0.3, (0.25, 2.5), 0.2, (0.85, 1), 0.02),
    "bright": Look((0.93,), (0.15,), (1.0, 0.65), 0.2, (0.25, 1.0), 0.25, (0.85, 1.0), 0.015),
}
PLAN = {  # (part, look): for each kind of field the number of fields, rows and columns of tiles, and blobs in a tile
    ("train", "dark"): ((2, 2, 2, 18), (12, 1, 1, 18), (2, 1, 1, 0)),
    ("train", "stain"): ((2, 2, 2, 18), (6, 1, 1, 18)),
    ("train", "bright"): ((2, 1, 2, 14), (7, 1, 1, 14), (1, 1, 1, 0)),
    ("test", "dark"): ((1, 2, 2, 18), (2, 1, 1, 18), (1, 1, 1, 0)),
    ("test", "stain"): ((1, 1, 2, 18), (3, 1, 1, 18)),
    ("test", "bright"): ((1, 1, 2, 14), (2, 1, 1, 14)),
}
Drawn = tuple[NDArray[np.uint8], NDArray[np.int32]]  # an image and its numbered blobs


class Tile(NamedTuple):
    """One image uint8[128, 128] or [128, 128, 3], its truth int32[128, 128], and the field it is cut from."""

    id: str
    part: str
    field: int
    image: NDArray[np.uint8]
    labels: NDArray[np.int32]


def draw(folder: Path, seed: int) -> None:
    """Write the contest (48 train, 16 test images) into `folder`, which must be empty or hold that of the same seed."""
    drawn = sorted(tiles(seed), key=lambda tile: tile.id)
    for tile in drawn:
        with written(folder / f"stage1_{tile.part}" / tile.id / "images" / f"{tile.id}.png") as path:
            Image.fromarray(tile.image).save(path, format="PNG")
    train = ((tile.id, Instances(tile.labels)) for tile in drawn if tile.part == "train")
    write_submission(folder / "stage1_train_labels.csv", RleFormat(), train)  # the truth has the form of a submission
    corner = Instances(np.eye(1, TILE * TILE, dtype=np.int32).reshape(TILE, TILE))  # "1 1", as in the real file
    test = ((tile.id, corner) for tile in drawn if tile.part == "test")
    write_submission(folder / "sample_submission.csv", RleFormat(), test)


def hidden_truth(seed: int) -> Mapping[str, Instances]:
    """Return the truth of the test part by id. `draw` does not write it."""
    return {tile.id: Instances(tile.labels) for tile in tiles(seed) if tile.part == "test"}


def tiles(seed: int) -> Iterator[Tile]:
    """Yield all tiles, field by field and row by row. Each field has its own random generator."""
    fields = [(key, kind) for key, kinds in PLAN.items() for kind in kinds for _ in range(kind[0])]
    for field, ((part, look), (_, rows, columns, blobs)) in enumerate(fields):
        rng = np.random.default_rng([seed, field])
        image, labels = _field(rng, LOOKS[look], (rows * TILE, columns * TILE), blobs * rows * columns)
        for row, column in np.ndindex(rows, columns):
            box = np.s_[row * TILE : (row + 1) * TILE, column * TILE : (column + 1) * TILE]
            name = hashlib.sha256(f"toy_nuclei {seed} {field} {row} {column}".encode()).hexdigest()
            yield Tile(name, part, field, image[box], in_reading_order(largest_pieces(labels[box], VISIBLE)))


def _field(rng: Generator, look: Look, size: tuple[int, int], blobs: int) -> Drawn:
    """Return one field of view: its image uint8[H, W] or [H, W, 3], and its numbered blobs int32[H, W]."""
    radius = rng.uniform(7.0, 12.0)
    blobs = round(blobs * min(1.0, (9.0 / radius) ** 2) * rng.uniform(0.7, 1.3))
    labels, ink = _blobs(rng, size, radius, blobs, look.shade)
    _, pale = _blobs(rng, size, 2.2 * radius, max(2, size[0] * size[1] // 6000), (0.8, 1.0))
    grain = 1 + look.grain * gaussian_filter(rng.standard_normal(size), 1.2)
    ink, pale = ink * grain, gaussian_filter(look.ghost[0] * pale, look.ghost[1]) * grain
    ink = gaussian_filter(np.where(labels > 0, np.maximum(ink, pale), pale), rng.uniform(0.5, 0.8))
    turn = rng.uniform(0, 2 * np.pi)
    down, right = np.linspace(-0.5, 0.5, size[0])[:, None], np.linspace(-0.5, 0.5, size[1])
    light = (1 + look.light * (np.cos(turn) * down + np.sin(turn) * right)) * rng.uniform(*look.gain)
    paper = look.paper * rng.uniform(0.93, 1.07, len(look.paper))
    clean = (paper + (np.array(look.ink) - paper) * np.clip(ink, 0, 1)[..., None]) * light[..., None]
    clean += look.noise * np.sqrt(0.3 + clean) * rng.standard_normal(clean.shape)
    image = np.rint(np.clip(clean, 0, 1) * 255).astype(np.uint8)
    return image[..., 0] if len(look.paper) == 1 else image, labels


def _blobs(
    rng: Generator, size: tuple[int, int], radius: float, count: int, shade: tuple[float, float]
) -> tuple[NDArray[np.int32], NDArray[np.float64]]:
    """Place ellipses with wavy rims, later ones on top. Return for each pixel the blob's number and the ink.

    Four in ten blobs are put beside an earlier one. A blob that would lie on others with over a fifth is left out.
    """
    labels, ink = np.zeros(size, np.int32), np.zeros(size)
    middles = [rng.uniform(0, size)]
    for number in range(1, count + 1):
        long, short = radius * rng.uniform([0.8, 0.6], [1.25, 1.0])
        turn, aside, *phases = rng.uniform(0, 2 * np.pi, 5)
        waves, power = rng.uniform(0, [0.10, 0.08, 0.04]), rng.uniform(0.55, 1.0)
        middle = rng.uniform(0, size)
        if rng.random() < 0.4:
            step = radius * rng.uniform(1.55, 1.95) * np.array([np.sin(aside), np.cos(aside)])
            middle = middles[rng.integers(len(middles))] + step
        (top, left), (low, far) = (np.maximum(middle + d * radius, 0).astype(int) for d in (-2, 2))
        box = np.s_[top:low, left:far]
        down, right = np.indices(labels[box].shape) + (np.array([top, left]) - middle)[:, None, None]
        u = (right * np.cos(turn) + down * np.sin(turn)) / long
        v = (down * np.cos(turn) - right * np.sin(turn)) / short
        edge = 1 + sum(wave * np.cos(k * np.arctan2(v, u) + phases[k - 2]) for k, wave in enumerate(waves, 2))
        depth = 1 - np.hypot(u, v) / edge  # 0 at the rim, 1 in the middle
        inside = depth > 0
        if not inside.any() or np.count_nonzero(labels[box][inside]) > 0.2 * np.count_nonzero(inside):
            continue
        middles.append(middle)
        labels[box][inside] = number
        ink[box][inside] = power * np.interp(np.sqrt(depth[inside]), (0, 1), shade)
    return labels, ink
