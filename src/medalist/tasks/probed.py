"""The data of a probe, for kinds that train on pixels."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from medalist.data.cache import PixelCache
from medalist.data.dataset import decode
from medalist.planning.cost_model import Source
from medalist.planning.probe import KEPT_AT_MOST
from medalist.planning.sampled_cache import SampledCache, area
from medalist.runs.setup import TrainSetup
from medalist.tasks.pixels import CACHE_THREADS, TargetOf, read_of


def sampled_source(setup: TrainSetup, target_of: TargetOf, sizes: Sequence[int], until: float) -> Source:
    """Return the data source of a probe: a sampled cache, and the estimated seconds of reading all training samples.

    sizes: bytes of each training sample when it is decoded. until: the moment of `perf_counter` at which reading ends.
    """
    settings, samples = setup.settings, setup.contest.split.train
    decoding = partial(decode, read_of(setup.contest, settings), target_of)
    kept = SampledCache(decoding, samples, sizes, settings.loader.cache_mb * 1_000_000)
    most = min(KEPT_AT_MOST, settings.loader.cache_mb * 1_000_000)
    read = kept.fill(until, CACHE_THREADS, most, settings.seed)
    share = read.pixels / sum(area(sample) for sample in samples)
    return Source(kept, PixelCache(kept, samples), read.seconds / share)
