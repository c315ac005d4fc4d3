"""Read the contest's files as Kaggle ships them: a folder of photos for each chain, a csv with hotels and times."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path

from medalist import layouts
from medalist.errors import DataError
from medalist.files import read_table
from medalist.records import RetrievalSplit, Sample, Split
from medalist.retrieval import splits

VISIT = timedelta(minutes=10)
"""Two photos of one hotel with at most this time between them are assumed to belong to one visit."""


def read(root: Path) -> Split:
    """Read the samples under `root`. Their ids are file names, and `meta` has chain and timestamp.

    The stratum is the hotel. The group is the visit, so that near copies stay in one fold. Raises DataError that
    names the csv, the row and the photo.
    """
    path = root / "train.csv"
    chain, taken = _chains_and_times(path)
    train = layouts.listed(
        path,
        "image",
        lambda name: root / "train_images" / chain[name] / name,
        identity="hotel_id",
        stratum="hotel_id",
        meta=("chain", "timestamp"),
    )
    visit = visits(train, taken)
    return layouts.parted(
        train=[replace(sample, group=visit[sample.id]) for sample in train],
        test=layouts.listed(root / "sample_submission.csv", "image", lambda name: root / "test_images" / name),
    )


def visits(samples: Sequence[Sample], taken: dict[str, datetime]) -> dict[str, str]:
    """Return the visit of each photo by its id. A visit is named by its hotel and the time of its first photo."""
    visit: dict[str, str] = {}
    hotel, last, name = "", datetime.min, ""
    for where, time, image in sorted((splits.identity_of(one), taken[one.id], one.id) for one in samples):
        if where != hotel or time - last > VISIT:
            name = f"{where} {time}"
        visit[image] = name
        hotel, last = where, time
    return visit


def against_known(training: Sequence[Sample], held_out: Sequence[Sample]) -> tuple[RetrievalSplit, ...]:
    """Return the split with held-out photos as queries and the training part as gallery.

    Photos of a hotel that the training part does not have are left out: the test part has no such photos.
    """
    known = {splits.identity_of(sample) for sample in training}
    return splits.against_training(training, [one for one in held_out if splits.identity_of(one) in known])


def _chains_and_times(path: Path) -> tuple[dict[str, str], dict[str, datetime]]:
    chain: dict[str, str] = {}
    taken: dict[str, datetime] = {}
    for number, row in enumerate(read_table(path, ("image", "chain", "hotel_id", "timestamp")), start=2):
        name = row["image"]
        where = f"{path}, row {number}, image '{name}'"
        if not row["chain"].isdecimal():
            raise DataError(f"{where}: the chain '{row['chain']}' must be a number, the name of its folder")
        try:
            taken[name] = datetime.strptime(row["timestamp"], "%Y-%m-%d %H:%M:%S")
        except ValueError:
            raise DataError(f"{where}: the timestamp '{row['timestamp']}' must look like 2018-04-16 17:01:49") from None
        chain[name] = row["chain"]
    return chain, taken
