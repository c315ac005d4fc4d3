"""Datasets of samples whose images are decoded, augmented and normalised."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np
from torch.utils.data import Dataset

from medalist.data.cache import Decoded, PixelCache
from medalist.data.crops import Crops, WindowCache
from medalist.data.items import Item, Key, Normalisation, Read, make_item, read_named
from medalist.data.padding import Padding, pad_to_multiple
from medalist.data.settings import Augmentations
from medalist.data.targets import Target
from medalist.data.transforms import augment_sample, compose_augment, sample_seed
from medalist.errors import ConfigError
from medalist.parts import NO_PARTS, OwnParts
from medalist.records import Sample

PROBED_EPOCHS = 4
"""Number of epochs in which a check augments each of its samples."""


def decode(read: Read, target_of: Callable[[Sample], Target | None], sample: Sample) -> Decoded:
    """Read a training sample: return its image uint8[H, W, 3] and its target, or None in place of a target.

    Raises DataError where the image cannot be read, or where image and target do not fit each other.
    """
    image = read(sample.images[0])
    target = target_of(sample)
    if target is not None:
        target.check(str(sample.images[0]), (image.shape[0], image.shape[1]))
    return image, target


class TrainDataset(Dataset[Item]):
    """Augmented training samples; the key of an item is (epoch, position), see `Key`."""

    def __init__(
        self,
        cache: PixelCache | WindowCache,
        indices: Sequence[int],
        augment: Augmentations,
        normalisation: Normalisation,
        seed: int,
        own: OwnParts = NO_PARTS,
        crops: Crops | None = None,
    ):
        """`indices`: the numbers of those samples of the cache that belong to this dataset. `own`: the parts of the
        contest's folder. `crops`: where crops are cut from the samples before they are augmented; None takes samples
        as they are.
        """
        self.cache = cache
        self.indices = tuple(indices)
        self.normalisation = normalisation
        self.seed = seed
        self.crops = crops
        self.size: tuple[int, int] | None = None
        self._pipeline = compose_augment(augment, own)

    def __len__(self) -> int:
        return len(self.indices)

    def __getitem__(self, key: Key) -> Item:
        """Return the sample at position key[1] of the dataset, augmented for epoch key[0].

        Raises ConfigError, which names the sample, where it cannot be augmented, or where its augmented size differs
        from the size that `check` has found.
        """
        index, draw = self.indices[key[1]], key[2] if len(key) == 3 else 0
        seed = sample_seed(self.seed, key[0], index, draw=draw)
        sample = self.cache.samples[index]
        if self.crops is None:
            decoded = self.cache[index]
        else:
            decoded = self.cache.window(index, *self.crops.place(index, sample.size, key[0], draw))
        image, target = augment_sample(self._pipeline, sample.id, *decoded, seed)
        height, width = image.shape[:2]
        if self.size is not None and self.size != (height, width):
            raise _several_sizes({self.size: "others", (height, width): self.cache.samples[index].id})
        return make_item(index, image, target, self.normalisation, Padding(height, width))

    def check(self, stride: int) -> tuple[int, int]:
        """Augment samples of extreme shapes and return the (height, width) that all of them get.

        Raises ConfigError where the sizes differ, or where a side is not a multiple of the network's stride. After this
        call `__getitem__` compares the size of every sample with the found size.
        """
        self.size = None
        sizes: dict[tuple[int, int], str] = {}
        for position in self._probes():
            name = self.cache.samples[self.indices[position]].id
            for epoch in range(PROBED_EPOCHS):  # because a random transform may change the size in some epochs only
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
        """Return the positions of the lowest, highest, narrowest and widest samples, and of the first and the last."""
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
    """Whole images, padded to multiples of the network's stride, without augmentation.

    Items from a PixelCache have the cache's target; items that are read from samples have no target.
    """

    def __init__(
        self,
        source: PixelCache | Sequence[Sample],
        indices: Sequence[int],
        stride: int,
        normalisation: Normalisation,
        read: Read,
    ):
        """`indices`: the numbers of the source's samples in this dataset. `read` reads the image of a sample where
        `source` is not a cache.
        """
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
        return make_item(index, image, target, self.normalisation, padding)
