"""The loss of a batch: a weighted sum of terms. A term is the weighted mean over channels of the loss of each channel.

All losses are computed in float32 with autocast off, for every precision of the network. Void pixels weigh nothing:
their logits are replaced before anything is computed, and means are over judged pixels.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from medalist.tasks.segment.channels import OFFSETS, Activation
from medalist.tasks.segment.loss_settings import PIXEL_TERMS, LossConfig
from medalist.tasks.segment.pixel_losses import Pixels, bce, cross_entropy, focal, regression
from medalist.tasks.segment.region_losses import boundary, lovasz, lovasz_softmax, tversky

SURELY_NOT = -1e4
"""The logit of void pixels: their probability is exactly 0, as their target is, so every loss of sigmoid is 0 there."""

LOG_OFFSET = 1e-7
"""Keeps the logarithm of a coefficient of 0 finite, with a gradient."""


def segmentation_loss(
    logits: Tensor,
    target: Tensor,
    config: LossConfig,
    channels: Sequence[str],
    judged: Tensor | None = None,
    activation: Activation = "sigmoid",
    near: Tensor | None = None,
) -> dict[str, Tensor]:
    """Return the loss of a batch and its parts.

    logits: float[B, C, h, w] of any precision. target: [B, C, h, w] in 0..1; soft values are allowed. Under softmax the
    channels of a judged pixel sum to 1. channels: the names of the C channels. judged: [B, 1, h, w], 1 for judged and 0
    for void pixels; None where all are judged. near: [B, 1, h, w] in 0..1, how near a pixel is to two objects, for
    `config.border_weight`. Returns "loss", a float32 scalar with a gradient, and each term by name, detached and not
    multiplied by its weight. A batch without a judged pixel has loss 0 and gradient 0. Raises ConfigError where
    `config.channels` names a channel that does not exist.
    """
    assert logits.ndim == 4 and logits.shape == target.shape, (logits.shape, target.shape)
    assert logits.shape[1] == len(channels), (logits.shape, channels)
    with torch.autocast(logits.device.type, enabled=False):
        heavy = None if near is None else 1 + config.border_weight * near.float()[:, 0]
        seen = _seen(logits.float(), target.float(), judged, heavy)
        loss = seen.logits.new_zeros(())
        parts = {}
        for name, weight in config.terms.items():
            shares = config.channel_weights(channels, name)
            if activation == "softmax":
                term = _softmax_term(name, seen, shares, config)
            else:
                term = _sigmoid_term(name, seen, shares, channels, config)
            loss = loss + weight * term
            parts[name] = term.detach()
    return {"loss": loss, **parts}


@dataclass(frozen=True, eq=False)
class Seen:
    """What a loss is computed from: float32[B, C, h, w], with logits SURELY_NOT and targets 0 at void pixels.

    pixels: what means over pixels are taken of.
    """

    logits: Tensor
    target: Tensor
    pixels: Pixels


def _seen(logits: Tensor, target: Tensor, judged: Tensor | None, heavy: Tensor | None) -> Seen:
    if judged is None:
        return Seen(logits, target, Pixels(None, heavy))
    target = torch.where(judged > 0, target, 0.0)
    return Seen(without_void(logits, judged), target, Pixels(judged.float()[:, 0], heavy))


def without_void(logits: Tensor, judged: Tensor | None) -> Tensor:
    """Return logits [B, C, h, w] with SURELY_NOT at void pixels, which then have no gradient."""
    return logits if judged is None else torch.where(judged > 0, logits, SURELY_NOT)


def _sigmoid_term(
    name: str, seen: Seen, shares: Sequence[float], channels: Sequence[str], config: LossConfig
) -> Tensor:
    term = seen.logits.new_zeros(())
    for number, share in enumerate(shares):
        if share > 0:
            logits, target = seen.logits[:, number], seen.target[:, number]
            if name == "regression":
                inside = channels[number] in OFFSETS
                loss = regression(torch.sigmoid(logits), target, config.regression_error, inside, seen.pixels)
            else:
                loss = _of_channel(name, logits, target, seen.pixels, config)
            term = term + share * loss
    return term


def _of_channel(name: str, logits: Tensor, target: Tensor, pixels: Pixels, config: LossConfig) -> Tensor:
    match name:
        case "bce":
            return bce(logits, target, pixels, config.ohem)
        case "focal":
            return focal(logits, target, config.focal_gamma, pixels, config.ohem)
        case "lovasz":
            return lovasz(logits, target)
        case "boundary":
            return boundary(torch.sigmoid(logits), target, pixels)
        case _:
            scores = functional.logsigmoid(logits).exp()  # keeps a gradient where the sigmoid rounds to 0 or 1
            return _overlap(name, scores, target, pixels.mean(torch.sigmoid(logits)), config)


def _softmax_term(name: str, seen: Seen, shares: Sequence[float], config: LossConfig) -> Tensor:
    log_scores = seen.logits.log_softmax(dim=1)
    if name in PIXEL_TERMS:
        gamma = config.focal_gamma if name == "focal" else 0.0
        return cross_entropy(log_scores, seen.target, shares, gamma, seen.pixels, config.ohem)
    judged = seen.pixels.judged
    scores = log_scores.exp() if judged is None else log_scores.exp() * judged[:, None]
    if name == "lovasz":
        return lovasz_softmax(scores, seen.target, shares)
    term = seen.logits.new_zeros(())
    for number, share in enumerate(shares):
        if share > 0:
            score, target = scores[:, number], seen.target[:, number]
            if name == "boundary":
                loss = boundary(score, target, seen.pixels)
            else:
                loss = _overlap(name, score, target, seen.pixels.mean(score), config)
            term = term + share * loss
    return term


def _overlap(name: str, scores: Tensor, target: Tensor, mean: Tensor, config: LossConfig) -> Tensor:
    """Return a loss made of true positives, false positives and false negatives; see `tversky`."""
    match name:
        case "dice" | "log_dice":
            loss = tversky(scores, target, 0.5, 0.5, mean)
        case "jaccard" | "log_jaccard":
            loss = tversky(scores, target, 1.0, 1.0, mean)
        case "tversky":
            loss = tversky(scores, target, config.tversky_alpha, config.tversky_beta, mean)
        case _:
            raise AssertionError(f"no loss '{name}'")
    return loss if not name.startswith("log_") else -torch.log((1 - loss + LOG_OFFSET) / (1 + LOG_OFFSET))
