"""Training on crops: the samples of a contest, the large ones read by windows, and where they have content."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from medalist.codecs.disk import bands, disk_array, release
from medalist.contest import Contest
from medalist.data.cache import Decoded
from medalist.data.crops import ReadWindow, WindowCache, block_side, content_blocks
from medalist.data.dataset import decode
from medalist.data.settings import TileSampler
from medalist.data.targets import Target
from medalist.data.windows import WindowedImage, contest_opener
from medalist.errors import DataError
from medalist.records import Answer, Instances, Mask, Sample
from medalist.reporter import Reporter
from medalist.tasks.pixels import CACHE_THREADS, CHANNELS, read_of
from medalist.tasks.segment.planes import reach
from medalist.tasks.segment.settings import SegmentSettings
from medalist.tasks.segment.targets import map_target, target_bytes

Contents = Mapping[int, NDArray[np.int64]]
"""The blocks with content of each sample, by its number, see `data.crops.content_blocks`."""


def as_seen(samples: Sequence[Sample], settings: SegmentSettings) -> Sequence[Sample]:
    """Return the samples with the sizes that augmentation gets: those of crops where the config trains on crops."""
    config = settings.sampler
    if not isinstance(config, TileSampler):
        return samples
    side = config.size
    return tuple(replace(one, size=(min(side, one.size[0]), min(side, one.size[1]))) for one in samples)


def filled_windows(
    contest: Contest, settings: SegmentSettings, config: TileSampler, scratch: Path, reporter: Reporter
) -> tuple[WindowCache, Contents]:
    """Read all training samples, as far as they are kept, and return their cache and where they have content.

    scratch: the folder for arrays on disk. Raises DataError for samples that cannot be read.
    """
    samples = contest.split.train
    numbers = {sample.id: number for number, sample in enumerate(samples)}
    contents: dict[int, NDArray[np.int64]] = {}

    def truth_of(sample: Sample) -> Answer:
        truth = contest.competition.checked_truth(contest.data, sample)
        contents[numbers[sample.id]] = content_blocks(truth, block_side(config))
        return truth

    competition = contest.competition
    target_from = partial(_target, settings, competition.classes)
    open_image = contest_opener(competition, settings.image, scratch)

    def whole(sample: Sample) -> Decoded:
        return decode(read_of(contest, settings), lambda one: target_from(truth_of(one)), sample)

    def large(sample: Sample) -> ReadWindow:
        truth = kept_truth(truth_of(sample), sample, scratch)
        return LargeSample(open_image(sample.images[0]), truth, settings, competition.classes).window

    cache = WindowCache(
        whole,
        large,
        samples,
        CHANNELS + target_bytes(settings.task, settings.model.channels),
        settings.loader.cache_mb * 1_000_000,
        scratch if settings.loader.cache == "file" else None,
    )
    with reporter.progress("reading images", len(cache)) as bar:
        cache.fill(CACHE_THREADS, bar.advance)
    return cache, contents


@dataclass(frozen=True, eq=False)
class LargeSample:
    """A sample that is read by windows. truth: its arrays lie on disk. classes: the contest's names of classes."""

    image: WindowedImage
    truth: Mask | Instances
    settings: SegmentSettings
    classes: tuple[str, ...] = ()

    def window(self, rows: slice, columns: slice) -> Decoded:
        """Return the image and the target of rows and columns.

        The border between objects is that of the whole image; planes that depend on the shape of whole objects are
        those of the objects as the window cuts them.
        """
        image = self.image.window(rows, columns)
        margin = reach(self.settings.task) if isinstance(self.truth, Instances) else 0
        down, right = (
            slice(max(0, part.start - margin), min(length, part.stop + margin))
            for part, length in zip((rows, columns), self.image.size, strict=True)
        )
        target = _target(self.settings, self.classes, _cut(self.truth, down, right))
        inner = tuple(
            slice(part.start - wide.start, part.stop - wide.start) for part, wide in ((rows, down), (columns, right))
        )
        return image, target.with_arrays([np.ascontiguousarray(array[inner]) for array in target.arrays])


def kept_truth(truth: Answer, sample: Sample, folder: Path) -> Mask | Instances:
    """Return a truth whose arrays lie on disk. Raises DataError where it has another size than the sample."""
    assert isinstance(truth, Mask | Instances), type(truth)
    if truth.size != sample.size:
        (height, width), (high, wide) = sample.size, truth.size
        raise DataError(f"{sample.images[0]} is {width}x{height}, its truth {wide}x{high}")
    if isinstance(truth, Instances):
        return Instances(_on_disk(truth.labels, folder))
    return Mask(_on_disk(truth.classes, folder), None if truth.void is None else _on_disk(truth.void, folder))


def _on_disk(values: NDArray[np.generic], folder: Path) -> NDArray:  # type: ignore[type-arg]
    kept = disk_array(values.shape, values.dtype, folder)
    for rows in bands((values.shape[0], values.shape[1])):
        kept[rows] = values[rows]
        release(kept)
    return kept


def _cut(truth: Mask | Instances, rows: slice, columns: slice) -> Mask | Instances:
    """Return rows and columns of a truth, in memory."""
    if isinstance(truth, Instances):
        cut: Mask | Instances = Instances(np.array(truth.labels[rows, columns]))
        release(truth.labels)
        return cut
    void = None if truth.void is None else np.array(truth.void[rows, columns])
    cut = Mask(np.array(truth.classes[rows, columns]), void)
    release(truth.classes)
    return cut


def _target(settings: SegmentSettings, classes: Sequence[str], truth: Answer) -> Target:
    return map_target(truth, settings.task, settings.model.channels, classes)
