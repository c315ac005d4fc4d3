"""Draw pictures of artificial identities and of objects on a ground, for contests that make their own data."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from hashlib import sha256
from pathlib import Path

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray
from PIL import Image
from scipy.ndimage import find_objects

from medalist.files import write_text, written

Pixels = NDArray[np.float32]


def identity_picture(seed: int, who: int, shot: int, size: tuple[int, int]) -> NDArray[np.uint8]:
    """Draw picture number `shot` of the identity `who`: uint8[h, w, 3] of `size` (h, w).

    (seed, who) decides the outline, colours, stripes and spots of the body. (seed, who, shot) decides the pose (turned
    by up to 20 degrees, never mirrored), the distance, the light, the background and the noise. The numbers are 0 or
    more. The same numbers give the same pixels with the same version of NumPy.
    """
    assert min(seed, who, shot) >= 0 and min(size) >= 1, (seed, who, shot, size)
    identity, pose = np.random.default_rng([seed, who]), np.random.default_rng([seed, who, shot + 1])
    x, y = _posed(pose, size)
    body, colours = _body(identity, x, y)
    clean = np.where(body[..., None], colours, _paper(pose, size))
    clean *= np.float32(pose.uniform(0.75, 1.15)) * pose.uniform(0.93, 1.07, 3).astype(np.float32)
    clean += np.float32(0.02) * pose.standard_normal(clean.shape, np.float32)
    image: NDArray[np.uint8] = np.rint(np.clip(clean, 0, 1) * 255).astype(np.uint8)
    return image


def write_picture(path: Path, image: NDArray[np.uint8] | NDArray[np.bool_]) -> None:
    """Write a picture, whole or not at all, in the format of its suffix (.png, .jpg).

    image: uint8[h, w, 3], gray uint8[h, w], or bool[h, w], which a PNG stores as one bit for each pixel (True = white).
    """
    with written(path, flush=False) as unfinished:
        Image.fromarray(image).save(unfinished, quality=90)


def write_lines(path: Path, lines: Iterable[str]) -> None:
    """Write the lines of a csv, whole or not at all."""
    write_text(path, "".join(f"{line}\n" for line in lines), flush=False)


def made_up_id(*parts: object, length: int = 12) -> str:
    """Return a hexadecimal id that depends on the parts, such as (name of the contest, seed, number)."""
    return sha256(repr(parts).encode()).hexdigest()[:length]


def drawn_objects(
    rng: Generator, size: tuple[int, int], count: int, radius: tuple[float, float], apart: int = 2
) -> NDArray[np.int32]:
    """Draw at most `count` ellipses that do not touch one another: int32[h, w] of `size` (h, w), 0 is the ground.

    radius: the shortest and the longest half axis in pixels. apart: the pixels between two ellipses. An ellipse that
    finds no place is left out. Each lies inside the image with its middle.
    """
    labels = np.zeros(size, np.int32)
    down, right = np.indices(size)
    for _ in range(count):
        y, x = rng.uniform(0, size)
        long, short = rng.uniform(*radius, 2)
        turn = rng.uniform(0, math.pi)
        u = (right - x) * math.cos(turn) + (down - y) * math.sin(turn)
        v = (down - y) * math.cos(turn) - (right - x) * math.sin(turn)
        near = (u / (long + apart)) ** 2 + (v / (short + apart)) ** 2 < 1
        inside = (u / long) ** 2 + (v / short) ** 2 < 1
        if inside.any() and not labels[near].any():
            labels[inside] = labels.max() + 1
    return labels


def tight_boxes(objects: NDArray[np.int32]) -> NDArray[np.float32]:
    """Return the corners (x1, y1, x2, y2) around each object of int32[h, w], float32[N, 4], in their order."""
    found = [(across.start, down.start, across.stop, down.stop) for down, across in filter(None, find_objects(objects))]
    return np.array(found, np.float32).reshape(-1, 4)


def painted(
    rng: Generator,
    classes: NDArray[np.integer] | NDArray[np.bool_],
    colours: Sequence[Sequence[float]],
    noise: float = 0.03,
) -> NDArray[np.uint8]:
    """Draw a picture uint8[h, w, 3] of classes [h, w]: each has its colour (red, green, blue) in 0..1.

    The light is uneven, and noise with this standard deviation lies over all.
    """
    clean = np.asarray(colours, np.float32)[classes.astype(np.intp)]
    turn = rng.uniform(0, 2 * math.pi)
    down = np.linspace(-0.15, 0.15, classes.shape[0], dtype=np.float32)[:, None]
    right = np.linspace(-0.15, 0.15, classes.shape[1], dtype=np.float32)
    clean = clean * (1 + math.cos(turn) * down + math.sin(turn) * right)[..., None]
    clean += np.float32(noise) * rng.standard_normal(clean.shape, np.float32)
    image: NDArray[np.uint8] = np.rint(np.clip(clean, 0, 1) * 255).astype(np.uint8)
    return image


def _posed(rng: Generator, size: tuple[int, int]) -> tuple[Pixels, Pixels]:
    """The position of each pixel on the identity, whose body has a radius of about 1: x and y, each float32[h, w]."""
    short = min(size)
    down = ((2 * np.arange(size[0], dtype=np.float32) + 1 - size[0]) / short)[:, None]
    right = (2 * np.arange(size[1], dtype=np.float32) + 1 - size[1]) / short
    turn, reach = rng.uniform(-0.35, 0.35), rng.uniform(0.8, 1.05)
    down, right = down - rng.uniform(-0.12, 0.12), right - rng.uniform(-0.12, 0.12)
    cos, sin = math.cos(turn) / reach, math.sin(turn) / reach
    x: Pixels = (right * cos + down * sin).astype(np.float32, copy=False)
    y: Pixels = (down * cos - right * sin).astype(np.float32, copy=False)
    return x, y


def _body(rng: Generator, x: Pixels, y: Pixels) -> tuple[NDArray[np.bool_], Pixels]:
    """The pixels that an identity covers, bool[h, w], and its colours, float32[h, w, 3] in 0..1."""
    angle, away = np.arctan2(y, x), np.hypot(x, y)
    phases, waves = rng.uniform(0, 2 * np.pi, 3).tolist(), rng.uniform(0, (0.2, 0.12, 0.08)).tolist()
    edge = 0.8 + sum(waves[k] * np.cos((k + 2) * angle + phases[k]) for k in range(3))
    base, stripe, *spots = rng.uniform(0.05, 1.0, (7, 3)).astype(np.float32)
    way, count, offset, share = rng.uniform((0, 1.0, 0, -0.6), (np.pi, 4.0, 2 * np.pi, 0.6)).tolist()
    wave = np.sin(count * math.pi * (x * math.cos(way) + y * math.sin(way)) + offset)
    colours = np.where((wave > share)[..., None], stripe, base)
    for colour in spots:
        (cx, cy), radius, flat = rng.uniform(-0.6, 0.6, 2).tolist(), rng.uniform(0.08, 0.28), rng.uniform(0.5, 1.0)
        colours[((x - cx) / radius) ** 2 + ((y - cy) / (radius * flat)) ** 2 < 1] = colour
    return away < edge, colours


def _paper(rng: Generator, size: tuple[int, int]) -> Pixels:
    """A background with a smooth change from one colour to another: float32[h, w, 3] in 0..1."""
    one, other = rng.uniform(0.2, 0.8, (2, 3)).astype(np.float32)
    way = rng.uniform(0, 2 * np.pi)
    down = np.linspace(-0.5, 0.5, size[0], dtype=np.float32)[:, None]
    right = np.linspace(-0.5, 0.5, size[1], dtype=np.float32)
    share = np.clip(0.5 + math.cos(way) * down + math.sin(way) * right, 0, 1)[..., None]
    mixed: Pixels = other + share * (one - other)
    return mixed
