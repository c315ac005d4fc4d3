"""The time of validation and prediction of whole images, measured on a few batches that represent all."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from lightning_fabric import Fabric

from medalist.data.loader import Batch, batches
from medalist.data.samplers import SizeBucketSampler
from medalist.engine.job import TrainJob
from medalist.engine.train import validate_held_out
from medalist.planning.arithmetic import Timed
from medalist.records import Sample
from medalist.runs.setup import TrainSetup


@dataclass(frozen=True)
class InferenceBatch:
    """A batch of whole images: their positions in a list of samples, and the pixels of all of them, with padding."""

    positions: tuple[int, ...]
    pixels: int


def inference_batches(sizes: Sequence[tuple[int, int]], stride: int, batch: int) -> list[InferenceBatch]:
    """Return the batches in which images of these native sizes (height, width) are predicted.

    Sides are padded to multiples of `stride`. `batch` is the number of images in a batch.
    """
    made = []
    for keys in SizeBucketSampler(sizes, stride, batch):
        height, width = sizes[keys[0][1]]
        pixels = (height + -height % stride) * (width + -width % stride)
        made.append(InferenceBatch(tuple(key[1] for key in keys), len(keys) * pixels))
    return made


def chosen(whole: Sequence[InferenceBatch], most: int) -> list[InferenceBatch]:
    """Return up to `most` batches that represent all, from the smallest to the largest.

    They are spread evenly over the sum of all pixels, and the largest batch is always one of them.
    """
    ordered = sorted({one.pixels: one for one in whole}.values(), key=lambda one: one.pixels)
    if len(ordered) <= most:
        return ordered
    every = sorted(whole, key=lambda one: one.pixels)
    ends = np.cumsum([one.pixels for one in every])
    marks = (np.arange(most - 1) + 0.5) / (most - 1) * ends[-1]
    picked = {every[int(place)].pixels: every[int(place)] for place in np.searchsorted(ends, marks)}
    picked[ordered[-1].pixels] = ordered[-1]
    return sorted(picked.values(), key=lambda one: one.pixels)


Once = Callable[[InferenceBatch], Timed]


def timed(whole: Sequence[InferenceBatch], once: Once, until: float, most: int = 5) -> list[Timed]:
    """Time batches that represent all, from the smallest to the largest; each is timed twice where there is time.

    The first run of a shape takes longer, because memory is allocated, so it counts only where there is no second run.
    A batch that would end after `until` is left out, but the first batch is always timed.
    """
    found: list[Timed] = []
    for one in chosen(whole, most):
        if found:
            last = found[-1]
            expected = (last.read + last.forward + last.write) * one.pixels / last.pixels
            if time.perf_counter() + expected > until:
                break
        first = once(one)
        took = first.read + first.forward + first.write
        again = time.perf_counter() + took < until - took and took < 2
        found.append(once(one) if again else first)
    return found


def largest_peak(before: int, peak: int, tried: Sequence[int], all_pixels: Sequence[int]) -> int:
    """Return the peak memory in bytes of a prediction.

    before: the bytes at its start. peak: the peak over the batches that were tried. The memory of a batch grows with
    its pixels, and the largest batch may not have been tried, because the time was too short.
    """
    most = max(all_pixels, default=0)
    seen = max(tried, default=0)
    return peak + round((peak - before) * (most / seen - 1)) if most > seen > 0 and peak > before else peak


def time_validation(job: TrainJob, whole: Sequence[InferenceBatch], until: float) -> list[Timed]:
    """Time `engine.train.validate_held_out` on batches of the held-out samples; `whole` holds their positions."""

    def once(one: InferenceBatch) -> Timed:
        order = [[(0, position) for position in one.positions]]
        part = replace(job, held_out=batches(job.held_out.dataset, order, 0))  # type: ignore[arg-type]
        started = time.perf_counter()
        validate_held_out(part, job.model)
        return Timed(one.pixels, 0.0, time.perf_counter() - started)

    return timed(whole, once, until)


def held_out(setup: TrainSetup, fold: int) -> list[Sample]:
    """Return the held-out samples of a fold, in the order of its `TrainJob.held_out`."""
    by_id = {sample.id: sample for sample in setup.contest.split.train}
    return [by_id[name] for name in setup.folds.held_out(fold)]


def read_batch(source: Any, one: InferenceBatch, fabric: Fabric) -> Batch:
    """Read the images of a batch in the same way as a prediction."""
    order: Any = [[(0, position) for position in one.positions]]
    found: Batch = next(iter(batches(source, order, 0, fabric.device.type == "cuda")))
    return found


def pixels_of(batches_: Sequence[InferenceBatch]) -> list[int]:
    """Return the pixels of each batch."""
    return [one.pixels for one in batches_]
