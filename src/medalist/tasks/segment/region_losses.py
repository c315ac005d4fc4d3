"""Losses of regions: overlaps, the Lovász extension and the edge. Void pixels have probabilities and targets of 0."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from segmentation_models_pytorch.losses import LovaszLoss, TverskyLoss  # type: ignore[import-untyped]
from torch import Tensor

from medalist.tasks.segment.pixel_losses import TINY, Pixels


def tversky(scores: Tensor, target: Tensor, alpha: float, beta: float, mean: Tensor) -> Tensor:
    """Return 1 - TP / (TP + alpha FP + beta FN) of one channel over the whole batch (arXiv 1706.05721), in 0..1.

    scores, target: float32[B, h, w], probabilities and targets, both 0 at void pixels. mean: the mean probability of
    judged pixels. alpha = beta = 0.5 is the Dice loss, alpha = beta = 1 the Jaccard loss. TP is the sum of min(p, t).
    For hard targets this equals the sum of p t; for soft targets the minimum of the loss is then at p = t (arXiv
    2302.05666).

    The ratio is taken over the batch, not for each image, because otherwise an image with one small object would have
    the same weight as a full one. Where the batch's target does not have the channel, the ratio has no information (the
    loss is 1 for any p above 0), and smp returns 0 without a gradient, so false positives would have no penalty there.
    Here the loss is then the mean probability: it is 0 where the network predicts nothing, and every false positive
    gets a gradient.
    """
    made = TverskyLoss("binary", from_logits=False, alpha=alpha, beta=beta)
    present: Tensor = made(scores[:, None], target[:, None])
    return torch.where(target.sum() > 0, present, mean)


def lovasz(logits: Tensor, target: Tensor) -> Tensor:
    """Return the Lovász hinge of one channel over the whole batch (arXiv 1705.08790).

    logits, target: float32[B, h, w]. The loss is a surrogate of the Jaccard loss for hard targets; soft targets are cut
    at 0.5. Each channel is computed alone, because smp's "multilabel" ranks the pixels of all channels together and so
    mixes their Jaccard losses. Where the batch's target does not have the channel, the loss is the hinge of the false
    positive with the highest logit. A void pixel is right beyond the margin, so its hinge is 0 and it ranks last.
    """
    loss: Tensor = LovaszLoss("binary", per_image=False)(logits, (target >= 0.5).float())
    return loss


def lovasz_softmax(scores: Tensor, target: Tensor, shares: Sequence[float]) -> Tensor:
    """Return Lovász-softmax over the whole batch (arXiv 1705.08790): a weighted mean over the classes that are there.

    scores, target: float32[B, C, h, w], probabilities and targets, both 0 at void pixels; soft targets are cut at 0.5.
    A void pixel has no error, so it ranks last and adds nothing.
    """
    total = norm = scores.new_zeros(())
    for channel, share in enumerate(shares):
        truth = (target[:, channel] >= 0.5).float().flatten()
        there = share * (truth.sum() > 0).float()
        errors, order = (truth - scores[:, channel].flatten()).abs().sort(descending=True)
        total = total + there * errors.dot(jaccard_growth(truth[order]))
        norm = norm + there
    return total / norm.clamp_min(TINY)


def jaccard_growth(truth: Tensor) -> Tensor:
    """Return how much each pixel adds to the Jaccard loss when it becomes wrong after the pixels before it.

    truth: float32[N] of 0 and 1, the pixel with the largest error first. This is algorithm 1 of arXiv 1705.08790.
    """
    left = truth.sum() - truth.cumsum(0)
    union = truth.sum() + (1 - truth).cumsum(0)
    return torch.diff(1 - left / union, prepend=truth.new_zeros(1))


def boundary(scores: Tensor, target: Tensor, pixels: Pixels) -> Tensor:
    """Return the boundary loss of one channel: the mean of probability times signed distance (arXiv 1812.07032).

    scores, target: float32[B, h, w], probabilities and targets; soft targets are cut at 0.5. The loss is negative where
    most of the object is found. The distances are computed on the processor, from each batch as it was augmented.
    """
    known = None if pixels.judged is None else pixels.judged.cpu().numpy() > 0
    maps = target.detach().cpu().numpy() >= 0.5
    distances = [signed_distance(one, None if known is None else known[place]) for place, one in enumerate(maps)]
    return pixels.mean(scores * torch.from_numpy(np.stack(distances)).to(scores.device))


def signed_distance(target: NDArray[np.bool_], judged: NDArray[np.bool_] | None = None) -> NDArray[np.float32]:
    """Return float32[H, W], in pixels: outside of the target the distance to it, inside 1 - the distance to the
    outside.

    So the pixels along the inner side of the edge have 0. Void pixels are neither inside nor outside, and have 0. Where
    nothing is inside, or nothing outside, all is 0.
    """
    inside = target if judged is None else target & judged
    outside = ~target if judged is None else ~target & judged
    if not inside.any() or not outside.any():
        return np.zeros(target.shape, np.float32)
    return np.where(outside, _distance_to(inside), np.where(inside, 1 - _distance_to(outside), np.float32(0)))


def _distance_to(mask: NDArray[np.bool_]) -> NDArray[np.float32]:
    distance = cv2.distanceTransform((~mask).view(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
    return np.asarray(distance, np.float32)
