"""What is done to whole batches on the device: other sizes, mixup, cutmix, mosaic; never in place.

Partners are the batch itself moved on by some places, 1..B-1: nobody is mixed with itself, and a GPU gets no index from
the host. Batches are shuffled, so a fixed distance says nothing.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import assert_never

import numpy as np
import torch
from torch import Tensor

from medalist.data.loader import Batch
from medalist.data.padding import Padding
from medalist.data.targets import OnMaps, resize_maps
from medalist.engine.settings import CutmixConfig, MixConfig, MixupConfig, MosaicConfig

MIXING = 0x6D69
"""Sets the generators of mixes apart from those of augmentation."""

Region = tuple[slice, slice]
"""Rows and columns."""


def resized(batch: Batch, size: tuple[int, int] | None) -> Batch:
    """The batch with images of size = (height, width); itself where that is None or what it has.

    batch: image float[B, C, h, w], maps of the target float[B, C, h, w] in 0..1; both keep dtype and memory format.

    Both are resized by the same filter: bilinear, and, to smaller sizes, widened so that it leaves no pixel out. So a
    pixel of the target is the share of the object in just what the pixel of the image is made of, and a border of one
    pixel gets fainter, where the nearest pixel would make dashes of it. The losses take soft targets (lovasz cuts
    them at 0.5).
    """
    if size is None or tuple(batch.image.shape[2:]) == tuple(size):
        return batch
    target = None if batch.target is None else batch.target.resized(size)
    paddings = (Padding(*size),) * len(batch.paddings)  # training batches have none
    return replace(batch, image=resize_maps(batch.image, size), target=target, paddings=paddings)


def mixed(batch: Batch, mixes: Sequence[MixConfig], seed: int, step: int, rank: int) -> Batch:
    """The batch after each of `mixes`, in order, each with its chance p.

    batch: image float[B, C, h, w], target on its device or None. Randomness depends on (seed, step, rank, place in the
    list) alone. dtype and memory format stay. A batch of one sample, or with nothing to mix, is returned as it is.

    Labels get `LabelTargets.partners`: the labels of the partners, and the share of its own that each sample kept, one
    for the batch. Two mixes could not be told by one share, so a batch that is mixed is left alone by those that
    follow: in [mixup p=0.5, cutmix] half of the batches get mixup, the others cutmix. Of maps all mixes are applied.
    """
    if not mixes or len(batch.image) < 2:
        return batch
    assert batch.image.ndim == 4 and batch.image.is_floating_point(), (batch.image.shape, batch.image.dtype)
    for place, mix in enumerate(mixes):
        if batch.target is not None and batch.target.is_mixed:
            break
        random = np.random.default_rng((seed, step, rank, place, MIXING))
        if random.random() >= mix.p:
            continue
        match mix:
            case MixupConfig():
                batch = _mixup(batch, mix, random)
            case CutmixConfig():
                batch = _cutmix(batch, mix, random)
            case MosaicConfig():
                batch = _mosaic(batch, random)
            case _:
                assert_never(mix)
    return batch


def _mixup(batch: Batch, mix: MixupConfig, random: np.random.Generator) -> Batch:
    """share * own + (1 - share) * partner's, share from Beta(alpha, alpha): one for the batch (arXiv 1710.09412).

    Targets are blended alike.
    """
    share = float(random.beta(mix.alpha, mix.alpha))
    places = _places(len(batch.image), random)

    def blend(maps: Tensor) -> Tensor:
        return _moved(maps, places).lerp_(maps, share)

    return _applied(batch, blend, places, share)


def _cutmix(batch: Batch, mix: CutmixConfig, random: np.random.Generator) -> Batch:
    """One box of all samples comes from their partners, targets alike (arXiv 1905.04899).

    The box has the image's shape and 1 - Beta(alpha, alpha) of its area; its centre is anywhere, and what lies outside
    is cut off. The share kept is the area that is really left.
    """
    height, width = batch.image.shape[2:]
    side = math.sqrt(1 - random.beta(mix.alpha, mix.alpha))
    y, x = random.random(2)
    rows, columns = _span(y, side, height), _span(x, side, width)
    share = 1 - (rows.stop - rows.start) * (columns.stop - columns.start) / (height * width)
    places = _places(len(batch.image), random)

    def paste(maps: Tensor) -> Tensor:
        return _composed(maps, [((rows, columns), places)])

    return _applied(batch, paste, places, share)


def _mosaic(batch: Batch, random: np.random.Generator) -> Batch:
    """Four quarters around one centre in the middle half of the sides, each from another sample, its own among them.

    A quarter shows what stands at the same place of its sample, at the same scale. In batches of two and three samples
    some give two quarters. As in YOLOv4 (arXiv 2004.10934), which resizes too.
    """
    height, width = batch.image.shape[2:]
    y, x = (round(share * side) for share, side in zip(random.uniform(0.25, 0.75, 2), (height, width), strict=True))
    others = random.permutation(len(batch.image) - 1) + 1
    sources = random.permutation(np.resize([0, *others], 4)).tolist()
    quarters = [
        (rows, columns) for rows in (slice(0, y), slice(y, height)) for columns in (slice(0, x), slice(x, width))
    ]
    pieces = [(quarter, places) for quarter, places in zip(quarters, sources, strict=True) if places]
    return _applied(batch, lambda maps: _composed(maps, pieces), None, 1.0)


def _applied(batch: Batch, on_maps: OnMaps, places: int | None, share: float) -> Batch:
    """The batch with a mix applied to the image and to what the target is; places: None where partners differ."""
    target = None if batch.target is None else batch.target.mixed(on_maps, places, share)
    return replace(batch, image=on_maps(batch.image), target=target)


def _places(samples: int, random: np.random.Generator) -> int:
    return int(random.integers(1, samples))


def _moved(maps: Tensor, places: int) -> Tensor:
    """Row i is what was row i + places, going round; a copy. torch.roll would lose channels-last on a GPU."""
    return torch.cat([maps[places:], maps[:places]])


def _composed(maps: Tensor, pieces: Sequence[tuple[Region, int]]) -> Tensor:
    """A copy of float[B, C, h, w] whose regions come from the sample so many places on."""
    made = maps.clone()
    for (rows, columns), places in pieces:
        made[..., rows, columns] = _moved(maps[..., rows, columns], places)
    return made


def _span(centre: float, side: float, length: int) -> slice:
    """Pixels of a span of `side` around `centre`, both as shares of `length`, cut at the ends."""
    first = round((centre - side / 2) * length)
    return slice(max(first, 0), min(first + round(side * length), length))
