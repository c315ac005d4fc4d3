"""Batch samplers: which samples stand in a batch depends on seed, epoch and rank, and on nothing else."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Protocol

import numpy as np
from torch.utils.data import Sampler

from medalist.data.dataset import Key
from medalist.errors import ConfigError


class TrainBatchSampler(Protocol):
    """What every batch sampler of a training is.

    epoch: set before iterating. first: so many batches are left out at the epoch's beginning, as they are behind.
    setting: the key of the config that says how large a batch is. units: its value; samples_per_unit: samples of one.
    """

    epoch: int
    first: int
    setting: str

    @property
    def units(self) -> int:
        """The value of `setting`."""
        ...

    @property
    def samples_per_unit(self) -> int:
        """Samples of a batch on one process, divided by `units`."""
        ...

    def __len__(self) -> int: ...

    def __iter__(self) -> Iterator[list[Key]]: ...


class ShuffleBatchSampler(Sampler[list[Key]]):
    """Shuffled batches of (epoch, position). With `world` processes each takes its share of every global batch.

    The last, smaller batch of an epoch is left out (other epochs have its samples), unless it is the only one; all
    processes then get equally many of it. `epoch` is set before iterating; `first` leaves out so many batches at the
    epoch's beginning, which are behind. ConfigError where there are fewer samples than processes.
    """

    setting = "train.batch"
    samples_per_unit = 1

    def __init__(self, length: int, batch: int, seed: int, rank: int = 0, world: int = 1):
        """`batch` is the size on one process."""
        if length < world:
            raise ConfigError(
                f"{length} training samples cannot be shared by {world} processes; start {length} or fewer"
            )
        self.length, self.batch, self.seed = length, batch, seed
        self.rank, self.world = rank, world
        self.epoch = 0
        self.first = 0

    @property
    def units(self) -> int:
        """Samples of a batch on one process."""
        return self.batch

    def __len__(self) -> int:
        return max(1, self.length // (self.batch * self.world))

    def __iter__(self) -> Iterator[list[Key]]:
        order = np.random.default_rng((self.seed, self.epoch)).permutation(self.length)
        span = self.batch * self.world
        for start in range(self.first * span, len(self) * span, span):
            together = order[start : start + span]
            share = together[: len(together) // self.world * self.world][self.rank :: self.world]
            yield [(self.epoch, int(position)) for position in share]


class SizeBucketSampler(Sampler[list[Key]]):
    """Every sample once, batched only with samples of its own padded size; `world` processes share the batches out."""

    def __init__(self, sizes: Sequence[tuple[int, int]], stride: int, batch: int, rank: int = 0, world: int = 1):
        """`sizes` are the native (height, width) of the samples, in the set's order."""
        padded = [(h + -h % stride, w + -w % stride) for h, w in sizes]
        order = sorted(range(len(sizes)), key=lambda position: (padded[position], position))
        batches: list[list[Key]] = []
        for position in order:
            last = batches[-1] if batches else []
            if last and len(last) < batch and padded[last[0][1]] == padded[position]:
                last.append((0, position))
            else:
                batches.append([(0, position)])
        self.batches = batches[rank::world]

    def __len__(self) -> int:
        return len(self.batches)

    def __iter__(self) -> Iterator[list[Key]]:
        return iter(self.batches)
