"""Prediction of whole images by one or several networks, averaged over networks, views and scales."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

import torch
from torch import Tensor, nn
from torch.nn.functional import interpolate

from medalist.data.loader import Batch
from medalist.engine.placement import Placement
from medalist.engine.views import VIEWS, apply_view, invert_view
from medalist.records import MapPrediction
from medalist.tasks.segment.settings import PredictConfig
from medalist.tasks.segment.task import SegmentTask


@torch.inference_mode()
def predict(
    place: Placement,
    task: SegmentTask,
    models: Sequence[nn.Module],
    loader: Iterable[Batch],
    config: PredictConfig,
    stride: int,
    channels_last: bool,
) -> Iterator[tuple[int, MapPrediction]]:
    """Yield (sample index, MapPrediction at native size), batch by batch.

    A prediction is the mean over networks, views and scales, with equal weights.
    """
    for model in models:
        model.eval()
    for raw in loader:
        batch = raw.to(place.device, channels_last)
        with place.autocast():
            probabilities = average_views(task, models, batch.image, config, stride)
        yield from zip(batch.indices, task.predict(probabilities, batch), strict=True)


def average_views(
    task: SegmentTask, models: Sequence[nn.Module], image: Tensor, config: PredictConfig, stride: int
) -> Tensor:
    """Return probabilities float32[B, C, h, w] of float32[B, 3, h, w]: the mean over networks, scales and views."""
    total: Tensor | None = None
    for scale in config.scales:
        scaled = _rescaled(image, scale, stride)
        for view in VIEWS[config.tta]:
            seen = apply_view(scaled, view)
            for model in models:
                maps = invert_view(task.probabilities(model(seen)), view)
                if maps.shape[-2:] != image.shape[-2:]:
                    maps = interpolate(maps, size=image.shape[-2:], mode="bilinear", antialias=scale > 1)
                total = maps if total is None else total + maps
    assert total is not None
    return total / (len(config.scales) * len(VIEWS[config.tta]) * len(models))


def _rescaled(image: Tensor, scale: float, stride: int) -> Tensor:
    if scale == 1:
        return image
    height, width = (max(stride, round(side * scale / stride) * stride) for side in image.shape[-2:])
    return interpolate(image, size=(height, width), mode="bilinear", antialias=scale < 1)
