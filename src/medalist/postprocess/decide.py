"""Turn a prediction into the final answer. Only this module acts on `decide.kind`."""

from __future__ import annotations

from typing import TYPE_CHECKING, assert_never

import numpy as np
from numpy.typing import NDArray

from medalist.errors import ConfigError
from medalist.postprocess.bands import LARGE_PIXELS, threshold_by_bands
from medalist.postprocess.classes import ClassRoles, class_mask, roles_by_position
from medalist.postprocess.instance_bands import watershed_by_bands
from medalist.postprocess.instances import instance_labels
from medalist.postprocess.settings import ClassesConfig, DecideConfig, ThresholdConfig, WatershedConfig
from medalist.postprocess.watershed import fill_holes, without_small
from medalist.records import Answer, Instances, MapPrediction, Mask

if TYPE_CHECKING:
    from medalist.postprocess.regressor import Regressor


def decide(
    prediction: MapPrediction,
    config: DecideConfig,
    *,
    roles: ClassRoles | None = None,
    regressor: Regressor | None = None,
) -> Answer:
    """Return the final objects of one image from its probability maps, at the same height and width.

    The kind "watershed" gives Instances, from the map `body` and, if there is one, the map `border`. The kind
    "threshold" gives a Mask of 0 and 1 from one map. The kind "classes" gives a Mask of several classes; `roles` says
    what the maps are, by default the classes 1, 2, ... beside a background. The same prediction and config always give
    the same answer. regressor: what a second stage was trained to; a config with a second stage needs one. Raises
    ConfigError where the prediction does not have the map that the config needs.
    """
    match config:
        case WatershedConfig():
            for name in config.maps:
                _channel(prediction, name, "decide.kind 'watershed'")
            if prediction.maps[0].size > LARGE_PIXELS:
                _refuse_large(prediction, config)
                planes = dict(zip(prediction.channels, prediction.maps, strict=True))
                return Instances(watershed_by_bands(planes["body"], planes.get("border"), config))
            if config.second_stage is None:
                return Instances(instance_labels(prediction, config))
            from medalist.postprocess.second_stage import refined_labels  # here, because most decisions have none

            assert regressor is not None, "a second stage needs its regressor"
            return Instances(refined_labels(prediction, config, config.second_stage, regressor))
        case ThresholdConfig():
            name = prediction.channels[0] if config.channel is None else config.channel
            if name in prediction.channels and prediction.maps[0].size > LARGE_PIXELS:
                return Mask(threshold_by_bands(prediction.maps[prediction.channels.index(name)], config))
            return Mask(_threshold(_channel(prediction, name, f"decide.channel '{name}'"), config))
        case ClassesConfig():
            return class_mask(prediction, config, roles or roles_by_position(prediction.channels))
        case _:
            assert_never(config)


def _refuse_large(prediction: MapPrediction, config: WatershedConfig) -> None:
    """Raise ConfigError for settings that need a large image as a whole."""
    wholes = [name for name in ("split_solidity", "merge_border", "second_stage") if getattr(config, name) is not None]
    if config.seed_rule in ("energy", "distance_map"):
        wholes.append(f"seed_rule = {config.seed_rule}")
    if wholes:
        height, width = prediction.maps.shape[1:]
        raise ConfigError(
            f"decide.{wholes[0]}: an image of {width}x{height} pixels is decided band by band, which has no such rule; "
            "take seed_rule threshold or distance alone, or cut the images smaller"
        )


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
