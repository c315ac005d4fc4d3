"""What a segmentation network returns where it has more heads than the one of its maps."""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor

from medalist.data.padding import Padding


class SegmentOutputs(NamedTuple):
    """The logits of all heads of a network. A network with one head returns the tensor `maps` alone."""

    maps: Tensor
    """Logits float[B, C, h, w]."""

    presence: Tensor | None = None
    """Logits float[B, C] of the classification head: has the image any pixel of the channel?"""

    deep: tuple[Tensor, ...] = ()
    """Logits float[B, C, h, w] of the heads of deep supervision, at the size of `maps`; only in training mode."""

    def single(self, number: int, padding: Padding) -> SegmentOutputs:
        """Return the outputs of one sample of the batch, without the padding of its image."""
        one = slice(number, number + 1)
        presence = None if self.presence is None else self.presence[one]
        deep = tuple(padding.undo(maps[one]) for maps in self.deep)
        return SegmentOutputs(padding.undo(self.maps[one]), presence, deep)

    def float(self) -> SegmentOutputs:
        """Return all logits as float32, as a tensor's method of this name does."""
        presence = None if self.presence is None else self.presence.float()
        return SegmentOutputs(self.maps.float(), presence, tuple(maps.float() for maps in self.deep))


def heads_of(outputs: Tensor | SegmentOutputs) -> SegmentOutputs:
    """Return the outputs of any network as SegmentOutputs."""
    return outputs if isinstance(outputs, SegmentOutputs) else SegmentOutputs(outputs)
