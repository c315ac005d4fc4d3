"""The shapes of anchors: listed in the config, or fitted to the boxes of the training part by k-means."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from medalist.errors import ConfigError
from medalist.tasks.detect.model_settings import AnchoredConfig

ROUNDS = 50
"""Rounds of k-means at most; it ends earlier where no box changes its cluster."""


def listed_shapes(config: AnchoredConfig) -> Tensor:
    """Return the anchors of each level, float32[L, A, 2]: width and height in pixels, of each ratio in each scale."""
    sides = [(scale / math.sqrt(ratio), scale * math.sqrt(ratio)) for ratio in config.ratios for scale in config.scales]
    return torch.tensor([[(stride * w, stride * h) for w, h in sides] for stride in config.strides])


def fitted_shapes(config: AnchoredConfig, sizes: NDArray[np.float32], seed: int) -> Tensor:
    """Return anchors fitted to boxes, float32[L, A, 2]: the smallest shapes belong to the finest level.

    sizes: float32[N, 2], width and height of the training boxes as the network sees them. The distance of k-means is
    1 - IoU of two boxes with one corner in common (YOLO9000, arXiv 1612.08242), and a centre is the median of its
    boxes; it begins as k-means++ does. Raises ConfigError for fewer boxes than anchors.
    """
    each = len(config.scales) * len(config.ratios)
    count = each * len(config.strides)
    if len(sizes) < count:
        raise ConfigError(
            f"model.anchors = fitted needs {count} boxes in the training part, and there are {len(sizes)}; set "
            "model.anchors=listed"
        )
    random = np.random.default_rng(seed)
    values = sizes.astype(np.float64)
    centres = _spread(values, count, random)
    nearest = np.full(len(values), -1)
    for _ in range(ROUNDS):
        now = corner_iou(values, centres).argmax(axis=1)
        if (now == nearest).all():
            break
        nearest = now
        for cluster in range(count):
            own = values[nearest == cluster]
            centres[cluster] = np.median(own, axis=0) if len(own) else values[random.integers(len(values))]
    order = np.argsort(centres.prod(axis=1), kind="stable")
    return torch.from_numpy(centres[order].astype(np.float32).reshape(len(config.strides), each, 2))


def _spread(values: NDArray[np.float64], count: int, random: np.random.Generator) -> NDArray[np.float64]:
    """Return boxes at which k-means begins, each the more likely the less it is like those before (k-means++)."""
    chosen = [int(random.integers(len(values)))]
    while len(chosen) < count:
        far = (1 - corner_iou(values, values[chosen]).max(axis=1)).clip(min=1e-6) ** 2
        chosen.append(int(random.choice(len(values), p=far / far.sum())))
    return values[chosen]


def corner_iou(one: NDArray[np.float64], other: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return float64[N, M]: the IoU of boxes of sizes [N, 2] and [M, 2] that have one corner in common."""
    shared = np.minimum(one[:, None], other).prod(axis=2)
    union: NDArray[np.float64] = one.prod(axis=1)[:, None] + other.prod(axis=1) - shared
    return np.asarray(shared / union, np.float64)


def sizes_seen(boxes: Sequence[NDArray[np.float32]], scales: Sequence[float]) -> NDArray[np.float32]:
    """Return float32[N, 2], width and height of all boxes float32[n, 4] in images that are scaled by `scales`."""
    found = [(xyxy[:, 2:] - xyxy[:, :2]) * scale for xyxy, scale in zip(boxes, scales, strict=True)]
    return np.concatenate(found) if found else np.zeros((0, 2), np.float32)
