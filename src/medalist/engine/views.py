"""Views of an image whose predictions are averaged (test-time augmentation)."""

from __future__ import annotations

import torch
from torch import Tensor

View = tuple[int, bool]
"""The number of quarter turns, and whether the turned image is then mirrored along its width."""

VIEWS: dict[str, tuple[View, ...]] = {
    "none": ((0, False),),
    "mirror": ((0, False), (0, True)),
    "flips": ((0, False), (0, True), (2, False), (2, True)),
    "d4": tuple((turns, mirror) for turns in range(4) for mirror in (False, True)),
}


def apply_view(image: Tensor, view: View) -> Tensor:
    """Return [..., h, w] turned and then mirrored; an odd number of turns swaps h and w."""
    turns, mirror = view
    turned = torch.rot90(image, turns, dims=(-2, -1)) if turns else image  # rot90 by 0 turns copies
    return turned.flip(-1) if mirror else turned


def invert_view(maps: Tensor, view: View) -> Tensor:
    """Return maps [..., h, w] with `apply_view` undone."""
    turns, mirror = view
    straight = maps.flip(-1) if mirror else maps
    return torch.rot90(straight, -turns, dims=(-2, -1)) if turns else straight
