"""Losses on logits: a weighted sum of terms. A term is the weighted mean over channels of the loss of each channel.

All losses are computed in float32 with autocast off, for every precision of the network.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from segmentation_models_pytorch.losses import FocalLoss, LovaszLoss, TverskyLoss  # type: ignore[import-untyped]
from torch import Tensor
from torch.nn import functional

from medalist.tasks.segment.loss_settings import LossConfig


def segmentation_loss(logits: Tensor, target: Tensor, config: LossConfig, channels: Sequence[str]) -> dict[str, Tensor]:
    """Return the loss of a batch and its parts.

    logits: float[B, C, h, w] of any precision. target: [B, C, h, w] in 0..1; soft values are allowed. channels: the
    names of the C channels. Returns "loss", a float32 scalar with a gradient, and each term by name, detached and not
    multiplied by its weight. Raises ConfigError where `config.channels` names a channel that does not exist.
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
    """Return 1 - TP / (TP + alpha FP + beta FN) of one channel over the whole batch (arXiv 1706.05721), in 0..1.

    logits, target: float32[B, h, w]. alpha = beta = 0.5 is the Dice loss, alpha = beta = 1 the Jaccard loss. TP is the
    sum of min(p, t). For hard targets this equals the sum of p t; for soft targets the minimum of the loss is then at
    p = t (arXiv 2302.05666).

    The ratio is taken over the batch, not for each image, because otherwise an image with one small object would have
    the same weight as a full one. Where the batch's target does not have the channel, the ratio has no information (the
    loss is 1 for any p above 0), and smp returns 0 without a gradient, so false positives would have no penalty there.
    Here the loss is then the mean probability: it is 0 where the network predicts nothing, and every false positive
    gets a gradient.
    """
    present: Tensor = TverskyLoss("binary", alpha=alpha, beta=beta)(logits[:, None], target[:, None])
    return torch.where(target.sum() > 0, present, torch.sigmoid(logits).mean())


def focal(logits: Tensor, target: Tensor, gamma: float) -> Tensor:
    """Return the focal loss: mean of (1 - q)^gamma * BCE with q = exp(-BCE), without alpha (arXiv 1708.02002).

    logits, target: float32[B, h, w]. The loss is made for hard targets; with soft targets its minimum is not at p = t.
    """
    loss: Tensor = FocalLoss("binary", gamma=gamma)(logits, target)
    return loss


def lovasz(logits: Tensor, target: Tensor) -> Tensor:
    """Return the Lovász hinge of one channel over the whole batch (arXiv 1705.08790).

    logits, target: float32[B, h, w]. The loss is a surrogate of the Jaccard loss for hard targets; soft targets are cut
    at 0.5. Each channel is computed alone, because smp's "multilabel" ranks the pixels of all channels together and so
    mixes their Jaccard losses. Where the batch's target does not have the channel, the loss is the hinge of the false
    positive with the highest logit.
    """
    loss: Tensor = LovaszLoss("binary", per_image=False)(logits, (target >= 0.5).float())
    return loss
