"""A cache in which some decoded samples replace others, so that a probe of a minute need not read a whole contest."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np

from medalist.data.cache import Decoded, decoded_bytes
from medalist.errors import DataError
from medalist.records import Sample

AT_ONCE = 8
"""How many samples are read before the time is checked again."""


@dataclass(frozen=True)
class Read:
    """How many samples were read, the sum of their pixels, and the seconds that it took."""

    samples: int
    pixels: int
    seconds: float


def area(sample: Sample) -> int:
    """Return the pixels of a sample at its native size; 1 where the size is not known."""
    return max(1, sample.size[0] * sample.size[1])


class SampledCache:
    """Decodes samples with the speed of a training's cache.

    Samples that a training would keep in memory are returned at once, and all others are read each time. Only some of
    the former are really read. A sample that was not read gets the pixels of a sample with the same size, or with the
    nearest size that was read.
    """

    def __init__(
        self, decode: Callable[[Sample], Decoded], samples: Sequence[Sample], sizes: Sequence[int], budget: int
    ):
        """`sizes` are the bytes of each decoded sample; `budget` is the number of bytes that a training keeps."""
        self.samples, self.decode = tuple(samples), decode
        self.kept: dict[str, Decoded] = {}
        self._number = {sample.id: number for number, sample in enumerate(self.samples)}
        self._by_size: dict[tuple[int, int], list[str]] = defaultdict(list)
        self.fitting, self.bytes = fitting(sizes, budget)
        self.all_bytes = sum(sizes)

    @property
    def kept_bytes(self) -> int:
        """The bytes of the samples that this cache has read and keeps."""
        return sum(decoded_bytes(decoded) for decoded in self.kept.values())

    def fill(self, until: float, threads: int, most: int, seed: int) -> Read:
        """Read samples in random order until the moment `until` of `perf_counter`, or until `most` bytes are kept.

        At least one group of AT_ONCE samples is read. Raises DataError where a sample cannot be read.
        """
        order = np.random.default_rng(seed).permutation(len(self.samples)).tolist()
        started, pixels, done, held = time.perf_counter(), 0, 0, 0
        with ThreadPoolExecutor(threads) as pool:
            while done < len(order) and (not done or (time.perf_counter() < until and held < most)):
                chosen = [self.samples[number] for number in order[done : done + AT_ONCE]]
                for sample, decoded in zip(chosen, pool.map(self._named, chosen), strict=True):
                    self._keep(sample, decoded)
                    held += decoded_bytes(decoded)
                    pixels += area(sample)
                done += len(chosen)
        return Read(done, pixels, time.perf_counter() - started)

    def hold(self, samples: Sequence[Sample]) -> None:
        """Read these samples where they are not read yet, so that no others replace them."""
        for sample in samples:
            if sample.id not in self.kept:
                self._keep(sample, self._named(sample))

    def __call__(self, sample: Sample) -> Decoded:
        """Return a decoded sample, or for a sample that was not read, the pixels that replace it."""
        if self._number[sample.id] >= self.fitting:
            return self.decode(sample)
        if sample.id in self.kept:
            return self.kept[sample.id]
        size = sample.size
        if size not in self._by_size:
            size = min(self._by_size, key=lambda known: abs(known[0] - size[0]) + abs(known[1] - size[1]))
        alike = self._by_size[size]
        return self.kept[alike[self._number[sample.id] % len(alike)]]

    def _keep(self, sample: Sample, decoded: Decoded) -> None:
        self.kept[sample.id] = decoded
        self._by_size[sample.size].append(sample.id)

    def _named(self, sample: Sample) -> Decoded:
        try:
            return self.decode(sample)
        except DataError as error:
            raise DataError(f"sample {sample.id}: {error}") from error


def fitting(sizes: Sequence[int], budget: int) -> tuple[int, int]:
    """Return how many of the first sizes fit into the budget together, and their sum."""
    total = 0
    for number, size in enumerate(sizes):
        if total + size > budget:
            return number, total
        total += size
    return len(sizes), total
