"""Draw a small contest in the layout of the real one, with whales that do not exist."""

from __future__ import annotations

from hashlib import sha256
from pathlib import Path
from typing import NamedTuple

from medalist.files import write_text
from medalist.layouts.drawing import identity_picture, write_picture
from medalist.records import Ranking

from .data import NEW

SIZE = (48, 96)  # height and width in pixels
SHOTS = (8, 6, 5, 4, 3, 3, 2, 2, 1, 1, 1, 1)  # training photos of each named whale; the last four have one
UNNAMED = {"train": range(100, 114), "test": range(200, 204)}  # whales with the label new_whale, one photo each


class Photo(NamedTuple):
    """One photo: its part, its file name, the number of its whale, how often that was drawn before, and its label."""

    part: str
    name: str
    who: int
    shot: int
    whale: str


def photos(seed: int) -> list[Photo]:
    """Return all photos of the contest, sorted by part and name: 51 training photos and 16 test photos."""
    drawn = [("train", who, shot) for who, count in enumerate(SHOTS) for shot in range(count)]
    drawn += [("test", who, count) for who, count in enumerate(SHOTS)]
    drawn += [(part, who, 0) for part, unnamed in UNNAMED.items() for who in unnamed]
    return sorted(
        Photo(part, f"{_hash(seed, who, shot)[:9]}.jpg", who, shot, f"w_{_hash(seed, who)[:7]}" if who < 100 else NEW)
        for part, who, shot in drawn
    )


def draw(folder: Path, seed: int) -> None:
    """Write the contest into `folder`, which must be empty or hold the contest of the same seed."""
    drawn = photos(seed)
    for photo in drawn:
        write_picture(folder / photo.part / photo.name, identity_picture(seed, photo.who, photo.shot, SIZE))
    train = [photo for photo in drawn if photo.part == "train"]
    write_text(folder / "train.csv", "".join(["Image,Id\n", *(f"{one.name},{one.whale}\n" for one in train)]))
    first = " ".join([NEW, *sorted({photo.whale for photo in train} - {NEW})[:4]])  # as in the real file
    asked = [f"{photo.name},{first}\n" for photo in drawn if photo.part == "test"]
    write_text(folder / "sample_submission.csv", "".join(["Image,Id\n", *asked]))


def hidden_truth(seed: int) -> dict[str, Ranking]:
    """Return the truth of the test part by id. `draw` does not write it."""
    return {photo.name: Ranking((photo.whale,)) for photo in photos(seed) if photo.part == "test"}


def _hash(*parts: int) -> str:
    return sha256(repr(("humpback_whale", parts)).encode()).hexdigest()
