"""The way from each pixel to the centre of its object, as two maps of 8 bits that are made anew after augmentation."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, eq=False)
class Offsets:
    """The objects of an image, and where a target keeps the offsets to their centres.

    objects: uint16[H, W]; 0 is background. places: the numbers of the maps for the offset down and to the right; None
    where a map is not wanted. most: the largest offset, in pixels, that a map can say.

    A transform that turns, mirrors or scales an image changes offsets, so they are computed from the augmented objects.
    The centre is then the mean place of what is left of the object.
    """

    objects: NDArray[np.uint16]
    places: tuple[int | None, int | None]
    most: float

    def with_objects(self, objects: NDArray[np.uint16]) -> Offsets:
        """Return the same value with other objects."""
        return replace(self, objects=objects)

    def drawn(self, maps: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Return maps uint8[H, W, C] with the offsets in their places.

        An offset of d pixels is round(255 * (0.5 + d / (2 * most))), at least 1; where no object is, the map is 0.
        """
        labels = self.objects.astype(np.intp)
        sizes = np.maximum(np.bincount(labels.ravel()), 1)
        made = maps.copy()
        for axis, place in enumerate(self.places):
            if place is not None:
                along = np.arange(labels.shape[axis], dtype=np.float64)
                where = np.broadcast_to(along[:, None] if axis == 0 else along[None], labels.shape)
                centres = np.bincount(labels.ravel(), where.ravel()) / sizes
                share = 0.5 + (centres[labels] - where) / (2 * self.most)
                made[..., place] = np.where(labels > 0, np.rint(np.clip(255 * share, 1, 255)), 0)
        return made
