"""Losses on logits: a weighted sum of terms, each the weighted mean over channels of one channel's loss.

All is computed in float32 with autocast off, whatever the precision of the network.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from segmentation_models_pytorch.losses import FocalLoss, LovaszLoss, TverskyLoss  # type: ignore[import-untyped]
from torch import Tensor
from torch.nn import functional

from medalist.tasks.segment.loss_settings import LossConfig


def segmentation_loss(logits: Tensor, target: Tensor, config: LossConfig, channels: Sequence[str]) -> dict[str, Tensor]:
    """The loss of a batch and its parts.

    logits: float[B, C, h, w] of any precision; target: [B, C, h, w] in 0..1, soft values allowed.
    channels: the names of the C channels.
    Returns "loss", a float32 scalar with a gradient, and each term by name: detached, before its weight.
    Raises ConfigError where `config.channels` names a channel that is not there.
    """
    assert logits.ndim == 4 and logits.shape == target.shape, (logits.shape, target.shape)
    assert logits.shape[1] == len(channels), (logits.shape, channels)
    shares = config.channel_weights(channels)
    with torch.autocast(logits.device.type, enabled=False):
        logits, target = logits.float(), target.float()
        loss = logits.new_zeros(())
        parts = {}
        for name, weight in config.terms.items():
            term = logits.new_zeros(())
            for channel, share in enumerate(shares):
                if share > 0:
                    term = term + share * _term(name, logits[:, channel], target[:, channel], config)
            loss = loss + weight * term
            parts[name] = term.detach()
    return {"loss": loss, **parts}


def _term(name: str, logits: Tensor, target: Tensor, config: LossConfig) -> Tensor:
    match name:
        case "bce":
            return functional.binary_cross_entropy_with_logits(logits, target)
        case "dice":
            return tversky(logits, target, 0.5, 0.5)
        case "jaccard":
            return tversky(logits, target, 1.0, 1.0)
        case "focal":
            return focal(logits, target, config.focal_gamma)
        case "lovasz":
            return lovasz(logits, target)
        case "tversky":
            return tversky(logits, target, config.tversky_alpha, config.tversky_beta)
        case _:
            raise AssertionError(f"no loss '{name}'")


def tversky(logits: Tensor, target: Tensor, alpha: float, beta: float) -> Tensor:
    """1 - TP / (TP + alpha FP + beta FN) of one channel over the whole batch (arXiv 1706.05721); 0..1.

    logits, target: float32[B, h, w]. alpha = beta = 0.5 is the Dice loss, 1 the Jaccard loss. TP is
    the sum of min(p, t): the sum of p t for hard targets, and for soft ones with its best at p = t
    (arXiv 2302.05666).

    Over the batch, not image by image: an image with one small object would weigh as much as a full one.
    Where the channel is absent from the batch's target the ratio says nothing (the loss is 1 for any p above
    0) and smp returns 0 without a gradient, so that a network may claim there what it likes. Here it costs
    the mean probability: 0 where nothing is claimed, and a pull on every false positive.
    """
    present: Tensor = TverskyLoss("binary", alpha=alpha, beta=beta)(logits[:, None], target[:, None])
    return torch.where(target.sum() > 0, present, torch.sigmoid(logits).mean())


def focal(logits: Tensor, target: Tensor, gamma: float) -> Tensor:
    """Mean of (1 - q)^gamma * BCE with q = exp(-BCE), without alpha (arXiv 1708.02002).

    logits, target: float32[B, h, w]. Meant for hard targets: with soft ones its best is not at p = t.
    """
    loss: Tensor = FocalLoss("binary", gamma=gamma)(logits, target)
    return loss


def lovasz(logits: Tensor, target: Tensor) -> Tensor:
    """Lovász hinge of one channel over the whole batch (arXiv 1705.08790); logits, target float32[B, h, w].

    A surrogate of the Jaccard loss for hard targets: soft ones are cut at 0.5. One channel at a time, as
    smp's "multilabel" ranks the pixels of all channels together and so mixes their Jaccards. Where the
    channel is absent it costs the hinge of the boldest false positive.
    """
    loss: Tensor = LovaszLoss("binary", per_image=False)(logits, (target >= 0.5).float())
    return loss
