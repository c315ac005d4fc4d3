"""Read the contest's files as Kaggle ships them: two folders of photos, and a csv with species and individuals."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from pathlib import Path

from medalist import layouts
from medalist.errors import DataError
from medalist.records import Sample, Split
from medalist.retrieval import splits

NEW = "new_individual"
SAME = {
    "bottlenose_dolpin": "bottlenose_dolphin",
    "kiler_whale": "killer_whale",
    "globis": "short_finned_pilot_whale",
    "pilot_whale": "short_finned_pilot_whale",
}
"""Other spellings of a species in the csv, each with the name that is used here."""


def read(root: Path) -> Split:
    """Read the samples under `root`. Their ids are file names, and `meta["species"]` is the species, spelt correctly.

    The stratum is the individual, so that each fold holds out a part of its photos. The stratum of an individual with
    one photo is its species. Raises DataError that names the csv, the row and the photo.
    """
    path = root / "train.csv"
    listed = layouts.listed(
        path, "image", lambda name: root / "train_images" / name, identity="individual_id", meta=("species",)
    )
    count = Counter(splits.identity_of(sample) for sample in listed)
    if count[NEW]:
        raise DataError(
            f"{path}: '{NEW}' is in {count[NEW]} rows; it is an answer, not an individual; remove these rows"
        )
    return layouts.parted(
        train=[_told(sample, lone=count[splits.identity_of(sample)] == 1) for sample in listed],
        test=layouts.listed(root / "sample_submission.csv", "image", lambda name: root / "test_images" / name),
    )


def _told(sample: Sample, lone: bool) -> Sample:
    species = str(sample.meta["species"])
    species = SAME.get(species, species)
    return replace(sample, stratum=species if lone else splits.identity_of(sample), meta={"species": species})
