"""Draw a small contest in the layout of the real one, with individuals that do not exist."""

from __future__ import annotations

from hashlib import sha256
from pathlib import Path
from typing import NamedTuple

from medalist.files import write_text
from medalist.layouts.drawing import identity_picture, write_picture
from medalist.records import Ranking

from .data import NEW

SIZES = ((56, 84), (64, 64), (48, 96))  # height and width in pixels; a photo's shot number selects one
SHOTS = (9, 6, 5, 4, 3, 3, 2, 2, 2, 1, 1, 1, 1, 1)  # training photos of each individual; the last five have one
STRANGERS = range(100, 103)  # individuals that only the test part has, one photo each
SPECIES = ("beluga", "humpback_whale", "bottlenose_dolphin", "killer_whale", "globis", "pilot_whale")
MISSPELT = {"bottlenose_dolphin": "bottlenose_dolpin", "killer_whale": "kiler_whale"}  # as in the real csv


class Photo(NamedTuple):
    """One photo: its part, its file name, the number of its individual, and how often that was drawn before."""

    part: str
    name: str
    who: int
    shot: int


def photos(seed: int) -> list[Photo]:
    """Return all photos of the contest, sorted by part and name: 41 training photos and 17 test photos."""
    drawn = [("train", who, shot) for who, count in enumerate(SHOTS) for shot in range(count)]
    drawn += [("test", who, count) for who, count in enumerate(SHOTS)]
    drawn += [("test", who, 0) for who in STRANGERS]
    return sorted(Photo(part, f"{_hash(seed, who, shot)[:14]}.jpg", who, shot) for part, who, shot in drawn)


def individual(seed: int, who: int) -> str:
    """Return the name of an individual: twelve hexadecimal digits."""
    return _hash(seed, who)[:12]


def species(photo: Photo) -> str:
    """Return the species of a photo as the csv writes it. Every third shot has the other spelling, if there is one."""
    name = SPECIES[photo.who % len(SPECIES)]
    return MISSPELT.get(name, name) if photo.shot % 3 == 2 else name


def draw(folder: Path, seed: int) -> None:
    """Write the contest into `folder`, which must be empty or hold the contest of the same seed."""
    drawn = photos(seed)
    for photo in drawn:
        picture = identity_picture(seed, photo.who, photo.shot, SIZES[photo.shot % len(SIZES)])
        write_picture(folder / f"{photo.part}_images" / photo.name, picture)
    train = [f"{one.name},{species(one)},{individual(seed, one.who)}\n" for one in drawn if one.part == "train"]
    write_text(folder / "train.csv", "".join(["image,species,individual_id\n", *train]))
    first = " ".join([*(individual(seed, who) for who in range(4)), NEW])
    asked = [f"{photo.name},{first}\n" for photo in drawn if photo.part == "test"]
    write_text(folder / "sample_submission.csv", "".join(["image,predictions\n", *asked]))


def hidden_truth(seed: int) -> dict[str, Ranking]:
    """Return the truth of the test part by id. `draw` does not write it."""
    asked = [photo for photo in photos(seed) if photo.part == "test"]
    return {one.name: Ranking((NEW if one.who in STRANGERS else individual(seed, one.who),)) for one in asked}


def _hash(*parts: int) -> str:
    return sha256(repr(("happywhale", parts)).encode()).hexdigest()
