"""What each layout of the corpus says, and how its pictures and tables are drawn."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray
from PIL import Image

from medalist.layouts.drawing import drawn_objects, made_up_id, painted, write_lines

SIZE = (48, 64)
BLANK_TEST = 5


@dataclass(frozen=True)
class Layout:
    """A layout: how it is drawn, and what is right.

    kind, source, train, test: of the finding. code: texts that the written code must have. answers: what the user says.
    counts: training and test samples.
    """

    name: str
    draw: Callable[[Path], None]
    kind: str
    source: str
    train: str
    test: str | None
    code: tuple[str, ...]
    counts: tuple[int, int]
    answers: dict[str, str] = field(default_factory=dict)


def rng_of(name: str) -> Generator:
    return np.random.default_rng(list(name.encode()))


def objects(rng: Generator, size: tuple[int, int] = SIZE, count: int = 3) -> NDArray[np.int32]:
    """Some objects with sides of different length, so that rows and columns cannot be exchanged."""
    return drawn_objects(rng, size, count, (4, 9))


def picture(rng: Generator, labels: NDArray[np.int32], classes: int = 1) -> NDArray[np.uint8]:
    colours = [(0.2, 0.25, 0.3), (0.9, 0.8, 0.6), (0.8, 0.3, 0.2), (0.3, 0.8, 0.3), (0.4, 0.4, 0.95)]
    return painted(rng, np.minimum(labels, classes).astype(np.int32), colours[: classes + 1])


def save(path: Path, image: NDArray[np.generic], **options: object) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    form = {".jpeg": "JPEG", ".jpg": "JPEG", ".tif": "TIFF", ".png": "PNG", ".gif": "GIF"}[path.suffix.lower()]
    Image.fromarray(np.asarray(image)).save(path, form, **options)  # type: ignore[arg-type]


def plain(rng: Generator, size: tuple[int, int] = SIZE) -> NDArray[np.uint8]:
    return picture(rng, objects(rng, size))


def blank(root: Path, folder: str, names: Sequence[str], suffix: str, rng: Generator) -> None:
    for name in names:
        save(root / folder / f"{name}{suffix}", plain(rng))


def ids(name: str, count: int, length: int = 10) -> list[str]:
    return [made_up_id(name, number, length=length) for number in range(count)]


def table(path: Path, header: str, rows: Sequence[Sequence[object]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    write_lines(path, [header, *(",".join(map(str, row)) for row in rows)])
