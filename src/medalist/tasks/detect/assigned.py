"""Which places of an image learn which objects, by the rules of each network.

All functions look at one image. `boxes` are its objects float32[G, 4], `labels` their classes int64[G]; a label of
IGNORED marks a region whose content is not judged. The result has for each place the number of its object, or
BACKGROUND, or IGNORED for a place that learns nothing.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torchvision.ops import box_iou  # type: ignore[import-untyped]

from medalist.data.targets import IGNORED
from medalist.tasks.detect.outputs import Places

BACKGROUND = -2
"""The number of a place that learns that it shows no object."""

ALPHA, BETA = 1.0, 6.0
"""The powers of score and overlap in the agreement of a place with an object, of TOOD (arXiv 2108.07755)."""

RADIUS = 1.5
"""FCOS learns an object at points up to this many strides from its centre."""

REACH = 4.0, 8.0
"""FCOS gives an object to the level where its longest distance is between these numbers of strides."""

TINY = 1e-38
"""A divisor above zero. Agreements of small boxes are far below 1e-12, because the power of the overlap is high."""

OVER, UNDER = 0.5, 0.4
"""RetinaNet learns an object at anchors with an IoU from OVER on, and background below UNDER (arXiv 1708.02002)."""


def aligned(
    scores: Tensor, found: Tensor, places: Places, boxes: Tensor, labels: Tensor, candidates: int
) -> tuple[Tensor, Tensor]:
    """Return for each place its object int64[P] and its target score float32[P], by task alignment (arXiv 2108.07755).

    scores: float32[P, C] in 0..1 and found: float32[P, 4], what the network says now. An object is learned at those
    `candidates` of the points inside it where score ** ALPHA * IoU ** BETA is highest. A box that is narrower than the
    finest stride is widened to it, so that each object has a point. A point of several objects learns the one that it
    overlaps most. The target score of the best point of an object is its highest IoU, and others have less in
    proportion to their agreement.
    """
    number, ignored = _ignored(places, boxes, labels)
    boxes, labels, kept = boxes[~ignored], labels[~ignored], torch.nonzero(~ignored).flatten()
    target = torch.zeros(len(places.centres), device=found.device)
    if not len(boxes):
        return number, target
    overlap = box_iou(boxes, found)  # [G, P]
    agreement = scores.t()[labels].pow(ALPHA) * overlap.pow(BETA)
    inside = _inside(places, boxes)
    values, best = torch.where(inside, agreement, -1.0).topk(min(candidates, agreement.shape[1]), dim=1)
    chosen = torch.zeros_like(inside).scatter_(1, best, values >= 0)
    shared = torch.where(chosen, overlap, -1.0)
    largest, of = shared.max(dim=0)
    taken = largest >= 0
    chosen &= torch.arange(len(boxes), device=of.device)[:, None] == of
    most = torch.where(chosen, agreement, 0.0).amax(dim=1)
    highest = torch.where(chosen, overlap, 0.0).amax(dim=1)
    normalised = agreement.gather(0, of[None])[0] / most[of].clamp(min=TINY) * highest[of]
    return torch.where(taken, kept[of], number), torch.where(taken, normalised, target)


def by_centre(places: Places, boxes: Tensor, labels: Tensor) -> Tensor:
    """Return for each point its object int64[P], by the rule of FCOS with centre sampling (arXiv 1904.01355).

    A point learns an object that it lies in, if it is at most RADIUS strides from the object's centre, and if the
    object's farthest side is in the reach of its level. Of several objects it learns the smallest.
    """
    number, ignored = _ignored(places, boxes, labels)
    kept = torch.nonzero(~ignored).flatten()
    boxes = boxes[~ignored]
    if not len(boxes):
        return number
    sides = distances(places.centres, boxes[:, None])  # [G, P, 4]
    middle = (boxes[:, :2] + boxes[:, 2:]) / 2
    near = (places.centres - middle[:, None]).abs().amax(dim=-1) < RADIUS * places.strides
    longest, first, last = sides.amax(dim=-1), places.strides.amin(), places.strides.amax()
    low = torch.where(places.strides == first, 0.0, REACH[0] * places.strides)
    high = torch.where(places.strides == last, torch.inf, REACH[1] * places.strides)
    learns = near & (sides.amin(dim=-1) > 0) & (longest >= low) & (longest < high)
    areas = (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])
    smallest, of = torch.where(learns, areas[:, None], torch.inf).min(dim=0)
    return torch.where(smallest.isfinite(), kept[of], number)


def by_overlap(places: Places, boxes: Tensor, labels: Tensor, over: float = OVER, under: float = UNDER) -> Tensor:
    """Return for each anchor its object int64[P], by the rule of RetinaNet (arXiv 1708.02002).

    An anchor learns the object that it overlaps most, if their IoU is at least `over`. It learns background below
    `under`, and nothing between both. The best anchors of each object learn it in any case. Faster R-CNN has the same
    rule with other numbers (arXiv 1506.01497).
    """
    number, ignored = _ignored(places, boxes, labels)
    kept = torch.nonzero(~ignored).flatten()
    boxes = boxes[~ignored]
    if not len(boxes):
        return number
    overlap = box_iou(boxes, places.boxes)
    largest, of = overlap.max(dim=0)
    best = ((overlap == overlap.amax(dim=1, keepdim=True)) & (overlap > 0)).any(dim=0)
    unclear = torch.where(largest >= under, torch.full_like(number, IGNORED), number)
    return torch.where((largest >= over) | best, kept[of], unclear)


def by_proposal(proposals: Tensor, boxes: Tensor, labels: Tensor) -> Tensor:
    """Return for each proposal float32[P, 4] its object int64[P], by the rule of Faster R-CNN (arXiv 1506.01497).

    A proposal learns the object that it overlaps most, if their IoU is at least OVER, and background otherwise. It
    learns nothing where it has no object, and at least half of it lies in a region that is not judged.
    """
    ignored = labels == IGNORED
    number = torch.full((len(proposals),), BACKGROUND, dtype=torch.int64, device=proposals.device)
    if not len(boxes) or not len(proposals):
        return number
    kept = torch.nonzero(~ignored).flatten()
    number = torch.where(covered(proposals, boxes[ignored]), torch.full_like(number, IGNORED), number)
    if not len(kept):
        return number
    largest, of = box_iou(boxes[kept], proposals).max(dim=0)
    return torch.where(largest >= OVER, kept[of], number)


def covered(boxes: Tensor, regions: Tensor) -> Tensor:
    """Return bool[P]: whether at least half of each box float32[P, 4] lies in one of the regions float32[R, 4]."""
    if not len(regions):
        return torch.zeros(len(boxes), dtype=torch.bool, device=boxes.device)
    low = torch.maximum(boxes[:, None, :2], regions[:, :2])
    high = torch.minimum(boxes[:, None, 2:], regions[:, 2:])
    shared = (high - low).clamp(min=0).prod(dim=-1).amax(dim=1)
    return shared >= OVER * (boxes[:, 2:] - boxes[:, :2]).prod(dim=-1)


def distances(centres: Tensor, boxes: Tensor) -> Tensor:
    """Return the distances float[..., 4] from points to the left, upper, right and lower side of boxes [..., 4]."""
    return torch.cat([centres - boxes[..., :2], boxes[..., 2:] - centres], dim=-1)


def stacked(found: Sequence[Tensor]) -> Tensor:
    """Join what images have at their places to [B, P, ...]."""
    return torch.stack(list(found))


def _ignored(places: Places, boxes: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """Return for each place BACKGROUND, or IGNORED in a region that is not judged; and which boxes are such regions."""
    ignored = labels == IGNORED
    number = torch.full((len(places.centres),), BACKGROUND, dtype=torch.int64, device=boxes.device)
    if not len(boxes):
        return number, ignored
    within = (distances(places.centres, boxes[:, None]).amin(dim=-1) > 0) & ignored[:, None]
    return torch.where(within.any(dim=0), torch.full_like(number, IGNORED), number), ignored


def _inside(places: Places, boxes: Tensor) -> Tensor:
    """Return bool[G, P]: which points lie in each box; at the finest level in boxes of at least its stride."""
    finest = places.strides.amin()
    least = torch.where(places.strides == finest, finest / 2, 0.0)
    middle, half = (boxes[:, :2] + boxes[:, 2:]) / 2, (boxes[:, 2:] - boxes[:, :2]) / 2
    away = (places.centres - middle[:, None]).abs()
    return (away <= torch.maximum(half[:, None], least[:, None])).all(dim=-1)
