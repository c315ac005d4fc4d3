"""Batches of samples drawn by weight; which ones depends on seed, epoch and rank, and on nothing else."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from difflib import get_close_matches

import numpy as np
from numpy.typing import NDArray
from torch.utils.data import Sampler

from medalist.data.dataset import Key
from medalist.data.settings import WeightedSampler
from medalist.errors import ConfigError

WEIGHING = 2
"""Sets these generators apart from those of `ShuffleBatchSampler` and `ClassBatchSampler`."""

GOLDEN = (5**0.5 - 1) / 2
NAMED = 20


class WeightedBatchSampler(Sampler[list[Key]]):
    """Batches of positions drawn with replacement, as `WeightedSampler` says; set `epoch` before iterating.

    An epoch has as many batches as that of `ShuffleBatchSampler`: those that the samples fill once, or one smaller one.
    With `world` processes each takes its share of every global batch, equally many. `first` leaves out so many batches
    at the epoch's beginning, which are behind; the length stays.

    Not independent draws, but systematic ones: samples lie on a line, each as long as it is to be drawn, and points at
    distance 1 take them. So in each epoch a sample comes as often as its weight says, rounded up or down, and so does
    each stratum, whose samples lie together. From epoch to epoch the points move by the golden ratio, which spreads
    them as evenly as can be: a sample that is to come in a quarter of the epochs comes in about each fourth. Then all
    that was drawn is shuffled. A sample that comes again in an epoch has a key of three, and is augmented anew.
    """

    setting = "train.batch"
    samples_per_unit = 1

    def __init__(
        self,
        strata: Sequence[str | None],
        sampler: WeightedSampler,
        batch: int,
        seed: int,
        rank: int = 0,
        world: int = 1,
    ):
        """`strata` of the set's positions; those without one are a stratum of their own. `batch`: size on one process.

        ConfigError for fewer samples than processes, a weight of a stratum that no sample has, weights that are all
        zero, and `balanced` where no sample has a stratum.
        """
        if len(strata) < world:
            raise ConfigError(
                f"{len(strata)} training samples cannot be shared by {world} processes; start {len(strata)} or fewer"
            )
        self.batch, self.seed, self.rank, self.world = batch, seed, rank, world
        self.epoch, self.first = 0, 0
        self._samples = len(strata)
        self._length = max(1, len(strata) // (batch * world))
        weights = _weights(strata, sampler)
        random = np.random.default_rng((seed, 0, WEIGHING, 1))
        self._start = random.random()
        shuffled = random.permutation(np.flatnonzero(weights))
        names = np.unique([strata[position] or "" for position in shuffled], return_inverse=True)[1]
        self._line = shuffled[np.argsort(names, kind="stable")]
        # What is to be drawn up to the end of each sample on the line; first divided, as the smallest floats there are
        # would not survive the division by their sum.
        ends = np.cumsum(weights[self._line] / weights.max())
        self._ends = np.minimum(ends * (self.draws / ends[-1]), self.draws)
        self._ends[-1] = self.draws

    @property
    def draws(self) -> int:
        """Samples of an epoch, over all processes."""
        return min(self._samples // self.world, self._length * self.batch) * self.world

    @property
    def units(self) -> int:
        """Samples of a batch on one process."""
        return self.batch

    def __len__(self) -> int:
        return self._length

    def __iter__(self) -> Iterator[list[Key]]:
        epoch, span = self.epoch, self.batch * self.world
        drawn, again = self._drawn(epoch)
        for start in range(self.first * span, self.draws, span):
            share = slice(start + self.rank, min(start + span, self.draws), self.world)
            pairs = zip(drawn[share].tolist(), again[share].tolist(), strict=True)
            yield [(epoch, position, before) if before else (epoch, position) for position, before in pairs]

    def _drawn(self, epoch: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Positions of the epoch's draws in order, and how often each came before."""
        offset = (self._start + epoch * GOLDEN) % 1
        taken = np.ceil(self._ends - offset).astype(np.int64)  # points offset + 0, 1, 2... before each sample's end
        counts = np.zeros(self._samples, np.int64)
        counts[self._line] = np.diff(taken, prepend=0)
        drawn = np.random.default_rng((self.seed, epoch, WEIGHING)).permutation(
            np.repeat(np.arange(len(counts)), counts)
        )
        again = np.empty_like(drawn)
        again[np.argsort(drawn, kind="stable")] = np.arange(len(drawn)) - np.repeat(np.cumsum(counts) - counts, counts)
        return drawn, again


def _weights(strata: Sequence[str | None], sampler: WeightedSampler) -> NDArray[np.float64]:
    """How often each position is to be drawn, against the others; ConfigError."""
    sizes = Counter(name or None for name in strata)
    known = sorted(name for name in sizes if name)
    if sampler.kind == "balanced":
        if not known:
            raise ConfigError("sampler.kind = balanced, but no training sample has a stratum; set sampler.kind=shuffle")
        return np.array([1 / sizes[name or None] for name in strata])
    for name in sampler.weights:
        if name not in known:
            near = get_close_matches(name, known, n=1)
            shown = ", ".join(known[:NAMED]) + (f" and {len(known) - NAMED} more" if len(known) > NAMED else "")
            raise ConfigError(
                f"sampler.weights: no training sample has the stratum '{name}'; there are: {shown or 'none'}"
                + (f"; did you mean '{near[0]}'?" if near else "")
            )
    weights = np.array([sampler.weights.get(name or "", 1.0) for name in strata])
    if not weights.any():
        raise ConfigError(
            f"sampler.weights: each of the strata ({', '.join(known[:NAMED])}) has 0, so no sample would be drawn; "
            "give one of them more"
        )
    return weights
