"""Decoded samples that stand for others, so that a probe of a minute need not read a whole contest."""

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
"""Samples that are read between two looks at the clock."""


@dataclass(frozen=True)
class Read:
    """What was read: samples, their pixels, and the seconds it took."""

    samples: int
    pixels: int
    seconds: float


def area(sample: Sample) -> int:
    """Pixels of a sample at its native size; 1 where that is not known."""
    return max(1, sample.size[0] * sample.size[1])


class SampledCache:
    """Decodes as a training would find it: samples that it keeps come at once, the others are read each time.

    Of the kept ones only some are really read; each of the others is given the pixels of one of its size, or of the
    nearest size that was read.
    """

    def __init__(
        self, decode: Callable[[Sample], Decoded], samples: Sequence[Sample], sizes: Sequence[int], budget: int
    ):
        """`sizes`: bytes of each sample once it is decoded; `budget`: bytes that a training keeps."""
        self.samples, self.decode = tuple(samples), decode
        self.kept: dict[str, Decoded] = {}
        self._number = {sample.id: number for number, sample in enumerate(self.samples)}
        self._by_size: dict[tuple[int, int], list[str]] = defaultdict(list)
        self.fitting, self.bytes = fitting(sizes, budget)
        self.all_bytes = sum(sizes)

    @property
    def kept_bytes(self) -> int:
        """Bytes that are kept here."""
        return sum(decoded_bytes(decoded) for decoded in self.kept.values())

    def fill(self, until: float, threads: int, most: int, seed: int) -> Read:
        """Read samples in random order until that moment of `perf_counter`, at least one; keep up to `most` bytes.

        DataError where one cannot be read.
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
        """Read these samples themselves, where they are not yet."""
        for sample in samples:
            if sample.id not in self.kept:
                self._keep(sample, self._named(sample))

    def __call__(self, sample: Sample) -> Decoded:
        """What a training's cache would hand out."""
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
    """How many of the first sizes fit into the budget together, and their sum."""
    total = 0
    for number, size in enumerate(sizes):
        if total + size > budget:
            return number, total
        total += size
    return len(sizes), total
