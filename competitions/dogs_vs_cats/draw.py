"""Draw a small contest in the layout of the real one: made-up heads; ears and muzzles show if it is a cat or a dog."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from medalist.files import write_text
from medalist.layouts.drawing import write_picture
from medalist.records import Labels

from .data import CLASSES

SIZES = ((40, 48), (48, 40), (44, 44))  # heights and widths in pixels
TRAINED, ASKED = 24, 12  # training photos of each class; test photos of both classes together


def draw(folder: Path, seed: int) -> None:
    """Write the contest, 60 photos, into `folder`, which must be empty or hold the contest of the same seed."""
    trained = [(f"train/{label}.{number}.jpg", label) for label in CLASSES for number in range(TRAINED)]
    asked = [(f"test/{name}.jpg", truth.names[0]) for name, truth in hidden_truth(seed).items()]
    for number, (name, label) in enumerate([*trained, *asked]):
        picture = head(np.random.default_rng([seed, number]), label, SIZES[number % len(SIZES)])
        write_picture(folder / name, picture)
    rows = "".join(f"{number},0.5\n" for number in range(1, ASKED + 1))
    write_text(folder / "sample_submission.csv", f"id,label\n{rows}")


def hidden_truth(seed: int) -> dict[str, Labels]:
    """Return the truth of the test part by id: as many cats as dogs. `draw` does not write it."""
    labels = np.random.default_rng(seed).permutation(ASKED) % len(CLASSES)
    return {str(number): Labels((CLASSES[label],)) for number, label in enumerate(labels, start=1)}


def head(rng: Generator, label: str, size: tuple[int, int]) -> NDArray[np.uint8]:
    """Return a picture uint8[h, w, 3] of `size` (h, w): a head from the front. Colours do not depend on the class."""
    scale = rng.uniform(15, 17)
    y, x = (np.mgrid[: size[0], : size[1]] - np.reshape(size, (2, 1, 1)) / 2) / scale
    y, x = y + rng.uniform(-0.15, 0.05), x + rng.uniform(-0.15, 0.15)
    across = np.abs(x)
    fur, ear, ground = rng.uniform(0.3, 0.85, 3), rng.uniform(0.1, 0.6, 3), rng.uniform(0.2, 0.9, 3)
    image = np.broadcast_to(ground, (*size, 3)).copy()
    if label == "cat":  # pointed ears that stand up
        image[(y > -1.25) & (y < 0) & (np.abs(across - 0.6) < 0.5 * (y + 1.25))] = ear
    image[np.hypot(x / 0.9, y / 0.85) < 1] = fur
    if label == "dog":  # ears that hang down, and a long muzzle
        image[np.hypot((across - 0.95) / 0.3, (y - 0.1) / 0.8) < 1] = ear
        image[np.hypot(x / 0.45, (y - 0.45) / 0.5) < 1] = 0.4 + 0.6 * fur
        image[np.hypot(x / 0.25, (y - 0.3) / 0.18) < 1] = 0.05
    else:
        image[(y > 0.2) & (y < 0.4) & (across < 0.4 - y)] = (0.9, 0.5, 0.5)
        for tilt in (-0.15, 0.0, 0.15):  # whiskers
            image[(np.abs(y - 0.4 - tilt * across) < 0.04) & (across > 0.25) & (across < 1.1)] = 0.95
    image[np.hypot((across - 0.38) / 0.13, (y + 0.2) / 0.15) < 1] = 0.05
    image = image * rng.uniform(0.8, 1.1) + 0.03 * rng.standard_normal(image.shape)
    return np.rint(np.clip(image, 0, 1) * 255).astype(np.uint8)
