"""Losses that are means over pixels. Void pixels have logits and targets that give them a loss of 0; see `losses`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import torch
from segmentation_models_pytorch.losses import FocalLoss  # type: ignore[import-untyped]
from torch import Tensor
from torch.nn import functional

from medalist.tasks.segment.loss_settings import OhemConfig

TINY = torch.finfo(torch.float32).tiny
"""Stands for a sum of weights of 0 in a denominator, where the numerator is 0 too."""


@dataclass(frozen=True, eq=False)
class Pixels:
    """What a mean over pixels is taken of.

    judged: float32[B, h, w], 1 for judged and 0 for void pixels; None where all are judged. heavy: of this shape, a
    factor of the loss of each pixel; None where it is 1 everywhere.
    """

    judged: Tensor | None = None
    heavy: Tensor | None = None

    @cached_property
    def count(self) -> Tensor | None:
        """The number of judged pixels of the batch, at least 1; None where all are judged."""
        return None if self.judged is None else self.judged.sum().clamp_min(1)

    @property
    def plain(self) -> bool:
        """Whether the mean is over all pixels alike."""
        return self.judged is None and self.heavy is None

    def mean(self, values: Tensor) -> Tensor:
        """Return the mean of values [B, h, w], which are 0 at void pixels."""
        return values.mean() if self.count is None else values.sum() / self.count


ALL = Pixels()


def bce(logits: Tensor, target: Tensor, pixels: Pixels = ALL, ohem: OhemConfig | None = None) -> Tensor:
    """Return the mean binary cross-entropy of one channel, float32[B, h, w]."""
    if pixels.plain and ohem is None:
        return functional.binary_cross_entropy_with_logits(logits, target)
    losses = functional.binary_cross_entropy_with_logits(logits, target, reduction="none")
    return _mean(losses, pixels, ohem)


def focal(logits: Tensor, target: Tensor, gamma: float, pixels: Pixels = ALL, ohem: OhemConfig | None = None) -> Tensor:
    """Return the focal loss: mean of (1 - q)^gamma * BCE with q = exp(-BCE), without alpha (arXiv 1708.02002).

    logits, target: float32[B, h, w]. The loss is made for hard targets; with soft targets its minimum is not at p = t.
    """
    if pixels.plain and ohem is None:
        loss: Tensor = FocalLoss("binary", gamma=gamma)(logits, target)
        return loss
    losses = FocalLoss("binary", gamma=gamma, reduction="none")(logits, target)
    return _mean(losses.reshape(logits.shape), pixels, ohem)


def cross_entropy(
    log_scores: Tensor,
    target: Tensor,
    shares: Sequence[float],
    gamma: float = 0.0,
    pixels: Pixels = ALL,
    ohem: OhemConfig | None = None,
) -> Tensor:
    """Return the cross-entropy of softmax: the mean over pixels, weighted by the weights of their classes.

    log_scores: float32[B, C, h, w], the logarithms of the probabilities. target: of this shape, 0 at void pixels. A
    pixel of two classes has the mean of their weights. gamma: the loss of a pixel is multiplied by (1 - p)^gamma, where
    p is the probability of its class (the focal loss, arXiv 1708.02002).
    """
    weighted = target * log_scores.new_tensor(shares)[:, None, None]
    losses, weights = -(weighted * log_scores).sum(dim=1), weighted.sum(dim=1)
    if gamma or ohem is not None:
        plain = (target * log_scores).sum(dim=1)
    if gamma:
        losses = losses * (1 - plain.exp()) ** gamma
    if ohem is not None:
        kept = hardest(-plain, pixels, ohem)
        losses, weights = losses * kept, weights * kept
    if pixels.heavy is not None:
        losses = losses * pixels.heavy
    return losses.sum() / weights.sum().clamp_min(TINY)


def regression(
    values: Tensor, target: Tensor, error: Literal["l1", "l2"], inside: bool, pixels: Pixels = ALL
) -> Tensor:
    """Return the mean error of one channel of numbers, float32[B, h, w] in 0..1.

    inside: whether the mean is over the pixels with a target above 0 alone, which are those of objects.
    """
    errors = (values - target).abs() if error == "l1" else (values - target) ** 2
    if not inside:
        return pixels.mean(errors)
    there = (target > 0).float()
    return (errors * there).sum() / there.sum().clamp_min(1)


def _mean(losses: Tensor, pixels: Pixels, ohem: OhemConfig | None) -> Tensor:
    """Return the mean of losses float32[B, h, w], which are 0 at void pixels."""
    heavy = losses if pixels.heavy is None else losses * pixels.heavy
    if ohem is None:
        return pixels.mean(heavy)
    kept = hardest(losses, pixels, ohem)
    return (heavy * kept).sum() / kept.sum().clamp_min(1)


def hardest(losses: Tensor, pixels: Pixels, ohem: OhemConfig) -> Tensor:
    """Return 1 for the judged pixels with the highest losses, and 0 for all others, in the shape of `losses`.

    losses: float32, at least 0, and 0 at void pixels. Of the judged pixels, `ohem.share` are kept, but at least
    `ohem.min_pixels`; where several have the lowest loss that is kept, all of these are.
    """
    flat = losses.detach().flatten()
    count = flat.new_tensor(len(flat)) if pixels.count is None else pixels.count
    wanted = (ohem.share * count).ceil().clamp_min(ohem.min_pixels).minimum(count).long()
    lowest = flat.sort(descending=True).values.gather(0, (wanted - 1)[None])
    kept = (losses.detach() >= lowest).float()
    return kept if pixels.judged is None else kept * pixels.judged
