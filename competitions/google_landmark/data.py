"""Read both contests: they share the training part, and each has its own test part. Photos lie as a/b/c/abc….jpg."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from hashlib import sha256
from pathlib import Path

from medalist import layouts
from medalist.errors import DataError
from medalist.records import RetrievalSplit, Sample, Split
from medalist.retrieval import splits

RETRIEVAL = "retrieval"
"""The folder of the retrieval contest's own files, inside the folder of the recognition contest."""


def read(root: Path) -> Split:
    """Read the recognition contest under `root`. Raises DataError that names the csv, the row and the photo.

    A third of the landmarks, by a hash of their number, are groups: a fold holds out all their photos, so they are
    queries without a right answer, as the test part has. Of the other landmarks each fold holds out a part.
    """
    train = _train(root)
    return layouts.parted(
        train=[
            replace(sample, group=sample.annotation[0])
            if held_whole(splits.identity_of(sample))
            else replace(sample, stratum=sample.annotation[0])
            for sample in train
        ],
        test=layouts.listed(root / "sample_submission.csv", "id", lambda name: _photo(root / "test", name)),
    )


def read_retrieval(root: Path) -> Split:
    """Read the retrieval contest: the training part under `root`, `test` and `index` under `root`/retrieval.

    The group is the landmark: held-out landmarks are unseen. Raises DataError that names the faulty file or row.
    """
    inside = root / RETRIEVAL
    return layouts.parted(
        train=[replace(sample, group=sample.annotation[0]) for sample in _train(root)],
        test=layouts.listed(inside / "sample_submission.csv", "id", lambda name: _photo(inside / "test", name)),
        gallery=_index(inside / "index"),
    )


def held_whole(landmark: str) -> bool:
    """Return whether all photos of a landmark are held out together; this is true for a third of the landmarks."""
    return sha256(landmark.encode()).digest()[0] % 3 == 0


def one_asks(training: Sequence[Sample], held_out: Sequence[Sample]) -> tuple[RetrievalSplit, ...]:
    """Return a split whose queries are the first photo by id of each held-out landmark; the gallery is the others."""
    del training
    first: dict[str, str] = {}
    for sample in sorted(held_out, key=lambda one: one.id):
        first.setdefault(splits.identity_of(sample), sample.id)
    asks = set(first.values())
    return (RetrievalSplit(tuple(first.values()), tuple(one.id for one in held_out if one.id not in asks)),)


def _train(root: Path) -> tuple[Sample, ...]:
    return layouts.listed(root / "train.csv", "id", lambda name: _photo(root / "train", name), identity="landmark_id")


def _photo(part: Path, name: str) -> Path:
    return part / name[0:1] / name[1:2] / name[2:3] / f"{name}.jpg"


def _index(folder: Path) -> tuple[Sample, ...]:
    """Return the photos of the index, sorted by id. No csv lists them."""
    paths = sorted(folder.glob("*/*/*/*.jpg"), key=lambda path: path.stem)
    if not paths:
        raise DataError(f"no photos in {folder}; expected a/b/c/abc….jpg, of the retrieval contest")
    strays = [path for path in paths if path != _photo(folder, path.stem)]
    if strays:
        raise DataError(f"{len(strays)} photos are in the wrong folder, first {strays[0]}; unpack the index again")
    return layouts.with_sizes([(path.stem, path) for path in paths])
