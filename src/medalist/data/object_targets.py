"""Targets of objects with all their pixels. Boxes are made from the pixels last, so they fit after any augmentation.

A label map takes two bytes for each pixel, however many objects there are; a mask for each of a few hundred nuclei
would take as many bytes as there are nuclei.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from medalist.errors import DataError

MOST_OBJECTS = int(np.iinfo(np.uint16).max)
"""The largest number of an object."""


@dataclass(frozen=True, eq=False)
class InstanceTarget:
    """Objects of one class that do not overlap: uint16[H, W]; 0 is background, and numbers may have gaps."""

    objects: NDArray[np.uint16]

    @property
    def arrays(self) -> tuple[NDArray[Any], ...]:
        """The arrays that a cache keeps."""
        return (self.objects,)

    def with_arrays(self, arrays: Sequence[NDArray[Any]]) -> InstanceTarget:
        """Return the same target with this array in place of its own; it has equal values in other memory."""
        return InstanceTarget(arrays[0])

    def check(self, image: str, size: tuple[int, int]) -> None:
        """Raise DataError where the map does not have the image's size (height, width); `image` is its file name."""
        if self.objects.shape != size:
            height, width = self.objects.shape
            raise DataError(f"{image} is {size[1]}x{size[0]}, its truth {width}x{height}")

    def to_augment(self) -> dict[str, Any]:
        """Return the arguments for albumentations that are transformed with the image."""
        return {"mask": self.objects}

    def augmented(self, result: Mapping[str, Any]) -> InstanceTarget:
        """Return the target from albumentations' result; what a transform fills is background."""
        objects = np.asarray(result["mask"])
        return InstanceTarget(objects if objects.ndim == 2 else objects[..., 0])

    def padded(self, multiple: int) -> InstanceTarget:
        """Return the map padded with background to multiples of `multiple`, as no object is moved or mirrored."""
        height, width = self.objects.shape
        return InstanceTarget(np.pad(self.objects, ((0, -height % multiple), (0, -width % multiple))))

    def boxes(self) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
        """Return the smallest box around each object float32[N, 4], in continuous pixels, and its number int64[N].

        An object of one pixel in the first row and column has the box (0, 0, 1, 1). The numbers ascend.
        """
        found = ndimage.find_objects(self.objects)
        there = [(number, spans) for number, spans in enumerate(found, start=1) if spans is not None]
        sides = [(columns.start, rows.start, columns.stop, rows.stop) for _, (rows, columns) in there]
        numbers = np.array([number for number, _ in there], np.int64)
        return np.array(sides, np.float32).reshape(-1, 4), numbers

    def areas(self) -> NDArray[np.int64]:
        """Return the number of pixels of each number, int64[highest + 1]; that of 0 is the background."""
        return np.bincount(self.objects.ravel()).astype(np.int64)

    def only(self, kept: NDArray[np.bool_]) -> InstanceTarget:
        """Return the objects whose number is true in bool[highest + 1]; the others become background."""
        table = np.where(kept, np.arange(len(kept)), 0).astype(np.uint16)
        table[0] = 0
        return InstanceTarget(table[self.objects])


def renumbered(objects: NDArray[Any], start: int = 0) -> NDArray[np.uint16]:
    """Return a label map with the numbers start + 1, start + 2, ... without gaps, in their order.

    Raises DataError where a number is negative, or where there are more objects than uint16 can number.
    """
    numbers, places = np.unique(objects, return_inverse=True)
    if len(numbers) and numbers[0] < 0:
        raise DataError(f"its truth has an object with the negative number {numbers[0]}")
    count = int(np.count_nonzero(numbers))
    if start + count > MOST_OBJECTS:
        raise DataError(f"its truth has {start + count:,} objects, and at most {MOST_OBJECTS:,} can be learned")
    table = np.where(numbers > 0, np.cumsum(numbers > 0) + start, 0).astype(np.uint16)
    return table[places].reshape(objects.shape)
