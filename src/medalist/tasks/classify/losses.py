"""Losses for labels of whole images: one class, several classes, or a grade."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import assert_never

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from medalist.config import OwnConfig
from medalist.errors import ConfigError
from medalist.parts import NO_PARTS, OwnParts
from medalist.tasks.classify.loss_settings import (
    AsymmetricConfig,
    BceConfig,
    ClassWeights,
    CoralConfig,
    CrossEntropyConfig,
    FocalConfig,
    LossConfig,
    RegressionLossConfig,
)
from medalist.tasks.own import OwnLoss

BETA = 0.999
"""Beta of the effective numbers of samples, as published (arXiv 1901.05555)."""

LEAST = 1e-6
"""Lower limit for the probability of the wrong side, because a power below 1 has no finite gradient at 0."""


def class_weights(config: ClassWeights, classes: Sequence[str], counts: Sequence[int]) -> NDArray[np.float64]:
    """Return the weight of each class, float64[C]; the mean of the weights over the training samples is 1.

    counts: number of training samples of each class; a class without samples counts as a class with one sample. Raises
    ConfigError where `config` names a class that does not exist, and where the mean of the weights is 0.
    """
    sizes = np.maximum(np.asarray(counts, np.float64), 1)
    if isinstance(config, dict):
        unknown = [name for name in config if name not in classes]
        if unknown:
            raise ConfigError(
                f"loss.class_weights: there is no class '{unknown[0]}'; there are: {', '.join(classes[:20])}"
            )
        weights = np.array([config.get(name, 1.0) for name in classes])
    elif config == "balanced":
        weights = 1 / sizes
    elif config == "effective":
        weights = (1 - BETA) / (1 - BETA**sizes)
    else:
        weights = np.ones(len(classes))
    mean = float((weights * sizes).sum() / sizes.sum())
    if mean <= 0:
        raise ConfigError(
            "loss.class_weights: all classes with samples have weight 0; give one of them a larger weight"
        )
    return weights / mean


class LabelLoss(nn.Module):
    """The loss of each sample: outputs float32[B, O], values int64[B] or float32[B, C] -> float32[B].

    int64 values are classes (or grades); float32 values are 1 for each class that a sample has, and 0 for others. The
    loss has no parameters and no state, so it is not saved in a checkpoint.
    """

    weights: Tensor

    def __init__(self, config: LossConfig, classes: Sequence[str], counts: Sequence[int], own: OwnParts = NO_PARTS):
        """`counts`: number of training samples of each class. `own`: the parts of the contest's folder."""
        super().__init__()
        self.config = config
        self._own = OwnLoss(config, own, by_sample=True) if isinstance(config, OwnConfig) else None
        asked: ClassWeights = "none" if isinstance(config, AsymmetricConfig | OwnConfig) else config.class_weights
        weights = torch.tensor(class_weights(asked, classes, counts), dtype=torch.float32)
        self.register_buffer("weights", weights)

    def forward(self, outputs: Tensor, values: Tensor) -> Tensor:
        """Return the loss of each sample, float32[B]."""
        return self._computed(outputs, values) if self._own is None else self._own(outputs, values)

    def _computed(self, outputs: Tensor, values: Tensor) -> Tensor:
        if self.weights.device != outputs.device:
            with torch.inference_mode(False):  # a validation may come first, and a training uses the same weights
                self.weights = self.weights.to(outputs.device)  # moved once: a copy in each step waits for the GPU
        outputs, weights, config = outputs.float(), self.weights, self.config
        assert not isinstance(config, OwnConfig)
        match config:
            case CrossEntropyConfig():
                plain = functional.cross_entropy(outputs, values, reduction="none", label_smoothing=config.smoothing)
                return plain * weights[values]
            case FocalConfig():
                focal = _focal_sigmoid if values.is_floating_point() else _focal_softmax
                return focal(outputs, values, config.gamma, weights)
            case BceConfig():
                smooth = values * (1 - config.smoothing) + config.smoothing / 2
                terms = functional.binary_cross_entropy_with_logits(
                    outputs, smooth, reduction="none", pos_weight=weights
                )
                return terms.mean(dim=1)
            case AsymmetricConfig():
                return asymmetric(outputs, values, config)
            case RegressionLossConfig():
                error = functional.mse_loss if config.error == "squared" else functional.smooth_l1_loss
                return error(outputs[:, 0], values.float(), reduction="none") * weights[values]
            case CoralConfig():
                reached = (values[:, None] > torch.arange(outputs.shape[1], device=values.device)).float()
                terms = functional.binary_cross_entropy_with_logits(outputs, reached, reduction="none")
                return terms.mean(dim=1) * weights[values]
            case _:
                assert_never(config)


