"""The training dataset of metric learning: whole images of one size, turned, augmented and normalised, with a class."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray
from torch.utils.data import Dataset

from medalist.data.cache import PixelCache
from medalist.data.fitted import Channels, SeenSize, fitted_item
from medalist.data.fitting import Size
from medalist.data.items import Item, Key, Normalisation
from medalist.data.settings import Augmentations
from medalist.data.targets import LabelTarget
from medalist.data.transforms import augment_sample, compose_augment, sample_seed
from medalist.errors import ConfigError
from medalist.parts import NO_PARTS, OwnParts
from medalist.tasks.embed.composing import Composed

View = tuple[int, bool]
"""Number of counter-clockwise quarter turns, and whether left and right are swapped after them."""

Value = TypeVar("Value")


def views_of(turns: bool, mirrored: bool) -> tuple[View, ...]:
    """Return the 1, 2, 4 or 8 views of each sample; the first is the image itself. Each view has its own class."""
    return tuple((turn, mirror) for turn in range(4 if turns else 1) for mirror in ((False, True)[: 1 + mirrored]))


def seen_from(image: NDArray[np.uint8], view: View) -> NDArray[np.uint8]:
    """Return one view of uint8[H, W, C]."""
    turns, mirror = view
    turned = np.rot90(image, turns)
    return np.ascontiguousarray(turned[:, ::-1] if mirror else turned)


class IdentityTrainDataset(Dataset[Item]):
    """Augmented training samples with their classes; the key of an item is (epoch, position).

    With V views of each sample, position p is view p % V of sample p // V, and its class is label * V + p % V, because
    a turned identity is a different identity. So there are V times as many positions and classes. Composed samples come
    after these positions and are not turned; each composition is a class, after all other classes.
    """

    def __init__(
        self,
        cache: PixelCache,
        indices: Sequence[int],
        labels: Sequence[int],
        augment: Augmentations,
        normalisation: Normalisation,
        seed: int,
        turns: bool = False,
        mirrored: bool = False,
        channels: Channels = 3,
        composed: Composed | None = None,
        own: OwnParts = NO_PARTS,
    ):
        """`indices`: the numbers of those samples of the cache that belong to this dataset; `labels`: their classes,
        from 0. `composed` must be made from the same indices and labels. `own`: the parts of the contest's folder.
        """
        assert len(indices) == len(labels) and min(labels, default=0) >= 0, (len(indices), len(labels))
        self.cache = cache
        self.indices = tuple(indices)
        self.normalisation = normalisation
        self.seed = seed
        self.channels: Channels = channels
        self.views = views_of(turns, mirrored)
        self.composed = composed
        self.labels = tuple(label * len(self.views) + view for label in labels for view in range(len(self.views)))
        self._real = len(self.labels)
        if composed is not None:
            behind = composed.identities * len(self.views)
            self.labels += tuple(behind + number for number in composed.labels)
        self._seen: SeenSize | None = None
        self._pipeline = compose_augment(augment, own)
        self._augments = bool(augment)

    def __len__(self) -> int:
        return len(self.labels)

    def spread(self, values: Sequence[Value]) -> list[Value | None]:
        """Repeat a value of each sample, such as its group, for each of its positions; None for composed samples."""
        assert len(values) == len(self.indices), (len(values), len(self.indices))
        return [*(value for value in values for _ in self.views), *[None] * (len(self) - self._real)]

    def __getitem__(self, key: Key) -> Item:
        """Return the sample at position key[1] of the dataset, augmented for epoch key[0].

        Raises ConfigError, which names the sample, where it cannot be augmented, or where its augmented size differs
        from the size given to `check`.
        """
        again = key[2] if len(key) == 3 else 0
        if key[1] < self._real:
            number, view = divmod(key[1], len(self.views))
            index = self.indices[number]
            image = seen_from(self.cache[index][0], self.views[view])
            name, seed = self.cache.samples[index].id, sample_seed(self.seed, key[0], index, view, again)
        else:
            assert self.composed is not None
            position = key[1] - self._real
            number, index, _ = self.composed.parts(position)
            image = self.composed.draw(key[0], position, again)
            name, seed = f"composition {number}", sample_seed(self.seed, key[0], len(self.cache) + position, 0, again)
        if self._augments:
            image, _ = augment_sample(self._pipeline, name, image, None, seed)
        if self._seen is not None:
            image = self._seen.held(image, name)
        return fitted_item(index, image, self.normalisation, self.channels, label_target(self.labels[key[1]]))

    def check(self, size: Size) -> None:
        """Check that augmentation gives `size`, the (height, width) of `FitConfig.seen_in_training`.

        All views of the first and the last sample are augmented, and the last composed sample. Raises ConfigError where
        one of them gets another size. After this call `__getitem__` checks the size of every sample; without
        augmentation it cuts larger images to their middle.
        """
        if not self.indices:
            raise ConfigError("no training sample is left; lower task.rare")
        self._seen = SeenSize(size, self._augments)
        views = len(self.views)
        for position in sorted({*range(views), *range(self._real - views, self._real), len(self) - 1}):
            for epoch in range(self._seen.epochs):
                self[epoch, position]


def label_target(label: int) -> LabelTarget:
    """Return the target for the class `label`."""
    return LabelTarget(np.array(label, np.int64))
