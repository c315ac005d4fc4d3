"""What kinds that train on decoded images share: reading, and the cache of all training samples."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np

from medalist.contest import Contest
from medalist.data.cache import Decoded, PixelCache
from medalist.data.dataset import Read, decode, reader
from medalist.data.targets import Target
from medalist.experiment import Experiment
from medalist.records import Sample
from medalist.reporter import Reporter

CHANNELS = 3
"""Channels of every decoded image (RGB)."""

CACHE_THREADS = 2
"""Threads that fill the cache; Pillow and OpenCV let go of the interpreter's lock while they decode."""

TargetOf = Callable[[Sample], Target | None]


def no_target(sample: Sample) -> None:
    """The target of a kind that makes it of the fold's classes, not of the truth alone."""


def read_of(contest: Contest, settings: Experiment) -> Read:
    """How image files of a contest are read."""
    return reader(contest.competition.white, settings.image)


def pixel_cache(contest: Contest, settings: Experiment, target_of: TargetOf, scratch: Path) -> PixelCache:
    """The cache of all training samples, not filled yet; `scratch` is where a memory-mapped one lies."""
    in_file = settings.loader.cache == "file"
    decoding = partial(decode, read_of(contest, settings), target_of)
    return PixelCache(decoding, contest.split.train, scratch if in_file else None)


def filled_cache(
    contest: Contest, settings: Experiment, target_of: TargetOf, scratch: Path, reporter: Reporter
) -> PixelCache:
    """The cache of all training samples, as far as its budget goes; DataError that names all bad samples."""
    cache = pixel_cache(contest, settings, target_of, scratch)
    with reporter.progress("reading images", len(cache)) as bar:
        cache.fill(settings.loader.cache_mb * 1_000_000, CACHE_THREADS, bar.advance)
    return cache


def blank_cache(contest: Contest, size: tuple[int, int] | None, target_of: TargetOf) -> PixelCache:
    """Black images in the place of the contest's, of one size or (None) of their own: for rehearsals."""
    return PixelCache(partial(_blank, size, target_of), contest.split.train)


def _blank(size: tuple[int, int] | None, target_of: TargetOf, sample: Sample) -> Decoded:
    return np.zeros((*(size or sample.size), CHANNELS), np.uint8), target_of(sample)
