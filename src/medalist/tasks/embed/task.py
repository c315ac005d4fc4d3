"""Metric learning: the loss on unit vectors, and how held-out samples find each other."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np
from lightning_fabric import Fabric
from numpy.typing import NDArray
from torch import Tensor

from medalist.data.loader import Batch
from medalist.data.targets import LabelTargets
from medalist.engine.gathering import all_gather_lists, all_gather_with_gradient
from medalist.retrieval.evaluate import evaluate
from medalist.tasks.embed.losses.metric import MetricLoss

FIRST_ANSWERS = 5
"""Answers of each held-out sample that a validation counts."""

Seen = tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float32]]
"""Sample index, label and vector of held-out samples."""


class EmbedTask:
    """What the loop needs to know of embeddings."""

    def __init__(self, criterion: MetricLoss):
        """`criterion` is also a part of the network, which trains and saves what it learns (class prototypes)."""
        self.criterion = criterion

    def begin_epoch(self) -> None:
        """Empty cross-batch memories."""
        self.criterion.new_epoch()

    def loss(self, outputs: Tensor, batch: Batch) -> Mapping[str, Tensor]:
        """The scalar `loss` to minimise, and its terms, from unit vectors float32[B, D].

        Where samples are compared with each other, those of all processes are. A mixed batch counts for its own
        classes and for those that were mixed in, by the share of each (arXiv 1710.09412).
        """
        target = _labels(batch)
        labels = target.values
        if self.criterion.compares:
            outputs, labels = all_gather_with_gradient(outputs), all_gather_with_gradient(labels)
        losses: dict[str, Tensor] = self.criterion(outputs, labels)
        if target.partners is None:
            return losses
        others, share = target.partners
        mixed_in: dict[str, Tensor] = self.criterion(outputs, others)
        return {name: share * value + (1 - share) * mixed_in[name] for name, value in losses.items()}

    def memory(self) -> dict[str, Tensor]:
        """The cross-batch memory."""
        return self.criterion.memory()

    def remember(self, memory: Mapping[str, Tensor]) -> None:
        """Set the cross-batch memory."""
        self.criterion.remember(memory)

    def validate(self, seen: Iterator[tuple[Tensor, Batch]], fabric: Fabric) -> dict[str, float]:
        """How well held-out samples find others of their identity among themselves: recall@1, recall@5, map@5.

        `val_loss` is 1 - map@5, over the samples that have another of their identity; 1 where none has. This is
        quick: the score is made of the contest's own splits, by `medalist score`.
        """
        found = _gathered(seen, fabric)
        if found is None:
            return {"val_loss": 1.0}
        index, labels, vectors = found
        order = np.argsort(index, kind="stable")
        labels, vectors = labels[order], vectors[order]
        own = np.arange(len(labels))
        figures = evaluate(vectors, labels, vectors, labels, ks=(1, FIRST_ANSWERS), depth=FIRST_ANSWERS, own=own).values
        names = ("recall@1", f"recall@{FIRST_ANSWERS}", f"map@{FIRST_ANSWERS}")
        values = {name: figures[name] for name in names if name in figures}  # no sample may have another of its own
        return {"val_loss": 1 - values.get(names[-1], 0.0), **values}


def _gathered(seen: Iterator[tuple[Tensor, Batch]], fabric: Fabric) -> Seen | None:
    """What all processes have seen; None where that is nothing."""
    parts: list[Seen] = []
    for outputs, batch in seen:
        vectors = outputs.float().cpu().numpy()
        parts.append((np.asarray(batch.indices, np.int64), _labels(batch).values.cpu().numpy(), vectors))
    parts = all_gather_lists(parts, fabric)
    if not parts:
        return None
    index, labels, stacked = (np.concatenate(column) for column in zip(*parts, strict=True))
    return index, labels, stacked


def _labels(batch: Batch) -> LabelTargets:
    assert isinstance(batch.target, LabelTargets)
    return batch.target
