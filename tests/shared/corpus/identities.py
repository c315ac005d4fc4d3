"""Layouts of contests of identities."""

from __future__ import annotations

from pathlib import Path

from corpus.layout import Layout, blank, ids, rng_of, table

WHO = [f"w_{k:05x}" for k in range(6)]


def _pictures(root: Path, name: str, suffix: str = ".jpg") -> tuple[list[str], list[str]]:
    rng, names, test = rng_of(name), ids(name, 24), ids(f"{name} test", 5)
    blank(root, "train", names, suffix, rng)
    blank(root, "test", test, suffix, rng)
    return names, test


def _whales(root: Path) -> None:
    """As humpback whales: new_whale, five names in a cell."""
    names, test = _pictures(root, "whales")
    labels = ["new_whale" if k % 4 == 0 else WHO[k % 6] for k in range(24)]
    table(root / "train.csv", "Image,Id", [(f"{n}.jpg", w) for n, w in zip(names, labels, strict=True)])
    best = "new_whale " + " ".join(sorted(set(labels) - {"new_whale"})[:4])
    table(root / "sample_submission.csv", "Image,Id", [(f"{name}.jpg", best) for name in test])


def _fins(root: Path) -> None:
    """As happywhale: a species beside the individual, a new name in the sample submission alone."""
    names, test = _pictures(root, "fins")
    rows = [(f"{n}.jpg", "beluga" if k % 2 else "orca", WHO[k % 6]) for k, n in enumerate(names)]
    table(root / "train.csv", "image,species,individual_id", rows)
    best = "new_individual " + " ".join(WHO[:4])
    table(root / "sample_submission.csv", "image,predictions", [(f"{name}.jpg", best) for name in test])


def _landmarks(root: Path) -> None:
    """As landmark recognition: folders by the letters of ids, one name with a confidence."""
    rng, names, test = rng_of("landmarks"), ids("landmarks", 24), ids("landmarks test", 5)
    for part, some in (("train", names), ("test", test)):
        for name in some:
            blank(root, f"{part}/{name[0]}/{name[1]}", [name], ".jpg", rng)
    table(root / "train.csv", "id,landmark_id", [(n, 1000 + 37 * (k % 6)) for k, n in enumerate(names)])
    table(root / "sample_submission.csv", "id,landmarks", [(name, "1000 0.1") for name in test])


def _gallery(root: Path) -> None:
    """Names of images: some images of the test part ask, the others answer."""
    names, test = _pictures(root, "shop")
    more = ids("shop gallery", 8)
    blank(root, "test", more, ".jpg", rng_of("gallery"))
    table(root / "train.csv", "id,product", [(n, f"sort {k % 6}") for k, n in enumerate(names)])
    table(root / "sample_submission.csv", "id,answers", [(name, " ".join(more[:5])) for name in test])


IDENTITIES = (
    Layout("whales", _whales, "identities", "train.csv", "train", "test",
           ('new="new_whale"', 'RankingFormat(("Image", "Id"), 5)', "against_training"), (24, 5)),
    Layout("fins", _fins, "identities", "train.csv", "train", "test",
           ('new="new_individual"', 'identity="individual_id"'), (24, 5)),
    Layout("landmarks", _landmarks, "identities", "train.csv", "train", "test",
           ('RankingFormat(("id", "landmarks"), 1, confident=True, empty="")', "score=gap", "images_in_tree"), (24, 5)),
    Layout("shop", _gallery, "identities", "train.csv", "train", "test",
           ('names="samples"', "leave_one_out", 'group="product"'), (24, 5)),
)  # fmt: skip
