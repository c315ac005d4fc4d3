"""Samples with pixels: decoded, augmented, normalised."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import Dataset

from medalist.codecs.images import read_image
from medalist.data.cache import Decoded, PixelCache
from medalist.data.fitting import fit_image, kept_size, trimmed
from medalist.data.padding import Padding, pad_to_multiple
from medalist.data.settings import Augmentations, FitConfig, ImageConfig
from medalist.data.targets import Target
from medalist.data.transforms import augment_sample, compose_augment, normalise, sample_seed, stretch_contrast
from medalist.errors import ConfigError, DataError
from medalist.records import Sample

Key = tuple[int, int] | tuple[int, int, int]
"""(epoch, position in the set): all that the randomness of one sample depends on, beside the run's seed. Where a sample
comes once more in an epoch, (epoch, position, how often it came before), so that it is augmented anew."""

PROBED_EPOCHS = 4


@dataclass(frozen=True, eq=False)
class Item:
    """One sample, ready.

    image: float32[3, h, w] normalised, or features float32[...] that stand for it. target: None where it is not known,
    as in the test part.
    """

    index: int
    image: Tensor
    target: Target | None
    padding: Padding


@dataclass(frozen=True)
class Normalisation:
    """Mean and std for each channel of images in 0..1, as the encoder was pretrained with."""

    mean: tuple[float, ...]
    std: tuple[float, ...]


Read = Callable[[Path], NDArray[np.uint8]]
"""An image file -> uint8[H, W, 3], as the network is to see it but for augmentation; DataError."""


def reader(white: int, config: ImageConfig) -> Read:
    """How image files are read: 16-bit values up to `white`, then inversion and contrast as the config says.

    Under a FitConfig all images come out in one size, `fitting.kept_size`.
    """
    return partial(_read, white, config)


def _read(white: int, config: ImageConfig, path: Path) -> NDArray[np.uint8]:
    image = read_image(path, white)
    if config.invert:
        image = ~image
    if config.contrast == "stretch":
        image = stretch_contrast(image)
    if isinstance(config, FitConfig):
        if config.trim is not None:
            image = trimmed(image, config.trim, config.fill)
        image = fit_image(image, kept_size(config), config.fit, config.fill)
    return image


def decode(read: Read, target_of: Callable[[Sample], Target | None], sample: Sample) -> Decoded:
    """Read a training sample: its image uint8[H, W, 3] and its target, or None where it has none.

    DataError where they do not fit each other.
    """
    image = read(sample.images[0])
    target = target_of(sample)
    if target is not None:
        target.check(str(sample.images[0]), (image.shape[0], image.shape[1]))
    return image, target


class TrainDataset(Dataset[Item]):
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
        self.size: tuple[int, int] | None = None
        self._pipeline = compose_augment(augment)

    def __len__(self) -> int:
        return len(self.indices)

    def __getitem__(self, key: Key) -> Item:
        """The sample at key[1] of the set as epoch key[0] sees it.

        ConfigError, naming the sample, where it cannot be augmented so, or comes out in another size than `check`
        has found.
        """
        index = self.indices[key[1]]
        seed = sample_seed(self.seed, key[0], index, draw=key[2] if len(key) == 3 else 0)
        image, target = augment_sample(self._pipeline, self.cache.samples[index].id, *self.cache[index], seed)
        height, width = image.shape[:2]
        if self.size is not None and self.size != (height, width):
            raise _several_sizes({self.size: "others", (height, width): self.cache.samples[index].id})
        return _item(index, image, target, self.normalisation, Padding(height, width))

    def check(self, stride: int) -> tuple[int, int]:
        """Augment some samples of every shape: all must get one (height, width), multiples of the network's stride.

        ConfigError where they do not. From then on `__getitem__` holds every sample against that size.
        """
        self.size = None
        sizes: dict[tuple[int, int], str] = {}
        for position in self._probes():
            name = self.cache.samples[self.indices[position]].id
            for epoch in range(PROBED_EPOCHS):  # a transform of the size may fire in some epochs only
                height, width = self[epoch, position].image.shape[1:]
                sizes.setdefault((height, width), name)
        if len(sizes) > 1:
            raise _several_sizes(sizes)
        ((height, width),) = sizes
        if height % stride or width % stride:
            up = (height + -height % stride, width + -width % stride)
            raise ConfigError(
                f"augment gives {width}x{height}, but the network wants multiples of {stride}; take {up[1]}x{up[0]}"
            )
        self.size = height, width
        return height, width

    def _probes(self) -> list[int]:
        """Positions of the lowest, highest, narrowest and widest samples, and of the first and the last."""
        heights, widths = np.transpose([self.cache.samples[index].size for index in self.indices])
        extremes = (heights.argmin(), heights.argmax(), widths.argmin(), widths.argmax())
        return sorted({0, len(self) - 1, *map(int, extremes)})


def _several_sizes(sizes: Mapping[tuple[int, int], str]) -> ConfigError:
    listed = ", ".join(f"{width}x{height} for {name}" for (height, width), name in list(sizes.items())[:4])
    return ConfigError(
        f"augment gives images of several sizes ({listed}); end it with a fixed size, as "
        "'RandomCrop: {height: 256, width: 256, pad_if_needed: true}', with height = width where D4 or "
        "RandomRotate90 follow"
    )


class InferenceDataset(Dataset[Item]):
    """Whole images, padded to the network's stride, with their target where the truth is at hand.

    A PixelCache gives image and target; plain samples are read without a target.
    """

    def __init__(
        self,
        source: PixelCache | Sequence[Sample],
        indices: Sequence[int],
        stride: int,
        normalisation: Normalisation,
        read: Read,
    ):
        """`indices` choose among the source's samples; `read` is for those that no cache holds."""
        self.source = source
        self.indices = tuple(indices)
        self.stride = stride
        self.normalisation = normalisation
        self.read = read

    def __len__(self) -> int:
        return len(self.indices)

    def __getitem__(self, key: Key) -> Item:
        index = self.indices[key[1]]
        target = None
        if isinstance(self.source, PixelCache):
            image, target = self.source[index]
            target = None if target is None else target.padded(self.stride)
        else:
            image = read_named(self.read, self.source[index])
        image, padding = pad_to_multiple(image, self.stride)
        return _item(index, image, target, self.normalisation, padding)


def read_named(read: Read, sample: Sample) -> NDArray[np.uint8]:
    """The image of a sample; a DataError names the sample and the file."""
    try:
        return read(sample.images[0])
    except DataError as error:
        raise DataError(f"sample {sample.id}: {error}") from error


def _item(index: int, image: NDArray[np.uint8], target: Target | None, norm: Normalisation, padding: Padding) -> Item:
    return Item(index, torch.from_numpy(normalise(image, norm.mean, norm.std)), target, padding)
