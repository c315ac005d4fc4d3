"""Weights of single epochs, kept until their mean is made."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Sequence
from pathlib import Path

from torch import Tensor, nn

from medalist.engine.averaging import average_weights, recalibrate


def snapshot(folder: Path, epoch: int) -> Path:
    """The weights of an epoch, 1 and up."""
    return folder / f"snapshot-{epoch}.safetensors"


def keep_snapshots(folder: Path, epochs: Sequence[int]) -> None:
    """Delete the snapshots of all other epochs."""
    kept = {snapshot(folder, epoch) for epoch in epochs}
    for path in set(folder.glob("snapshot-*.safetensors")) - kept:
        path.unlink(missing_ok=True)


def mean_network(network: nn.Module, folder: Path, epochs: Sequence[int], images: Iterable[Tensor]) -> nn.Module:
    """A copy of the network with the mean weights of these epochs; batch norms see `images` for their statistics.

    Without images the statistics are the mean of those of the epochs.
    """
    mean = copy.deepcopy(network)
    average_weights(mean, [snapshot(folder, epoch) for epoch in epochs])
    recalibrate(mean, images)
    return mean
