"""What networks return, and the places in the image that dense outputs speak of."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor, nn


class DenseOutputs(NamedTuple):
    """The outputs of a one-stage network for a batch of B images, at P places of all its levels, the finest first."""

    scores: Tensor
    """Logits float[B, P, C] of the classes."""

    sides: Tensor
    """float[B, P, D]: what the sides of a box are computed from. D is 4, or 4 * (bins + 1) where a side is a
    distribution."""

    quality: Tensor | None = None
    """Logits float[B, P, 1] of a network with a third branch."""

    shapes: Tensor | None = None
    """float[L, A, 2]: width and height of the anchors of each level, in pixels; None for networks without anchors. They
    are the same for all images."""

    def float(self) -> DenseOutputs:
        """Return all outputs as float32, as a tensor's method of this name does."""
        return DenseOutputs(*(None if value is None else value.float() for value in self))  # type: ignore[arg-type]

    def single(self, number: int) -> DenseOutputs:
        """Return the outputs of one image as those of a batch of one."""
        one = slice(number, number + 1)
        quality = None if self.quality is None else self.quality[one]
        return DenseOutputs(self.scores[one], self.sides[one], quality, self.shapes)


class TwoStageOutputs(NamedTuple):
    """The outputs of the first stage for a batch of B images, and what the second stage needs.

    The second stage is a part of the outputs, because the criterion runs it: on the first stage's proposals, to which a
    loss adds the true boxes. So it is always that of the network that has seen the images, also where the network is an
    average over steps. It runs outside of the network's forward, where batch norms over processes, compilation and
    recomputed activations do not reach it, so it has no batch norms.
    """

    proposals: DenseOutputs
    """The dense outputs of the first stage, which has one class, `an object`."""

    levels: tuple[Tensor, ...]
    """The pyramid's levels, each float[B, width, h / stride, w / stride], the finest first."""

    second: nn.Module
    """The second stage of the network."""

    precision: torch.dtype | None = None
    """The type in which the first stage was computed under autocast, and the second one will be; None for float32."""

    def float(self) -> TwoStageOutputs:
        """Return all outputs as float32; the second stage is still computed in its own precision."""
        levels = tuple(level.float() for level in self.levels)
        return TwoStageOutputs(self.proposals.float(), levels, self.second, self.precision)

    def single(self, number: int) -> TwoStageOutputs:
        """Return the outputs of one image as those of a batch of one."""
        levels = tuple(level[number : number + 1] for level in self.levels)
        return TwoStageOutputs(self.proposals.single(number), levels, self.second, self.precision)


class DetrOutputs(NamedTuple):
    """The outputs of a network that finds a set of boxes, for a batch of B images: of L layers, the last one last."""

    logits: Tensor
    """float[B, L, Q, C]: logits of the classes in each query."""

    boxes: Tensor
    """float[B, L, Q, 4]: x and y of the centres, widths and heights, as shares of the image."""

    def float(self) -> DetrOutputs:
        """Return all outputs as float32."""
        return DetrOutputs(self.logits.float(), self.boxes.float())

    def single(self, number: int) -> DetrOutputs:
        """Return the outputs of one image as those of a batch of one."""
        return DetrOutputs(self.logits[number : number + 1], self.boxes[number : number + 1])


@dataclass(frozen=True, eq=False)
class Places:
    """The P places of an image: points, or anchors around them.

    centres: float32[P, 2], x and y in pixels. strides: float32[P] of their levels. sizes: float32[P, 2], width and
    height of anchors; for points without anchors the stride. levels: the number of places of each level.
    """

    centres: Tensor
    strides: Tensor
    sizes: Tensor
    levels: tuple[int, ...]

    @property
    def boxes(self) -> Tensor:
        """The anchors as boxes float32[P, 4]."""
        return torch.cat([self.centres - self.sizes / 2, self.centres + self.sizes / 2], dim=1)

    def at(self, chosen: Tensor) -> Places:
        """Return some places, by their numbers int64[N]."""
        return Places(self.centres[chosen], self.strides[chosen], self.sizes[chosen], (len(chosen),))


def places_of(
    size: tuple[int, int], strides: Sequence[int], device: torch.device, shapes: Tensor | None = None
) -> Places:
    """Return the places of images of (height, width) `size`; shapes: as in `DenseOutputs`.

    A level of stride s has ceil(height / s) rows of points, whose centres lie in the middle of their s x s pixels. They
    come row by row; where there are anchors, those of one point follow each other.
    """
    centres, all_strides, sizes, levels = [], [], [], []
    for level, stride in enumerate(strides):
        rows, columns = (-(-side // stride) for side in size)
        y = (torch.arange(rows, device=device, dtype=torch.float32) + 0.5) * stride
        x = (torch.arange(columns, device=device, dtype=torch.float32) + 0.5) * stride
        points = torch.stack([x.expand(rows, columns), y[:, None].expand(rows, columns)], dim=-1).reshape(-1, 2)
        cells = torch.full((1, 2), float(stride), device=device) if shapes is None else shapes[level].to(device)
        count = len(points) * len(cells)
        centres.append(points.repeat_interleave(len(cells), dim=0))
        sizes.append(cells.repeat(len(points), 1))
        all_strides.append(torch.full((count,), float(stride), device=device))
        levels.append(count)
    return Places(torch.cat(centres), torch.cat(all_strides), torch.cat(sizes), tuple(levels))


def flat(maps: Sequence[Tensor], each: int = 1) -> Tensor:
    """Join maps [B, each * C, h, w] of all levels to [B, P, C], row by row; `each` anchors of a point follow each
    other."""
    rows = [one.flatten(2).transpose(1, 2) for one in maps]
    return torch.cat([row.reshape(len(row), -1, row.shape[2] // each) for row in rows], dim=1)
