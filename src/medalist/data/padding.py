"""Pad images to a size that the network accepts, and remove the padding from its outputs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from torch import Tensor

Maps = TypeVar("Maps", NDArray[Any], "Tensor")


@dataclass(frozen=True)
class Padding:
    """The native height and width of a padded image; the native image is in the upper left corner."""

    height: int
    width: int

    def undo(self, maps: Maps) -> Maps:
        """Cut [..., h, w] back to the native [..., height, width]; the result is a view, not a copy."""
        return maps[..., : self.height, : self.width]


def pad_to_multiple(image: NDArray[np.uint8], multiple: int) -> tuple[NDArray[np.uint8], Padding]:
    """Pad uint8[H, W, C] below and right by mirroring, so that both sides are multiples of `multiple`.

    Returns the image and the `Padding` that removes the padding again. An image that needs no padding is returned
    itself, not a copy.
    """
    height, width = image.shape[:2]
    below, right = -height % multiple, -width % multiple
    if below or right:
        # 'symmetric' instead of 'reflect', because it also works where an image is smaller than its padding.
        image = np.pad(image, ((0, below), (0, right), (0, 0)), mode="symmetric")
    return image, Padding(height, width)
