"""The optimiser and its groups of parameters."""

from __future__ import annotations

from collections import defaultdict
from typing import Any

from torch import nn
from torch.optim import SGD, AdamW, Optimizer

from medalist.engine.settings import TrainConfig


def make_optimizer(model: nn.Module, config: TrainConfig) -> Optimizer:
    """Groups: encoder and rest, each with and without weight decay (none on biases and norms)."""
    groups: dict[tuple[bool, bool], list[nn.Parameter]] = defaultdict(list)
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            groups[name.startswith("encoder."), parameter.ndim > 1].append(parameter)
    settings: list[dict[str, Any]] = [
        {
            "params": parameters,
            "lr": config.lr * (config.encoder_lr if encoder else 1.0),
            "weight_decay": config.weight_decay if decays else 0.0,
        }
        for (encoder, decays), parameters in sorted(groups.items(), key=lambda item: item[0])
    ]
    if config.optimizer == "adamw":
        # One pass over all weights, a fifth of a small network's step; but it would scale the gradients of fp16 itself,
        # and those could then not be clipped.
        return AdamW(settings, fused=config.precision != "16-mixed")
    return SGD(settings, lr=config.lr, momentum=config.momentum, nesterov=config.momentum > 0)
