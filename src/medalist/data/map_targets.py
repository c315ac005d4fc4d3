"""Targets made of pixels: maps, or one class for each pixel. Some pixels are void: nobody judges what is there.

Void pixels weigh nothing in losses and figures. While a sample is augmented, a plane of ones for its judged pixels goes
through albumentations beside its mask. Where a transform turns or pads an image, it fills this plane with 0 too. So
what lies outside of the image becomes void, and not background.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from medalist.data.devices import copies_beside
from medalist.data.offsets import Offsets
from medalist.data.padding import Padding, pad_to_multiple
from medalist.errors import DataError

OnMaps = Callable[[Tensor], Tensor]
"""A function that applies a mix (mixup, cutmix, mosaic) to maps float[B, C, h, w] and returns maps of that shape."""

JUDGED, NEAR, OBJECTS = "judged", "near", "objects"
PLANES = (JUDGED, NEAR, OBJECTS)
"""The names under which planes go through albumentations beside the mask."""

VOID = 255
"""The number of void pixels in a ClassTarget."""

ALL = 1 - 1e-4
"""A pixel that was made from several is judged where judged pixels have at least this share of it: where all of them
are judged, but for rounding."""


@dataclass(frozen=True, eq=False)
class MapTarget:
    """Maps of the image: uint8[H, W, C] of 0 and 1; those in `numbers` are numbers in 0..1, in steps of 1/255.

    void: bool[H, W], true for void pixels; None where none is. near: uint8[H, W] in steps of 1/255, how near a pixel is
    to two objects; None where no loss asks for it. offsets: what the maps of offsets are made from; None where no map
    is an offset.
    """

    maps: NDArray[np.uint8]
    void: NDArray[np.bool_] | None = None
    near: NDArray[np.uint8] | None = None
    offsets: Offsets | None = None
    numbers: tuple[int, ...] = ()

    @property
    def arrays(self) -> tuple[NDArray[Any], ...]:
        """The arrays that a cache keeps."""
        objects = None if self.offsets is None else self.offsets.objects
        return tuple(array for array in (self.maps, self.void, self.near, objects) if array is not None)

    def with_arrays(self, arrays: Sequence[NDArray[Any]]) -> MapTarget:
        """Return the same target with these arrays in place of its own; they have equal values in other memory."""
        rest = list(arrays)
        return MapTarget(
            rest.pop(0),
            None if self.void is None else rest.pop(0),
            None if self.near is None else rest.pop(0),
            None if self.offsets is None else self.offsets.with_objects(rest.pop(0)),
            self.numbers,
        )

    def check(self, image: str, size: tuple[int, int]) -> None:
        """Raise DataError where the maps do not have the image's size (height, width); `image` is its file name."""
        _check_size(image, size, self.maps)

    def to_augment(self) -> dict[str, Any]:
        """Return the arguments for albumentations that are transformed with the image."""
        planes: dict[str, Any] = {"mask": self.maps, JUDGED: _judged(self.void, self.maps)}
        if self.near is not None:
            planes[NEAR] = self.near
        if self.offsets is not None:
            planes[OBJECTS] = self.offsets.objects
        return planes

    def augmented(self, result: Mapping[str, Any]) -> MapTarget:
        """Return the target from albumentations' result."""
        mask = result["mask"]
        maps = mask if mask.ndim == 3 else mask[..., None]
        near = None if self.near is None else _plane(result[NEAR])
        if self.offsets is None:
            return MapTarget(maps, _void(result[JUDGED]), near, None, self.numbers)
        offsets = self.offsets.with_objects(_plane(result[OBJECTS]))
        return MapTarget(offsets.drawn(maps), _void(result[JUDGED]), near, offsets, self.numbers)

    def padded(self, multiple: int) -> MapTarget:
        """Return the maps padded to multiples of `multiple`, as the image is."""
        void = None if self.void is None else _padded_plane(self.void, multiple)
        near = None if self.near is None else _padded_plane(self.near, multiple)
        return MapTarget(pad_to_multiple(self.maps, multiple)[0], void, near, None, self.numbers)


