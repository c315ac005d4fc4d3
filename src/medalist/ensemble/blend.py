"""Blending: the mean of several predictions of one image."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from medalist.errors import RunError
from medalist.records import MapPrediction


def blend(predictions: Sequence[MapPrediction]) -> MapPrediction:
    """The equally weighted mean of predictions of one image; RunError where channels or sizes differ."""
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
    # Half up: integers only, so that the order of the runs cannot change a bit.
    mean: NDArray[np.uint8] = np.asarray((2 * total + len(predictions)) // (2 * len(predictions)), np.uint8)
    return MapPrediction(mean, first.channels)
