"""Losses on embeddings: a weighted sum of terms. All terms are computed in float32 with autocast off."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from medalist.errors import DataError
from medalist.tasks.embed.losses.margin import MarginSoftmax, unit_rows
from medalist.tasks.embed.losses.pairs import PairLoss
from medalist.tasks.embed.losses.settings import (
    MarginTerm,
    MetricLossConfig,
    PrototypeTerm,
    ProxyNcaTerm,
    SiameseTerm,
    Term,
)


def build_metric_loss(config: MetricLossConfig, dim: int, class_sizes: Sequence[int]) -> MetricLoss:
    """Return the loss that a config describes; torch's generator draws the initial values of its parameters.

    dim: number of components of the embeddings. class_sizes: number of training samples of each class 0..C-1, at least
    1. Raises DataError for fewer than two classes.
    """
    if len(class_sizes) < 2:
        raise DataError(
            f"a loss on embeddings needs at least 2 identities to tell apart, the training part has {len(class_sizes)}"
            "; use more of the data, or fewer folds"
        )
    return MetricLoss(config, dim, class_sizes)


class MetricLoss(nn.Module):
    """A weighted sum of terms on the unit vectors of a batch.

    The parameters are class prototypes, proxies and the siamese weights; the state dict holds nothing else. The
    cross-batch memory (arXiv 1912.06798) is not in the state dict. `new_epoch` empties it; within an epoch a checkpoint
    saves it by `memory` and restores it by `remember`.

    In training mode a batch is paired with itself, with gradients on both sides, and with the memory; then the batch is
    added to the memory. In eval mode the memory is neither read nor written. The memory does not store sample ids. So
    where a sampler repeats a sample in an epoch, its older copy may be a positive: another augmentation of the sample,
    as two copies in one batch are.
    """

    def __init__(self, config: MetricLossConfig, dim: int, class_sizes: Sequence[int]) -> None:
        super().__init__()
        self.config = config
        self.dim = dim
        self.terms = nn.ModuleDict({term.kind: _module(term, dim, class_sizes) for term in config.terms})
        self._most = max(getattr(term, "memory", 0) for term in config.terms)
        self._known, self._known_labels = torch.empty(0, dim), torch.empty(0, dtype=torch.int64)

    @property
    def compares(self) -> bool:
        """Whether samples of a batch are compared with each other, and not only with class prototypes or proxies."""
        return not all(isinstance(term, MarginTerm | ProxyNcaTerm) for term in self.config.terms)

    def forward(self, embeddings: Tensor, labels: Tensor) -> dict[str, Tensor]:
        """Return the loss of a batch and its terms.

        embeddings: float[B, dim] of any precision with unit rows. labels: int64[B] in 0..C-1. Returns "loss", a float32
        scalar with a gradient graph, and each term by its kind, detached and not multiplied by its weight. A term on
        pairs is 0 where the batch and the memory give no positive pair.
        """
        assert embeddings.shape == (len(labels), self.dim), (embeddings.shape, labels.shape, self.dim)
        with torch.autocast(embeddings.device.type, enabled=False):
            # Normalised again, because unit vectors in half precision do not have length 1 in float32.
            embeddings = functional.normalize(embeddings.float())
            known, known_labels = self._known.to(embeddings.device), self._known_labels.to(labels.device)
            loss = embeddings.new_zeros(())
            parts: dict[str, Tensor] = {}
            for term in self.config.terms:
                module = self.terms[term.kind]
                if isinstance(module, PairLoss):
                    first = max(len(known) - module.term.memory, 0) if self.training else len(known)
                    value = module(embeddings, labels, known[first:], known_labels[first:])
                else:
                    value = module(embeddings, labels)
                loss = loss + term.weight * value
                parts[term.kind] = value.detach()
            if self.training and self._most:
                self._known = torch.cat([known, embeddings.detach()])[-self._most :]
                self._known_labels = torch.cat([known_labels, labels])[-self._most :]
        return {"loss": loss, **parts}

    def new_epoch(self) -> None:
        """Empty the cross-batch memory; the training loop calls this at the beginning of an epoch."""
        self._known, self._known_labels = self._known.new_empty(0, self.dim), self._known_labels.new_empty(0)

    def memory(self) -> dict[str, Tensor]:
        """Return the cross-batch memory: `known` float32[M, dim] and its `labels` int64[M]; empty without a memory."""
        return {"known": self._known, "labels": self._known_labels} if self._most else {}

    def remember(self, memory: Mapping[str, Tensor]) -> None:
        """Set the cross-batch memory. Raises ValueError where shapes do not fit, LookupError for a missing tensor."""
        if not self._most:
            return
        known, labels = memory["known"], memory["labels"]
        if known.ndim != 2 or known.shape[1] != self.dim or labels.shape != known.shape[:1]:
            raise ValueError(f"memory of {list(known.shape)} and {list(labels.shape)} for vectors of {self.dim}")
        self._known, self._known_labels = known.float(), labels.long()

    def prototypes(self) -> tuple[Tensor, Tensor] | None:
        """Return the prototypes of the margin softmax, float32[M, dim] with unit rows, and their classes, int64[M].

        The sub-centres of a class are neighbouring rows. The tensors are detached. Returns None where there is no
        margin term.
        """
        return next((term.prototypes() for term in self.terms.values() if isinstance(term, MarginSoftmax)), None)


def _module(term: Term, dim: int, class_sizes: Sequence[int]) -> nn.Module:
    match term:
        case MarginTerm():
            return MarginSoftmax(term, dim, class_sizes)
        case SiameseTerm():
            return Siamese(dim)
        case ProxyNcaTerm():
            return ProxyNca(term, dim, len(class_sizes))
        case PrototypeTerm():
            return Prototypes(term)
        case _:
            return PairLoss(term)


class Siamese(nn.Module):
    """Sigmoid of a learned weighted L1 distance, with cross-entropy over pairs (Koch et al. 2015).

    All pairs of a batch count. The loss is the average of two means: over pairs of one class, and over pairs of two
    classes. At the start of training, a distance of 0 has the logit 2, and the distance of two random directions has a
    logit of about -2.
    """

    def __init__(self, dim: int) -> None:
        super().__init__()
        # The L1 distance of two random unit vectors is about 2 * sqrt(dim / pi).
        self.weight = nn.Parameter(torch.full((dim,), -2 * (torch.pi / dim) ** 0.5))
        self.bias = nn.Parameter(torch.tensor(2.0))

    def forward(self, embeddings: Tensor, labels: Tensor) -> Tensor:
        """Return the loss of a batch. embeddings: float32[B, dim] with unit rows; labels: int64[B]."""
        first, second = torch.triu_indices(len(labels), len(labels), offset=1, device=labels.device)
        logits = (embeddings[first] - embeddings[second]).abs() @ self.weight.float() + self.bias.float()
        same = labels[first] == labels[second]
        if not same.any():
            return logits.sum() * 0 + (embeddings * 0).sum()
        entropy = functional.binary_cross_entropy_with_logits(logits, same.float(), reduction="none")
        loss = entropy[same].mean() / 2
        return loss if same.all() else loss + entropy[~same].mean() / 2


class ProxyNca(nn.Module):
    """ProxyNCA++ (arXiv 2004.01113): softmax over squared distances to a unit proxy of each class, times `scale`.

    The squared distance of unit vectors is 2 - 2 cos, so the logits are 2 * scale * cos. The library's loss is not
    used, because it takes the logarithm after the softmax; with a large `scale` this loses the samples that are
    farthest away.
    """

    def __init__(self, term: ProxyNcaTerm, dim: int, classes: int) -> None:
        super().__init__()
        self.scale = term.scale
        self.weight = nn.Parameter(unit_rows(classes, dim))

    def forward(self, embeddings: Tensor, labels: Tensor) -> Tensor:
        """Return the mean loss of a batch. embeddings: float32[B, dim] with unit rows; labels: int64[B] in 0..C-1."""
        cosines = embeddings @ functional.normalize(self.weight.float()).T
        return functional.cross_entropy(2 * self.scale * cosines, labels)


class Prototypes(nn.Module):
    """Prototypical episodes (arXiv 1703.05175): a batch is an episode.

    The prototype of an identity is the mean of its first `shots` samples, in the order of the batch. All other samples
    are queries, which are classified among all prototypes of the batch. An identity with at most `shots` samples gives
    a prototype but no queries. As in the paper the mean is not normalised, so prototypes lie inside the sphere.
    """

    def __init__(self, term: PrototypeTerm) -> None:
        super().__init__()
        self.term = term

    def forward(self, embeddings: Tensor, labels: Tensor) -> Tensor:
        """Return the mean loss of the queries. embeddings: float32[B, dim] with unit rows; labels: int64[B]."""
        identities, identity = torch.unique(labels, return_inverse=True)
        member = identity[:, None] == torch.arange(len(identities), device=labels.device)
        turn = member.long().cumsum(dim=0).gather(1, identity[:, None])[:, 0]  # 1 for the first sample of an identity
        query = turn > self.term.shots
        if not query.any():
            return (embeddings * 0).sum()
        support = (member & ~query[:, None]).float()
        prototypes = support.T @ embeddings / support.sum(dim=0)[:, None]
        # The square of the query is left out, because it is the same for all prototypes and cancels in the softmax.
        nearness = 2 * embeddings[query] @ prototypes.T - prototypes.square().sum(dim=1)
        return functional.cross_entropy(self.term.scale * nearness, identity[query])
