"""Functions that the kinds that train on images share: reading, and the cache of all training samples."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import numpy as np

from medalist.contest import Contest
from medalist.data.cache import Decoded, PixelCache
from medalist.data.dataset import decode
from medalist.data.items import Read, contest_reader
from medalist.data.targets import Target
from medalist.experiment import Experiment
from medalist.records import Sample
from medalist.reporter import Reporter

CHANNELS = 3
"""Number of channels of every decoded image (RGB)."""

CACHE_THREADS = 2
"""Threads that fill the cache. Threads help here because Pillow and OpenCV release Python's global lock (GIL) while
they decode."""

TargetOf = Callable[[Sample], Target | None]
"""A function that makes the target of a sample from its truth."""


def no_target(sample: Sample) -> None:
    """Return None, for kinds whose targets depend on the fold's or contest's classes and are made later."""


def read_of(contest: Contest, settings: Experiment) -> Read:
    """Return the function that reads image files of a contest."""
    return contest_reader(contest.competition, settings.image)


def pixel_cache(contest: Contest, settings: Experiment, target_of: TargetOf, scratch: Path) -> PixelCache:
    """Return the cache of all training samples, not filled yet. `scratch`: the folder for a memory-mapped cache."""
    in_file = settings.loader.cache == "file"
    decoding = partial(decode, read_of(contest, settings), target_of)
    return PixelCache(decoding, contest.split.train, scratch if in_file else None)


def filled_cache(
    contest: Contest, settings: Experiment, target_of: TargetOf, scratch: Path, reporter: Reporter
) -> PixelCache:
    """Decode all training samples and return the cache, which keeps as many of them as its budget allows.

    Raises DataError for all samples that cannot be decoded.
    """
    cache = pixel_cache(contest, settings, target_of, scratch)
    with reporter.progress("reading images", len(cache)) as bar:
        cache.fill(settings.loader.cache_mb * 1_000_000, CACHE_THREADS, bar.advance)
    return cache


def blank_cache(
    contest: Contest, size: tuple[int, int] | None, target_of: TargetOf, samples: Sequence[Sample] | None = None
) -> PixelCache:
    """Return a cache of black images in place of the contest's training images, for rehearsals.

    size: (height, width) of all images; None gives each image its own size. samples: in place of the training samples.
    """
    return PixelCache(partial(_blank, size, target_of), contest.split.train if samples is None else samples)


def _blank(size: tuple[int, int] | None, target_of: TargetOf, sample: Sample) -> Decoded:
    return np.zeros((*(size or sample.size), CHANNELS), np.uint8), target_of(sample)
