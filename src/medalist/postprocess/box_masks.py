"""Boxes around objects of pixels."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from medalist.records import Boxes, Instances


def boxes_around(
    instances: Instances, labels: NDArray[np.int32] | None = None, scores: NDArray[np.float32] | None = None
) -> Boxes:
    """Return the smallest box around each object, in the order of the objects' numbers.

    An object of one pixel in the first row and column has the box (0, 0, 1, 1). One pass over the image finds them all.

    Args:
        instances: objects 1..n.
        labels: int32[n], the class of each object; None for class 0.
        scores: float32[n] in 0..1; None for 1, as in truths.
    """
    found = ndimage.find_objects(instances.labels)
    sides = [(columns.start, rows.start, columns.stop, rows.stop) for rows, columns in found]
    count = len(sides)
    return Boxes(
        np.array(sides, np.float32).reshape(-1, 4),
        np.zeros(count, np.int32) if labels is None else labels,
        np.ones(count, np.float32) if scores is None else scores,
    )
