"""Turn a prediction into the final answer. Only this module acts on `decide.kind`."""

from __future__ import annotations

from typing import assert_never

import numpy as np
from numpy.typing import NDArray

from medalist.errors import ConfigError
from medalist.postprocess.bands import LARGE_PIXELS, threshold_by_bands
from medalist.postprocess.classes import ClassRoles, class_mask, roles_by_position
from medalist.postprocess.instance_bands import watershed_by_bands
from medalist.postprocess.settings import ClassesConfig, DecideConfig, ThresholdConfig, WatershedConfig
from medalist.postprocess.watershed import fill_holes, watershed_labels, without_small
from medalist.records import Answer, Instances, MapPrediction, Mask


def decide(prediction: MapPrediction, config: DecideConfig, roles: ClassRoles | None = None) -> Answer:
    """Return the final objects of one image from its probability maps, at the same height and width.

    The kind "watershed" gives Instances, from the map `body` and, if there is one, the map `border`. The kind
    "threshold" gives a Mask of 0 and 1 from one map. The kind "classes" gives a Mask of several classes; `roles` says
    what the maps are, by default the classes 1, 2, ... beside a background. The same prediction and config always give
    the same answer. Raises ConfigError where the prediction does not have the map that the config needs.
    """
    match config:
        case WatershedConfig():
            if "body" in prediction.channels and prediction.maps[0].size > LARGE_PIXELS:
                planes = dict(zip(prediction.channels, prediction.maps, strict=True))
                return Instances(watershed_by_bands(planes["body"], planes.get("border"), config))
            body = _channel(prediction, "body", "decide.kind 'watershed'")
            border = prediction.channel("border") if "border" in prediction.channels else None
            return Instances(watershed_labels(body, border, config))
        case ThresholdConfig():
            name = prediction.channels[0] if config.channel is None else config.channel
            if name in prediction.channels and prediction.maps[0].size > LARGE_PIXELS:
                return Mask(threshold_by_bands(prediction.maps[prediction.channels.index(name)], config))
            return Mask(_threshold(_channel(prediction, name, f"decide.channel '{name}'"), config))
        case ClassesConfig():
            return class_mask(prediction, config, roles or roles_by_position(prediction.channels))
        case _:
            assert_never(config)


def _channel(prediction: MapPrediction, name: str, wanted_by: str) -> NDArray[np.float32]:
    if name not in prediction.channels:
        there = ", ".join(prediction.channels)
        raise ConfigError(
            f"{wanted_by}: the prediction has no map '{name}', only: {there}; set model.channels or decide"
        )
    return prediction.channel(name)


def _threshold(probability: NDArray[np.float32], config: ThresholdConfig) -> NDArray[np.uint8]:
    mask = without_small(probability > config.threshold, config.min_size)
    if config.fill_holes:
        mask = fill_holes(mask.astype(np.int32)) > 0
    if np.count_nonzero(mask) < config.empty_below:
        mask = np.zeros_like(mask)
    return mask.astype(np.uint8)
