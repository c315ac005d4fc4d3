"""Blend predictions: compute the mean of several predictions of one sample."""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from medalist.codecs.disk import bands, disk_array, is_on_disk, release
from medalist.errors import RunError
from medalist.records import MapPrediction, TablePrediction

MOST_IN_16_BITS = 65535 // 255
"""Predictions whose sum has 16 bits."""


def blend(predictions: Iterable[MapPrediction], folder: Path | None = None) -> MapPrediction:
    """Return the mean of predictions of one image, with equal weights; RunError where channels or sizes differ.

    Predictions whose maps lie in memory are added one after another, so that only one of them is needed at a time.
    Where the maps lie on disk (`codecs.disk`), so do those of the mean, in `folder`, and they are added band by band.
    """
    coming = iter(predictions)
    first = next(coming)
    if is_on_disk(first.maps):
        return _blend_bands([first, *coming], folder or Path(tempfile.gettempdir()))
    total: NDArray[np.uint16] | NDArray[np.uint32] | None = None
    count = 1
    for other in coming:
        _refuse_unlike(first, other)
        if total is None:
            total = first.maps.astype(np.uint16)
        elif count == MOST_IN_16_BITS:
            total = total.astype(np.uint32)
        total += other.maps
        count += 1
    return first if total is None else MapPrediction(_mean(total, count), first.channels)


def _mean(total: NDArray[np.uint16] | NDArray[np.uint32], count: int) -> NDArray[np.uint8]:
    """Return total / count uint8[C, H, W] of sums [C, H, W] of `count` maps, rounded half up.

    It is computed with integers only, so that the order of the runs cannot change the result.
    """
    mean = np.empty(total.shape, np.uint8)
    for channel, plane in enumerate(total):
        mean[channel] = (2 * plane.astype(np.uint32) + count) // (2 * count)
    return mean


def _blend_bands(predictions: Sequence[MapPrediction], folder: Path) -> MapPrediction:
    first = predictions[0]
    for other in predictions[1:]:
        _refuse_unlike(first, other)
    if len(predictions) == 1:
        return first
    maps: NDArray[np.uint8] = disk_array(first.maps.shape, np.uint8, folder)
    height, width = first.maps.shape[1:]
    for channel in range(len(first.channels)):
        for rows in bands((height, width)):
            total = np.zeros((1, rows.stop - rows.start, width), np.uint32)
            for prediction in predictions:
                total += prediction.maps[channel, rows]
                release(prediction.maps)
            maps[channel, rows] = _mean(total, len(predictions))[0]
            release(maps)
    return MapPrediction(maps, first.channels)


def _refuse_unlike(first: MapPrediction, other: MapPrediction) -> None:
    if other.channels != first.channels or other.maps.shape != first.maps.shape:
        raise RunError(
            f"predictions of {first.channels} {first.maps.shape[1:]} and {other.channels} {other.maps.shape[1:]} "
            "cannot be blended; take runs with the same model.channels"
        )


def blend_tables(predictions: Sequence[TablePrediction]) -> TablePrediction:
    """Return the mean of numbers of one sample, with equal weights.

    Raises RunError where the columns differ, or are in another order.
    """
    first = predictions[0]
    for other in predictions[1:]:
        if other.columns == first.columns:
            continue
        if sorted(other.columns) == sorted(first.columns):
            at = next(
                at for at, pair in enumerate(zip(first.columns, other.columns, strict=True)) if len(set(pair)) > 1
            )
            raise RunError(
                f"predictions have their classes in different orders: column {at} is '{first.columns[at]}' in one and "
                f"'{other.columns[at]}' in another; run medalist predict again"
            )
        odd = sorted(set(other.columns) ^ set(first.columns))
        raise RunError(
            f"predictions of different classes cannot be blended: {len(odd)} classes are in only one run, such as "
            f"'{odd[0]}'; take runs of the same classes"
        )
    mean = np.stack([prediction.values for prediction in predictions]).mean(axis=0, dtype=np.float64)
    return TablePrediction(mean.astype(np.float32), first.columns)
