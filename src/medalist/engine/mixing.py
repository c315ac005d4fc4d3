"""Changes of whole batches on the device: resizing, mixup, cutmix and mosaic. The tensors given are never changed.

The partner of sample i is sample (i + places) mod B of the same batch; places is 1..B-1, and the same for all samples.
So no sample is mixed with itself, and no index tensor has to be copied to the GPU. Batches are shuffled, so one
distance for all samples brings no pattern into the pairs.
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
"""A part of the seed that keeps the random numbers of mixes different from those of augmentation."""

Region = tuple[slice, slice]
"""Rows and columns."""


def resized(batch: Batch, size: tuple[int, int] | None) -> Batch:
    """Return the batch resized to size = (height, width). Returns the batch itself where size is None or its own size.

    batch: image float[B, C, h, w], maps of the target float[B, C, h, w] in 0..1; both keep dtype and memory format.

    Image and target are resized by the same bilinear filter. When the size shrinks, the filter is widened so that every
    pixel counts. So a pixel of the target is the share of the object in the same area that the pixel of the image
    shows. A border of one pixel gets fainter; nearest-neighbour resizing would break it into dashes. The losses accept
    such soft targets (lovasz cuts them at 0.5).
    """
    if size is None or tuple(batch.image.shape[2:]) == tuple(size):
        return batch
    target = None if batch.target is None else batch.target.resized(size)
    paddings = (Padding(*size),) * len(batch.paddings)  # training batches have none
    return replace(batch, image=resize_maps(batch.image, size), target=target, paddings=paddings)


def mixed(batch: Batch, mixes: Sequence[MixConfig], seed: int, step: int, rank: int) -> Batch:
    """Return the batch after `mixes`, which are applied in order, each with its probability p.

    batch: image float[B, C, h, w], target on the same device or None. The random numbers depend only on (seed, step,
    rank, place in the list). dtype and memory format stay. A batch of one sample is returned unchanged, and so is every
    batch where `mixes` is empty.

    For labels, `LabelTargets.partners` gets the labels of the partners, and the share of its own image that each sample
    kept (one share for the batch). One share cannot describe two mixes, so only the first mix that is drawn is applied:
    with [mixup p=0.5, cutmix], half of the batches get mixup and the others get cutmix. For maps all mixes that are
    drawn are applied.
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
    """Return share * own + (1 - share) * partner, with one share from Beta(alpha, alpha) for the batch.

    The source is arXiv 1710.09412. Targets are blended with the same share.
    """
    share = float(random.beta(mix.alpha, mix.alpha))
    places = _places(len(batch.image), random)

    def blend(maps: Tensor) -> Tensor:
        return _moved(maps, places).lerp_(maps, share)

    return _applied(batch, blend, places, share)


def _cutmix(batch: Batch, mix: CutmixConfig, random: np.random.Generator) -> Batch:
    """Replace one box of each sample, and of its target, by the same box of its partner (arXiv 1905.04899).

    The box has the shape of the image and 1 - Beta(alpha, alpha) of its area. Its centre is anywhere in the image, and
    the part of the box outside of the image is cut off. The share kept is computed from the box after this cut.
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
    """Make each sample of four quarters from four samples; one of the four is the sample itself.

    The quarters meet at one point, which lies in the middle half of both sides. A quarter shows the same place of its
    source at the same scale. In batches of two or three samples some samples give two quarters. Mosaic is from YOLOv4
    (arXiv 2004.10934), which also resizes the quarters.
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
    """Return the batch with a mix applied to image and target; places is None where quarters have other partners."""
    target = None if batch.target is None else batch.target.mixed(on_maps, places, share)
    return replace(batch, image=on_maps(batch.image), target=target)


def _places(samples: int, random: np.random.Generator) -> int:
    return int(random.integers(1, samples))


def _moved(maps: Tensor, places: int) -> Tensor:
    """Return a copy in which row i is the old row (i + places) mod B. torch.roll would lose channels-last on a GPU."""
    return torch.cat([maps[places:], maps[:places]])


def _composed(maps: Tensor, pieces: Sequence[tuple[Region, int]]) -> Tensor:
    """Return a copy of float[B, C, h, w] in which each region of sample i comes from sample (i + places) mod B."""
    made = maps.clone()
    for (rows, columns), places in pieces:
        made[..., rows, columns] = _moved(maps[..., rows, columns], places)
    return made


def _span(centre: float, side: float, length: int) -> slice:
    """Return the pixels of a span of width `side` around `centre`, both shares of `length`; cut at 0 and length."""
    first = round((centre - side / 2) * length)
    return slice(max(first, 0), min(first + round(side * length), length))
