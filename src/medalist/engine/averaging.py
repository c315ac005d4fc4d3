"""The mean of several epochs' weights: which snapshots are kept, their mean, and its batch norms."""

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
    """Epochs, counted from 1 and rising, whose snapshots are kept after those in `rows` have ended.

    of `last`: those that have ended of the last `count` of all `epochs`. of `best`: the `count` with the lowest
    val_loss so far, the earlier one where two are equal; epochs without a finite one do not count. An epoch that is
    not wanted is never wanted later, so its snapshot can be deleted, also by a training that is interrupted there.
    """
    ended = [int(row["epoch"]) for row in rows]
    if config.of == "last":
        return sorted(epoch for epoch in ended if epoch > epochs - config.count)
    losses = [(row.get("val_loss", math.nan), epoch) for row, epoch in zip(rows, ended, strict=True)]
    ranked = sorted((loss, epoch) for loss, epoch in losses if math.isfinite(loss))
    return sorted(epoch for _, epoch in ranked[: config.count])


def average_weights(model: nn.Module, paths: Sequence[Path]) -> None:
    """Fill the network with the mean of snapshots that `save_weights` wrote; one is in memory at a time.

    Means of floating tensors are taken in float64; counts, such as num_batches_tracked, are those of the last one.
    RunError that names the snapshot that is missing, damaged or of another network.
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
    """Make the statistics of batch norms anew: their means over `batches`, each of one weight; the modes stay.

    The mean of weights has activations of its own, to which the mean of the statistics need not fit (arXiv
    1803.05407). Only batch norms go into training mode: torch's `update_bn` puts the whole network into it, and then
    the statistics would be those under dropout, which prediction does without (arXiv 1801.05134). Without batch norms
    nothing is done and no batch is asked for. `forward` runs the network on a batch, under autocast for instance; the
    default is to call it. On several processes each has to see as many batches, and norms that are not
    `engine.syncnorm.synchronised` differ between them.
    """
    norms = [part for part in model.modules() if isinstance(part, _BatchNorm) and part.track_running_stats]
    if not norms:
        return
    modes = [(part, part.training) for part in model.modules()]
    momenta = [norm.momentum for norm in norms]
    model.eval()
    for norm in norms:
        norm.train()
        norm.momentum = None  # torch's word for a mean that counts its batches
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
