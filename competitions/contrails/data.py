"""Read the contest's files as Kaggle ships them: a folder for each record, with an array for each infrared band."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medalist import layouts
from medalist.codecs.arrays import array_header, read_array
from medalist.errors import DataError
from medalist.files import read_json
from medalist.layouts.faults import refuse, same_ids
from medalist.records import Mask, Sample, Split

BANDS = (11, 14, 15)
"""The bands of the false colours, of nine that a record has: 8.4, 11.2 and 12.3 micrometres."""
FRAME = 4
"""The frame with a truth: four frames, ten minutes apart, come before it, and three after."""
MASK = "human_pixel_masks.npy"
PARTS = ("train", "validation")


def read(root: Path) -> Split:
    """Read the records under `root`; both labelled parts are training samples, and `meta` has the part of each.

    The group is the day (UTC), because a contrail lasts for hours and drifts into neighbouring records. The stratum
    says whether there are contrails. Raises one DataError for all bad records of a part.
    """
    train: list[Sample] = []
    for part in PARTS:
        train += _records(root, part, _days(root / f"{part}_metadata.json"))
    by_id = {sample.id: sample for sample in _records(root, "test", None)}
    order = layouts.ids_in(root / "sample_submission.csv", "record_id")
    same_ids("test record", by_id, "row in the sample submission", order)
    return layouts.parted(train, [by_id[name] for name in order])


def truth(root: Path, sample: Sample) -> Mask:
    """Return the contrails of a record, as most of its labellers saw them. Raises DataError for a bad array."""
    values = _plane(root / sample.annotation[0], 0)
    if not np.isin(values, (0, 1)).all():
        raise DataError(f"{root / sample.annotation[0]}: a mask has 0 and 1, and this has {values.max()}")
    return Mask(values.astype(np.uint8))


def ash(path: Path) -> NDArray[np.uint8]:
    """Return the false colours uint8[H, W, 3] of a record, in which ice clouds are dark blue; path: any band of it.

    Red is the difference of 12.3 and 11.2 micrometres in -4 .. 2 kelvin, green that of 11.2 and 8.4 in -4 .. 5, blue
    the temperature at 11.2 in 243 .. 303: the ash scheme of the contest's notebook. Pixels without a value are black.
    """
    files = (path.with_name(f"band_{band:02}.npy") for band in BANDS)
    at_8, at_11, at_12 = (_plane(file, FRAME).astype(np.float32) for file in files)
    scaled = (_scaled(at_12 - at_11, -4, 2), _scaled(at_11 - at_8, -4, 5), _scaled(at_11, 243, 303))
    return np.stack(scaled, axis=2)


def _records(root: Path, part: str, days: Mapping[str, str] | None) -> list[Sample]:
    """The samples of a part; those of records with a day have a truth."""
    samples, faults = [], []
    for name, folder in layouts.folders_in(root, part):
        images = tuple(folder / f"band_{band:02}.npy" for band in BANDS)
        try:
            shapes = {array_header(path).shape for path in images}
            if len(shapes) > 1 or len(shape := min(shapes)) != 3 or shape[2] <= FRAME:
                raise DataError(f"{folder}: the bands must have one shape, [height, width, more than {FRAME} frames]")
            sample = Sample(name, images, (shape[0], shape[1]))
            samples.append(sample if days is None else _with_truth(root, part, sample, days))
        except DataError as error:
            faults.append(str(error))
    refuse(f"{len(faults)} bad records in {root / part}", faults)
    return samples


def _with_truth(root: Path, part: str, sample: Sample, days: Mapping[str, str]) -> Sample:
    if sample.id not in days:
        raise DataError(f"record {sample.id} is not in {part}_metadata.json; download the contest again")
    mask = f"{part}/{sample.id}/{MASK}"
    look = "with contrails" if _plane(root / mask, 0).any() else "empty"
    return replace(sample, annotation=(mask,), group=days[sample.id], stratum=look, meta={"part": part})


def _days(path: Path) -> dict[str, str]:
    """The day of each record, from a list of records with `record_id` and `timestamp`: seconds, or ISO 8601."""
    listed: Any = read_json(path, DataError)
    try:
        return {str(one["record_id"]): _time(one["timestamp"]).date().isoformat() for one in listed}
    except (TypeError, KeyError, ValueError, OverflowError, OSError) as error:
        raise DataError(f"{path}: no list of records with record_id and timestamp; download it again") from error


def _time(said: float | str) -> datetime:
    return datetime.fromisoformat(said) if isinstance(said, str) else datetime.fromtimestamp(said, UTC)


def _plane(path: Path, frame: int) -> NDArray[Any]:
    values = read_array(path)
    if values.ndim != 3 or values.shape[2] <= frame:
        raise DataError(f"{path}: must be [height, width, more than {frame} frames], and is {list(values.shape)}")
    return values[..., frame]


def _scaled(values: NDArray[np.float32], low: float, high: float) -> NDArray[np.uint8]:
    """Values as 0 .. 255 between two bounds; what is no number becomes 0."""
    shares = np.nan_to_num((values - low) / (high - low), nan=0.0)
    scaled: NDArray[np.uint8] = np.rint(255 * np.clip(shares, 0, 1)).astype(np.uint8)
    return scaled
