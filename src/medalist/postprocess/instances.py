"""Make objects from the maps of an image: the watershed of its settings, then the rules that split and merge."""

from __future__ import annotations

from itertools import count, takewhile

import numpy as np

from medalist.postprocess.settings import WatershedConfig
from medalist.postprocess.watershed import Floats, Labels, watershed_labels
from medalist.records import MapPrediction


def instance_labels(prediction: MapPrediction, config: WatershedConfig) -> Labels:
    """Return objects int32[H, W], 1..n without gaps, in reading order, before a second stage.

    The prediction must have the maps that `config.maps` names. After the watershed, dented objects are split and then
    touching objects merged, where the settings say so.
    """
    body, border = prediction.channel("body"), border_of(prediction)
    levels: list[Floats] = []
    if config.seed_rule == "energy":
        names = takewhile(lambda name: name in prediction.channels, (f"energy{level}" for level in count(1)))
        levels = [prediction.channel(name) for name in names]
    distance = prediction.channel("distance") if config.seed_rule == "distance_map" else None
    labels = watershed_labels(body, border, config, levels, distance)
    if config.split_solidity is None and config.merge_border is None:
        return labels
    from medalist.postprocess.splitting import merge_touching, split_dented  # here, because most settings need none

    if config.split_solidity is not None:
        labels = split_dented(labels, config.split_solidity, config.smooth, config.radius, config.min_size)
    if config.merge_border is not None:
        assert border is not None
        labels = merge_touching(labels, border, config.merge_border)
    return labels


def border_of(prediction: MapPrediction) -> Floats | None:
    """Return the map `border`; None where the network has none."""
    return prediction.channel("border") if "border" in prediction.channels else None


def inside_of(prediction: MapPrediction, config: WatershedConfig) -> Floats:
    """Return body - border_weight x border, float32[H, W]."""
    body, border = prediction.channel("body"), border_of(prediction)
    return body if border is None else body - np.float32(config.border_weight) * border
