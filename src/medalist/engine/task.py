"""What the one loop knows of each kind of contest: the Task protocol."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Protocol

from lightning_fabric import Fabric
from torch import Tensor

from medalist.data.loader import Batch


class Task(Protocol):
    """A loss while a training goes on, and figures of what is held out."""

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

        `val_loss`, lower is better, chooses the best epoch; `val_loss_<part>` are its parts; of all others higher is
        better.
        """
        ...


class StatelessLoss:
    """The part of a Task whose loss keeps nothing from batch to batch."""

    def begin_epoch(self) -> None:
        """Nothing is kept."""

    def memory(self) -> dict[str, Tensor]:
        """Nothing is kept."""
        return {}

    def remember(self, memory: Mapping[str, Tensor]) -> None:
        """Nothing is kept."""
