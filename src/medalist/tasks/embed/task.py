"""Metric learning: the loss on unit vectors, and the validation figures of held-out samples."""

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
"""Number of answers to each held-out sample that a validation counts."""

Seen = tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float32]]
"""Indices [N], labels [N] and vectors [N, D] of held-out samples."""


class EmbedTask:
    """The loss and validation of embedders, for the training loop."""

    def __init__(self, criterion: MetricLoss):
        """`criterion` is also a part of the network, so that its weights (class prototypes) are trained and saved."""
        self.criterion = criterion

    def begin_epoch(self, epoch: int) -> None:
        """Empty the cross-batch memory."""
        self.criterion.new_epoch()

    def loss(self, outputs: Tensor, batch: Batch) -> Mapping[str, Tensor]:
        """Return the scalar `loss` to minimise and its terms. outputs: unit vectors float32[B, D].

        A loss that compares samples with each other gets the samples of all processes. For a mixed batch the loss is
        the sum of the loss on the samples' own classes and the loss on the classes that were mixed in, each weighted by
        its share (arXiv 1710.09412).
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
        """Return the cross-batch memory."""
        return self.criterion.memory()

    def remember(self, memory: Mapping[str, Tensor]) -> None:
        """Set the cross-batch memory."""
        self.criterion.remember(memory)

    def validate(self, seen: Iterator[tuple[Tensor, Batch]], fabric: Fabric) -> dict[str, float]:
        """Return recall@1, recall@5 and map@5 of held-out samples that search their identity among the others.

        `val_loss` is 1 - map@5. The figures are means over the samples that share their identity with another held-out
        sample; where there is none, `val_loss` is 1. These figures are fast to compute; the score, on the contest's own
        retrieval splits, is computed by `medalist score`.
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
        values = {name: figures[name] for name in names if name in figures}  # empty where no identity has two samples
        return {"val_loss": 1 - values.get(names[-1], 0.0), **values}


def _gathered(seen: Iterator[tuple[Tensor, Batch]], fabric: Fabric) -> Seen | None:
    """Return the samples that all processes have seen; None where there are none."""
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
