"""Batch samplers: the samples of a batch depend only on seed, epoch and rank."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Protocol

import numpy as np
from torch.utils.data import Sampler

from medalist.data.items import Key
from medalist.errors import ConfigError


class TrainBatchSampler(Protocol):
    """What every batch sampler of a training provides.

    epoch: to be set before iterating. first: the number of batches at the beginning of the epoch that are skipped,
    because a resumed training has done them already. setting: the config key of the batch size. units: the value of
    `setting`. samples_per_unit: number of samples for each unit.
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
        """Number of samples in a batch of one process, divided by `units`."""
        ...

    def __len__(self) -> int: ...

    def __iter__(self) -> Iterator[list[Key]]: ...


class ShuffleBatchSampler(Sampler[list[Key]]):
    """Shuffled batches of (epoch, position). With `world` processes each process takes its share of every global batch.

    The last, smaller batch of an epoch is left out (other epochs have its samples), unless it is the only one; then all
    processes get equal shares of it. Set `epoch` before iterating. first: the number of batches at the beginning of the
    epoch that are skipped, because a resumed training has done them already. Raises ConfigError where there are fewer
    samples than processes.
    """

    setting = "train.batch"
    samples_per_unit = 1

    def __init__(self, length: int, batch: int, seed: int, rank: int = 0, world: int = 1):
        """`batch`: number of samples in a batch of one process."""
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
        """Number of samples in a batch of one process."""
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


class TileBatchSampler(ShuffleBatchSampler):
    """Shuffled batches of crops: position p comes crops[p] times in an epoch, each time with a key of its own."""

    def __init__(self, crops: Sequence[int], batch: int, seed: int, rank: int = 0, world: int = 1):
        """`crops`: how often each position of the dataset comes in an epoch."""
        super().__init__(sum(crops), batch, seed, rank, world)
        counts = np.asarray(crops, np.int64)
        self._positions = np.repeat(np.arange(len(counts)), counts)
        self._draws = np.arange(self.length) - np.repeat(np.cumsum(counts) - counts, counts)

    def __iter__(self) -> Iterator[list[Key]]:
        for keys in super().__iter__():
            pairs = [(int(self._positions[key[1]]), int(self._draws[key[1]])) for key in keys]
            yield [(self.epoch, position, draw) if draw else (self.epoch, position) for position, draw in pairs]


class SizeBucketSampler(Sampler[list[Key]]):
    """Every sample once, in batches of one padded size; the batches are divided among `world` processes."""

    def __init__(self, sizes: Sequence[tuple[int, int]], stride: int, batch: int, rank: int = 0, world: int = 1):
        """`sizes`: the native (height, width) of the samples, in the order of the dataset."""
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
