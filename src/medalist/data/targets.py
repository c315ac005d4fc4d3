"""What networks are trained on: maps, boxes, labels; of one sample as NumPy arrays, of a batch as tensors.

A target knows how it is augmented with its image, counted in bytes, stacked into a batch, moved, mixed and undone, so
that caches, loaders and the training loop need not know which of them they carry.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, assert_never

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from medalist.data.devices import copies_beside
from medalist.data.padding import Padding, pad_to_multiple
from medalist.errors import ConfigError, DataError

OnMaps = Callable[[Tensor], Tensor]
"""What a mix does to maps float[B, C, h, w]."""


@dataclass(frozen=True, eq=False)
class MapTarget:
    """Maps of the image: uint8[H, W, C] of 0 and 1."""

    maps: NDArray[np.uint8]

    @property
    def arrays(self) -> tuple[NDArray[Any], ...]:
        """What a cache keeps."""
        return (self.maps,)

    def with_arrays(self, arrays: Sequence[NDArray[Any]]) -> MapTarget:
        """The same target in other memory."""
        return MapTarget(arrays[0])

    def check(self, image: str, size: tuple[int, int]) -> None:
        """DataError where the maps are not of the image's size (height, width); `image` names it."""
        if self.maps.shape[:2] != size:
            raise DataError(f"{image} is {size[1]}x{size[0]}, its truth {self.maps.shape[1]}x{self.maps.shape[0]}")

    def to_augment(self) -> dict[str, Any]:
        """Arguments of albumentations that move with the image."""
        return {"mask": self.maps}

    def augmented(self, result: Mapping[str, Any]) -> MapTarget:
        """The target that came out of albumentations."""
        mask = result["mask"]
        return MapTarget(mask if mask.ndim == 3 else mask[..., None])

    def padded(self, multiple: int) -> MapTarget:
        """Padded as the image is."""
        return MapTarget(pad_to_multiple(self.maps, multiple)[0])


@dataclass(frozen=True, eq=False)
class BoxTarget:
    """Boxes of the image: xyxy float32[N, 4] in pixels, corners that are not swapped; labels int64[N]."""

    xyxy: NDArray[np.float32]
    labels: NDArray[np.int64]

    @property
    def arrays(self) -> tuple[NDArray[Any], ...]:
        """What a cache keeps."""
        return self.xyxy, self.labels

    def with_arrays(self, arrays: Sequence[NDArray[Any]]) -> BoxTarget:
        """The same target in other memory."""
        return BoxTarget(arrays[0], arrays[1])

    def check(self, image: str, size: tuple[int, int]) -> None:
        """DataError for numbers that are not finite, corners that are swapped, and boxes outside of the image."""
        low, high = self.xyxy[:, :2], self.xyxy[:, 2:]
        inside = np.isfinite(self.xyxy).all(axis=1) & (low >= 0).all(axis=1) & (high <= size[::-1]).all(axis=1)
        bad = np.flatnonzero(~(inside & (low < high).all(axis=1)))
        if len(bad):
            box = ", ".join(f"{value:g}" for value in self.xyxy[bad[0]])
            raise DataError(f"{image}: box {bad[0]} ({box}) is no box inside of {size[1]}x{size[0]} pixels")

    def to_augment(self) -> dict[str, Any]:
        """Arguments of albumentations that move with the image; the pipeline has to take `pascal_voc` boxes."""
        return {"bboxes": self.xyxy, "labels": self.labels}

    def augmented(self, result: Mapping[str, Any]) -> BoxTarget:
        """The boxes that albumentations has left."""
        boxes = np.asarray(result["bboxes"], np.float32).reshape(-1, 4)
        return BoxTarget(boxes, np.asarray(result["labels"], np.int64))

    def padded(self, multiple: int) -> BoxTarget:
        """The same: padding lies below and right of the image."""
        return self


@dataclass(frozen=True, eq=False)
class LabelTarget:
    """Labels of the whole image: an int64[] class; or float32[C], a number for each of several classes or levels."""

    value: NDArray[np.int64] | NDArray[np.float32]

    @property
    def arrays(self) -> tuple[NDArray[Any], ...]:
        """What a cache keeps."""
        return (self.value,)

    def with_arrays(self, arrays: Sequence[NDArray[Any]]) -> LabelTarget:
        """The same target in other memory."""
        return LabelTarget(arrays[0])

    def check(self, image: str, size: tuple[int, int]) -> None:
        """Labels fit every image."""

    def to_augment(self) -> dict[str, Any]:
        """Nothing moves with the image."""
        return {}

    def augmented(self, result: Mapping[str, Any]) -> LabelTarget:
        """The same."""
        return self

    def padded(self, multiple: int) -> LabelTarget:
        """The same."""
        return self


Target = MapTarget | BoxTarget | LabelTarget
"""What one sample is trained on."""


