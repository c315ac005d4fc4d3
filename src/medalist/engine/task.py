"""What the one loop knows of segmentation, detection, embedding: the Task protocol."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Protocol

import numpy as np
from lightning_fabric import Fabric
from numpy.typing import NDArray
from torch import Tensor

from medalist.data.loader import Batch
from medalist.records import Answer, MapPrediction


class Task(Protocol):
    """Targets before training, a loss while it goes, a look at what is held out."""

    def targets(self, truth: Answer) -> NDArray[np.uint8] | None:
        """Truth -> uint8[H, W, C], before augmentation; None where the target is no picture."""
        ...

    def begin_epoch(self) -> None:
        """Forget what belongs to the epoch before."""
        ...

    def memory(self) -> dict[str, Tensor]:
        """What the loss remembers of earlier batches of the epoch, by name; a state keeps it."""
        ...

    def remember(self, memory: Mapping[str, Tensor]) -> None:
        """Take back what `memory` gave; LookupError or ValueError where it is another's."""
        ...

    def loss(self, outputs: Tensor, batch: Batch) -> Mapping[str, Tensor]:
        """`loss`, the scalar to minimise, and its parts."""
        ...

    def validate(self, seen: Iterator[tuple[Tensor, Batch]], fabric: Fabric) -> dict[str, float]:
        """Figures of the held-out samples of all processes, from this one's outputs and batches.

        `val_loss`, lower is better, chooses the best epoch; of the others higher is better.
        """
        ...


class MapTask(Task, Protocol):
    """A task whose predictions are maps of the image."""

    def probabilities(self, outputs: Tensor) -> Tensor:
        """What may be averaged over views and networks."""
        ...

    def predict(self, probabilities: Tensor, batch: Batch) -> list[MapPrediction]:
        """Predictions at native size, one for each sample of the batch."""
        ...
