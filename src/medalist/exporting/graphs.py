"""The networks of some folds as one plain module: images uint8[B, h, w, C] -> the outputs of each network."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from medalist.data.items import Normalisation
from medalist.exporting.pools import exportable
from medalist.tasks.exported import ExportPlan

LEAST_SIDE = 64
"""Pixels of the shorter side of the image that an exporter sees, where networks take images of any size."""


class FoldsGraph(nn.Module):
    """The normalisation, and the networks of all folds on the same images.

    The images are bytes, so nobody can normalise them wrongly. The outputs of all folds stand in a row: those of the
    first fold in the order of `plan.names`, then those of the second.
    """

    scale: Tensor
    shift: Tensor

    def __init__(self, plan: ExportPlan):
        """`plan.models` are not copied, unless they have a pooling that ONNX lacks."""
        super().__init__()
        self.models = nn.ModuleList(map(exportable, plan.models))
        self.shared = nn.Identity() if plan.shared is None else exportable(plan.shared)
        self.planes = plan.planes
        self._said = plan.said
        scale, shift = affine(plan.normalisation)
        self.register_buffer("scale", scale)
        self.register_buffer("shift", shift)
        self.eval()

    def forward(self, image: Tensor) -> tuple[Tensor, ...]:
        """Return the outputs of all networks for images uint8[B, h, w, C]."""
        seen = image.permute(0, 3, 1, 2).to(torch.float32) * self.scale + self.shift
        if self.planes:
            seen = torch.cat([seen, (seen[:, :1] * 0.0).expand(-1, self.planes, -1, -1)], dim=1)
        seen = self.shared(seen)
        found: list[Tensor] = []
        for model in self.models:
            outputs: Any = model(seen)
            found += self._said(outputs)
        return tuple(found)


def affine(norm: Normalisation) -> tuple[Tensor, Tensor]:
    """Return float32[C, 1, 1] scale and shift: value * scale + shift is what `data.preparing.normalise` gives."""
    std = np.asarray(norm.std, np.float32)
    scale, shift = 1 / (255 * std), -np.asarray(norm.mean, np.float32) / std
    one, other = (torch.from_numpy(np.asarray(value, np.float32)).reshape(-1, 1, 1) for value in (scale, shift))
    return one, other


def channels_of(plan: ExportPlan) -> int:
    """Return the number of channels of the images, 1 or 3."""
    return len(plan.normalisation.mean)


def example_of(plan: ExportPlan, seed: int = 0, batch: int = 2, grown: int = 0) -> Tensor:
    """Return images of noise uint8[batch, h, w, C] that the networks take.

    grown: where networks take any size, by how many multiples the sides are larger; height and width are not equal.
    """
    if plan.size is None:
        least = -(-LEAST_SIDE // plan.multiple) + grown
        height, width = least * plan.multiple, (least + 1 + grown) * plan.multiple
    else:
        height, width = plan.size
    generator = torch.Generator().manual_seed(seed)
    shape = (batch, height, width, channels_of(plan))
    return torch.randint(0, 256, shape, dtype=torch.uint8, generator=generator)


def output_names(plan: ExportPlan, folds: tuple[int, ...]) -> list[str]:
    """Return the names of the outputs of `FoldsGraph` in their order: logits0, maps0, logits1, maps1."""
    return [f"{name}{fold}" for fold in folds for name in plan.names]