@dataclass(frozen=True, eq=False)
class MapTargets:
    """Maps of a batch: uint8 or float32[B, C, h, w] in 0..1."""

    maps: Tensor

    def to(self, device: torch.device) -> MapTargets:
        """On a device; as floats there, so that one byte a pixel crosses the bus."""
        return MapTargets(self.maps.to(device, non_blocking=copies_beside(device)).float())

    def pin_memory(self) -> MapTargets:
        """In page-locked memory."""
        return MapTargets(self.maps.pin_memory())

    def single(self, number: int, padding: Padding) -> MapTargets:
        """Of one sample, cut to its native size."""
        return MapTargets(padding.undo(self.maps[number : number + 1]))

    def resized(self, size: tuple[int, int]) -> MapTargets:
        """At another size, by the filter that the image gets; see `engine.mixing.resized`."""
        return MapTargets(resize_maps(self.maps, size).clamp_(0, 1))  # rounding leaves 0..1

    @property
    def is_mixed(self) -> bool:
        """Whether a further mix could not be told: maps can be mixed as often as one likes."""
        return False

    def mixed(self, on_maps: OnMaps, places: int | None, share: float) -> MapTargets:
        """What a mix makes of them: the same as of the image."""
        assert self.maps.is_floating_point(), self.maps.dtype
        return MapTargets(on_maps(self.maps))

    def perfect_logits(self, sure: float) -> Tensor | None:
        """Logits of a right answer, at most `sure`."""
        return self.maps.float().logit().clamp(-sure, sure)

    def tensors(self) -> dict[str, Tensor]:
        """Every number of it, by name."""
        return {"maps": self.maps}


@dataclass(frozen=True, eq=False)
class BoxTargets:
    """Boxes of a batch, a tensor float32[N, 4] and one int64[N] for each sample."""

    xyxy: tuple[Tensor, ...]
    labels: tuple[Tensor, ...]

    def to(self, device: torch.device) -> BoxTargets:
        """On a device."""
        return self._each(lambda tensor: tensor.to(device, non_blocking=copies_beside(device)))

    def pin_memory(self) -> BoxTargets:
        """In page-locked memory."""
        return self._each(lambda tensor: tensor.pin_memory())

    def single(self, number: int, padding: Padding) -> BoxTargets:
        """Of one sample."""
        return BoxTargets(self.xyxy[number : number + 1], self.labels[number : number + 1])

    def resized(self, size: tuple[int, int]) -> BoxTargets:
        """Boxes are scaled with their images by augmentation, where the sizes of both are known."""
        raise ConfigError("train.sizes: batches with boxes keep their size; resize in augment")

    @property
    def is_mixed(self) -> bool:
        """Boxes are never mixed in a batch."""
        return False

    def mixed(self, on_maps: OnMaps, places: int | None, share: float) -> BoxTargets:
        """ConfigError: a batch with boxes is not mixed."""
        raise ConfigError("train.mix: batches with boxes are not mixed; leave it out")

    def perfect_logits(self, sure: float) -> Tensor | None:
        """Not known without the network's anchors."""
        return None

    def tensors(self) -> dict[str, Tensor]:
        """Every number of it, by name."""
        return {"boxes": torch.cat(self.xyxy)} if self.xyxy else {}

    def _each(self, change: Callable[[Tensor], Tensor]) -> BoxTargets:
        return BoxTargets(tuple(map(change, self.xyxy)), tuple(map(change, self.labels)))


@dataclass(frozen=True, eq=False)
class LabelTargets:
    """Labels of a batch: int64[B] classes or float32[B, C].

    partners: the labels of what was mixed into each sample, and the share that each sample kept; None: nothing was.
    """

    values: Tensor
    partners: tuple[Tensor, float] | None = None

    def to(self, device: torch.device) -> LabelTargets:
        """On a device."""
        return LabelTargets(self.values.to(device, non_blocking=copies_beside(device)))

    def pin_memory(self) -> LabelTargets:
        """In page-locked memory."""
        return LabelTargets(self.values.pin_memory())

    def single(self, number: int, padding: Padding) -> LabelTargets:
        """Of one sample."""
        return LabelTargets(self.values[number : number + 1])

    def resized(self, size: tuple[int, int]) -> LabelTargets:
        """The same."""
        return self

    @property
    def is_mixed(self) -> bool:
        """Two mixes could not be told by one share."""
        return self.partners is not None

    def mixed(self, on_maps: OnMaps, places: int | None, share: float) -> LabelTargets:
        """The labels, with those of the sample so many places on, and the share that each keeps."""
        assert places is not None, "a mosaic has no one label; the settings refuse it"
        return replace(self, partners=(self.values.roll(-places, 0), share))

    def perfect_logits(self, sure: float) -> Tensor | None:
        """Not known: what a right output looks like depends on the loss."""
        return None

    def tensors(self) -> dict[str, Tensor]:
        """Every number of it, by name."""
        return {"labels": self.values}


Targets = MapTargets | BoxTargets | LabelTargets
"""What a batch is trained on."""


def collate_targets(targets: Sequence[Target]) -> Targets:
    """Stack the targets of samples, all of one type; maps are of one size."""
    first = targets[0]
    match first:
        case MapTarget():
            # A copy always: what the cache keeps stays its own.
            planes = np.stack([target.maps.transpose(2, 0, 1) for target in targets if isinstance(target, MapTarget)])
            return MapTargets(torch.from_numpy(planes))
        case BoxTarget():
            boxes = [target for target in targets if isinstance(target, BoxTarget)]
            return BoxTargets(
                tuple(torch.from_numpy(np.array(target.xyxy, np.float32)) for target in boxes),
                tuple(torch.from_numpy(np.array(target.labels, np.int64)) for target in boxes),
            )
        case LabelTarget():
            values = np.stack([target.value for target in targets if isinstance(target, LabelTarget)])
            return LabelTargets(torch.from_numpy(values))
        case _:
            assert_never(first)


def resize_maps(maps: Tensor, size: tuple[int, int]) -> Tensor:
    """Maps float[B, C, h, w] at another (height, width), by a bilinear filter that leaves no pixel out."""
    assert maps.ndim == 4 and maps.is_floating_point(), (maps.shape, maps.dtype)
    wide = maps if maps.dtype == torch.float64 else maps.float()  # not made for halves on a CPU
    return functional.interpolate(wide, size, mode="bilinear", antialias=True).to(maps.dtype)
