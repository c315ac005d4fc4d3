"""What the task, the inference and the loop need of a detector, whatever its network is."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Protocol, Self

from torch import Tensor

from medalist.data.targets import BoxTargets
from medalist.tasks.detect.decoding import Found, Limits

Normalise = Callable[[Tensor], Tensor]
"""A function: the weight of what is learned on this process -> its mean over all processes."""


class Outputs(Protocol):
    """What a network returns for a batch of images.

    It is a NamedTuple, because Fabric and distributed training look for tensors inside of tuples.
    """

    def float(self) -> Self:
        """Return all outputs as float32, as a tensor's method of this name does."""
        ...

    def single(self, number: int) -> Self:
        """Return the outputs of one image as those of a batch of one."""
        ...


class Criterion(Protocol):
    """The loss of a network, and the boxes in its outputs; it has no weights. Outputs are those of its own network."""

    @property
    def draws(self) -> bool:
        """Whether the loss draws random numbers; it then needs a seed for each image."""
        ...

    def losses(
        self,
        outputs: Any,
        target: BoxTargets,
        size: tuple[int, int],
        normalise: Normalise,
        seeds: Sequence[int] = (),
    ) -> dict[str, Tensor]:
        """Return the scalar `loss` to minimise, and its parts without their weights.

        outputs: float32. size: (height, width) of the images. seeds: a number from 0 to 2**63 - 1 for each image; what
        is drawn for an image depends on its number only. A loss that draws nothing does not look at them.
        """
        ...

    def found(self, outputs: Any, size: tuple[int, int], limits: Limits) -> list[Found]:
        """Return the boxes of each image, the highest scores first, cut to the image.

        outputs: float32. size: (height, width) of the images. A box without area is dropped.
        """
        ...
