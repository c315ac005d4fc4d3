"""Samples with pixels: decoded, augmented, normalised."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import Dataset

from medalist.competition import Competition
from medalist.data.cache import Decoded, PixelCache
from medalist.data.settings import Augmentations
from medalist.data.transforms import (
    Padding,
    augment_pair,
    compose_augment,
    normalise,
    pad_to_multiple,
    sample_seed,
)
from medalist.errors import ConfigError, DataError
from medalist.files import read_image
from medalist.records import Answer, Sample

Key = tuple[int, int]
"""(epoch, index of the sample): all that the randomness of one sample depends on, beside the run's seed."""


@dataclass(frozen=True, eq=False)
class Item:
    """One sample, ready: image float32[3, h, w] normalised; target uint8[C, h, w] of 0 and 1, None for test."""

    index: int
    image: Tensor
    target: Tensor | None
    padding: Padding


@dataclass(frozen=True)
class Normalisation:
    """Mean and std for each channel of images in 0..1, as the encoder was pretrained with."""

    mean: tuple[float, ...]
    std: tuple[float, ...]


def decode(
    competition: Competition, data: Path, targets: Callable[[Answer], NDArray[np.uint8]], sample: Sample
) -> Decoded:
    """Read a training sample: its image uint8[H, W, 3] and its target uint8[H, W, C]; DataError where sizes differ."""
    image = read_image(sample.images[0], competition.white)
    target = targets(competition.truth(data, sample))
    if image.shape[:2] != target.shape[:2]:
        raise DataError(
            f"{sample.images[0]} is {image.shape[1]}x{image.shape[0]}, its truth {target.shape[1]}x{target.shape[0]}"
        )
    return image, target


class TrainSet(Dataset[Item]):
    """Augmented training samples; asked by (epoch, index)."""

    def __init__(
        self,
        cache: PixelCache,
        indices: Sequence[int],
        augment: Augmentations,
        normalisation: Normalisation,
        seed: int,
    ):
        """`indices` are those of the cache's samples that belong to this set."""
        self.cache = cache
        self.indices = tuple(indices)
        self.normalisation = normalisation
        self.seed = seed
        self._pipeline = compose_augment(augment)

    def __len__(self) -> int:
        return len(self.indices)

    def __getitem__(self, key: Key) -> Item:
        epoch, position = key
        index = self.indices[position]
        image, target = augment_pair(self._pipeline, *self.cache[index], sample_seed(self.seed, epoch, index))
        return _item(index, image, target, self.normalisation, Padding(*image.shape[:2]))

    def check(self, stride: int) -> tuple[int, int]:
        """Augment the first and the largest samples: all must have one size, a multiple of the network's stride."""
        sizes = {}
        areas = [self.cache.samples[index].size for index in self.indices]
        probes = {
            0,
            len(self) - 1,
            int(np.argmax([h * w for h, w in areas])),
            int(np.argmin([h * w for h, w in areas])),
        }
        for position in sorted(probes):
            height, width = self[0, position].image.shape[1:]
            sizes[height, width] = self.cache.samples[self.indices[position]].id
        if len(sizes) > 1:
            listed = ", ".join(f"{w}x{h} for {sample}" for (h, w), sample in sizes.items())
            raise ConfigError(
                f"augment gives images of several sizes ({listed}); end it with a fixed size, as "
                "'RandomCrop: {height: 256, width: 256, pad_if_needed: true}'"
            )
        ((height, width),) = sizes
        if height % stride or width % stride:
            up = (height + -height % stride, width + -width % stride)
            raise ConfigError(
                f"augment gives {width}x{height}, but the network wants multiples of {stride}; take {up[1]}x{up[0]}"
            )
        return height, width


class WholeSet(Dataset[Item]):
    """Whole images, padded to the network's stride, with their target where the truth is at hand.

    A PixelCache gives image and target; plain samples are read without a target.
    """

    def __init__(
        self,
        source: PixelCache | Sequence[Sample],
        indices: Sequence[int],
        stride: int,
        normalisation: Normalisation,
        white: int,
    ):
        """`indices` choose among the source's samples."""
        self.source = source
        self.indices = tuple(indices)
        self.stride = stride
        self.normalisation = normalisation
        self.white = white

    def __len__(self) -> int:
        return len(self.indices)

    def __getitem__(self, key: Key) -> Item:
        index = self.indices[key[1]]
        target = None
        if isinstance(self.source, PixelCache):
            image, target = self.source[index]
            target = pad_to_multiple(target, self.stride)[0]
        else:
            image = read_image(self.source[index].images[0], self.white)
        image, padding = pad_to_multiple(image, self.stride)
        return _item(index, image, target, self.normalisation, padding)


def _item(
    index: int,
    image: NDArray[np.uint8],
    target: NDArray[np.uint8] | None,
    norm: Normalisation,
    padding: Padding,
) -> Item:
    pixels = torch.from_numpy(normalise(image, norm.mean, norm.std))
    if target is None:
        return Item(index, pixels, None, padding)
    return Item(index, pixels, torch.from_numpy(np.ascontiguousarray(target.transpose(2, 0, 1))), padding)