def _focal_softmax(outputs: Tensor, values: Tensor, gamma: float, weights: Tensor) -> Tensor:
    """Return the focal loss of each sample where a sample has one class; values: int64[B]."""
    log_p = functional.log_softmax(outputs, dim=1).gather(1, values[:, None])[:, 0]
    wrong = (-torch.expm1(log_p)).clamp(min=LEAST)
    return -(wrong**gamma) * log_p * weights[values]


def _focal_sigmoid(outputs: Tensor, values: Tensor, gamma: float, weights: Tensor) -> Tensor:
    """Return the binary focal loss of each sample, a mean over classes; `weights` apply to positive labels only."""
    plain = functional.binary_cross_entropy_with_logits(outputs, values, reduction="none")
    wrong = torch.where(values > 0.5, -outputs, outputs).sigmoid().clamp(min=LEAST)
    sides = torch.where(values > 0.5, weights, torch.ones_like(weights))
    return (wrong**gamma * plain * sides).mean(dim=1)


def asymmetric(outputs: Tensor, values: Tensor, config: AsymmetricConfig) -> Tensor:
    """Return the asymmetric loss (arXiv 2009.14119, equations 4 to 6) of each sample, as a mean over classes.

    L+ = (1 - p) ** positive * log(p), L- = p_m ** negative * log(1 - p_m), p_m = max(p - clip, 0). As in the authors'
    code, no gradient goes through the focusing factors.
    """
    p = outputs.sigmoid()
    shifted = (p - config.clip).clamp(min=0)
    log_positive = functional.logsigmoid(outputs)
    log_negative = torch.log((1 - shifted).clamp(min=1e-8))
    with torch.no_grad():
        towards_one, towards_zero = (1 - p) ** config.positive, shifted**config.negative
    terms = values * towards_one * log_positive + (1 - values) * towards_zero * log_negative
    return -terms.mean(dim=1)


def outputs_of(config: LossConfig, classes: int) -> int:
    """Return O, the number of outputs that a network needs for each image under this loss."""
    match config:
        case RegressionLossConfig():
            return 1
        case CoralConfig():
            return classes - 1
        case _:
            return classes


def as_predictions(config: LossConfig, multi_label: bool, outputs: Tensor) -> Tensor:
    """Turn outputs float32[B, O] into predictions: probabilities float32[B, C], or grades float32[B, 1].

    multi_label: an image may have several labels, so the probabilities of its classes do not sum to 1.
    """
    outputs = outputs.float()
    match config:
        case RegressionLossConfig():
            return outputs
        case CoralConfig():
            # The sum is the mean grade, because each term is the probability that one more grade is reached.
            return outputs.sigmoid().sum(dim=1, keepdim=True)
        case _:
            return outputs.sigmoid() if multi_label else outputs.softmax(dim=1)


def class_totals(values: Sequence[NDArray[np.int64] | NDArray[np.float32]], classes: int) -> list[int]:
    """Return the number of these targets that have each class."""
    counts = np.zeros(classes, np.int64)
    for value in values:
        if value.dtype.kind == "f":
            counts += value > 0.5
        else:
            counts[int(value)] += 1
    return [int(count) for count in counts]


def named_loss(per_sample: Tensor) -> Mapping[str, Tensor]:
    """Return the mean loss as `loss`, the name that the training loop reads."""
    return {"loss": per_sample.mean()}
