"""Losses on pairs and triplets of a batch: which of them count (mining), and the published loss of those that do.

The losses are pytorch-metric-learning's. Choosing is done here: that library's miners, given the batch and a memory as
one reference, would take a sample for its own positive, and its triplets cost the square of the memory.
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
"""int64 rows of triplets (anchors, positives, negatives), or of pairs (anchors, positives, anchors, negatives)."""

SEMIHARD_MARGIN = 0.2  # of squared distances: FaceNet's, for terms that have no margin of this kind
EASE = 0.1  # epsilon of multi-similarity mining, as published
NEAREST, FARTHEST = 0.5, 1.4  # distances: nearer ones are drawn as if at the first, farther ones never; as published


class PairLoss(nn.Module):
    """One term on pairs. It has no parameters and no state.

    Means are the library's: over the triplets, the pairs (same and different apart) or the anchors whose loss is not 0;
    multi-similarity's over all anchors.
    """

    def __init__(self, term: PairTerm) -> None:
        super().__init__()
        self.term = term
        self.published, self.factor = _published(term)

    def forward(self, embeddings: Tensor, labels: Tensor, known: Tensor, known_labels: Tensor) -> Tensor:
        """The loss of a batch; 0 with a graph where it has no positive pair.

        embeddings: float32[B, D] with unit rows, the anchors; labels: int64[B]; known: float32[M, D], int64[M]:
        earlier embeddings. Anchors are paired with the batch and with these, never with themselves.
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
    """The library's loss, and what it is multiplied by."""
    module: nn.Module
    match term:
        case TripletTerm():
            # Squared distances of unit vectors are 2 - 2 cos, so they are margin apart where cosines are margin / 2.
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
    """The library's loss has plain distances; the paper's are squared, and so is its hinge (Hadsell et al. 2006)."""

    def get_per_pair_loss(self, *args: Any) -> Any:
        return super().get_per_pair_loss(*args) ** 2


def choose(term: PairTerm, cosines: Tensor, same: Tensor, different: Tensor, dim: int) -> Chosen:
    """Which pairs or triplets count, as the term's miner says.

    cosines: float32[B, N] of B anchors and N others; same, different: bool[B, N], what may be paired at all.
    dim: of the embeddings.
    none: all; as triplets for a triplet term, else as pairs.
    multi_similarity: of these, positives farther than the nearest negative less `EASE`, and negatives nearer than the
    farthest positive more `EASE` (arXiv 1904.06627).
    hard: of each anchor the farthest positive and the nearest negative (arXiv 1703.07737).
    semihard: triplets whose negative is farther than the positive, by the margin at most (arXiv 1503.03832).
    distance: for each positive pair one negative, drawn by torch's generator with odds that even out how often each
    distance occurs on the sphere (arXiv 1706.07567).
    """
    match term.miner:
        case "none":
            return _all(term, same, different)
        case "multi_similarity":
            farthest = cosines.masked_fill(~same, torch.inf).amin(dim=1, keepdim=True)
            nearest = cosines.masked_fill(~different, -torch.inf).amax(dim=1, keepdim=True)
            # Without a positive the farthest is at infinity, and no negative counts; the other way round as well.
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
