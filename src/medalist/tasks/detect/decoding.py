"""The outputs of a network as boxes of each image: the most likely ones of each level, without doubles."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torchvision.ops import batched_nms  # type: ignore[import-untyped]

from medalist.tasks.detect.criterion import Criterion
from medalist.tasks.detect.outputs import DenseOutputs


@dataclass(frozen=True, eq=False)
class Found:
    """The boxes of one image on the network's device: xyxy float32[N, 4], scores float32[N] and labels int64[N]."""

    xyxy: Tensor
    scores: Tensor
    labels: Tensor


@dataclass(frozen=True)
class Limits:
    """Which boxes are kept.

    floor: the lowest score. most: the number of boxes of an image. doubles: the IoU from which of two boxes of a class
    the one with the lower score is dropped; None keeps both.
    """

    floor: float
    most: int
    doubles: float | None


def boxes_of(criterion: Criterion, outputs: DenseOutputs, size: tuple[int, int], limits: Limits) -> list[Found]:
    """Return the boxes of each image, the highest scores first, cut to the image.

    outputs: float32. size: (height, width) of the images. A place may give boxes of several classes. Only the best
    `limits.most` scores of each level are looked at, and only their boxes are computed. A box without area is dropped.
    """
    places = criterion.places(outputs, size)
    scores = criterion.scores(outputs)
    classes = scores.shape[2]
    height, width = size
    high = torch.tensor([width, height, width, height], device=scores.device, dtype=torch.float32)
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
        there = places.at(place)
        xyxy = criterion.boxes(outputs.sides[image][place], there).clamp(min=0).minimum(high)
        whole = (xyxy[:, 2:] > xyxy[:, :2]).all(dim=1)
        found.append(kept(Found(xyxy[whole], score[whole], label[whole]), limits))
    return found


def kept(boxes: Found, limits: Limits) -> Found:
    """Return the boxes with the highest scores, without doubles, in the order of their scores."""
    if limits.doubles is None:
        order = boxes.scores.sort(descending=True, stable=True).indices
    else:
        order = batched_nms(boxes.xyxy, boxes.scores, boxes.labels, limits.doubles)
    order = order[: limits.most]
    return Found(boxes.xyxy[order], boxes.scores[order], boxes.labels[order])
