"""Classification: the loss, and the validation figures of held-out samples."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from math import fsum
from typing import TYPE_CHECKING, Literal

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from medalist.data.devices import with_float64
from medalist.data.loader import Batch
from medalist.data.targets import LabelTargets
from medalist.engine.gathering import all_gather_lists
from medalist.engine.task import StatelessLoss
from medalist.metrics.label_arrays import class_counts, mean_f_beta, quadratic_kappa
from medalist.metrics.label_ranks import roc_auc
from medalist.tasks.classify.losses import LabelLoss, as_predictions, named_loss

if TYPE_CHECKING:
    from lightning_fabric import Fabric

Mode = Literal["single", "multi", "ordinal"]


class ClassifyTask(StatelessLoss):
    """The loss and validation of classification, for the training loop."""

    def __init__(self, loss: LabelLoss, mode: Mode, classes: int):
        """`loss` must have no trained weights. `classes`: number of the contest's classes."""
        self._loss, self.mode, self.classes = loss, mode, classes

    def loss(self, outputs: Tensor, batch: Batch) -> Mapping[str, Tensor]:
        """Return the mean loss of outputs float32[B, O].

        For a mixed batch it is the loss on the samples' own labels and the loss on the labels that were mixed in, each
        weighted by its share (arXiv 1710.09412).
        """
        target = _labels(batch)
        own = self._loss(outputs, target.values)
        if target.partners is None:
            return named_loss(own)
        others, share = target.partners
        return named_loss(share * own + (1 - share) * self._loss(outputs, others))

    def predictions(self, outputs: Tensor) -> Tensor:
        """Return probabilities float32[B, C], or grades float32[B, 1]; they may be averaged over views and networks."""
        return as_predictions(self._loss.config, self.mode == "multi", outputs)

    def validate(self, seen: Iterator[tuple[Tensor, Batch]], fabric: Fabric) -> dict[str, float]:
        """Return `val_loss`, the mean over samples, and figures by mode.

        single: accuracy. multi: macro AUC, and F1 at the threshold 0.5. ordinal: kappa of rounded grades. The mean is
        made from an exact sum, so it does not depend on how samples are divided among processes.
        """
        rows: list[tuple[int, float, list[float], int | list[float]]] = []
        for outputs, batch in seen:
            values = _labels(batch).values
            losses, found = with_float64(self._loss(outputs, values)), with_float64(self.predictions(outputs))
            columns = (batch.indices, losses.double().tolist(), found.double().tolist(), values.tolist())
            rows += zip(*columns, strict=True)
        rows = sorted(all_gather_lists(rows, fabric), key=lambda row: row[0])
        if not rows:
            return {"val_loss": 0.0}
        predictions, truth = np.array([row[2] for row in rows]), np.array([row[3] for row in rows])
        return {"val_loss": fsum(row[1] for row in rows) / len(rows), **self._scores(predictions, truth)}

    def _scores(self, predictions: NDArray[np.float64], truth: NDArray[np.float64]) -> dict[str, float]:
        match self.mode:
            case "single":
                return {"accuracy": float((predictions.argmax(axis=1) == truth).mean())}
            case "multi":
                aucs = roc_auc(truth > 0.5, predictions)
                known = aucs[np.isfinite(aucs)]
                macro = {"auc": float(known.mean())} if len(known) else {}
                counts = class_counts(truth > 0.5, predictions > 0.5)
                return {**macro, "f1": float(mean_f_beta(counts, 1.0, 0.0))}
            case "ordinal":
                mean = predictions @ np.arange(self.classes) if predictions.shape[1] > 1 else predictions[:, 0]
                grades = np.clip(np.rint(mean), 0, self.classes - 1).astype(np.int64)
                return {"kappa": float(quadratic_kappa(truth.astype(np.int64), grades, self.classes))}


def _labels(batch: Batch) -> LabelTargets:
    assert isinstance(batch.target, LabelTargets)
    return batch.target
