"""Targets that networks are trained on: maps, boxes, objects, labels. A sample has NumPy arrays, a batch has tensors.

Each target type has its own methods for augmentation with the image, size in bytes, stacking into a batch, moving to a
device, mixing and removal of padding. So caches, loaders and the training loop work with every target type.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, assert_never

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from medalist.data.devices import copies_beside
from medalist.data.map_targets import (
    ClassTarget,
    ClassTargets,
    MapTarget,
    MapTargets,
    OnMaps,
    collate_classes,
    collate_maps,
    resize_maps,
)
from medalist.data.object_targets import InstanceTarget
from medalist.data.padding import Padding
from medalist.errors import ConfigError, DataError

__all__ = [
    "IGNORED",
    "BoxTarget",
    "BoxTargets",
    "ClassTarget",
    "ClassTargets",
    "InstanceTarget",
    "LabelTarget",
    "LabelTargets",
    "MapTarget",
    "MapTargets",
    "OnMaps",
    "Target",
    "Targets",
    "collate_targets",
    "resize_maps",
]

IGNORED = -1
"""The label of a box whose content is not judged: it is neither an object nor background."""


@dataclass(frozen=True, eq=False)
class BoxTarget:
    """Boxes of the image, in pixels.

    xyxy: float32[N, 4], the corners (x1, y1, x2, y2) with x1 < x2 and y1 < y2. labels: int64[N], the classes from 0, or
    IGNORED.
    """

    xyxy: NDArray[np.float32]
    labels: NDArray[np.int64]

    @property
    def arrays(self) -> tuple[NDArray[Any], ...]:
        """The arrays that a cache keeps."""
        return self.xyxy, self.labels

    def with_arrays(self, arrays: Sequence[NDArray[Any]]) -> BoxTarget:
        """Return the same target with these arrays in place of its own; they have equal values in other memory."""
        return BoxTarget(arrays[0], arrays[1])

    def check(self, image: str, size: tuple[int, int]) -> None:
        """Raise DataError for values that are not finite, for swapped corners, and for boxes outside the image."""
        low, high = self.xyxy[:, :2], self.xyxy[:, 2:]
        inside = np.isfinite(self.xyxy).all(axis=1) & (low >= 0).all(axis=1) & (high <= size[::-1]).all(axis=1)
        bad = np.flatnonzero(~(inside & (low < high).all(axis=1)))
        if len(bad):
            box = ", ".join(f"{value:g}" for value in self.xyxy[bad[0]])
            raise DataError(
                f"{image}: box {bad[0]} ({box}) is not a valid box inside the image of {size[1]}x{size[0]} pixels"
            )

    def to_augment(self) -> dict[str, Any]:
        """Return the arguments for albumentations that are transformed with the image, as `pascal_voc` boxes."""
        return {"bboxes": self.xyxy, "labels": self.labels}

    def augmented(self, result: Mapping[str, Any]) -> BoxTarget:
        """Return the boxes from albumentations' result, which may have removed some."""
        boxes = np.asarray(result["bboxes"], np.float32).reshape(-1, 4)
        return BoxTarget(boxes, np.asarray(result["labels"], np.int64))

    def padded(self, multiple: int) -> BoxTarget:
        """Return the target itself, because padding is below and right of the image and moves no box."""
        return self


@dataclass(frozen=True, eq=False)
class LabelTarget:
    """Labels of the whole image: one class as int64[], or float32[C] with a number for each class or level."""

    value: NDArray[np.int64] | NDArray[np.float32]

    @property
    def arrays(self) -> tuple[NDArray[Any], ...]:
        """The arrays that a cache keeps."""
        return (self.value,)

    def with_arrays(self, arrays: Sequence[NDArray[Any]]) -> LabelTarget:
        """Return the same target with these arrays in place of its own; they have equal values in other memory."""
        return LabelTarget(arrays[0])

    def check(self, image: str, size: tuple[int, int]) -> None:
        """Check nothing, because labels fit an image of any size."""

    def to_augment(self) -> dict[str, Any]:
        """Return no arguments, because labels are not transformed with the image."""
        return {}

    def augmented(self, result: Mapping[str, Any]) -> LabelTarget:
        """Return the target itself."""
        return self

    def padded(self, multiple: int) -> LabelTarget:
        """Return the target itself."""
        return self


Target = MapTarget | ClassTarget | BoxTarget | InstanceTarget | LabelTarget
"""The target of one sample."""


