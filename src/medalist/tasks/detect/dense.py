"""The losses of the one-stage networks, and how their outputs become boxes and scores."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import assert_never

import torch
from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits, cross_entropy, one_hot
from torchvision.ops import (  # type: ignore[import-untyped]
    complete_box_iou_loss,
    distance_box_iou_loss,
    generalized_box_iou_loss,
    sigmoid_focal_loss,
)

from medalist.data.targets import IGNORED, BoxTargets
from medalist.tasks.detect.assigned import aligned, by_centre, by_overlap, distances, stacked
from medalist.tasks.detect.decoding import Found, Limits, cut_found, kept
from medalist.tasks.detect.loss_settings import LossConfig
from medalist.tasks.detect.model_settings import AlignedConfig, FcosConfig, RetinaConfig
from medalist.tasks.detect.outputs import DenseOutputs, Places, places_of
from medalist.tasks.detect.protocols import Normalise

OVERLAPS = {"giou": generalized_box_iou_loss, "diou": distance_box_iou_loss, "ciou": complete_box_iou_loss}

LARGEST = 4.135
"""The natural logarithm of the largest factor (62.5) by which a box may be larger than its anchor, of Faster R-CNN."""

DenseConfig = AlignedConfig | FcosConfig | RetinaConfig
"""The networks with one stage."""


@dataclass(frozen=True)
class Learned:
    """What the places of a batch learn.

    targets: float32[B, P, C], the target score of each class. judged: bool[B, P], false for places that learn nothing.
    taken: bool[B, P], the places that learn an object. boxes: float32[N, 4], and weights: float32[N], the box and the
    weight of each of these N places, in their order.
    """

    targets: Tensor
    judged: Tensor
    taken: Tensor
    boxes: Tensor
    weights: Tensor


@dataclass(frozen=True)
class DenseCriterion:
    """The loss of a one-stage network, and the boxes and scores in its outputs: implements `protocols.Criterion`."""

    model: DenseConfig
    config: LossConfig

    @property
    def draws(self) -> bool:
        """Whether the loss draws random numbers: it does not."""
        return False

    def places(self, outputs: DenseOutputs, size: tuple[int, int]) -> Places:
        """Return the places of images of (height, width) `size`."""
        return places_of(size, self.model.strides, outputs.scores.device, outputs.shapes)

    def scores(self, outputs: DenseOutputs) -> Tensor:
        """Return the scores float32[B, P, C] in 0..1; FCOS multiplies them by how central their point is."""
        scores = outputs.scores.sigmoid()
        # The square root of the product keeps scores in the range of probabilities, as torchvision has it.
        return scores if outputs.quality is None else (scores * outputs.quality.sigmoid()).sqrt()

    def boxes(self, sides: Tensor, places: Places) -> Tensor:
        """Return the boxes float32[..., 4] of sides float32[..., D] at places; they may reach out of the image."""
        match self.model:
            case AlignedConfig():
                bins = torch.arange(self.model.bins + 1, device=sides.device, dtype=sides.dtype)
                away = (sides.reshape(*sides.shape[:-1], 4, len(bins)).softmax(dim=-1) * bins).sum(dim=-1)
                return _around(places, away * places.strides[..., None])
            case FcosConfig():
                return _around(places, sides * places.strides[..., None])
            case RetinaConfig():
                middle = places.centres + sides[..., :2] * places.sizes
                half = places.sizes * sides[..., 2:].clamp(max=LARGEST).exp() / 2
                return torch.cat([middle - half, middle + half], dim=-1)
            case _:
                assert_never(self.model)

    def losses(
        self,
        outputs: DenseOutputs,
        target: BoxTargets,
        size: tuple[int, int],
        normalise: Normalise,
        seeds: Sequence[int] = (),
    ) -> dict[str, Tensor]:
        """Return the scalar `loss` to minimise, and its parts without their weights; see `protocols.Criterion`."""
        places = self.places(outputs, size)
        found = self.boxes(outputs.sides, places)
        learned = self._learned(outputs, found, places, target)
        total = normalise(learned.weights.sum()).clamp(min=1.0)
        parts = {"classes": self._class_loss(outputs.scores, learned) / total}
        overlap = OVERLAPS[self.config.overlap](found[learned.taken], learned.boxes, reduction="none", eps=1e-7)
        parts["boxes"] = (overlap * learned.weights).sum() / total
        third = self._third(outputs, places, learned)
        weights = {"classes": self.config.classes, "boxes": self.config.boxes}
        if third is not None:
            name, value = third
            parts[name], weights[name] = value / total, self.config.third
        loss = torch.stack([weight * parts[name] for name, weight in weights.items()]).sum()
        return {"loss": loss, **parts}

    def found(self, outputs: DenseOutputs, size: tuple[int, int], limits: Limits) -> list[Found]:
        """Return the boxes of each image, the highest scores first, cut to the image.

        outputs: float32. size: (height, width) of the images. A place may give boxes of several classes. Only the best
        `limits.most` scores of each level are looked at, and only their boxes are computed.
        """
        places = self.places(outputs, size)
        scores = self.scores(outputs)
        classes = scores.shape[2]
        starts = [sum(places.levels[:level]) * classes for level in range(len(places.levels))]
        found = []
        for image in range(len(scores)):
            flat = scores[image].flatten()
            best: list[Tensor] = []
            for start, count in zip(starts, places.levels, strict=True):
                level = flat[start : start + count * classes]
                best.append(level.topk(min(limits.most, len(level))).indices + start)
            chosen = torch.cat(best)
            chosen = chosen[flat[chosen] >= limits.floor]
            place, label, score = chosen // classes, chosen % classes, flat[chosen]
            xyxy = self.boxes(outputs.sides[image][place], places.at(place))
            found.append(kept(cut_found(Found(xyxy, score, label), size), limits))
        return found

    def _learned(self, outputs: DenseOutputs, found: Tensor, places: Places, target: BoxTargets) -> Learned:
        """Return what each place learns. No gradient flows through this choice."""
        numbers, weights = [], []
        scores = self.scores(outputs).detach()
        for image, (boxes, labels) in enumerate(zip(target.xyxy, target.labels, strict=True)):
            match self.model:
                case AlignedConfig():
                    number, weight = aligned(
                        scores[image], found[image].detach(), places, boxes, labels, self.config.candidates
                    )
                case FcosConfig():
                    number = by_centre(places, boxes, labels)
                    weight = torch.ones(len(number), device=number.device)
                case RetinaConfig():
                    number = by_overlap(places, boxes, labels)
                    weight = torch.ones(len(number), device=number.device)
                case _:
                    assert_never(self.model)
            numbers.append(number)
            weights.append(weight)
        number, weight = stacked(numbers), stacked(weights)
        return _learned_of(number, weight, target, outputs.scores.shape[2])

    def _class_loss(self, logits: Tensor, learned: Learned) -> Tensor:
        targets = learned.targets
        if not isinstance(self.model, AlignedConfig):
            each = sigmoid_focal_loss(logits, targets, alpha=0.25, gamma=2.0, reduction="none")
        else:
            each = binary_cross_entropy_with_logits(logits, targets, reduction="none")
            if self.config.scores == "varifocal":
                each = each * torch.where(targets > 0, targets, 0.75 * logits.sigmoid() ** 2)
            elif self.config.scores == "quality_focal":
                each = each * (logits.sigmoid() - targets) ** 2
        total: Tensor = (each * learned.judged[..., None]).sum()
        return total

    def _third(self, outputs: DenseOutputs, places: Places, learned: Learned) -> tuple[str, Tensor] | None:
        """Return the name and the sum of the third part of the loss; None for a network that has none."""
        if isinstance(self.model, RetinaConfig):
            return None
        image, place = learned.taken.nonzero(as_tuple=True)
        sides = distances(places.centres[place], learned.boxes)
        if isinstance(self.model, FcosConfig):
            assert outputs.quality is not None
            across, down = sides[:, 0::2], sides[:, 1::2]
            central = (across.amin(1) / across.amax(1) * down.amin(1) / down.amax(1)).clamp(0, 1).sqrt()
            logits = outputs.quality[image, place, 0]
            return "central", binary_cross_entropy_with_logits(logits, central, reduction="sum")
        bins = self.model.bins
        wanted = (sides / places.strides[place, None]).clamp(0, bins - 0.01)
        low = wanted.floor().long()
        share = wanted - low
        logits = outputs.sides[image, place].reshape(-1, 4, bins + 1).transpose(1, 2)
        each = cross_entropy(logits, low, reduction="none") * (1 - share)
        each = each + cross_entropy(logits, low + 1, reduction="none") * share
        return "distances", (each.mean(dim=1) * learned.weights).sum()


def _learned_of(number: Tensor, weight: Tensor, target: BoxTargets, classes: int) -> Learned:
    """Return what places learn, from the number of their objects int64[B, P] and their weights float32[B, P]."""
    taken = number >= 0
    starts, before = [], 0
    for boxes in target.xyxy:
        starts.append(before)
        before += len(boxes)
    start = torch.tensor(starts, device=number.device)[:, None].expand_as(number)
    of = (number + start)[taken]
    boxes, labels = torch.cat(list(target.xyxy)), torch.cat(list(target.labels))
    targets = torch.zeros(*number.shape, classes, device=weight.device)
    weights = weight[taken]
    targets[taken] = one_hot(labels[of], classes).to(weights.dtype) * weights[:, None]
    return Learned(targets, number != IGNORED, taken, boxes[of], weights)


def _around(places: Places, away: Tensor) -> Tensor:
    """Return the boxes whose sides lie `away` float[..., 4] from the places: left, up, right, down."""
    return torch.cat([places.centres - away[..., :2], places.centres + away[..., 2:]], dim=-1)