@dataclass(frozen=True, eq=False)
class ClassTarget:
    """One class for each pixel: uint8[H, W] of 0 to count - 1, and VOID for void pixels. count: at most 255."""

    classes: NDArray[np.uint8]
    count: int

    @property
    def arrays(self) -> tuple[NDArray[Any], ...]:
        """The arrays that a cache keeps."""
        return (self.classes,)

    def with_arrays(self, arrays: Sequence[NDArray[Any]]) -> ClassTarget:
        """Return the same target with this array in place of its own; it has equal values in other memory."""
        return ClassTarget(arrays[0], self.count)

    def check(self, image: str, size: tuple[int, int]) -> None:
        """Raise DataError where the classes do not have the image's size (height, width); `image` is its file name."""
        _check_size(image, size, self.classes)

    def to_augment(self) -> dict[str, Any]:
        """Return the arguments for albumentations that are transformed with the image.

        Void pixels have class 0 in the mask, so that transforms that look for masks do not find them.
        """
        void = self.classes == VOID
        mask = np.where(void, np.uint8(0), self.classes) if void.any() else self.classes
        return {"mask": mask, JUDGED: _judged(void, self.classes)}

    def augmented(self, result: Mapping[str, Any]) -> ClassTarget:
        """Return the target from albumentations' result."""
        classes = _plane(result["mask"])
        void = _void(result[JUDGED])
        return ClassTarget(classes if void is None else np.where(void, np.uint8(VOID), classes), self.count)

    def padded(self, multiple: int) -> ClassTarget:
        """Return the classes padded to multiples of `multiple`, as the image is."""
        return ClassTarget(_padded_plane(self.classes, multiple), self.count)


def _check_size(image: str, size: tuple[int, int], target: NDArray[Any]) -> None:
    if target.shape[:2] != size:
        raise DataError(f"{image} is {size[1]}x{size[0]}, its truth {target.shape[1]}x{target.shape[0]}")


def _judged(void: NDArray[np.bool_] | None, like: NDArray[Any]) -> NDArray[np.uint8]:
    return np.ones(like.shape[:2], np.uint8) if void is None else (~void).view(np.uint8)


def _plane(result: NDArray[Any]) -> NDArray[Any]:
    return result if result.ndim == 2 else result[..., 0]


def _void(judged: NDArray[Any]) -> NDArray[np.bool_] | None:
    void: NDArray[np.bool_] = _plane(judged) == 0
    return void if void.any() else None


def _padded_plane(plane: NDArray[Any], multiple: int) -> NDArray[Any]:
    return pad_to_multiple(plane[..., np.newaxis], multiple)[0][..., 0]


@dataclass(frozen=True, eq=False)
class MapTargets:
    """Maps of a batch: uint8 or float32[B, C, h, w] in 0..1.

    judged: of the maps' dtype, [B, 1, h, w], 1 for pixels that are judged and 0 for void ones; None where all pixels of
    all samples are judged. near: of the same shape, how near a pixel is to two objects; None where no loss asks for it.
    numbers: the maps in which 255 stands for 1, as `near` is before `to`. On a device, maps are 0 at void pixels.
    """

    maps: Tensor
    judged: Tensor | None = None
    near: Tensor | None = None
    numbers: tuple[int, ...] = ()

    def to(self, device: torch.device) -> MapTargets:
        """Return the maps on a device as floats; they are converted there, so that one byte per pixel is copied."""
        beside = copies_beside(device)
        maps = self.maps.to(device, non_blocking=beside).float()
        if self.numbers:
            maps[:, list(self.numbers)] /= 255
        near = None if self.near is None else self.near.to(device, non_blocking=beside)
        if near is not None and not near.is_floating_point():
            near = near.float() / 255
        if self.judged is None:
            return MapTargets(maps, None, near)
        judged = self.judged.to(device, non_blocking=beside).float()
        return MapTargets(maps * judged, judged, near)

    def pin_memory(self) -> MapTargets:
        """Return the targets in page-locked memory."""
        return self._each(lambda tensor: tensor.pin_memory())

    def single(self, number: int, padding: Padding) -> MapTargets:
        """Return the target of sample `number` as a batch of one, cut to its native size."""
        return self._each(lambda tensor: padding.undo(tensor[number : number + 1]))

    def resized(self, size: tuple[int, int]) -> MapTargets:
        """Return the maps at another (height, width), by the same filter as the image; see `engine.mixing.resized`.

        A pixel is judged where all pixels under its filter are.
        """
        maps = resize_maps(self.maps, size).clamp_(0, 1)  # because rounding may give values outside 0..1
        judged = None if self.judged is None else _where_all(resize_maps(self.judged, size))
        return MapTargets(maps, judged, None if self.near is None else resize_maps(self.near, size))

    @property
    def is_mixed(self) -> bool:
        """Whether a further mix is impossible; False, because maps can be mixed several times."""
        return False

    def mixed(self, on_maps: OnMaps, places: int | None, share: float) -> MapTargets:
        """Return the mixed maps: the mix does the same to them as to the image.

        A pixel is judged where all pixels are that were mixed into it.
        """
        assert self.maps.is_floating_point(), self.maps.dtype
        judged = None if self.judged is None else _where_all(on_maps(self.judged))
        return MapTargets(on_maps(self.maps), judged, None if self.near is None else on_maps(self.near))

    def perfect_logits(self, sure: float) -> Tensor | None:
        """Return the logits of a right answer, cut to -sure..sure."""
        return self.to(self.maps.device).maps.logit().clamp(-sure, sure)

    def tensors(self) -> dict[str, Tensor]:
        """Return the targets' tensors by name."""
        return {"maps": self.maps} | ({} if self.judged is None else {JUDGED: self.judged})

    def _each(self, change: Callable[[Tensor], Tensor]) -> MapTargets:
        judged = None if self.judged is None else change(self.judged)
        return MapTargets(change(self.maps), judged, None if self.near is None else change(self.near), self.numbers)


