"""A decision of the contest's own: ships by watershed, and none at all on an image that is not sure to show one."""

from __future__ import annotations

from typing import Annotated

import numpy as np
from pydantic import Field

from medalist.postprocess.settings import WatershedConfig
from medalist.postprocess.watershed import watershed_labels
from medalist.records import Instances, MapPrediction

Probability = Annotated[float, Field(gt=0, lt=1)]


def ships(
    prediction: MapPrediction,
    present: Probability = 0.6,
    body: Probability = 0.5,
    seed: Probability = 0.6,
    min_size: Annotated[int, Field(ge=0)] = 40,
) -> Instances:
    """Return the ships; none where the image's probability of a ship is not above `present`.

    That probability is what a classification head says (`presence:body`), or else the highest of the map `body`.
    """
    where = prediction.channel("body")
    says = "presence:body" if "presence:body" in prediction.channels else "body"
    if prediction.channel(says).max(initial=0) <= present:
        return Instances(np.zeros(where.shape, np.int32))
    border = prediction.channel("border") if "border" in prediction.channels else None
    return Instances(watershed_labels(where, border, WatershedConfig(body=body, seed=seed, min_size=min_size)))


DECIDES = {"ships": ships}
