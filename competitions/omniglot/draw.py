"""Draw a small version of the contest: characters of a few curved strokes, each written by several drawers."""

from __future__ import annotations

from hashlib import sha256
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from medalist.files import write_text
from medalist.layouts.drawing import write_picture
from medalist.records import Ranking

SIDE = 105
TRAINED, ASKED, RUNS = 5, 2, 2  # alphabets of the training part, alphabets of the test part, one-shot runs
CHARACTERS, DRAWERS, WAYS = 4, 20, 20


class Sign(NamedTuple):
    """One drawing: its folder, its name in the folder (which is its id), and its alphabet, character and drawer."""

    folder: str
    name: str
    alphabet: int
    character: int
    drawer: int


def draw(folder: Path, seed: int) -> None:
    """Write the contest, 600 images, into `folder`, which must be empty or hold the contest of the same seed."""
    signs = _signs(seed)
    for place, name, *what in signs:
        write_picture(folder / place / f"{name}.png", written_sign(seed, *what))
    train = [(sign.name, sign.name.rpartition("/")[0], sign.drawer) for sign in signs if sign.folder == "train_images"]
    queries, gallery = ([s.name for s in signs if s.folder == "test_images" and (s.drawer <= 5) == q] for q in (1, 0))
    items = [sign.name for sign in signs if "/test/" in sign.name]
    five = " ".join(gallery[:5])
    rows = [f"{name}.png,{label.replace('/', ',')},{label},{drawer}" for name, label, drawer in train]
    for table, lines in {
        "train": ("path,alphabet,character,label,drawer", *rows),
        "query": ("id", *queries),
        "gallery": ("id", *gallery),
        "sample_submission": ("id,gallery_ids", *(f"{name},{five}" for name in queries)),
        "oneshot_sample_submission": ("item,class_image", *(f"{i},{i[:5]}/training/class01" for i in items)),
    }.items():
        write_text(folder / f"{table}.csv", "".join(f"{line}\n" for line in lines))


def hidden_truth(seed: int) -> dict[str, Ranking]:
    """Return the right names of each query and each one-shot item, by id. `draw` does not write them."""
    queries: list[Sign] = []
    answers: dict[tuple[int, int], list[str]] = {}
    for sign in _signs(seed):
        if "/test/" in sign.name or (sign.folder == "test_images" and sign.drawer <= 5):
            queries.append(sign)
        elif sign.folder != "train_images":
            answers.setdefault((sign.alphabet, sign.character), []).append(sign.name)
    return {sign.name: Ranking(tuple(answers[sign.alphabet, sign.character])) for sign in queries}


def written_sign(seed: int, alphabet: int, character: int, drawer: int) -> NDArray[np.bool_]:
    """Return one character by one drawer, bool[105, 105]: ink is False, paper is True.

    The strokes depend on the character, slant and size on the drawer, and each stroke has a small random error.
    """
    sign, hand = np.random.default_rng([seed, alphabet, character]), np.random.default_rng([seed, 99, alphabet, drawer])
    off = np.random.default_rng([seed, alphabet, character, drawer])
    slant, scale, moved = hand.uniform(-0.2, 0.2), hand.uniform(0.75, 1.05, 2), hand.uniform(-0.06, 0.06, 2)
    image = Image.new("1", (SIDE, SIDE), 1)
    t = np.linspace(0, 1, 30)[:, None]
    end = sign.uniform(-0.35, 0.35, 2)
    for _ in range(sign.integers(2, 5)):
        start = end if sign.random() < 0.5 else sign.uniform(-0.35, 0.35, 2)
        bend, end = sign.uniform(-0.5, 0.5, 2), sign.uniform(-0.35, 0.35, 2)
        a, b, c = np.stack([start, bend, end]) + off.normal(0, 0.02, (3, 2))
        curve = ((1 - t) ** 2 * a + 2 * t * (1 - t) * b + t**2 * c) * scale + moved
        curve[:, 0] += slant * curve[:, 1]
        ImageDraw.Draw(image).line([(x, y) for x, y in (curve + 0.5) * SIDE], fill=0, width=3)
    return np.array(image)


def _signs(seed: int) -> list[Sign]:
    """Return all drawings by folder and name. In a run drawer 1 writes the classes, drawer 2 the shuffled items."""
    signs = []
    for alphabet, character, drawer in np.ndindex(TRAINED, CHARACTERS, DRAWERS):
        number = f"{1 + alphabet * CHARACTERS + character:04}_{drawer + 1:02}"
        name = f"Drawn_{alphabet + 1}/character{character + 1:02}/{number}"
        signs.append(Sign("train_images", name, alphabet, character, drawer + 1))
    for alphabet, character, drawer in np.ndindex(ASKED, CHARACTERS, 15):
        name = sha256(f"omniglot {seed} {alphabet} {character} {drawer}".encode()).hexdigest()[:12]
        signs.append(Sign("test_images", name, 20 + alphabet, character, drawer + 1))
    for run in range(RUNS):
        order = np.random.default_rng([seed, run]).permutation(WAYS).tolist()
        for n in range(WAYS):
            signs.append(Sign("oneshot", f"run{run + 1:02}/training/class{n + 1:02}", 40 + run, n, 1))
            signs.append(Sign("oneshot", f"run{run + 1:02}/test/item{n + 1:02}", 40 + run, order[n], 2))
    return sorted(signs)