@dataclass(frozen=True, eq=False)
class BoxTargets:
    """Boxes of a batch: for each sample one tensor float32[N, 4] and one int64[N].

    objects: int32[B, h, w], label maps of the pixels of all objects, and numbers: for each sample int64[N], the number
    of each box in its map; None and empty where only boxes are known.
    """

    xyxy: tuple[Tensor, ...]
    labels: tuple[Tensor, ...]
    objects: Tensor | None = None
    numbers: tuple[Tensor, ...] = ()

    def to(self, device: torch.device) -> BoxTargets:
        """Return the targets on a device."""
        return self._each(lambda tensor: tensor.to(device, non_blocking=copies_beside(device)))

    def pin_memory(self) -> BoxTargets:
        """Return the targets in page-locked memory."""
        return self._each(lambda tensor: tensor.pin_memory())

    def single(self, number: int, padding: Padding) -> BoxTargets:
        """Return the target of sample `number` as a batch of one."""
        return self.one(number)

    def one(self, number: int) -> BoxTargets:
        """Return the target of sample `number` as a batch of one. Padding moves no box, so it is not asked for."""
        own = slice(number, number + 1)
        objects = None if self.objects is None else self.objects[own]
        return BoxTargets(self.xyxy[own], self.labels[own], objects, self.numbers[own])

    def resized(self, size: tuple[int, int]) -> BoxTargets:
        """Raise ConfigError, because only augmentation scales boxes together with their images."""
        raise ConfigError("train.sizes: batches with boxes keep their size; resize in augment")

    @property
    def is_mixed(self) -> bool:
        """Whether a further mix is impossible; always False, because batches with boxes are never mixed."""
        return False

    def mixed(self, on_maps: OnMaps, places: int | None, share: float) -> BoxTargets:
        """Raise ConfigError, because a batch with boxes is not mixed."""
        raise ConfigError("train.mix: batches with boxes are not mixed; leave it out")

    def perfect_logits(self, sure: float) -> Tensor | None:
        """Return None, because the logits depend on the network's anchors."""
        return None

    def tensors(self) -> dict[str, Tensor]:
        """Return the boxes of all samples by name."""
        return {"boxes": torch.cat(self.xyxy)} if self.xyxy else {}

    def _each(self, change: Callable[[Tensor], Tensor]) -> BoxTargets:
        parts = (tuple(map(change, tensors)) for tensors in (self.xyxy, self.labels, self.numbers))
        xyxy, labels, numbers = parts
        return BoxTargets(xyxy, labels, None if self.objects is None else change(self.objects), numbers)


@dataclass(frozen=True, eq=False)
class LabelTargets:
    """Labels of a batch: int64[B] classes or float32[B, C].

    partners: the labels of the samples that were mixed into each sample, and the share (0..1) that each sample kept;
    None where nothing was mixed.
    """

    values: Tensor
    partners: tuple[Tensor, float] | None = None

    def to(self, device: torch.device) -> LabelTargets:
        """Return the targets on a device."""
        return LabelTargets(self.values.to(device, non_blocking=copies_beside(device)))

    def pin_memory(self) -> LabelTargets:
        """Return the targets in page-locked memory."""
        return LabelTargets(self.values.pin_memory())

    def single(self, number: int, padding: Padding) -> LabelTargets:
        """Return the target of sample `number` as a batch of one."""
        return LabelTargets(self.values[number : number + 1])

    def resized(self, size: tuple[int, int]) -> LabelTargets:
        """Return the targets themselves."""
        return self

    @property
    def is_mixed(self) -> bool:
        """Whether a further mix is impossible; True after the first mix, because `partners` has only one share."""
        return self.partners is not None

    def mixed(self, on_maps: OnMaps, places: int | None, share: float) -> LabelTargets:
        """Return the labels with their partners: sample i is mixed with sample (i + places) % B, and keeps `share`."""
        assert places is not None, "a mosaic has no single label; the settings refuse it"
        return replace(self, partners=(self.values.roll(-places, 0), share))

    def perfect_logits(self, sure: float) -> Tensor | None:
        """Return None, because the right outputs depend on the loss."""
        return None

    def tensors(self) -> dict[str, Tensor]:
        """Return the targets' tensors by name."""
        return {"labels": self.values}


Targets = MapTargets | ClassTargets | BoxTargets | LabelTargets
"""The targets of a batch."""


def collate_targets(targets: Sequence[Target]) -> Targets:
    """Stack the targets of samples into the targets of a batch. All have one type, and maps have one size."""
    first = targets[0]
    match first:
        case MapTarget():
            return collate_maps([target for target in targets if isinstance(target, MapTarget)])
        case ClassTarget():
            return collate_classes([target for target in targets if isinstance(target, ClassTarget)])
        case BoxTarget():
            boxes = [target for target in targets if isinstance(target, BoxTarget)]
            return BoxTargets(
                tuple(torch.from_numpy(np.array(target.xyxy, np.float32)) for target in boxes),
                tuple(torch.from_numpy(np.array(target.labels, np.int64)) for target in boxes),
            )
        case InstanceTarget():
            return _collate_objects([target for target in targets if isinstance(target, InstanceTarget)])
        case LabelTarget():
            values = np.stack([target.value for target in targets if isinstance(target, LabelTarget)])
            return LabelTargets(torch.from_numpy(values))
        case _:
            assert_never(first)


def _collate_objects(targets: Sequence[InstanceTarget]) -> BoxTargets:
    """Make boxes from the objects of samples, whose maps have one size. All objects are of class 0."""
    found = [target.boxes() for target in targets]
    return BoxTargets(
        tuple(torch.from_numpy(xyxy) for xyxy, _ in found),
        tuple(torch.zeros(len(numbers), dtype=torch.int64) for _, numbers in found),
        torch.from_numpy(np.stack([target.objects for target in targets]).astype(np.int32)),
        tuple(torch.from_numpy(numbers) for _, numbers in found),
    )
