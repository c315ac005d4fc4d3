"""Prediction of whole images by one or several classifiers, averaged over networks and views."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from medalist.data.loader import Batch
from medalist.engine.placement import Placement
from medalist.engine.views import VIEWS, apply_view
from medalist.tasks.classify.settings import ClassifyPredictConfig
from medalist.tasks.classify.task import ClassifyTask


@torch.inference_mode()
def predict(
    place: Placement,
    task: ClassifyTask,
    models: Sequence[nn.Module],
    loader: Iterable[Batch],
    config: ClassifyPredictConfig,
    channels_last: bool,
) -> Iterator[tuple[tuple[int, ...], NDArray[np.float32]]]:
    """Yield sample indices and predictions float32[B, C] (probabilities) or float32[B, 1] (grades), batch by batch.

    A prediction is the mean over networks and views, with equal weights.
    """
    for model in models:
        model.eval()
    views = VIEWS[config.tta]
    for raw in loader:
        batch = raw.to(place.device, channels_last)
        with place.autocast():
            total: Tensor | None = None
            for view in views:
                seen = apply_view(batch.image, view) if len(views) > 1 else batch.image
                for model in models:
                    found = task.predictions(model(seen))
                    total = found if total is None else total + found
        assert total is not None
        yield batch.indices, (total / (len(views) * len(models))).cpu().numpy()
