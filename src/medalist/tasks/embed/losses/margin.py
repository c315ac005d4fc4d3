"""Softmax over class prototypes on the unit sphere with a margin for the right class: ArcFace, CosFace, sub-centres."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from medalist.tasks.embed.losses.settings import MarginTerm

SMALLEST_SQUARE = 1e-8  # of a sine: below what float32 can tell from 0, so only an angle of exactly 0 or pi meets it


class MarginSoftmax(nn.Module):
    """Cross-entropy of scaled cosines to class prototypes, where the right class has to win by a margin.

    arcface (arXiv 1801.07698) takes cos(theta + m) for the right class, and where theta + m passes pi, where that would
    grow again, cos(theta) - m sin(m); cosface (arXiv 1801.09414) takes cos(theta) - m. With several prototypes a class
    has the cosine of its nearest one (sub-centre ArcFace, ECCV 2020).
    The prototypes are the parameter `weight`, float32[C * prototypes, dim], class after class; only their directions
    count. They start as random unit vectors from torch's generator.
    """

    margins: Tensor

    def __init__(self, term: MarginTerm, dim: int, class_sizes: Sequence[int]) -> None:
        super().__init__()
        self.term = term
        self.weight = nn.Parameter(unit_rows(len(class_sizes) * term.prototypes, dim))
        self.register_buffer("margins", margins_by_size(term, class_sizes), persistent=False)

    def forward(self, embeddings: Tensor, labels: Tensor) -> Tensor:
        """The mean over a batch; embeddings: float32[B, dim] with unit rows; labels: int64[B] in 0..C-1."""
        cosines = embeddings @ functional.normalize(self.weight.float()).T
        if self.term.prototypes > 1:
            cosines = cosines.reshape(len(cosines), -1, self.term.prototypes).max(dim=2).values
        right = labels[:, None]
        with_margin = self._with_margin(cosines.gather(1, right), self.margins[right])
        logits = self.term.scale * cosines.scatter(1, right, with_margin)
        return functional.cross_entropy(logits, labels, label_smoothing=self.term.smoothing)

    def _with_margin(self, cosine: Tensor, margin: Tensor) -> Tensor:
        if self.term.kind == "cosface":
            return cosine - margin
        # A root has no slope at 0. There the sine counts as a constant: at the centre itself nothing pulls anyway.
        sine = (1 - cosine.square()).clamp(min=SMALLEST_SQUARE).sqrt()
        turned = cosine * margin.cos() - sine * margin.sin()
        return torch.where(cosine >= -margin.cos(), turned, cosine - margin * margin.sin())

    def prototypes(self) -> tuple[Tensor, Tensor]:
        """The prototypes, float32[C * prototypes, dim], unit rows, and the class of each, int64; without a graph."""
        rows = functional.normalize(self.weight.detach().float())
        return rows, torch.arange(len(rows), device=rows.device) // self.term.prototypes


def margins_by_size(term: MarginTerm, class_sizes: Sequence[int]) -> Tensor:
    """The margin of each class, float32[C]: `least + (margin - least) * f`, f = 1 at the rarest, 0 at the most common.

    class_sizes: training samples of each class, at least 1. `power`: f is linear in size ** -power (arXiv 2010.05350);
    `log`: in log(size). Where all classes have one size, they all get `margin`.
    """
    assert min(class_sizes) >= 1, f"class {min(range(len(class_sizes)), key=class_sizes.__getitem__)} has no samples"
    if term.by_size == "none" or min(class_sizes) == max(class_sizes):
        return torch.full((len(class_sizes),), term.margin)

    def rarity(size: int) -> float:
        return float(size**-term.power) if term.by_size == "power" else -math.log(size)

    rarest, commonest = rarity(min(class_sizes)), rarity(max(class_sizes))
    shares = [(rarity(size) - commonest) / (rarest - commonest) for size in class_sizes]
    return torch.tensor([term.least + (term.margin - term.least) * share for share in shares])


def unit_rows(rows: int, dim: int) -> Tensor:
    """Directions drawn evenly from the sphere by torch's generator: float32[rows, dim] with unit rows."""
    return functional.normalize(torch.randn(rows, dim))
