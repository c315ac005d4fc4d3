"""Embedding of whole images by one or several networks."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import numpy as np
import torch
from lightning_fabric import Fabric
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.functional import normalize

from medalist.data.loader import Batch
from medalist.engine.views import VIEWS, apply_view
from medalist.files import written
from medalist.tasks.embed.settings import EmbedPredictConfig


@torch.inference_mode()
def embed(
    fabric: Fabric,
    models: Sequence[nn.Module],
    loader: Iterable[Batch],
    config: EmbedPredictConfig,
    channels_last: bool,
    shared: nn.Module | None = None,
) -> Iterator[tuple[tuple[int, ...], NDArray[np.float32]]]:
    """Yield sample indices and their unit vectors float32[B, D * networks], batch by batch.

    The vectors of one network are averaged over views. Those of several networks stand side by side, each scaled so
    that a cosine of the whole is the mean of their cosines: their spaces have nothing in common to be averaged.
    shared: an encoder that looks once for all networks, which are then heads on its features.
    """
    for model in (*models, *([shared] if shared else [])):
        model.eval()
    for raw in loader:
        batch = raw.to(fabric.device, channels_last)
        with fabric.autocast():
            parts = _mean_views(models, shared, batch.image, config.tta)
        yield batch.indices, normalize(torch.cat(parts, dim=1), dim=-1).cpu().numpy()


def merged_rows(
    fabric: Fabric, folder: Path, indices: Sequence[int], rows: NDArray[np.float32] | None, count: int
) -> NDArray[np.float32]:
    """Rows [count, D] of all processes, of which each has filled those at its `indices`; by way of files in `folder`.

    Whole in the first process alone. Through files, as gathered they would have to fit into the memory of each GPU as
    often as there are processes.
    """
    part = folder / f"part{fabric.global_rank}-of-{fabric.world_size}.npz"
    own = np.zeros((0, 0), np.float32) if rows is None else rows[list(indices)]
    with written(part) as temporary:
        np.savez(temporary, indices=np.asarray(indices, np.int64), rows=own)
    fabric.barrier()
    if fabric.is_global_zero:
        for rank in range(fabric.world_size):
            with np.load(folder / f"part{rank}-of-{fabric.world_size}.npz", allow_pickle=False) as found:
                if rows is None:
                    rows = np.empty((count, found["rows"].shape[1]), np.float32)
                if len(found["indices"]):
                    rows[found["indices"]] = found["rows"]
    fabric.barrier()
    part.unlink()
    return np.empty((0, 0), np.float32) if rows is None else rows


def _mean_views(models: Sequence[nn.Module], shared: nn.Module | None, image: Tensor, tta: str) -> list[Tensor]:
    """Each network's unit vectors float32[B, D], averaged over views; features that are kept already have one view."""
    views = VIEWS[tta]
    totals: list[Tensor | float] = [0.0] * len(models)
    for view in views:
        seen = apply_view(image, view) if len(views) > 1 else image
        seen = seen if shared is None else shared(seen)
        totals = [total + model(seen).float() for total, model in zip(totals, models, strict=True)]
    return [normalize(total + 1e-12, dim=-1) for total in totals if isinstance(total, Tensor)]