@dataclass(frozen=True, eq=False)
class ClassTargets:
    """One class for each pixel of a batch, in the form in which it is copied: uint8[B, h, w], VOID for void pixels.

    count: the number of classes. has_void: whether any pixel is void.
    """

    classes: Tensor
    count: int
    has_void: bool

    def to(self, device: torch.device) -> MapTargets:
        """Return the classes on a device as one map each; they are made there, so that one byte per pixel is copied."""
        classes = self.classes.to(device, non_blocking=copies_beside(device))[:, None]
        maps = (classes == torch.arange(self.count, dtype=torch.uint8, device=device)[:, None, None]).float()
        return MapTargets(maps, (classes != VOID).float() if self.has_void else None)

    def pin_memory(self) -> ClassTargets:
        """Return the targets in page-locked memory."""
        return replace(self, classes=self.classes.pin_memory())

    def single(self, number: int, padding: Padding) -> MapTargets:
        """Return the maps of sample `number` as a batch of one, cut to its native size."""
        return self._maps().single(number, padding)

    def resized(self, size: tuple[int, int]) -> MapTargets:
        """Return the maps at another (height, width)."""
        return self._maps().resized(size)

    @property
    def is_mixed(self) -> bool:
        """Whether a further mix is impossible; False, because maps can be mixed several times."""
        return False

    def mixed(self, on_maps: OnMaps, places: int | None, share: float) -> MapTargets:
        """Return the mixed maps."""
        return self._maps().mixed(on_maps, places, share)

    def perfect_logits(self, sure: float) -> Tensor | None:
        """Return the logits of a right answer, cut to -sure..sure."""
        return self._maps().perfect_logits(sure)

    def tensors(self) -> dict[str, Tensor]:
        """Return the targets' tensors by name."""
        return {"classes": self.classes}

    def _maps(self) -> MapTargets:
        return self.to(self.classes.device)


def collate_maps(targets: Sequence[MapTarget]) -> MapTargets:
    """Stack the maps of samples, which have one size. A batch never shares memory with the cache."""
    maps = torch.from_numpy(np.stack([target.maps.transpose(2, 0, 1) for target in targets]))
    judged = near = None
    if any(target.void is not None for target in targets):
        judged = _stacked([_judged(target.void, target.maps) for target in targets])
    if targets[0].near is not None:
        near = _stacked([target.near for target in targets if target.near is not None])
    return MapTargets(maps, judged, near, targets[0].numbers)


def _stacked(planes: Sequence[NDArray[np.uint8]]) -> Tensor:
    return torch.from_numpy(np.stack(planes)[:, np.newaxis])


def collate_classes(targets: Sequence[ClassTarget]) -> ClassTargets:
    """Stack the classes of samples, which have one size. A batch never shares memory with the cache."""
    classes = np.stack([target.classes for target in targets])
    return ClassTargets(torch.from_numpy(classes), targets[0].count, bool((classes == VOID).any()))


def resize_maps(maps: Tensor, size: tuple[int, int]) -> Tensor:
    """Return maps float[B, C, h, w] at another (height, width), resized by a bilinear filter with antialiasing."""
    assert maps.ndim == 4 and maps.is_floating_point(), (maps.shape, maps.dtype)
    # In float32 at least, because this filter does not exist for half precision on a CPU.
    wide = maps if maps.dtype == torch.float64 else maps.float()
    return functional.interpolate(wide, size, mode="bilinear", antialias=True).to(maps.dtype)


def _where_all(shares: Tensor) -> Tensor:
    return (shares >= ALL).to(shares.dtype)
