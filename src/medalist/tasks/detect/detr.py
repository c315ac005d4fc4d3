"""The loss of RT-DETRv2 with one query for each object, and how its outputs become boxes and scores."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from scipy.optimize import linear_sum_assignment
from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits, one_hot
from torchvision.ops import (  # type: ignore[import-untyped]
    box_convert,
    box_iou,
    generalized_box_iou,
    generalized_box_iou_loss,
)

from medalist.data.targets import IGNORED, BoxTargets
from medalist.tasks.detect.assigned import covered
from medalist.tasks.detect.decoding import Found, Limits, cut_found, kept
from medalist.tasks.detect.loss_settings import LossConfig
from medalist.tasks.detect.model_settings import DetrConfig
from medalist.tasks.detect.outputs import DetrOutputs
from medalist.tasks.detect.protocols import Normalise

COSTS = 2.0, 5.0, 2.0
"""The weights of class, distance and overlap in the cost of a query for an object (arXiv 2304.08069)."""

ALPHA, GAMMA = 0.25, 2.0
"""The numbers of the focal loss in the cost of a class."""

BALANCE = 0.75
"""The weight of background in the loss on classes."""

TINY = 1e-8
"""Added within logarithms."""


@dataclass(frozen=True)
class DetrCriterion:
    """The loss of a network that finds a set of boxes: implements `protocols.Criterion`.

    Each true box is learned by one query, by the cheapest assignment of all (arXiv 2005.12872), in each layer.
    """

    model: DetrConfig
    config: LossConfig

    @property
    def draws(self) -> bool:
        """Whether the loss draws random numbers: it does not."""
        return False

    def losses(
        self,
        outputs: DetrOutputs,
        target: BoxTargets,
        size: tuple[int, int],
        normalise: Normalise,
        seeds: Sequence[int] = (),
    ) -> dict[str, Tensor]:
        """Return the scalar `loss` to minimise, and its parts without their weights; see `protocols.Criterion`.

        Each part is a sum over layers and images, divided by the number of the objects of a layer.
        """
        zero = outputs.logits.sum() * 0
        parts = {"classes": zero, "distances": zero, "boxes": zero}
        count = 0
        for image, (boxes, labels) in enumerate(zip(target.xyxy, target.labels, strict=True)):
            judged = labels != IGNORED
            whole = boxes / _corners(size, boxes)
            truth, regions, classes = box_convert(whole[judged], "xyxy", "cxcywh"), whole[~judged], labels[judged]
            count += len(truth)
            for logits, found in zip(outputs.logits[image], outputs.boxes[image], strict=True):
                query, number = assigned(logits.detach(), found.detach(), truth, classes)
                one = _losses(logits, found, (query, truth[number], classes[number]), regions)
                parts = {name: value + one[name] for name, value in parts.items()}
        total = normalise(torch.tensor(float(count), device=zero.device)).clamp(min=1.0)
        parts = {name: value / total for name, value in parts.items()}
        config = self.config
        loss = config.classes * parts["classes"] + config.distances * parts["distances"]
        return {"loss": loss + config.boxes * parts["boxes"], **parts}

    def found(self, outputs: DetrOutputs, size: tuple[int, int], limits: Limits) -> list[Found]:
        """Return the boxes of each image, the highest scores first, cut to the image; see `protocols.Criterion`.

        A query may give a box for each of several classes.
        """
        found = []
        for logits, boxes in zip(outputs.logits[:, -1], outputs.boxes[:, -1], strict=True):
            scores = logits.sigmoid().flatten()
            best = scores.topk(min(limits.most, len(scores))).indices
            best = best[scores[best] >= limits.floor]
            xyxy = box_convert(boxes, "cxcywh", "xyxy") * _corners(size, boxes)
            one = Found(xyxy[best // logits.shape[1]], scores[best], best % logits.shape[1])
            found.append(kept(cut_found(one, size), limits))
        return found


@torch.no_grad()
def assigned(logits: Tensor, boxes: Tensor, truth: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """Return the queries int64[n] that learn an object, and its number int64[n] in `truth`; n is at most Q and G.

    logits: float32[Q, C]. boxes: float32[Q, 4] and truth: float32[G, 4], centres and sizes as shares of the image.
    labels: int64[G].
    """
    score = logits.sigmoid()[:, labels]
    shown = ALPHA * (1 - score) ** GAMMA * -(score + TINY).log()
    hidden = (1 - ALPHA) * score**GAMMA * -(1 - score + TINY).log()
    distance = torch.cdist(boxes, truth, p=1)
    overlap = generalized_box_iou(box_convert(boxes, "cxcywh", "xyxy"), box_convert(truth, "cxcywh", "xyxy"))
    cost = COSTS[0] * (shown - hidden) + COSTS[1] * distance - COSTS[2] * overlap
    # A cost that is no number would raise an error of scipy. Here the loss becomes no number, which the loop refuses.
    query, number = linear_sum_assignment(np.nan_to_num(cost.cpu().numpy(), nan=1e9, posinf=1e9, neginf=-1e9))
    device = logits.device
    return torch.as_tensor(query, device=device), torch.as_tensor(number, device=device)


def _losses(
    logits: Tensor, boxes: Tensor, learned: tuple[Tensor, Tensor, Tensor], regions: Tensor
) -> dict[str, Tensor]:
    """Return the sums of the losses of one image in one layer.

    learned: queries, and their boxes and classes. regions: corners of what is not judged, as shares of the image.
    """
    query, truth, labels = learned
    corners, right = box_convert(boxes, "cxcywh", "xyxy"), box_convert(truth, "cxcywh", "xyxy")
    overlap = box_iou(corners[query].detach(), right).diagonal()
    targets = torch.zeros_like(logits)
    targets[query] = one_hot(labels, logits.shape[1]).to(logits.dtype) * overlap[:, None]
    shown = torch.zeros_like(logits)
    shown[query] = one_hot(labels, logits.shape[1]).to(logits.dtype)
    weight = BALANCE * logits.detach().sigmoid() ** GAMMA * (1 - shown) + targets
    judged = ~covered(corners.detach(), regions)
    judged[query] = True
    each = binary_cross_entropy_with_logits(logits, targets, weight, reduction="none")
    return {
        "classes": (each * judged[:, None]).sum(),
        "distances": (boxes[query] - truth).abs().sum(),
        "boxes": generalized_box_iou_loss(corners[query], right, reduction="sum", eps=1e-7),
    }


def _corners(size: tuple[int, int], like: Tensor) -> Tensor:
    """Return (width, height, width, height) of images, by which shares become pixels."""
    return like.new_tensor([size[1], size[0], size[1], size[0]])
