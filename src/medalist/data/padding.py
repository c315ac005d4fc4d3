"""Padding to what a network takes, and its undoing."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

Maps = TypeVar("Maps", NDArray[Any], Tensor)


@dataclass(frozen=True)
class Padding:
    """The geometry to undo: the native height and width, which stand in the upper left of the padded image."""

    height: int
    width: int

    def undo(self, maps: Maps) -> Maps:
        """Cut [..., h, w] back to [..., height, width]; a view, no copy."""
        return maps[..., : self.height, : self.width]


def pad_to_multiple(image: NDArray[np.uint8], multiple: int) -> tuple[NDArray[np.uint8], Padding]:
    """Pad uint8[H, W, C] below and right by mirroring, so that both sides are multiples; with the geometry to undo.

    An image that needs no padding is returned itself, not a copy.
    """
    height, width = image.shape[:2]
    below, right = -height % multiple, -width % multiple
    if below or right:
        # 'symmetric' and not 'reflect': it also works where an image is smaller than its padding.
        image = np.pad(image, ((0, below), (0, right), (0, 0)), mode="symmetric")
    return image, Padding(height, width)
