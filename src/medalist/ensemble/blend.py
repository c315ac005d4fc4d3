"""Blend predictions: compute the mean of several predictions of one sample."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from medalist.errors import RunError
from medalist.records import MapPrediction, TablePrediction


def blend(predictions: Sequence[MapPrediction]) -> MapPrediction:
    """Return the mean of predictions of one image, with equal weights; RunError where channels or sizes differ."""
    first = predictions[0]
    for other in predictions[1:]:
        if other.channels != first.channels or other.maps.shape != first.maps.shape:
            raise RunError(
                f"predictions of {first.channels} {first.maps.shape[1:]} and {other.channels} {other.maps.shape[1:]} "
                "cannot be blended; take runs with the same model.channels"
            )
    if len(predictions) == 1:
        return first
    total = np.sum([prediction.maps for prediction in predictions], axis=0, dtype=np.uint32)
    # Round half up with integers only, so that the order of the runs cannot change the result.
    mean: NDArray[np.uint8] = np.asarray((2 * total + len(predictions)) // (2 * len(predictions)), np.uint8)
    return MapPrediction(mean, first.channels)


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
