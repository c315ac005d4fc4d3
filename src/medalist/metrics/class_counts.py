"""Count the pixels of masks by class, and average figures over images and classes."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import cv2
import numpy as np
from numpy.typing import NDArray

from medalist.errors import ConfigError, DataError
from medalist.metrics.masks import require_pairs
from medalist.records import Mask, Score

Masks = Mapping[str, Mask]
Metric = Callable[[Masks, Masks], Score]
Floats = NDArray[np.float64]

OverImages = Literal["pairs", "images", "classes"]
Over = Literal["dataset", "pairs", "images", "classes"]

_MOST_AT_ONCE = 1 << 24  # OpenCV returns counts as float32, which holds whole numbers up to this
_OUTSIDE = 255  # no class has this number


def confusion(truth: Mask, answer: Mask, classes: int) -> NDArray[np.int64]:
    """Return how many judged pixels of each true class have each answered class: int64[classes, classes].

    Raises DataError for values that are no class, which are not counted silently.
    """
    assert 1 <= classes <= _OUTSIDE, classes
    there, said = truth.classes, answer.classes
    if truth.void is not None:
        there = there | np.negative(truth.void.view(np.uint8))  # 255 at void pixels
    counts = np.zeros((classes, classes), np.int64)
    if not there.size:
        return counts
    lines = max(1, _MOST_AT_ONCE // max(there.shape[1], 1))
    for top in range(0, there.shape[0], lines):
        part = [np.ascontiguousarray(side[top : top + lines]) for side in (there, said)]
        # Values from `classes` on are left out; void pixels have such a value.
        found = cv2.calcHist(part, [0, 1], None, [classes, classes], [0, classes, 0, classes])
        counts += found.astype(np.int64)
    judged = there.size - (0 if truth.void is None else np.count_nonzero(truth.void))
    if int(counts.sum()) != judged:
        _refuse_values(there, said, truth.void, classes)
    return counts


def _refuse_values(
    truth: NDArray[np.uint8], answer: NDArray[np.uint8], void: NDArray[np.bool_] | None, classes: int
) -> None:
    judged = np.ones(truth.shape, np.bool_) if void is None else ~void
    for what, values in (("the truth", truth), ("the answer", answer)):
        wrong = values[judged & (values >= classes)]
        if wrong.size:
            raise DataError(
                f"{what} has the value {int(wrong[0])} in {np.count_nonzero(wrong == wrong[0]):,} pixels; the classes "
                f"of this metric are 0..{classes - 1}"
            )
    raise AssertionError("every judged pixel has a class on both sides")


@dataclass(frozen=True, eq=False)
class ClassCounts:
    """Judged pixels of N images by class.

    truth, answer, both: int64[N, C], of the truths, of the answers, and of both. confusion: int64[C, C] of all images.
    """

    truth: NDArray[np.int64]
    answer: NDArray[np.int64]
    both: NDArray[np.int64]
    confusion: NDArray[np.int64]


def count_classes(truths: Masks, answers: Masks, classes: Sequence[str]) -> ClassCounts:
    """Count the judged pixels of all images by true and answered class, in the order of `truths`."""
    require_pairs(
        {name: truth.classes.shape for name, truth in truths.items()},
        {name: answer.classes.shape for name, answer in answers.items()},
    )
    of_images = np.empty((3, len(truths), len(classes)), np.int64)
    total = np.zeros((len(classes), len(classes)), np.int64)
    for at, (name, truth) in enumerate(truths.items()):
        try:
            found = confusion(truth, answers[name], len(classes))
        except DataError as error:
            raise DataError(f"sample {name}: {error}") from error
        of_images[:, at] = found.sum(axis=1), found.sum(axis=0), found.diagonal()
        total += found
    return ClassCounts(of_images[0], of_images[1], of_images[2], total)


def filled(table: Floats, absent: float | None) -> Floats:
    """Return figures with `absent` in the place of NaN, or as they are where it is None."""
    return table if absent is None else np.where(np.isnan(table), absent, table)


def mean_of(table: Floats, over: OverImages) -> float:
    """Return the mean of float64[N, C] without its NaN; 1 where nothing is left."""
    if over == "pairs":
        return float(row_means(table.reshape(1, -1))[0])
    rows = table if over == "images" else table.T
    means = row_means(rows[~np.isnan(rows).all(axis=1)])
    return float(means.mean()) if means.size else 1.0


def row_means(table: Floats) -> Floats:
    """Return the mean of each row without its NaN; 1 for a row that has nothing else."""
    there = ~np.isnan(table)
    count = there.sum(axis=1)
    means: Floats = np.where(count > 0, np.where(there, table, 0).sum(axis=1) / np.maximum(count, 1), 1.0)
    return means


def by_sample(truths: Masks, values: Floats) -> dict[str, float]:
    """Return the values by sample id, in the order of `truths`."""
    return dict(zip(truths, values.tolist(), strict=True))


def checked_settings(classes: Sequence[str], over: str, absent: float | None, without: Sequence[str]) -> dict[str, Any]:
    """Return the settings that metrics of classes share. Raises ConfigError for those that are not possible."""
    names = checked_names(classes)
    unknown = [name for name in without if name not in names]
    if unknown:
        raise ConfigError(f"without: no class '{unknown[0]}'; the classes are {', '.join(names)}")
    if len(set(without)) == len(names):
        raise ConfigError("without: names every class, so there is nothing to score")
    if over not in ("dataset", "pairs", "images", "classes"):
        raise ConfigError(f"over = {over!r}; allowed: 'dataset', 'pairs', 'images', 'classes'")
    if absent is not None and not 0 <= absent <= 1:
        raise ConfigError(f"absent = {absent}; give a score within 0..1, or None to leave absent classes out")
    return {"classes": names, "over": over, "absent": absent, "without": tuple(without)}


def checked_names(classes: Sequence[str]) -> tuple[str, ...]:
    """Return names of classes. Raises ConfigError for fewer than 2, for too many, and for a name that comes twice."""
    names = tuple(classes)
    if not 2 <= len(names) <= _OUTSIDE or len(set(names)) < len(names):
        raise ConfigError(f"classes: {len(names)} names; give 2..{_OUTSIDE} names, each once")
    return names
