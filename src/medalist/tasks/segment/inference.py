"""Prediction of whole images by one or several networks, averaged over networks, views and scales."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

import torch
from torch import Tensor, nn

from medalist.data.items import Normalisation
from medalist.data.loader import Batch
from medalist.engine.placement import Placement
from medalist.engine.view_settings import View, views_of
from medalist.engine.views import invert_view, resampled, turned
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
    norm: Normalisation | None = None,
) -> Iterator[tuple[int, MapPrediction]]:
    """Yield (sample index, MapPrediction at native size), batch by batch.

    A prediction is the mean over networks, views and scales, with equal weights. norm: how the images are normalised,
    which views with `clahe` need.
    """
    for model in models:
        model.eval()
    for raw in loader:
        batch = raw.to(place.device, channels_last)
        with place.autocast():
            probabilities = average_views(task, models, batch.image, config, stride, norm)
        yield from zip(batch.indices, task.predict(probabilities, batch), strict=True)


def average_views(
    task: SegmentTask,
    models: Sequence[nn.Module],
    image: Tensor,
    config: PredictConfig,
    stride: int,
    norm: Normalisation | None = None,
) -> Tensor:
    """Return probabilities float32[B, C, h, w] of float32[B, 3, h, w]: the mean over networks, scales and views."""
    return seen_in_views(task, models, image, views_of(config.tta, config.scales), stride, norm)


def seen_in_views(
    task: SegmentTask,
    models: Sequence[nn.Module],
    image: Tensor,
    views: Sequence[View],
    stride: int,
    norm: Normalisation | None = None,
) -> Tensor:
    """Return the mean over networks and these views: probabilities float32[B, C, h, w] of float32[B, 3, h, w]."""
    size = (image.shape[-2], image.shape[-1])
    total: Tensor | None = None
    shared: dict[tuple[float, float | None], Tensor] = {}
    for view in views:
        key = (view.scale, view.clahe)
        if key not in shared:  # neighbouring views that differ only in their turns share one scaled image
            shared = {key: resampled(image, view, stride, norm)}
        seen = turned(shared[key], view, stride)
        for model in models:
            maps = invert_view(task.probabilities(model(seen)), view, size, stride)
            total = maps if total is None else total + maps
    assert total is not None
    return total / (len(views) * len(models))
