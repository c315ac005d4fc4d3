"""A decision of the contest's own, as an example: `decide: {kind: own, name: hysteresis, args: {high: 0.8}}`."""

from __future__ import annotations

from typing import Annotated

import numpy as np
from pydantic import Field
from scipy import ndimage
from skimage.filters import apply_hysteresis_threshold

from medalist.postprocess.watershed import in_reading_order
from medalist.records import Instances, MapPrediction

Probability = Annotated[float, Field(gt=0, lt=1)]


def hysteresis(
    prediction: MapPrediction,
    low: Probability = 0.4,
    high: Probability = 0.7,
    smallest: Annotated[int, Field(ge=0)] = 20,
) -> Instances:
    """Return the pieces of `body` above `low` that have a pixel above `high`, and at least `smallest` pixels."""
    body = prediction.channel("body")
    sure = apply_hysteresis_threshold(body, min(low, high), high)  # type: ignore[no-untyped-call]
    labels = ndimage.label(sure)[0].astype(np.int32)
    sizes = np.bincount(labels.ravel())
    labels[(sizes < smallest)[labels]] = 0
    return Instances(in_reading_order(labels))


DECIDES = {"hysteresis": hysteresis}
