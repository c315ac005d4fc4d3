"""Whole images of one size, as encoders of whole images see them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch.utils.data import Dataset

from medalist.data.cache import PixelCache
from medalist.data.dataset import PROBED_EPOCHS, Item, Key, Normalisation, Read, read_named
from medalist.data.fitting import Size, middle_crop
from medalist.data.padding import Padding
from medalist.data.targets import Target
from medalist.data.transforms import normalise
from medalist.errors import ConfigError
from medalist.records import Sample

Channels = Literal[1, 3]
"""3: RGB; 1: gray, by OpenCV's weights (0.299, 0.587, 0.114), made after augmentation."""


@dataclass(frozen=True)
class SeenSize:
    """The (height, width) that the network sees in training, and whether augmentation has to end in it."""

    size: Size
    augments: bool

    @property
    def epochs(self) -> int:
        """In how many epochs a sample is tried: some transforms fire at times only."""
        return PROBED_EPOCHS if self.augments else 1

    def held(self, image: NDArray[np.uint8], name: str) -> NDArray[np.uint8]:
        """The image where it has the size; without augmentation the middle of a larger one. ConfigError, else."""
        if not self.augments and image.shape[0] >= self.size[0] and image.shape[1] >= self.size[1]:
            image = middle_crop(image, self.size)
        if image.shape[:2] == self.size:
            return image
        height, width = image.shape[:2]
        wanted = f"{self.size[1]}x{self.size[0]} by image.train_size (else image.size)"
        if self.augments:
            raise ConfigError(
                f"augment gives {width}x{height} for {name}, but the network is to see {wanted}; end augment with "
                f"'RandomCrop: {{height: {self.size[0]}, width: {self.size[1]}}}', or set "
                f"image.train_size=[{height}, {width}]"
            )
        raise ConfigError(
            f"{name} is {width}x{height} in one of its turns, but the network is to see {wanted}; take an image.size "
            "whose sides are equal, or task.turns=false"
        )


class FittedInferenceDataset(Dataset[Item]):
    """Whole fitted images, the middle of one size each, with targets where they are known.

    A PixelCache gives images that were read before; plain samples are read from their files.
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
        """`indices` choose among the source's samples; `targets` are theirs, None where they are not known.

        `read` is for samples that no cache holds; it must fit images as the cache's did.
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
        """The sample at key[1], the same in every epoch; DataError that names sample and file."""
        index = self.indices[key[1]]
        if isinstance(self.source, PixelCache):
            image = self.source[index][0]
        else:
            image = read_named(self.read, self.source[index])
        target = None if self.targets is None else self.targets[key[1]]
        return fitted_item(index, middle_crop(image, self.size), self.normalisation, self.channels, target)


def fitted_item(
    index: int, image: NDArray[np.uint8], norm: Normalisation, channels: Channels, target: Target | None
) -> Item:
    """A sample of fitted images, gray where the network takes one channel."""
    if channels == 1:
        image = np.asarray(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY), np.uint8)[..., np.newaxis]
    height, width = image.shape[:2]
    return Item(index, torch.from_numpy(normalise(image, norm.mean, norm.std)), target, Padding(height, width))
