"""Datasets of images in frames with their objects: augmented and composed for training, as they are for prediction."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from torch.utils.data import Dataset

from medalist.data.cache import PixelCache
from medalist.data.dataset import PROBED_EPOCHS
from medalist.data.fitted import Channels, fitted_item
from medalist.data.items import Item, Key, Normalisation
from medalist.data.placing import framed
from medalist.data.settings import Augmentations
from medalist.data.targets import BoxTarget, InstanceTarget
from medalist.data.transforms import augment_sample, compose_augment, sample_seed
from medalist.data.windows import OpenImage, WindowedImage
from medalist.errors import ConfigError, DataError
from medalist.parts import NO_PARTS, OwnParts
from medalist.postprocess.box_slices import ImageSlice
from medalist.records import Sample
from medalist.tasks.detect.composing import Composer
from medalist.tasks.detect.frames import ObjectTarget, seen
from medalist.tasks.detect.settings import ComposeConfig, FrameConfig

COMPOSING = 0x636F
"""A part of the seed that keeps the random numbers of compositions different from those of augmentation."""


class BoxTrainDataset(Dataset[Item]):
    """Training samples in frames, composed and augmented; the key of an item is (epoch, position)."""

    def __init__(
        self,
        cache: PixelCache,
        indices: Sequence[int],
        frame: FrameConfig,
        compose: ComposeConfig,
        epochs: int,
        augment: Augmentations,
        normalisation: Normalisation,
        seed: int,
        channels: Channels = 3,
        own: OwnParts = NO_PARTS,
        outlined: bool = False,
    ):
        """`indices`: the numbers of those samples of the cache that belong to this dataset; no others are composed with
        them. `epochs`: of the training. `own`: the parts of the contest's folder. `outlined`: whether targets have the
        pixels of objects, and not only their boxes.
        """
        self.cache, self.indices = cache, tuple(indices)
        self.frame, self.normalisation, self.seed, self.channels = frame, normalisation, seed, channels
        self.composed_epochs = round(compose.until * epochs)
        self._pipeline = compose_augment(augment, own, boxes=None if outlined else frame.visible)
        self._augments = bool(augment)
        self._composer = Composer(self._loaded, len(self.indices), frame, compose)

    def __len__(self) -> int:
        return len(self.indices)

    def __getitem__(self, key: Key) -> Item:
        """Return the sample at position key[1] of the dataset, as epoch key[0] sees it.

        Raises ConfigError, which names the sample, where it cannot be augmented, or where augmentation changes the size
        of the frame.
        """
        index, draw = self.indices[key[1]], key[2] if len(key) == 3 else 0
        name = self.cache.samples[index].id
        seed = sample_seed(self.seed, key[0], index, draw=draw)
        random = np.random.default_rng((COMPOSING, *seed.generate_state(4).tolist()))
        image, target = self._composer.made(key[1], random, key[0] < self.composed_epochs)
        if self._augments:
            image, changed = augment_sample(self._pipeline, name, image, target, seed)
            assert isinstance(changed, BoxTarget | InstanceTarget)
            target = changed
        if image.shape[:2] != self.frame.size:
            height, width = image.shape[:2]
            raise ConfigError(
                f"augment gives {width}x{height} for {name}, but the frame has {self.frame.size[1]}x"
                f"{self.frame.size[0]}; leave out what changes the size (image.scale zooms and crops), and D4, "
                "Transpose or RandomRotate90 where the sides of image.size differ"
            )
        return fitted_item(index, image, self.normalisation, self.channels, target)

    def check(self) -> None:
        """Augment the first and the last sample in a few epochs. Raises ConfigError where one gets another size."""
        if not self.indices:
            raise ConfigError("no training sample is left in this fold; make fewer folds")
        for position in {0, len(self) - 1}:
            for epoch in range(PROBED_EPOCHS if self._augments else 1):
                self[epoch, position]

    def _loaded(self, position: int) -> tuple[NDArray[np.uint8], ObjectTarget]:
        image, target = self.cache[self.indices[position]]
        assert isinstance(target, BoxTarget | InstanceTarget), type(target).__name__
        return image, target


class BoxHeldOutDataset(Dataset[Item]):
    """Whole images of a cache in frames, without augmentation, with their objects."""

    def __init__(
        self,
        cache: PixelCache,
        indices: Sequence[int],
        frame: FrameConfig,
        normalisation: Normalisation,
        channels: Channels = 3,
    ):
        """`indices`: the numbers of the cache's samples in this dataset."""
        self.cache, self.indices, self.frame = cache, tuple(indices), frame
        self.normalisation, self.channels = normalisation, channels

    def __len__(self) -> int:
        return len(self.indices)

    def __getitem__(self, key: Key) -> Item:
        """Return the sample at position key[1], which is the same in every epoch."""
        index = self.indices[key[1]]
        image, target = self.cache[index]
        assert isinstance(target, BoxTarget | InstanceTarget), type(target).__name__
        return frame_item(index, image, self.frame, self.normalisation, self.channels, target)


class SliceDataset(Dataset[Item]):
    """Slices of images in frames, for prediction; the index of an item is the number of its slice."""

    def __init__(
        self,
        samples: Sequence[Sample],
        slices: Sequence[tuple[int, ImageSlice]],
        frame: FrameConfig,
        normalisation: Normalisation,
        open_image: OpenImage,
        channels: Channels = 3,
    ):
        """`slices`: of each the number of its sample, and where it lies. `open_image` opens an image file."""
        self.samples, self.slices, self.frame = tuple(samples), tuple(slices), frame
        self.normalisation, self.open_image, self.channels = normalisation, open_image, channels
        self._picture: tuple[int, WindowedImage] | None = None
        self._band: tuple[tuple[int, int, int], NDArray[np.uint8]] | None = None

    def __len__(self) -> int:
        return len(self.slices)

    def __getitem__(self, key: Key) -> Item:
        """Return the slice at position key[1]. A row of slices is read once where they follow each other.

        Raises DataError, which names the sample and the file, where the image cannot be read.
        """
        number, there = self.slices[key[1]]
        try:
            band = self._rows(number, there)
        except DataError as error:
            raise DataError(f"sample {self.samples[number].id}: {error}") from error
        part = np.ascontiguousarray(band[:, there.columns])
        return frame_item(key[1], part, self.frame, self.normalisation, self.channels)

    def _rows(self, number: int, there: ImageSlice) -> NDArray[np.uint8]:
        """Return all columns of the rows of a slice."""
        wanted = number, there.top, there.bottom
        if self._band is None or self._band[0] != wanted:
            self._band = None  # so that two bands are never in memory
            if self._picture is None or self._picture[0] != number:
                self._picture = None
                self._picture = number, self.open_image(self.samples[number].images[0])
            picture = self._picture[1]
            self._band = wanted, picture.window(there.rows, slice(0, picture.size[1]))
        return self._band[1]


def frame_item(
    index: int,
    image: NDArray[np.uint8],
    frame: FrameConfig,
    norm: Normalisation,
    channels: Channels,
    target: ObjectTarget | None = None,
) -> Item:
    """Return the item of a whole image uint8[H, W, 3], as the network sees it in prediction."""
    factor = frame.seen_factor((image.shape[0], image.shape[1]))
    framed_image, placed = framed(image, frame.size, frame.fill, factor)
    if target is not None:
        rows, columns = (slice(0, side) for side in frame.size)
        target = seen(target, placed, frame.size, (rows, columns), 0.0)
    return fitted_item(index, framed_image, norm, channels, target)
