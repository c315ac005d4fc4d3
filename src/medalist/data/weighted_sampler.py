"""Batches of samples drawn by weight. The choice depends only on seed, epoch and rank."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from difflib import get_close_matches

import numpy as np
from numpy.typing import NDArray
from torch.utils.data import Sampler

from medalist.data.items import Key
from medalist.data.settings import WeightedSampler
from medalist.errors import ConfigError

WEIGHING = 2
"""A part of the generators' seed, so that they draw other numbers than `ShuffleBatchSampler` and
`ClassBatchSampler`."""

GOLDEN = (5**0.5 - 1) / 2
NAMED = 20
"""Strata that an error message lists at most."""


class WeightedBatchSampler(Sampler[list[Key]]):
    """Batches of positions drawn with replacement, as `WeightedSampler` describes. Set `epoch` before iterating.

    An epoch has as many batches as with `ShuffleBatchSampler`: the full batches that the samples fill once, or one
    smaller batch. With `world` processes each process takes an equal share of every global batch. first: the number of
    batches at the beginning of the epoch that are skipped, because a resumed training has done them already; the length
    does not change.

    The draws are systematic, not independent. Samples lie on a line, and the length of each is its expected number of
    draws. Points at distance 1 on this line select the samples. So in each epoch a sample is drawn as often as its
    weight says, rounded up or down. The same holds for each stratum, because its samples lie together. From epoch to
    epoch the points move by the golden ratio, which spreads the draws evenly over epochs: a sample with an expected
    number of 1/4 is drawn in about every fourth epoch. At the end the drawn samples are shuffled. A sample that is
    repeated in an epoch has a key of three numbers, so it is augmented differently.
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
        """`strata`: of the dataset's positions; positions without one form a stratum together. `batch`: samples of a
        batch on one process.

        Raises ConfigError for fewer samples than processes, for a weight of a stratum that no sample has, for weights
        that are all zero, and for `balanced` where no sample has a stratum.
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
        # The expected number of draws up to the end of each sample on the line. The weights are divided by their
        # maximum first, because the smallest floats would become 0 if they were divided by their sum.
        ends = np.cumsum(weights[self._line] / weights.max())
        self._ends = np.minimum(ends * (self.draws / ends[-1]), self.draws)
        self._ends[-1] = self.draws

    @property
    def draws(self) -> int:
        """Number of samples in an epoch, over all processes."""
        return min(self._samples // self.world, self._length * self.batch) * self.world

    @property
    def units(self) -> int:
        """Number of samples in a batch of one process."""
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
        """Return the positions of the epoch's draws in order, and how often each was drawn before in this epoch."""
        offset = (self._start + epoch * GOLDEN) % 1
        taken = np.ceil(self._ends - offset).astype(np.int64)  # number of points offset + 0, 1, 2... before each end
        counts = np.zeros(self._samples, np.int64)
        counts[self._line] = np.diff(taken, prepend=0)
        drawn = np.random.default_rng((self.seed, epoch, WEIGHING)).permutation(
            np.repeat(np.arange(len(counts)), counts)
        )
        again = np.empty_like(drawn)
        again[np.argsort(drawn, kind="stable")] = np.arange(len(drawn)) - np.repeat(np.cumsum(counts) - counts, counts)
        return drawn, again


def _weights(strata: Sequence[str | None], sampler: WeightedSampler) -> NDArray[np.float64]:
    """Return the relative weight of each position, float64[N]. Raises ConfigError as `WeightedBatchSampler` does."""
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
            f"sampler.weights: all strata ({', '.join(known[:NAMED])}) have weight 0, so no sample can be drawn; "
            "give one of them a larger weight"
        )
    return weights
