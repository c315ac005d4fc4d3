"""The losses of Mask R-CNN, and how its outputs become boxes with masks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor
from torch.nn.functional import avg_pool2d, binary_cross_entropy_with_logits

from medalist.data.targets import BoxTargets
from medalist.tasks.detect.decoding import Found, Limits
from medalist.tasks.detect.mask_network import MaskStage
from medalist.tasks.detect.model_settings import MASK_SIDE, MaskRcnnConfig
from medalist.tasks.detect.outputs import TwoStageOutputs
from medalist.tasks.detect.protocols import Normalise
from medalist.tasks.detect.two_stage import Taught, TwoStageCriterion

POINTS = 2
"""The points along each side of a cell at which a true mask is sampled."""

AT_ONCE = 64
"""Boxes whose masks are predicted at a time, to limit memory."""


@dataclass(frozen=True)
class MaskCriterion(TwoStageCriterion):
    """The loss of Mask R-CNN, and the boxes with masks in its outputs: implements `protocols.Criterion`."""

    model: MaskRcnnConfig

    def losses(
        self,
        outputs: TwoStageOutputs,
        target: BoxTargets,
        size: tuple[int, int],
        normalise: Normalise,
        seeds: Sequence[int] = (),
    ) -> dict[str, Tensor]:
        """Return the scalar `loss` to minimise, and its parts without their weights; see `protocols.Criterion`.

        Those boxes learn masks that learn an object. The loss is the cross-entropy of the cells of the object's class.
        """
        randoms = [torch.Generator().manual_seed(seed) for seed in seeds]
        parts = self.first_losses(outputs.proposals, target, size, normalise, randoms)
        taught = self.taught(outputs, target, size, randoms)
        parts |= self.second_losses(outputs, taught, target, size, normalise)
        parts["masks"] = self.mask_loss(outputs, taught, target, size, normalise)
        return {"loss": self.weighted(parts) + self.config.masks * parts["masks"], **parts}

    def mask_loss(
        self,
        outputs: TwoStageOutputs,
        taught: Sequence[Taught],
        target: BoxTargets,
        size: tuple[int, int],
        normalise: Normalise,
    ) -> Tensor:
        """Return the mean over the boxes that learn an object, on all processes, of the mean loss of their cells."""
        assert target.objects is not None, "Mask R-CNN learns from the pixels of objects"
        boxes, labels, wanted = [], [], []
        for image, one in enumerate(taught):
            shows = one.number >= 0
            of = one.number[shows]
            boxes.append(one.boxes[shows])
            labels.append(target.labels[image][of])
            wanted.append(mask_targets(target.objects[image], one.boxes[shows], target.numbers[image][of]))
        logits = self.outlined(outputs, boxes, torch.cat(labels), size)
        each = binary_cross_entropy_with_logits(logits, torch.cat(wanted), reduction="none")
        # Without an object the sum is 0, and still depends on all weights, as distributed training needs.
        total = normalise(torch.tensor(float(len(logits)), device=logits.device)).clamp(min=1.0)
        return each.sum() / MASK_SIDE**2 / total

    def found(self, outputs: TwoStageOutputs, size: tuple[int, int], limits: Limits) -> list[Found]:
        """Return the boxes of each image with their masks float32[N, MASK_SIDE, MASK_SIDE], probabilities in 0..1."""
        found = []
        for image, one in enumerate(super().found(outputs, size, limits)):
            single, parts = outputs.single(image), []
            for start in range(0, max(1, len(one.labels)), AT_ONCE):
                some = slice(start, start + AT_ONCE)
                parts.append(self.outlined(single, [one.xyxy[some]], one.labels[some], size).sigmoid())
            found.append(replace(one, masks=torch.cat(parts)))
        return found

    def outlined(
        self, outputs: TwoStageOutputs, boxes: Sequence[Tensor], labels: Tensor, size: tuple[int, int]
    ) -> Tensor:
        """Return the logits float32[N, MASK_SIDE, MASK_SIDE] of boxes of each image, of their classes int64[N]."""
        second = outputs.second
        assert isinstance(second, MaskStage), type(second).__name__
        kind, precision = outputs.levels[0].device.type, outputs.precision
        with torch.autocast(kind, precision, enabled=precision is not None):
            logits = second.outlines(outputs.levels, boxes, size)
        return logits.float()[torch.arange(len(labels), device=labels.device), labels]


def mask_targets(objects: Tensor, boxes: Tensor, numbers: Tensor, side: int = MASK_SIDE) -> Tensor:
    """Return which share of each cell of boxes belongs to their objects, float32[n, side, side] in 0..1.

    objects: int32[h, w], a label map. boxes: float32[n, 4], each cut into side x side cells. numbers: int64[n], the
    number of the object of each box. A cell is sampled at POINTS x POINTS points, between the centres of pixels
    linearly, as RoIAlign does it (arXiv 1703.06870), but no mask of a whole image is made for any object.
    """
    height, width = objects.shape
    steps = (torch.arange(side * POINTS, device=boxes.device, dtype=boxes.dtype) + 0.5) / (side * POINTS)
    left, right, across = _between(boxes[:, 0], boxes[:, 2], steps, width)
    upper, lower, down = _between(boxes[:, 1], boxes[:, 3], steps, height)

    def inside(rows: Tensor, columns: Tensor) -> Tensor:
        return (objects[rows[:, :, None], columns[:, None, :]] == numbers[:, None, None]).to(boxes.dtype)

    across, down = across[:, None, :], down[:, :, None]
    top = inside(upper, left) * (1 - across) + inside(upper, right) * across
    bottom = inside(lower, left) * (1 - across) + inside(lower, right) * across
    return avg_pool2d((top * (1 - down) + bottom * down)[:, None], POINTS)[:, 0]


def _between(low: Tensor, high: Tensor, steps: Tensor, length: int) -> tuple[Tensor, Tensor, Tensor]:
    """Return the pixels int64[n, S] before and after points between low and high, and the shares of those after."""
    places = low[:, None] + steps * (high - low)[:, None] - 0.5
    places = places.clamp(0, length - 1)
    first = places.floor()
    return first.long(), (first.long() + 1).clamp(max=length - 1), places - first
