"""The losses of networks of two stages, and how their outputs become boxes and scores."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits, cross_entropy, smooth_l1_loss
from torchvision.models.detection._utils import BoxCoder  # type: ignore[import-untyped]

from medalist.data.targets import IGNORED, BoxTargets
from medalist.tasks.detect.assigned import by_overlap, by_proposal
from medalist.tasks.detect.decoding import Found, Limits, cut_found, kept
from medalist.tasks.detect.loss_settings import LossConfig
from medalist.tasks.detect.model_settings import TwoStageConfig
from medalist.tasks.detect.outputs import DenseOutputs, Places, TwoStageOutputs, places_of
from medalist.tasks.detect.protocols import Normalise
from medalist.tasks.detect.sampling import drawn

FIRST, SECOND = BoxCoder((1.0, 1.0, 1.0, 1.0)), BoxCoder((10.0, 10.0, 5.0, 5.0))
"""How both stages say a box by its offsets from an anchor or a proposal; numbers of torchvision."""

OVER, UNDER = 0.7, 0.3
"""The first stage learns an object at anchors with an IoU from OVER on, and background below UNDER."""

HALF, QUARTER = 0.5, 0.25
"""The largest shares of objects among what the first and the second stage learn."""

DOUBLES = 0.7
"""Of two proposals of one level with this IoU or more, the one with the lower score is dropped."""

SMOOTH = 1 / 9
"""Offsets with a smaller error than this number are learned by its square."""


@dataclass(frozen=True, eq=False)
class Taught:
    """What the second stage learns in one image.

    boxes: float32[n, 4], proposals and true boxes. number: int64[n], the number of the object of each in the target of
    the image, or BACKGROUND.
    """

    boxes: Tensor
    number: Tensor


@dataclass(frozen=True)
class TwoStageCriterion:
    """The loss of a network of two stages, and the boxes in its outputs: implements `protocols.Criterion`."""

    model: TwoStageConfig
    config: LossConfig

    @property
    def draws(self) -> bool:
        """Whether the loss draws random numbers: it draws which boxes both stages learn."""
        return True

    def losses(
        self,
        outputs: TwoStageOutputs,
        target: BoxTargets,
        size: tuple[int, int],
        normalise: Normalise,
        seeds: Sequence[int] = (),
    ) -> dict[str, Tensor]:
        """Return the scalar `loss` to minimise, and its parts without their weights; see `protocols.Criterion`."""
        randoms = [torch.Generator().manual_seed(seed) for seed in seeds]
        parts = self.first_losses(outputs.proposals, target, size, normalise, randoms)
        taught = self.taught(outputs, target, size, randoms)
        parts |= self.second_losses(outputs, taught, target, size, normalise)
        return {"loss": self.weighted(parts), **parts}

    def weighted(self, parts: dict[str, Tensor]) -> Tensor:
        """Return the sum of the parts with their weights."""
        config = self.config
        first = config.proposals * (parts["objects"] + parts["proposals"])
        return first + config.classes * parts["classes"] + config.boxes * parts["boxes"]

    def first_losses(
        self,
        outputs: DenseOutputs,
        target: BoxTargets,
        size: tuple[int, int],
        normalise: Normalise,
        randoms: Sequence[torch.Generator],
    ) -> dict[str, Tensor]:
        """Return the losses of the first stage: does an anchor show an `objects`, and where lies the `proposals`?"""
        places = self.places(outputs, size)
        anchors, device = places.boxes, outputs.scores.device
        objects, offsets = torch.zeros((), device=device), torch.zeros((), device=device)
        count = 0
        for image, (boxes, labels, random) in enumerate(zip(target.xyxy, target.labels, randoms, strict=True)):
            number = by_overlap(places, boxes, labels, OVER, UNDER)
            chosen = drawn(number, self.model.anchors_learned, HALF, random)
            shown = (number[chosen] >= 0).float()
            logits = outputs.scores[image, chosen, 0]
            objects = objects + binary_cross_entropy_with_logits(logits, shown, reduction="sum")
            taken = chosen[number[chosen] >= 0]
            wanted = FIRST.encode_single(boxes[number[taken]], anchors[taken])
            found = outputs.sides[image, taken]
            offsets = offsets + smooth_l1_loss(found, wanted, beta=SMOOTH, reduction="sum")
            count += len(chosen)
        total = normalise(torch.tensor(float(count), device=device)).clamp(min=1.0)
        return {"objects": objects / total, "proposals": offsets / total}

    def taught(
        self,
        outputs: TwoStageOutputs,
        target: BoxTargets,
        size: tuple[int, int],
        randoms: Sequence[torch.Generator],
    ) -> list[Taught]:
        """Return what the second stage learns in each image: some of its proposals and true boxes. No gradient flows
        through this choice."""
        found = []
        proposals = self.proposed(outputs.proposals, size)
        for own, boxes, labels, random in zip(proposals, target.xyxy, target.labels, randoms, strict=True):
            candidates = torch.cat([boxes[labels != IGNORED], own])
            number = by_proposal(candidates, boxes, labels)
            chosen = drawn(number, self.model.boxes_learned, QUARTER, random)
            found.append(Taught(candidates[chosen], number[chosen]))
        return found

    def second_losses(
        self,
        outputs: TwoStageOutputs,
        taught: Sequence[Taught],
        target: BoxTargets,
        size: tuple[int, int],
        normalise: Normalise,
    ) -> dict[str, Tensor]:
        """Return the losses of the second stage: on `classes` and on `boxes`."""
        logits, offsets = self.looked(outputs, [one.boxes for one in taught], size)
        classes, wanted = [], []
        for one, boxes, labels in zip(taught, target.xyxy, target.labels, strict=True):
            shows = one.number >= 0
            of = one.number[shows]
            # Inside of the network the background is class 0, so classes are counted from 1.
            classes.append(torch.zeros_like(one.number).masked_scatter(shows, labels[of] + 1))
            wanted.append(SECOND.encode_single(boxes[of], one.boxes[shows]))
        label = torch.cat(classes)
        taken = (label > 0).nonzero().flatten()
        found = offsets.reshape(*logits.shape, 4)[taken, label[taken]]
        total = normalise(torch.tensor(float(len(label)), device=label.device)).clamp(min=1.0)
        return {
            "classes": cross_entropy(logits, label, reduction="sum") / total,
            "boxes": smooth_l1_loss(found, torch.cat(wanted), beta=SMOOTH, reduction="sum") / total,
        }

    def found(self, outputs: TwoStageOutputs, size: tuple[int, int], limits: Limits) -> list[Found]:
        """Return the boxes of each image, the highest scores first, cut to the image; see `protocols.Criterion`.

        A proposal may give a box for each of several classes. The second stage sees one image after the other, so its
        memory does not grow with the batch.
        """
        found = []
        for image, proposals in enumerate(self.proposed(outputs.proposals, size)):
            logits, offsets = self.looked(outputs.single(image), [proposals], size)
            scores = logits.softmax(dim=1)[:, 1:]
            boxes = SECOND.decode_single(offsets, proposals).reshape(*logits.shape, 4)[:, 1:]
            proposal, label = (scores >= limits.floor).nonzero(as_tuple=True)
            one = Found(boxes[proposal, label], scores[proposal, label], label)
            found.append(kept(cut_found(one, size), limits))
        return found

    @torch.no_grad()
    def proposed(self, outputs: DenseOutputs, size: tuple[int, int]) -> list[Tensor]:
        """Return the proposals float32[n, 4] of each image of (height, width) `size`, the best first."""
        places, most = self.places(outputs, size), self.model.proposals
        levels = torch.arange(len(places.levels), device=outputs.scores.device)
        level = levels.repeat_interleave(torch.tensor(places.levels, device=levels.device))
        found = []
        for scores, sides in zip(outputs.scores[..., 0], outputs.sides, strict=True):
            starts = [sum(places.levels[:number]) for number in range(len(places.levels))]
            parts = [scores[start : start + count] for start, count in zip(starts, places.levels, strict=True)]
            best = [part.topk(min(most, len(part))).indices + start for part, start in zip(parts, starts, strict=True)]
            chosen = torch.cat(best)
            boxes = FIRST.decode_single(sides[chosen], places.at(chosen).boxes)
            own = cut_found(Found(boxes, scores[chosen], level[chosen]), size)
            found.append(kept(own, Limits(0.0, most, DOUBLES)).xyxy)
        return found

    def looked(self, outputs: TwoStageOutputs, boxes: Sequence[Tensor], size: tuple[int, int]) -> tuple[Tensor, Tensor]:
        """Run the second stage on boxes of each image, in the precision of the first stage; the result is float32."""
        kind, precision = outputs.levels[0].device.type, outputs.precision
        with torch.autocast(kind, precision, enabled=precision is not None):
            logits, offsets = outputs.second(outputs.levels, boxes, size)
        return logits.float(), offsets.float()

    def places(self, outputs: DenseOutputs, size: tuple[int, int]) -> Places:
        """Return the anchors of images of (height, width) `size`."""
        return places_of(size, self.model.strides, outputs.scores.device, outputs.shapes)
