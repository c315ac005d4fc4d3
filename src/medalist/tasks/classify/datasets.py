"""The training dataset of classification: augmented images with their labels."""

from __future__ import annotations

from collections.abc import Sequence

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


class LabelTrainDataset(Dataset[Item]):
    """Training samples in the size that the network gets; the key of an item is (epoch, position)."""

    def __init__(
        self,
        cache: PixelCache,
        indices: Sequence[int],
        targets: Sequence[LabelTarget],
        augment: Augmentations,
        normalisation: Normalisation,
        seed: int,
        size: Size,
        channels: Channels = 3,
        own: OwnParts = NO_PARTS,
    ):
        """`indices`: the numbers of those samples of the cache that belong to this dataset; `targets`: their targets.

        size: the (height, width) in which augmentation must end, `FitConfig.seen_in_training`. own: the parts of the
        contest's folder.
        """
        assert len(indices) == len(targets), (len(indices), len(targets))
        self.cache, self.indices, self.targets = cache, tuple(indices), tuple(targets)
        self.normalisation, self.seed, self.channels = normalisation, seed, channels
        self._pipeline = compose_augment(augment, own)
        self._seen = SeenSize(size, bool(augment))

    def __len__(self) -> int:
        return len(self.indices)

    def __getitem__(self, key: Key) -> Item:
        """Return the sample at position key[1] of the dataset, augmented for epoch key[0].

        Raises ConfigError, which names the sample, where it cannot be augmented, or where it gets another size.
        """
        index = self.indices[key[1]]
        image, name = self.cache[index][0], self.cache.samples[index].id
        if self._seen.augments:
            seed = sample_seed(self.seed, key[0], index, draw=key[2] if len(key) == 3 else 0)
            image, _ = augment_sample(self._pipeline, name, image, None, seed)
        image = self._seen.held(image, name)
        return fitted_item(index, image, self.normalisation, self.channels, self.targets[key[1]])

    def check(self) -> None:
        """Augment the first and the last sample in a few epochs. Raises ConfigError where one gets another size."""
        if not self.indices:
            raise ConfigError("no training sample is left in this fold; make fewer folds")
        for position in {0, len(self) - 1}:
            for epoch in range(self._seen.epochs):
                self[epoch, position]
