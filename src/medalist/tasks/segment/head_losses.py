"""The losses of the heads that a network has beside its maps: deep supervision, and presence."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits

from medalist.data.targets import MapTargets
from medalist.tasks.segment.loss_settings import LossConfig
from medalist.tasks.segment.outputs import SegmentOutputs


def loss_of_heads(
    outputs: SegmentOutputs,
    targets: MapTargets,
    config: LossConfig,
    of_maps: Callable[[Tensor], Mapping[str, Tensor]],
) -> dict[str, Tensor]:
    """Return the loss of all heads, and its parts.

    of_maps: logits float[B, C, h, w] -> the loss of maps and its parts. `deep` is the mean of this loss over the heads
    of deep supervision. `presence` is the binary cross-entropy of the classification head, see `presence_loss`. Both
    are added to `loss` by their weights.
    """
    found = dict(of_maps(outputs.maps))
    if outputs.deep:
        deep = torch.stack([of_maps(maps)["loss"] for maps in outputs.deep]).mean()
        found["loss"] = found["loss"] + config.deep * deep
        found["deep"] = deep.detach()
    if outputs.presence is not None:
        presence = presence_loss(outputs.presence, targets)
        found["loss"] = found["loss"] + config.presence * presence
        found["presence"] = presence.detach()
    return found


def presence_loss(logits: Tensor, targets: MapTargets) -> Tensor:
    """Return the mean binary cross-entropy of logits float[B, C]: has the image a judged pixel of the channel?

    The target of a channel is the largest value of its map, so that mixed images have soft targets. Images whose every
    pixel is void do not count; where that are all, the loss is 0.
    """
    maps = targets.maps.float()
    judged = torch.ones_like(maps[:, :1]) if targets.judged is None else targets.judged.float()
    wanted = (maps * judged).amax(dim=(2, 3))
    known = judged.amax(dim=(2, 3))
    with torch.autocast(logits.device.type, enabled=False):
        each = binary_cross_entropy_with_logits(logits.float(), wanted, reduction="none") * known
    return each.sum() / (known.sum() * logits.shape[1]).clamp(min=1)
