"""Softmax over class prototypes on the unit sphere with a margin for the right class: ArcFace, CosFace, sub-centres."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from medalist.tasks.embed.losses.settings import MarginTerm

# Lower limit of the square of a sine. It is smaller than float32 can resolve here, so it applies only at angles 0 and
# pi.
SMALLEST_SQUARE = 1e-8


class MarginSoftmax(nn.Module):
    """Cross-entropy of scaled cosines to class prototypes, where the right class must win by a margin m.

    arcface (arXiv 1801.07698) uses cos(theta + m) for the right class. Where theta + m is larger than pi, this would
    grow again, so cos(theta) - m sin(m) is used there. cosface (arXiv 1801.09414) uses cos(theta) - m. With several
    prototypes for a class, the cosine of the nearest one counts (sub-centre ArcFace, ECCV 2020).

    The prototypes are the parameter `weight`, float32[C * prototypes, dim], sorted by class; only their directions
    matter. They start as random unit vectors from torch's generator.
    """

    margins: Tensor

    def __init__(self, term: MarginTerm, dim: int, class_sizes: Sequence[int]) -> None:
        super().__init__()
        self.term = term
        self.weight = nn.Parameter(unit_rows(len(class_sizes) * term.prototypes, dim))
        self.register_buffer("margins", margins_by_size(term, class_sizes), persistent=False)

    def forward(self, embeddings: Tensor, labels: Tensor) -> Tensor:
        """Return the mean loss of a batch. embeddings: float32[B, dim] with unit rows; labels: int64[B] in 0..C-1."""
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
        # The square root has no finite gradient at 0, so the sine is a constant there. This loses nothing, because at
        # the prototype itself there is no direction to move in.
        sine = (1 - cosine.square()).clamp(min=SMALLEST_SQUARE).sqrt()
        turned = cosine * margin.cos() - sine * margin.sin()
        return torch.where(cosine >= -margin.cos(), turned, cosine - margin * margin.sin())

    def prototypes(self) -> tuple[Tensor, Tensor]:
        """Return the prototypes, float32[C * prototypes, dim] with unit rows, detached, and their classes, int64."""
        rows = functional.normalize(self.weight.detach().float())
        return rows, torch.arange(len(rows), device=rows.device) // self.term.prototypes


def margins_by_size(term: MarginTerm, class_sizes: Sequence[int]) -> Tensor:
    """Return the margin of each class, float32[C]: `least + (margin - least) * f`.

    f is 1 for the rarest class and 0 for the most common one. class_sizes: number of training samples of each class, at
    least 1. With by_size `power`, f is linear in size ** -power (arXiv 2010.05350); with `log`, it is linear in
    log(size). Where all classes have the same size, all get `margin`.
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
    """Return random unit vectors float32[rows, dim], uniform on the sphere, drawn by torch's generator."""
    return functional.normalize(torch.randn(rows, dim))
