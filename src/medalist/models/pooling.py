"""Pooling of feature maps to one vector for each image, and the neck (linear layer, batch norm) after it."""

from __future__ import annotations

from typing import assert_never

import torch
from torch import Tensor, nn

from medalist.models.settings import EncoderConfig


class GeM(nn.Module):
    """Generalised mean over positions with a learned power (arXiv 1711.02512): [B, C, h, w] -> [B, C].

    Power 1 is the average; towards infinity the result becomes the maximum. Values below 1e-6 count as 1e-6.
    """

    def __init__(self, power: float):
        """`power` is the initial value of the learned power."""
        super().__init__()
        self.power = nn.Parameter(torch.tensor(power))

    def forward(self, maps: Tensor) -> Tensor:
        """Pool a batch of maps, in float32, because powers of half-precision numbers overflow."""
        raised = maps.float().clamp(min=1e-6).pow(self.power)
        pooled: Tensor = raised.mean(dim=(-2, -1)).pow(1 / self.power)
        return pooled


class AttentionPool(nn.Module):
    """A weighted mean over positions: [B, C, h, w] -> [B, C]. The weights are the softmax of a learned query."""

    def __init__(self, width: int):
        """`width` is C. The initial query gives all positions the same weight, so training starts from the average."""
        super().__init__()
        self.query = nn.Conv2d(width, 1, 1)
        nn.init.zeros_(self.query.weight)

    def forward(self, maps: Tensor) -> Tensor:
        """Pool a batch of maps."""
        weights = self.query(maps).flatten(2).softmax(dim=-1)
        pooled: Tensor = (maps.flatten(2) * weights).sum(dim=-1)
        return pooled


def build_pooling(config: EncoderConfig, width: int = 0) -> nn.Module:
    """Return the module that pools maps [B, C, h, w] to [B, C], or for pooling `flat` to [B, C * h * w].

    `width` is C; only attention pooling needs it.
    """
    match config.pooling:
        case "gem":
            return GeM(config.gem)
        case "avg":
            return nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten())
        case "max":
            return nn.Sequential(nn.AdaptiveMaxPool2d(1), nn.Flatten())
        case "attention":
            return AttentionPool(width)
        case "flat":
            return nn.Flatten()
        case _:
            assert_never(config.pooling)


def pools_before(config: EncoderConfig) -> bool:
    """Return whether the pooling has no weights to learn, so that features can be stored after pooling."""
    return config.pooling in ("avg", "max")


class PooledHead(nn.Module):
    """Pooling, dropout and neck: feature maps [B, C, h, w], or already pooled features [B, C], -> vectors [B, dim]."""

    def __init__(self, config: EncoderConfig, width: int, cells: int):
        """`width`: number of channels of the features. `cells`: number of positions, used by pooling `flat`."""
        super().__init__()
        self.pool = build_pooling(config, width)
        self.drop = nn.Dropout(config.dropout)
        width = width * (cells if config.pooling == "flat" else 1)
        self.features = (width,)
        """The shape of one sample's features after pooling."""
        self.dim = config.dim or width
        parts: list[nn.Module] = []
        if config.neck.startswith("linear"):
            parts.append(nn.Linear(width, self.dim, bias=config.neck == "linear"))
        if config.neck.endswith("bn"):
            parts.append(nn.BatchNorm1d(self.dim))
        self.neck = nn.Sequential(*parts)

    def pooled(self, features: Tensor) -> Tensor:
        """Return the vectors [B, dim] of a batch of features."""
        pooled = self.pool(features) if features.ndim == 4 else features
        found: Tensor = self.neck(self.drop(pooled))
        return found
