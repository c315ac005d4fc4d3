"""Views of an image whose predictions are averaged (test-time augmentation)."""

from __future__ import annotations

import torch
from torch import Tensor

View = tuple[int, bool]
"""Quarter turns, then a mirror along the width."""

VIEWS: dict[str, tuple[View, ...]] = {
    "none": ((0, False),),
    "mirror": ((0, False), (0, True)),
    "flips": ((0, False), (0, True), (2, False), (2, True)),
    "d4": tuple((turns, mirror) for turns in range(4) for mirror in (False, True)),
}


def apply_view(image: Tensor, view: View) -> Tensor:
    """Turn and mirror [..., h, w]."""
    turns, mirror = view
    turned = torch.rot90(image, turns, dims=(-2, -1)) if turns else image  # rot90 by 0 turns copies
    return turned.flip(-1) if mirror else turned


def invert_view(maps: Tensor, view: View) -> Tensor:
    """Undo `apply_view`."""
    turns, mirror = view
    straight = maps.flip(-1) if mirror else maps
    return torch.rot90(straight, -turns, dims=(-2, -1)) if turns else straight
