"""Training images that are composed of several samples: mosaic, mixup, and pasted objects."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from medalist.data.object_targets import MOST_OBJECTS, renumbered
from medalist.data.placing import Pixels, Size, fitted, put
from medalist.data.targets import IGNORED, BoxTarget, InstanceTarget
from medalist.tasks.detect.frames import ObjectTarget, drawn, joined, seen, zoomed
from medalist.tasks.detect.settings import ComposeConfig, FrameConfig

PASTED = 3
"""Objects of another sample that are pasted at most."""

COVERS = 0.3
"""A pasted object may cover at most this share of any other object."""

Framed = tuple[Pixels, ObjectTarget]
"""An image uint8[h, w, 3] in its frame, and its objects there."""


@dataclass(frozen=True, eq=False)
class Composer:
    """Makes the image of one sample, before it is augmented.

    load: number of a sample -> its image and objects in native pixels. count: how many samples there are.
    """

    load: Callable[[int], Framed]
    count: int
    frame: FrameConfig
    config: ComposeConfig

    def made(self, number: int, random: np.random.Generator, composes: bool) -> Framed:
        """Return sample `number` in a frame, in training; composed with others where `composes` and the dice say so."""
        # Always three numbers, so that a sample that is not composed lies where it would without compositions.
        chances = (self.config.mosaic, self.config.mixup, self.config.paste)
        mosaic, mixup, paste = ((random.random(3) < chances) & composes).tolist()
        image, target = self._mosaic(number, random) if mosaic else self._alone(number, random)
        if paste:
            image, target = self._pasted(image, target, random)
        if mixup:
            other, more = self._alone(self._other(random), random)
            share = float(random.beta(8.0, 8.0))
            blend = image.astype(np.float32) * share + other.astype(np.float32) * (1 - share)
            image, target = np.rint(blend).astype(np.uint8), joined([target, more])
        return image, target

    def _other(self, random: np.random.Generator) -> int:
        return int(random.integers(self.count))

    def _factor(self, native: Size, random: np.random.Generator) -> float:
        """Return a random factor by which an image is scaled, where 1 lets it just fit into the frame."""
        return self.frame.unit_factor(native) * zoomed(self.frame.scale, random)

    def _empty(self) -> Pixels:
        return np.full((*self.frame.size, 3), self.frame.fill, np.uint8)

    def _alone(self, number: int, random: np.random.Generator) -> Framed:
        image, target = self.load(number)
        point = self._aimed(target, random) if self.frame.aim else None
        native = image.shape[0], image.shape[1]
        placed = drawn(native, self.frame.size, self._factor(native, random), random, point)
        canvas = self._empty()
        put(canvas, image, placed)
        return canvas, seen(target, placed, self.frame.size, _whole(self.frame.size), self.frame.visible)

    def _aimed(self, target: ObjectTarget, random: np.random.Generator) -> tuple[float, float] | None:
        """Return the middle (y, x) of an object that is to be seen; None where any part of the image may be."""
        if random.random() >= self.frame.aim:
            return None
        if isinstance(target, InstanceTarget):
            xyxy = target.boxes()[0]
        else:
            known = np.unique(target.labels[target.labels != IGNORED])
            xyxy = target.xyxy[target.labels == random.choice(known)] if len(known) else target.xyxy[:0]
        if not len(xyxy):
            return None
        x1, y1, x2, y2 = random.choice(xyxy).tolist()
        return (y1 + y2) / 2, (x1 + x2) / 2

    def _mosaic(self, number: int, random: np.random.Generator) -> Framed:
        """Return four samples around a point in the middle half of the frame; one of them is the sample itself.

        Each is scaled as it would be alone, and lies at a random place that fills its quarter where it is large enough.
        """
        height, width = self.frame.size
        middle = [round(float(random.uniform(0.25, 0.75)) * side) for side in (height, width)]
        numbers = random.permutation([number, *(self._other(random) for _ in range(3))]).tolist()
        canvas, found = self._empty(), []
        quarters = [
            (rows, columns)
            for rows in (slice(0, middle[0]), slice(middle[0], height))
            for columns in (slice(0, middle[1]), slice(middle[1], width))
        ]
        for one, (rows, columns) in zip(numbers, quarters, strict=True):
            image, target = self.load(one)
            native = image.shape[0], image.shape[1]
            factor = self._factor(native, random)
            size = fitted(native, self.frame.size, factor).size
            top, left = (
                span.start + round(random.random() * (span.stop - span.start - side))
                for span, side in zip((rows, columns), size, strict=True)
            )
            placed = fitted(native, self.frame.size, factor, top, left)
            put(canvas, image, placed, (rows, columns))
            found.append(seen(target, placed, self.frame.size, (rows, columns), self.frame.visible))
        return canvas, joined(found)

    def _pasted(self, image: Pixels, target: ObjectTarget, random: np.random.Generator) -> Framed:
        """Return the image with objects of another sample at random places, where they cover no object too much."""
        other, more = self._alone(self._other(random), random)
        if isinstance(target, InstanceTarget):
            assert isinstance(more, InstanceTarget), type(more).__name__
            return pasted_objects(image, target, (other, more), random)
        assert isinstance(more, BoxTarget), type(more).__name__
        canvas = image.copy()
        xyxy, labels = list(target.xyxy), list(target.labels)
        objects = np.flatnonzero(more.labels != IGNORED)
        for at in random.permutation(objects)[:PASTED].tolist():
            x1, y1 = np.floor(more.xyxy[at, :2]).astype(int)
            x2, y2 = np.ceil(more.xyxy[at, 2:]).astype(int)
            part = other[y1:y2, x1:x2]
            top, left = (
                round(random.random() * (side - own)) for side, own in zip(image.shape, part.shape[:2], strict=False)
            )
            moved = more.xyxy[at] + np.array([left - x1, top - y1] * 2, np.float32)
            if _covered(np.array(xyxy, np.float32).reshape(-1, 4), moved) > COVERS:
                continue
            canvas[top : top + part.shape[0], left : left + part.shape[1]] = part
            xyxy.append(moved)
            labels.append(more.labels[at])
        return canvas, BoxTarget(np.array(xyxy, np.float32).reshape(-1, 4), np.array(labels, np.int64))


def pasted_objects(
    image: Pixels, target: InstanceTarget, other: tuple[Pixels, InstanceTarget], random: np.random.Generator
) -> tuple[Pixels, InstanceTarget]:
    """Return an image uint8[h, w, 3] with the pixels of objects of another one at random places.

    An object is left out where any other object would lose more than the share COVERS of its pixels.
    """
    canvas, objects = image.copy(), renumbered(target.objects)
    areas = np.bincount(objects.ravel())
    xyxy, numbers = other[1].boxes()
    for at in random.permutation(len(numbers))[:PASTED].tolist():
        if len(areas) > MOST_OBJECTS:
            break
        x1, y1, x2, y2 = xyxy[at].astype(int).tolist()
        inside = other[1].objects[y1:y2, x1:x2] == numbers[at]
        top, left = (
            round(random.random() * (side - own)) for side, own in zip(image.shape, inside.shape, strict=False)
        )
        window = slice(top, top + inside.shape[0]), slice(left, left + inside.shape[1])
        after = objects.copy()
        after[window][inside] = len(areas)
        rest = np.bincount(after.ravel(), minlength=len(areas))
        if (rest[1 : len(areas)] < (1 - COVERS) * areas[1:]).any():
            continue
        canvas[window][inside] = other[0][y1:y2, x1:x2][inside]
        objects, areas = after, np.append(areas, rest[-1])
    return canvas, InstanceTarget(objects)


def _covered(boxes: NDArray[np.float32], by: NDArray[np.float32]) -> float:
    """Return the largest share of any box float32[N, 4] that the box `by` float32[4] covers; 0 without boxes."""
    if not len(boxes):
        return 0.0
    sides = np.minimum(boxes[:, 2:], by[2:]) - np.maximum(boxes[:, :2], by[:2])
    areas = (boxes[:, 2:] - boxes[:, :2]).prod(axis=1)
    return float((sides.clip(min=0).prod(axis=1) / areas).max())


def _whole(size: Size) -> tuple[slice, slice]:
    return slice(0, size[0]), slice(0, size[1])
