"""Datasets of whole images that are fitted to one size, for kinds that classify or embed whole images."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch.utils.data import Dataset

from medalist.data.cache import PixelCache
from medalist.data.dataset import PROBED_EPOCHS
from medalist.data.fitting import Size, middle_crop
from medalist.data.items import Item, Key, Normalisation, Read, read_named
from medalist.data.padding import Padding
from medalist.data.preparing import gray, normalise
from medalist.data.targets import Target
from medalist.errors import ConfigError
from medalist.records import Sample

Channels = Literal[1, 3]
"""3: RGB. 1: gray, computed after augmentation by OpenCV's weights (0.299, 0.587, 0.114)."""


@dataclass(frozen=True)
class SeenSize:
    """The size of images in training.

    size: the (height, width) that the network gets. augments: whether there is augmentation, which must end in `size`.
    """

    size: Size
    augments: bool

    @property
    def epochs(self) -> int:
        """Number of epochs in which a check tries a sample, because some transforms are applied only at random."""
        return PROBED_EPOCHS if self.augments else 1

    def held(self, image: NDArray[np.uint8], name: str) -> NDArray[np.uint8]:
        """Return the image in the size that the network gets.

        Without augmentation a larger image is cut to its middle. Raises ConfigError, which names the image by `name`,
        where the image has another size.
        """
        if not self.augments and image.shape[0] >= self.size[0] and image.shape[1] >= self.size[1]:
            image = middle_crop(image, self.size)
        if image.shape[:2] == self.size:
            return image
        height, width = image.shape[:2]
        wanted = f"{self.size[1]}x{self.size[0]} by image.train_size (else image.size)"
        if self.augments:
            raise ConfigError(
                f"augment gives {width}x{height} for {name}, but the network needs {wanted}; end augment with "
                f"'RandomCrop: {{height: {self.size[0]}, width: {self.size[1]}}}', or set "
                f"image.train_size=[{height}, {width}]"
            )
        raise ConfigError(
            f"{name} is {width}x{height} in one of its views, but the network needs {wanted}; set an image.size whose "
            "sides are equal, or task.turns=false"
        )


class FittedInferenceDataset(Dataset[Item]):
    """Whole fitted images without augmentation, cut to their middle `size`, with targets where they are known.

    A PixelCache gives images that are already fitted; samples are read from their files.
    """

    def __init__(
        self,
        source: PixelCache | Sequence[Sample],
        indices: Sequence[int],
        size: Size,
        normalisation: Normalisation,
        read: Read,
        targets: Sequence[Target] | None = None,
        channels: Channels = 3,
    ):
        """`indices`: the numbers of the source's samples in this dataset. `targets`: their targets, None where they are
        not known. `read` reads the image of a sample where `source` is not a cache; it must fit images to the same size
        as the cache does.
        """
        assert targets is None or len(targets) == len(indices), len(indices)
        self.source = source
        self.indices = tuple(indices)
        self.size = size
        self.normalisation = normalisation
        self.read = read
        self.targets = None if targets is None else tuple(targets)
        self.channels: Channels = channels

    def __len__(self) -> int:
        return len(self.indices)

    def __getitem__(self, key: Key) -> Item:
        """Return the sample at position key[1], which is the same in every epoch.

        Raises DataError, which names the sample and the file, where the image cannot be read.
        """
        index = self.indices[key[1]]
        if isinstance(self.source, PixelCache):
            image = self.source[index][0]
        else:
            image = read_named(self.read, self.source[index])
        target = None if self.targets is None else self.targets[key[1]]
        return middle_item(index, image, self.size, self.normalisation, self.channels, target)


def middle_item(
    index: int,
    image: NDArray[np.uint8],
    size: Size,
    norm: Normalisation,
    channels: Channels,
    target: Target | None = None,
) -> Item:
    """Return the item of the middle of a fitted image, (height, width) `size`, as the network sees it in prediction."""
    return fitted_item(index, middle_crop(image, size), norm, channels, target)


def fitted_item(
    index: int, image: NDArray[np.uint8], norm: Normalisation, channels: Channels, target: Target | None
) -> Item:
    """Normalise a fitted image uint8[H, W, 3] and return its item; the image is made gray for one channel."""
    if channels == 1:
        image = gray(image)
    height, width = image.shape[:2]
    return Item(index, torch.from_numpy(normalise(image, norm.mean, norm.std)), target, Padding(height, width))
