"""Draw small versions of both contests, in the layout of the real ones, with landmarks that do not exist."""

from __future__ import annotations

from hashlib import sha256
from pathlib import Path
from typing import NamedTuple

from medalist.files import write_text
from medalist.layouts.drawing import identity_picture, write_picture
from medalist.records import Ranking

from .data import RETRIEVAL

SIZES = ((48, 64), (64, 48))  # height and width in pixels
SHOTS = (9, 7, 5, 4, 4, 3, 3, 3, 2, 2, 2, 2)  # training photos of each landmark
UNSEEN = (4, 3, 3, 2, 1, 1)  # index photos of each landmark without training photos; queries show the first four
PARTS = {"train": "train", "test": "test", "asked": f"{RETRIEVAL}/test", "index": f"{RETRIEVAL}/index"}


class Photo(NamedTuple):
    """One photo: its part (a key of PARTS), its id, the number of what it shows, and how often that was drawn before.

    Numbers from 0 are landmarks of the training part, from 100 landmarks of the index, from 200 single other things.
    """

    part: str
    id: str
    who: int
    shot: int


def photos(seed: int) -> list[Photo]:
    """Return all photos by part and id: 46 for training; 18 test photos, 8 without landmark; 8 queries and 24 index."""
    drawn = [("train", who, shot) for who, count in enumerate(SHOTS) for shot in range(count)]
    drawn += [("test", who, count) for who, count in enumerate(SHOTS[:10])]
    drawn += [("test", 200 + who, 0) for who in range(8)]
    drawn += [("index", 100 + who, shot) for who, count in enumerate(UNSEEN) for shot in range(count)]
    drawn += [("index", 300 + who, 0) for who in range(10)]
    drawn += [("asked", 100 + who, UNSEEN[who] + shot) for who in range(4) for shot in range(2)]
    return sorted(Photo(part, _hash(seed, who, shot)[:16], who, shot) for part, who, shot in drawn)


def landmark(seed: int, who: int) -> str:
    """Return the number that the contest gives a landmark."""
    return str(int(_hash(seed, who)[:8], 16) % 10_000 * 20 + who)


def draw(folder: Path, seed: int) -> None:
    """Write both contests into `folder`, which must be empty or hold the contests of the same seed."""
    drawn = photos(seed)
    for photo in drawn:
        inside = folder.joinpath(PARTS[photo.part], *photo.id[:3])
        picture = identity_picture(seed, photo.who, photo.shot, SIZES[photo.shot % 2])
        write_picture(inside / f"{photo.id}.jpg", picture)
    ids = {part: [photo.id for photo in drawn if photo.part == part] for part in PARTS}
    rows = [f"{photo.id},{landmark(seed, photo.who)}" for photo in drawn if photo.part == "train"]
    _write(folder / "train.csv", ["id,landmark_id", *rows])
    recognised = [f"{name},{landmark(seed, 0)} 0.1" for name in ids["test"]]
    _write(folder / "sample_submission.csv", ["id,landmarks", *recognised])
    found = " ".join(ids["index"][:3])
    _write(folder / RETRIEVAL / "sample_submission.csv", ["id,images", *(f"{name},{found}" for name in ids["asked"])])


def hidden_truth(seed: int) -> tuple[dict[str, Ranking], dict[str, Ranking]]:
    """Return the truths of the two test parts by id: recognition, retrieval. `draw` does not write them."""
    drawn = photos(seed)
    who = {one.id: Ranking((landmark(seed, one.who),) if one.who < 100 else ()) for one in drawn if one.part == "test"}
    index = [photo for photo in drawn if photo.part == "index"]
    asked = [photo for photo in drawn if photo.part == "asked"]
    return who, {one.id: Ranking(tuple(hit.id for hit in index if hit.who == one.who)) for one in asked}


def _write(path: Path, lines: list[str]) -> None:
    write_text(path, "".join(f"{line}\n" for line in lines))


def _hash(*parts: int) -> str:
    return sha256(repr(("google_landmark", parts)).encode()).hexdigest()
