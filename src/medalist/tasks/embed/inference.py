"""Embedding of whole images by one or several networks."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.functional import normalize

from medalist.data.loader import Batch
from medalist.engine.placement import Placement
from medalist.engine.views import VIEWS, apply_view
from medalist.tasks.embed.settings import EmbedPredictConfig


@torch.inference_mode()
def embed(
    place: Placement,
    models: Sequence[nn.Module],
    loader: Iterable[Batch],
    config: EmbedPredictConfig,
    channels_last: bool,
    shared: nn.Module | None = None,
) -> Iterator[tuple[tuple[int, ...], NDArray[np.float32]]]:
    """Yield sample indices and their unit vectors float32[B, D * networks], batch by batch.

    The vectors of one network are averaged over views. The vectors of several networks are concatenated instead,
    because they belong to different embedding spaces. They are scaled so that the cosine of two concatenated vectors is
    the mean of the networks' cosines. shared: an encoder that all networks share; the networks are then heads on its
    features.
    """
    for model in (*models, *([shared] if shared else [])):
        model.eval()
    for raw in loader:
        batch = raw.to(place.device, channels_last)
        with place.autocast():
            parts = _mean_views(models, shared, batch.image, config.tta)
        yield batch.indices, normalize(torch.cat(parts, dim=1), dim=-1).cpu().numpy()


def _mean_views(models: Sequence[nn.Module], shared: nn.Module | None, image: Tensor, tta: str) -> list[Tensor]:
    """Return each network's unit vectors float32[B, D], averaged over views; stored features have only one view."""
    views = VIEWS[tta]
    totals: list[Tensor | float] = [0.0] * len(models)
    for view in views:
        seen = apply_view(image, view) if len(views) > 1 else image
        seen = seen if shared is None else shared(seen)
        totals = [total + model(seen).float() for total, model in zip(totals, models, strict=True)]
    return [normalize(total + 1e-12, dim=-1) for total in totals if isinstance(total, Tensor)]
