"""How far two predictions of one image are apart, and a picture of both."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from medalist.records import BoxPrediction, MapPrediction, Prediction, TablePrediction, VectorPrediction


def difference(right: Prediction, found: Prediction) -> float:
    """Return the largest difference of two predictions of one type, in 0..1 for probabilities; inf where unlike.

    Of boxes, the scores are compared, from the highest down, and a box that only one prediction has counts with its
    whole score. So boxes at the edge of the lowest score count little.
    """
    match right, found:
        case MapPrediction(), MapPrediction() if right.channels == found.channels:
            return _apart(right.maps.astype(np.int16), found.maps.astype(np.int16)) / 255
        case TablePrediction(), TablePrediction() if right.columns == found.columns:
            return _apart(right.values, found.values)
        case VectorPrediction(), VectorPrediction():
            return _apart(right.vector, found.vector)
        case BoxPrediction(), BoxPrediction() if right.sources == found.sources:
            count = max(len(right.scores), len(found.scores))
            return _apart(_sorted(right.scores, count), _sorted(found.scores, count))
        case _:
            return float("inf")


def _apart(right: NDArray[Any], found: NDArray[Any]) -> float:
    if right.shape != found.shape or not np.isfinite(found).all():
        return float("inf")
    return float(np.abs(right - found).max(initial=0))


def _sorted(scores: NDArray[np.float32], count: int) -> NDArray[np.float32]:
    """Return scores from the highest down, filled with 0 to a count."""
    filled = np.zeros(count, np.float32)
    filled[: len(scores)] = np.sort(scores)[::-1]
    return filled


def side_by_side(image: NDArray[np.uint8], right: Prediction, found: Prediction) -> NDArray[np.uint8]:
    """Return uint8[H, W', 3]: the image; for maps also the first map of the run, that of the file, and the difference.

    For other predictions it is the image alone.
    """
    if not (isinstance(right, MapPrediction) and isinstance(found, MapPrediction)):
        return image
    panels = [image]
    if right.maps.shape == found.maps.shape and right.maps.shape[1:] == image.shape[:2]:
        apart = np.abs(right.maps.astype(np.int16) - found.maps).max(axis=0).astype(np.uint8)
        panels += [np.repeat(one[..., np.newaxis], 3, axis=2) for one in (right.maps[0], found.maps[0], apart)]
    return np.concatenate(panels, axis=1)
