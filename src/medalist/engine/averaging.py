"""The mean of several epochs' weights: which snapshots are kept, their mean, and the batch norms of the mean."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from medalist.engine.checkpoint import load_weights
from medalist.engine.settings import AverageConfig


def wanted(rows: Sequence[Mapping[str, float]], config: AverageConfig, epochs: int) -> list[int]:
    """Return the epochs, counted from 1 and in rising order, whose snapshots are kept after the epochs in `rows`.

    With config.of = `last` these are the epochs in `rows` that belong to the last `count` of all `epochs`. With
    config.of = `best` these are the `count` epochs with the lowest val_loss so far; of two equal losses the earlier
    epoch comes first, and epochs without a finite val_loss do not count. An epoch that is not wanted is never wanted
    later. So its snapshot can be deleted at once, also where the training is interrupted and resumes.
    """
    ended = [int(row["epoch"]) for row in rows]
    if config.of == "last":
        return sorted(epoch for epoch in ended if epoch > epochs - config.count)
    losses = [(row.get("val_loss", math.nan), epoch) for row, epoch in zip(rows, ended, strict=True)]
    ranked = sorted((loss, epoch) for loss, epoch in losses if math.isfinite(loss))
    return sorted(epoch for _, epoch in ranked[: config.count])


def average_weights(model: nn.Module, paths: Sequence[Path]) -> None:
    """Set the network's weights to the mean of snapshots that `save_weights` wrote; one is in memory at a time.

    Means of floating-point tensors are computed in float64. Integers such as num_batches_tracked are taken from the
    last snapshot. Raises RunError, which names the snapshot, where one is missing, damaged or of another network.
    """
    assert paths
    sums: dict[str, Tensor] = {}
    for path in paths:
        load_weights(model, path)
        for name, value in model.state_dict().items():
            if value.is_floating_point():
                exact = value.cpu().to(torch.float64, copy=True)  # MPS has no float64
                sums[name] = sums[name].add_(exact) if name in sums else exact
    state = model.state_dict()  # its tensors are the network's own
    with torch.no_grad():
        for name, total in sums.items():
            state[name].copy_(total / len(paths))


def recalibrate(model: nn.Module, batches: Iterable[Tensor], forward: Callable[[Tensor], object] | None = None) -> None:
    """Compute the statistics of all batch norms again, as means over `batches`, in which each batch counts the same.

    The mean of weights has activations of its own, and the mean of the statistics need not fit them (arXiv 1803.05407).
    Only batch norms go into training mode. torch's `update_bn` sets it for the whole network, and the statistics would
    then be measured with dropout, which is off in prediction (arXiv 1801.05134). Afterwards all modes are as before.
    Without batch norms nothing is done and no batch is taken. `forward` runs the network on a batch, for instance under
    autocast; by default the network is called. Of several processes, all must see the same number of batches. Norms
    that are not `engine.syncnorm.synchronised` differ between them.
    """
    norms = [part for part in model.modules() if isinstance(part, _BatchNorm) and part.track_running_stats]
    if not norms:
        return
    modes = [(part, part.training) for part in model.modules()]
    momenta = [norm.momentum for norm in norms]
    model.eval()
    for norm in norms:
        norm.train()
        norm.momentum = None  # torch then computes the plain mean over all batches
    try:
        with torch.no_grad():
            for number, batch in enumerate(batches):
                if number == 0:
                    for norm in norms:
                        norm.reset_running_stats()
                (forward or model)(batch)
    finally:
        for norm, momentum in zip(norms, momenta, strict=True):
            norm.momentum = momentum
        for part, mode in modes:
            part.training = mode
