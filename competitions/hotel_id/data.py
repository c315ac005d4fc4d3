"""Reads the contest as Kaggle ships it: a folder of photos for each chain, and a csv with hotel and time of each."""

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
"""Photos of one hotel that follow each other within this time are taken to be of one visit."""


def read(root: Path) -> Split:
    """Read the samples under `root`; their ids are file names, and `meta` has chain and timestamp.

    The stratum is the hotel, the group is the visit: near copies stay in one fold. Raises DataError that names the
    csv, the row and the photo.
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
    """The visit of each photo by id: its hotel, and the time of the visit's first photo."""
    visit: dict[str, str] = {}
    hotel, last, name = "", datetime.min, ""
    for where, time, image in sorted((splits.identity_of(one), taken[one.id], one.id) for one in samples):
        if where != hotel or time - last > VISIT:
            name = f"{where} {time}"
        visit[image] = name
        hotel, last = where, time
    return visit


def against_known(training: Sequence[Sample], held_out: Sequence[Sample]) -> tuple[RetrievalSplit, ...]:
    """Held-out photos ask the training part, but for those of hotels that it does not have: the test part has none."""
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
