"""Feature maps become one vector an image, and the neck behind it."""

from __future__ import annotations

from typing import assert_never

import torch
from torch import Tensor, nn

from medalist.models.settings import EncoderConfig


class GeM(nn.Module):
    """Generalised mean over positions, its power learned (arXiv 1711.02512): [B, C, h, w] -> [B, C].

    1 is the average; towards infinity it becomes the maximum. Values below 1e-6 count as 1e-6.
    """

    def __init__(self, power: float):
        """`power` is where it begins."""
        super().__init__()
        self.power = nn.Parameter(torch.tensor(power))

    def forward(self, maps: Tensor) -> Tensor:
        """Pool a batch of maps; in float32, as powers of halves overflow."""
        raised = maps.float().clamp(min=1e-6).pow(self.power)
        pooled: Tensor = raised.mean(dim=(-2, -1)).pow(1 / self.power)
        return pooled


class AttentionPool(nn.Module):
    """A weighted mean over positions, weights by softmax of a learned query: [B, C, h, w] -> [B, C]."""

    def __init__(self, width: int):
        """It begins as the plain average."""
        super().__init__()
        self.query = nn.Conv2d(width, 1, 1)
        nn.init.zeros_(self.query.weight)

    def forward(self, maps: Tensor) -> Tensor:
        """Pool a batch of maps."""
        weights = self.query(maps).flatten(2).softmax(dim=-1)
        pooled: Tensor = (maps.flatten(2) * weights).sum(dim=-1)
        return pooled


def build_pooling(config: EncoderConfig, width: int = 0) -> nn.Module:
    """What turns maps [B, C, h, w] into [B, C]; `width` is C, which attention needs."""
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
    """Whether features can be pooled before they are kept: the pooling has nothing to learn."""
    return config.pooling in ("avg", "max")


class PooledHead(nn.Module):
    """Feature maps [B, C, h, w], or features pooled before [B, C], become vectors [B, dim]: pooling, dropout, neck."""

    def __init__(self, config: EncoderConfig, width: int, cells: int):
        """`width`: channels of the features; `cells`: their positions, for pooling `flat`."""
        super().__init__()
        self.pool = build_pooling(config, width)
        self.drop = nn.Dropout(config.dropout)
        width = width * (cells if config.pooling == "flat" else 1)
        self.dim = config.dim or width
        parts: list[nn.Module] = []
        if config.neck.startswith("linear"):
            parts.append(nn.Linear(width, self.dim, bias=config.neck == "linear"))
        if config.neck.endswith("bn"):
            parts.append(nn.BatchNorm1d(self.dim))
        self.neck = nn.Sequential(*parts)

    def pooled(self, features: Tensor) -> Tensor:
        """Vectors of a batch."""
        pooled = self.pool(features) if features.ndim == 4 else features
        found: Tensor = self.neck(self.drop(pooled))
        return found
