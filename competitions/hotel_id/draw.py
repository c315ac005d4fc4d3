"""Draw a small contest in the layout of the real one, with rooms that do not exist."""

from __future__ import annotations

from datetime import datetime, timedelta
from hashlib import sha256
from pathlib import Path
from typing import NamedTuple

from medalist.files import write_text
from medalist.layouts.drawing import identity_picture, write_picture
from medalist.records import Ranking

SIZES = ((64, 48), (48, 64))  # height and width in pixels: portrait and landscape photos
VISITS = ((3, 2, 2, 1), (2, 2, 1), (2, 1, 1), (3, 1), (1, 1, 1), (2, 2), (1, 1), (4,), (2,), (1,), (1,))
"""For each hotel the number of photos of each visit; four hotels have one visit."""
CHAINS = (0, 0, 0, 3, 3, 5, 5, 5, 87, 87, 0)  # chain of each hotel; 0 = no chain
FIRST = datetime(2018, 4, 16, 17, 1, 49)


class Photo(NamedTuple):
    """One photo: part, file name, hotel (from 0), how often the hotel was drawn before, and when it was taken."""

    part: str
    name: str
    hotel: int
    shot: int
    taken: datetime


def photos(seed: int) -> list[Photo]:
    """Return all photos of the contest, sorted by part and name: 38 training photos and 11 test photos."""
    drawn = []
    for hotel, visits in enumerate(VISITS):
        shots = [(visit, place) for visit, count in enumerate(visits) for place in range(count)]
        for shot, (visit, place) in enumerate([*shots, (len(visits), 0)]):
            taken = FIRST + timedelta(days=40 * visit + hotel, seconds=25 * place)
            part = "train" if visit < len(visits) else "test"
            drawn.append(Photo(part, f"{_hash(seed, hotel, shot)[:16]}.jpg", hotel, shot, taken))
    return sorted(drawn)


def hotel_id(seed: int, hotel: int) -> str:
    """Return the number that the contest gives a hotel."""
    return str(int(_hash(seed, hotel)[:8], 16) % 6_000 * len(VISITS) + hotel)


def draw(folder: Path, seed: int) -> None:
    """Write the contest into `folder`, which must be empty or hold the contest of the same seed."""
    drawn = photos(seed)
    for photo in drawn:
        inside = folder / "test_images" if photo.part == "test" else folder / "train_images" / str(CHAINS[photo.hotel])
        write_picture(inside / photo.name, identity_picture(seed, photo.hotel, photo.shot, SIZES[photo.shot % 2]))
    train = [f"{p.name},{CHAINS[p.hotel]},{hotel_id(seed, p.hotel)},{p.taken}\n" for p in drawn if p.part == "train"]
    write_text(folder / "train.csv", "".join(["image,chain,hotel_id,timestamp\n", *train]))
    first = " ".join(hotel_id(seed, hotel) for hotel in range(5))
    asked = [f"{photo.name},{first}\n" for photo in drawn if photo.part == "test"]
    write_text(folder / "sample_submission.csv", "".join(["image,hotel_id\n", *asked]))


def hidden_truth(seed: int) -> dict[str, Ranking]:
    """Return the truth of the test part by id. `draw` does not write it."""
    return {one.name: Ranking((hotel_id(seed, one.hotel),)) for one in photos(seed) if one.part == "test"}


def _hash(*parts: int) -> str:
    return sha256(repr(("hotel_id", parts)).encode()).hexdigest()
