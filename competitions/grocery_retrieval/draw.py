"""Draw a small version of the contest: photos of made-up products, in the layout of the real files."""

from __future__ import annotations

from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path
from typing import NamedTuple

from medalist.files import write_text
from medalist.layouts.drawing import identity_picture, write_picture
from medalist.records import Ranking

SIZES = ((144, 144), (192, 144), (144, 192))  # the short side has 144 pixels
KINDS = ("Fruit", "Packages", "Vegetables")
LISTS = ("train", "train", "train", "val", "test", "test", "test")  # the source's list of each photo of a product
TRAINED, ASKED = 9, 6  # products of the training part, products of the test part


class Photo(NamedTuple):
    """One photo: its id, its product (those of the training part first), and its number among the product's photos."""

    id: str
    product: int
    shot: int


def draw(folder: Path, seed: int) -> None:
    """Write the contest, 105 photos, into `folder`, which must be empty or hold the contest of the same seed."""
    train = ["id,label,coarse_label,kind,official_split,source_name"]
    parts: dict[str, list[str]] = {"query": [], "gallery": []}
    for photo in photos(seed):
        part = "train_images" if photo.product < TRAINED else "test_images"
        picture = identity_picture(seed, photo.product, photo.shot, SIZES[(photo.product + photo.shot) % 3])
        write_picture(folder / part / f"{photo.id}.jpg", picture)
        if photo.product < TRAINED:
            label, coarse = f"Product-{photo.product}", f"Sort-{photo.product // 3}"
            kind, source = KINDS[photo.product // 3], f"{label}_{photo.shot:03}.jpg"
            train.append(f"{photo.id},{label},{coarse},{kind},{LISTS[photo.shot]},{source}")
        else:
            parts["query" if LISTS[photo.shot] == "test" else "gallery"].append(photo.id)
    answer = " ".join(parts["gallery"][:5])
    tables = {
        "train": train,
        **{name: ["id", *ids] for name, ids in parts.items()},
        "sample_submission": ["id,gallery_ids", *(f"{name},{answer}" for name in parts["query"])],
    }
    for name, lines in tables.items():
        write_text(folder / f"{name}.csv", "".join(f"{line}\n" for line in lines))


def hidden_truth(seed: int) -> dict[str, Ranking]:
    """Return the right gallery ids of each query, by its id. `draw` does not write them."""
    drawn = [photo for photo in photos(seed) if photo.product >= TRAINED]
    gallery = [photo for photo in drawn if LISTS[photo.shot] != "test"]
    return {
        photo.id: Ranking(tuple(other.id for other in gallery if other.product == photo.product))
        for photo in drawn
        if LISTS[photo.shot] == "test"
    }


def photos(seed: int) -> Iterator[Photo]:
    """Return all photos, sorted by id."""
    numbers = [(product, shot) for product in range(TRAINED + ASKED) for shot in range(len(LISTS))]
    named = {sha256(f"grocery {seed} {p} {s}".encode()).hexdigest()[:12]: (p, s) for p, s in numbers}
    return (Photo(name, *named[name]) for name in sorted(named))
