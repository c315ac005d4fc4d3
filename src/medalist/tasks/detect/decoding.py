"""Boxes that a network has found in an image: which are kept, and which are doubles."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor
from torchvision.ops import batched_nms  # type: ignore[import-untyped]


@dataclass(frozen=True, eq=False)
class Found:
    """The boxes of one image on the network's device: xyxy float32[N, 4], scores float32[N] and labels int64[N].

    masks: float32[N, M, M], the probability 0..1 of the object in M rows and columns of cells that fill its box; None
    of networks without masks.
    """

    xyxy: Tensor
    scores: Tensor
    labels: Tensor
    masks: Tensor | None = None


@dataclass(frozen=True)
class Limits:
    """Which boxes are kept.

    floor: the lowest score. most: the number of boxes of an image. doubles: the IoU from which of two boxes of a class
    the one with the lower score is dropped; None keeps both.
    """

    floor: float
    most: int
    doubles: float | None


def cut_found(boxes: Found, size: tuple[int, int]) -> Found:
    """Return boxes that are cut to an image of (height, width) `size`, without those of which no area is left."""
    height, width = size
    high = boxes.xyxy.new_tensor([width, height, width, height])
    xyxy = boxes.xyxy.clamp(min=0).minimum(high)
    whole = (xyxy[:, 2:] > xyxy[:, :2]).all(dim=1)
    return Found(xyxy[whole], boxes.scores[whole], boxes.labels[whole])


def kept(boxes: Found, limits: Limits) -> Found:
    """Return the boxes with the highest scores, without doubles, in the order of their scores."""
    if limits.doubles is None:
        order = boxes.scores.sort(descending=True, stable=True).indices
    else:
        order = batched_nms(boxes.xyxy, boxes.scores, boxes.labels, limits.doubles)
    order = order[: limits.most]
    return Found(boxes.xyxy[order], boxes.scores[order], boxes.labels[order])
