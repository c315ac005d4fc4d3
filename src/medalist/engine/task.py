"""What the one loop knows of segmentation, detection, embedding: the Task protocol."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from medalist.data.loader import Batch
from medalist.records import Answer, Prediction


class Task(Protocol):
    """Targets before training, a loss while it goes, predictions after it."""

    def targets(self, truth: Answer) -> NDArray[np.uint8]:
        """Truth -> uint8[H, W, C], before augmentation."""
        ...

    def loss(self, outputs: Tensor, batch: Batch) -> Mapping[str, Tensor]:
        """`loss`, the scalar to minimise, and its parts."""
        ...

    def measure(self, outputs: Tensor, batch: Batch) -> Mapping[str, Tensor]:
        """Counts of a held-out batch, such that adding them over batches and processes is right."""
        ...

    def summarise(self, counts: Mapping[str, Tensor]) -> dict[str, float]:
        """Quick figures of a held-out look, from the added counts; higher is better."""
        ...

    def probabilities(self, outputs: Tensor) -> Tensor:
        """What may be averaged over views and networks."""
        ...

    def predict(self, probabilities: Tensor, batch: Batch) -> list[Prediction]:
        """Predictions at native size, one for each sample of the batch."""
        ...
