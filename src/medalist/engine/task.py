"""The Task protocol: the only interface between the training loop and a kind of contest."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Protocol

from torch import Tensor

from medalist.data.loader import Batch

if TYPE_CHECKING:
    from lightning_fabric import Fabric


class Task(Protocol):
    """The loss of a training, and the figures of its held-out samples."""

    def begin_epoch(self, epoch: int) -> None:
        """Delete what was kept from the epoch before. `epoch` is counted from 0."""
        ...

    def memory(self) -> dict[str, Tensor]:
        """Return the tensors that the loss keeps from earlier batches of the epoch, by name; a state saves them.

        A training that resumes in the middle of an epoch gets them back by `remember`, and not `begin_epoch`.
        """
        ...

    def remember(self, memory: Mapping[str, Tensor]) -> None:
        """Restore what `memory` returned. Raises LookupError or ValueError where it comes from another loss."""
        ...

    def loss(self, outputs: Tensor, batch: Batch) -> Mapping[str, Tensor]:
        """Return the scalar to minimise under the name `loss`, and its parts under their names."""
        ...

    def validate(self, seen: Iterator[tuple[Tensor, Batch]], fabric: Fabric) -> dict[str, float]:
        """Return figures of the held-out samples of all processes. `seen` gives the outputs and batches of this one.

        `val_loss` (lower is better) chooses the best epoch, and `val_loss_<part>` are its parts. For all other figures
        higher is better.
        """
        ...


class StatelessLoss:
    """The three methods of a Task for a loss that keeps nothing from batch to batch."""

    def begin_epoch(self, epoch: int) -> None:
        """Do nothing, because nothing is kept."""

    def memory(self) -> dict[str, Tensor]:
        """Return no tensors, because nothing is kept."""
        return {}

    def remember(self, memory: Mapping[str, Tensor]) -> None:
        """Do nothing, because nothing is kept."""
