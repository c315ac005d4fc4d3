"""Embedding of whole images by one or several networks."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

import numpy as np
import torch
from lightning_fabric import Fabric
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.functional import normalize

from medalist.data.loader import Batch
from medalist.engine.predict import VIEWS, look
from medalist.engine.settings import EmbedPredictConfig


@torch.inference_mode()
def embed(
    fabric: Fabric,
    models: Sequence[nn.Module],
    loader: Iterable[Batch],
    config: EmbedPredictConfig,
    channels_last: bool,
) -> Iterator[tuple[tuple[int, ...], NDArray[np.float32]]]:
    """Yield sample indices and their unit vectors float32[B, D * networks], batch by batch.

    The vectors of one network are averaged over views. Those of several networks stand side by side, each scaled so
    that a cosine of the whole is the mean of their cosines: their spaces have nothing in common to be averaged.
    """
    for model in models:
        model.eval()
    for raw in loader:
        batch = raw.to(fabric.device, channels_last)
        with fabric.autocast():
            parts = [_mean_view(model, batch.image, config.tta) for model in models]
        yield batch.indices, normalize(torch.cat(parts, dim=1), dim=-1).cpu().numpy()


def _mean_view(model: nn.Module, image: Tensor, tta: str) -> Tensor:
    """Unit vectors float32[B, D], averaged over views; features that are kept already have one view."""
    views = VIEWS[tta]
    total = sum(model(look(image, view) if len(views) > 1 else image).float() for view in views)
    assert isinstance(total, Tensor)
    return normalize(total + 1e-12, dim=-1)
