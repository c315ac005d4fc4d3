"""Weights of single epochs, which are kept until their mean is computed."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Sequence
from pathlib import Path

from torch import Tensor, nn

from medalist.engine.averaging import average_weights, recalibrate


def snapshot(folder: Path, epoch: int) -> Path:
    """Return the path of the weights of an epoch; epochs are counted from 1."""
    return folder / f"snapshot-{epoch}.safetensors"


def keep_snapshots(folder: Path, epochs: Sequence[int]) -> None:
    """Delete all snapshots in the folder but those of `epochs`."""
    kept = {snapshot(folder, epoch) for epoch in epochs}
    for path in set(folder.glob("snapshot-*.safetensors")) - kept:
        path.unlink(missing_ok=True)


def mean_network(network: nn.Module, folder: Path, epochs: Sequence[int], images: Iterable[Tensor]) -> nn.Module:
    """Return a copy of the network with the mean weights of `epochs`.

    The statistics of its batch norms are computed on batches of `images`. Without images they are the mean of the
    statistics of the epochs.
    """
    mean = copy.deepcopy(network)
    average_weights(mean, [snapshot(folder, epoch) for epoch in epochs])
    recalibrate(mean, images)
    return mean
