"""A dataset of features in place of images: a frozen encoder has computed them once for all epochs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import Dataset

from medalist.data.items import Item, Key
from medalist.data.padding import Padding
from medalist.data.targets import Target


class FeatureDataset(Dataset[Item]):
    """Features with the target of each sample. The key of an item is (epoch, position); the epoch changes nothing.

    The rows of a whole batch are read at once, so that reading does not slow down the training of a head.
    """

    def __init__(
        self,
        features: NDArray[np.float16] | NDArray[np.float32],
        indices: Sequence[int],
        targets: Sequence[Target] | None = None,
    ):
        """`features`: float16 or float32 [N, ...], in memory or memory-mapped. `indices`: the rows in this dataset.
        `targets`: the targets of these rows, None where they are not known.
        """
        assert features.dtype in (np.float16, np.float32) and features.ndim >= 2, (features.dtype, features.shape)
        assert targets is None or len(targets) == len(indices), len(indices)
        self.features = features
        self.indices = tuple(indices)
        self.targets = (None,) * len(self.indices) if targets is None else tuple(targets)
        maps = features.ndim > 2
        self._padding = Padding(features.shape[-2], features.shape[-1]) if maps else Padding(1, 1)

    def __getstate__(self) -> dict[str, Any]:
        """Replace a mapped array by the name of its file, because a pickled array would be copied to each worker."""
        kept = self.features
        if isinstance(kept, np.memmap) and kept.filename is not None and kept.flags.c_contiguous:
            return {**self.__dict__, "features": (kept.filename, kept.dtype, kept.offset, kept.shape)}
        return self.__dict__

    def __setstate__(self, state: dict[str, Any]) -> None:
        if isinstance(kept := state["features"], tuple):
            name, kind, offset, shape = kept
            state = {**state, "features": np.memmap(name, kind, "r", offset, shape)}
        self.__dict__.update(state)

    def __len__(self) -> int:
        return len(self.indices)

    def __getitem__(self, key: Key) -> Item:
        """Return the sample at position key[1]: one row of features, float32[...]."""
        return self.__getitems__([key])[0]

    def __getitems__(self, keys: Sequence[Key]) -> list[Item]:
        """Return the items of a whole batch; their features are views of one copy."""
        positions = [key[1] for key in keys]
        rows = [self.indices[position] for position in positions]
        # Always a copy, so that changes to the features of a batch cannot change the mapped file.
        block: Tensor = torch.from_numpy(np.array(self.features[rows], np.float32))
        return [
            Item(row, image, self.targets[position], self._padding)
            for row, image, position in zip(rows, block, positions, strict=True)
        ]
