"""Losses on pairs and triplets of a batch: select pairs or triplets (mining), and compute the published loss on them.

The losses are those of pytorch-metric-learning. Mining is done here, because that library's miners would take a sample
as its own positive where the batch and a memory are given together, and because its triplets cost the square of the
memory.
"""

from __future__ import annotations

from typing import Any, assert_never

import torch
from pytorch_metric_learning import distances, losses  # type: ignore[import-untyped]
from torch import Tensor, nn

from medalist.tasks.embed.losses.settings import (
    CircleTerm,
    ContrastiveTerm,
    MultiSimilarityTerm,
    SupConTerm,
    TripletTerm,
)

PairTerm = TripletTerm | ContrastiveTerm | MultiSimilarityTerm | CircleTerm | SupConTerm
Chosen = tuple[Tensor, ...]
"""int64 row numbers: triplets (anchors, positives, negatives), or pairs (anchors, positives, anchors, negatives)."""

SEMIHARD_MARGIN = 0.2  # FaceNet's margin between squared distances, for terms without a margin of this kind
EASE = 0.1  # epsilon of multi-similarity mining, as published
# As published: negatives nearer than NEAREST are drawn like those at this distance, those beyond FARTHEST never.
NEAREST, FARTHEST = 0.5, 1.4


class PairLoss(nn.Module):
    """One term of the loss, on pairs or triplets. It has no parameters and no state.

    Means are taken as in the library: over the triplets, over the pairs (positive and negative pairs separately), or
    over the anchors whose loss is not 0. The multi-similarity loss is a mean over all anchors.
    """

    def __init__(self, term: PairTerm) -> None:
        super().__init__()
        self.term = term
        self.published, self.factor = _published(term)

    def forward(self, embeddings: Tensor, labels: Tensor, known: Tensor, known_labels: Tensor) -> Tensor:
        """Return the loss of a batch; 0 (with a gradient graph) where the batch has no positive pair.

        embeddings: float32[B, D] with unit rows, the anchors. labels: int64[B]. known: float32[M, D], and known_labels:
        int64[M], of earlier batches. Anchors are paired with the batch and with `known`, but never with themselves.
        """
        others, other_labels = torch.cat([embeddings, known]), torch.cat([labels, known_labels])
        same = labels[:, None] == other_labels[None]
        different = ~same
        same.fill_diagonal_(False)
        if not same.any():
            return (embeddings * 0).sum()
        with torch.no_grad():
            cosines = embeddings @ others.T
            rows = choose(self.term, cosines, same, different, embeddings.shape[1])
        loss: Tensor = self.published(embeddings, labels, rows, others, other_labels)
        return self.factor * loss


def _published(term: PairTerm) -> tuple[nn.Module, float]:
    """Return the library's loss, and the factor by which it is multiplied."""
    module: nn.Module
    match term:
        case TripletTerm():
            # The squared distance of unit vectors is 2 - 2 cos. So a margin between squared distances is half as large
            # between cosines, and the loss is then multiplied by 2.
            module = losses.TripletMarginLoss(margin=term.margin / 2, distance=distances.CosineSimilarity())
            return module, 2.0
        case ContrastiveTerm():
            module = _Hadsell(pos_margin=0, neg_margin=term.margin, distance=distances.LpDistance(p=2, power=1))
        case MultiSimilarityTerm():
            module = losses.MultiSimilarityLoss(alpha=term.alpha, beta=term.beta, base=term.base)
        case CircleTerm():
            module = losses.CircleLoss(m=term.margin, gamma=term.scale)
        case SupConTerm():
            module = losses.SupConLoss(temperature=term.temperature)
        case _:
            assert_never(term)
    return module, 1.0


class _Hadsell(losses.ContrastiveLoss):  # type: ignore[misc]
    """The contrastive loss with squared distances and a squared hinge, as in the paper (Hadsell et al. 2006).

    The library's own loss does not square them.
    """

    def get_per_pair_loss(self, *args: Any) -> Any:
        return super().get_per_pair_loss(*args) ** 2


def choose(term: PairTerm, cosines: Tensor, same: Tensor, different: Tensor, dim: int) -> Chosen:
    """Select the pairs or triplets that count in the loss, by the term's miner.

    cosines: float32[B, N] of B anchors and N others. same, different: bool[B, N], the allowed positive and negative
    pairs. dim: number of components of the embeddings.

    none: all; as triplets for a triplet term, else as pairs.
    multi_similarity: positives with a cosine below that of the nearest negative plus `EASE`, and negatives with a
    cosine above that of the farthest positive minus `EASE` (arXiv 1904.06627).
    hard: for each anchor the farthest positive and the nearest negative (arXiv 1703.07737).
    semihard: triplets whose negative is farther than the positive, but by the margin at most (arXiv 1503.03832).
    distance: for each positive pair one negative. It is drawn by torch's generator, with probabilities that compensate
    how often each distance occurs on the sphere (arXiv 1706.07567).
    """
    match term.miner:
        case "none":
            return _all(term, same, different)
        case "multi_similarity":
            farthest = cosines.masked_fill(~same, torch.inf).amin(dim=1, keepdim=True)
            nearest = cosines.masked_fill(~different, -torch.inf).amax(dim=1, keepdim=True)
            # For an anchor without positives `farthest` is infinite, so none of its negatives is selected. Likewise
            # none of its positives is selected for an anchor without negatives.
            return _all(term, same & (cosines - EASE < nearest), different & (cosines + EASE > farthest))
        case "hard":
            (anchors,) = torch.where(same.any(dim=1) & different.any(dim=1))
            farthest = cosines.masked_fill(~same, torch.inf).argmin(dim=1)
            nearest = cosines.masked_fill(~different, -torch.inf).argmax(dim=1)
            return anchors, farthest[anchors], nearest[anchors]
        case "semihard":
            margin = term.margin if isinstance(term, TripletTerm) else SEMIHARD_MARGIN
            anchors, positives = torch.where(same)
            gaps = 2 * (cosines[anchors, positives][:, None] - cosines[anchors])
            pairs, negatives = torch.where(different[anchors] & (gaps > 0) & (gaps <= margin))
            return anchors[pairs], positives[pairs], negatives
        case "distance":
            return _by_distance(cosines, same, different, dim)
        case _:
            assert_never(term.miner)


def _all(term: PairTerm, same: Tensor, different: Tensor) -> Chosen:
    anchors, positives = torch.where(same)
    if not isinstance(term, TripletTerm):
        return anchors, positives, *torch.where(different)
    pairs, negatives = torch.where(different[anchors])
    return anchors[pairs], positives[pairs], negatives


def _by_distance(cosines: Tensor, same: Tensor, different: Tensor, dim: int) -> Chosen:
    distances = (2 - 2 * cosines).clamp(min=0).sqrt()
    different = different & (distances < FARTHEST)
    distances = distances.clamp(NEAREST, FARTHEST)
    rarity = (2 - dim) * distances.log() + (3 - dim) / 2 * (1 - distances.square() / 4).log()
    anchors, positives = torch.where(same & different.any(dim=1, keepdim=True))
    if len(anchors) == 0:
        return anchors, positives, anchors
    odds = rarity.masked_fill(~different, -torch.inf)[anchors].softmax(dim=1)
    return anchors, positives, torch.multinomial(odds, 1)[:, 0]
