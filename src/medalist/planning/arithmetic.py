"""Compute the cost of a training from the measurements of a probe. This module needs no torch.

A probe is a short training or prediction whose batches are timed.
"""

from __future__ import annotations

import heapq
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from statistics import median

from medalist.engine.settings import TrainConfig

WARM_UP = 2
"""How many first batches of a training are not timed, because memory is allocated and kernels are chosen in them."""


@dataclass(frozen=True)
class Stage:
    """Epochs that take the same time.

    size: (height, width) of their batches, or None for the size that augmentation gives. frozen: whether the encoder is
    frozen.
    """

    epochs: int
    size: tuple[int, int] | None
    frozen: bool


def stages_of(train: TrainConfig) -> tuple[Stage, ...]:
    """Return the stages of a training in the order of their first epochs, each with its number of epochs."""
    counts: dict[tuple[tuple[int, int] | None, bool], int] = {}
    for epoch in range(train.epochs):
        kind = train.size_in(epoch), epoch < train.freeze
        counts[kind] = counts.get(kind, 0) + 1
    return tuple(Stage(epochs, *kind) for kind, epochs in counts.items())


def validations_of(train: TrainConfig) -> int:
    """Return how often the held-out samples are validated: every `evaluate_every` epochs, and at the end."""
    between = (train.epochs - 1) // train.evaluate_every if train.evaluate_every else 0
    return between + 1


@dataclass(frozen=True)
class Pace:
    """Seconds of the parts of a training.

    batch: one batch. first: the extra time of all first batches together. epoch: the extra time at the end of an epoch.
    """

    batch: float
    first: float
    epoch: float


def pace(started: float, ends: Sequence[float], group: int, per_epoch: int) -> Pace:
    """Return the pace of a training that started at `started`, and whose batches ended at the moments `ends`.

    The time of a batch is the median over groups of `group` batches, which make a step of the optimiser. The first
    WARM_UP batches and the first batch of each further epoch are left out; the extra time of the latter is the time of
    the end of an epoch. Where there are fewer batches than needed, the figure is computed from those that there are.
    """
    assert ends, "no batch was trained"
    gaps = [end - before for before, end in zip((started, *ends), ends, strict=False)]
    skipped = min(WARM_UP, len(gaps) - 1)
    inner = [gap for number, gap in enumerate(gaps) if number >= skipped and (number == 0 or number % per_epoch)]
    inner = inner or gaps[skipped:]
    width = min(group, len(inner))
    groups = [inner[start : start + width] for start in range(0, len(inner) - width + 1, width)]
    batch = median(sum(some) / width for some in groups)
    crossed = [
        gap - batch for number, gap in enumerate(gaps) if number >= skipped and number and not number % per_epoch
    ]
    first = sum(gaps[:skipped]) - skipped * batch
    return Pace(batch, max(0.0, first), max(0.0, median(crossed)) if crossed else 0.0)


@dataclass(frozen=True)
class Timed:
    """One timed batch of whole images.

    pixels: the pixels of all its images, with padding. read, forward, write: seconds. forward is for one network in all
    views and scales.
    """

    pixels: int
    read: float
    forward: float
    write: float = 0.0


def at_pixels(known: Sequence[tuple[int, float]], pixels: int) -> float:
    """Return the seconds of a batch of `pixels` pixels by linear interpolation. `known` holds (pixels, seconds).

    Above the largest and below the smallest known batch, the seconds are proportional to the pixels.
    """
    points: dict[int, list[float]] = {}
    for size, seconds in known:
        points.setdefault(size, []).append(seconds)
    line = sorted((size, sum(values) / len(values)) for size, values in points.items())
    (least, quickest), (most, longest) = line[0], line[-1]
    if pixels <= least:
        return quickest * pixels / least
    for (low, before), (high, after) in pairwise(line):
        if pixels <= high:
            return before + (after - before) * (pixels - low) / (high - low)
    return longest * pixels / most


def whole_seconds(timed: Sequence[Timed], batches: Sequence[int], networks: int, ahead: float) -> float:
    """Return the seconds to predict batches with `networks` networks together, computed from timed batches.

    batches: the pixels of each batch. ahead: the share of the reading that worker processes do while the networks run;
    the time saved is at most the time of the networks.
    """
    read = sum(at_pixels([(one.pixels, one.read) for one in timed], pixels) for pixels in batches)
    forward = networks * sum(at_pixels([(one.pixels, one.forward) for one in timed], pixels) for pixels in batches)
    write = sum(at_pixels([(one.pixels, one.write) for one in timed], pixels) for pixels in batches)
    return forward + write + read - min(ahead * read, forward)


def training_seconds(
    train: TrainConfig, paces: Mapping[tuple[tuple[int, int] | None, bool], Pace], batches: int
) -> float:
    """Return the seconds of all epochs, each of `batches` batches. `paces` are by (size, frozen).

    The extra time of the first batches is counted once.
    """
    seconds = max((pace.first for pace in paces.values()), default=0.0)
    for stage in stages_of(train):
        found = paces[stage.size, stage.frozen]
        seconds += stage.epochs * (batches * found.batch + found.epoch)
    return seconds


def share_of_batches(batches: int, samples: int, of: int, processes: int) -> int:
    """Return the batches per epoch and process of a fold with `samples` training samples.

    The measured fold has `of` training samples and `batches` batches per epoch on one process.
    """
    return max(1, math.floor(batches * samples / of / processes + 1e-9))


def queue_seconds(folds: Sequence[float], folds_at_once: int) -> float:
    """Return the seconds until `folds_at_once` workers have trained all folds; a free worker takes the next fold."""
    free = [0.0] * max(1, folds_at_once)
    for seconds in folds:
        heapq.heappush(free, heapq.heappop(free) + seconds)
    return max(free)


def peak_bytes(training: int, whole: int, held: int, pixels: int) -> int:
    """Return the peak memory in bytes of a process that trains and then predicts, computed from a probe.

    training, whole: the peaks of the probe before and after its prediction. held: the bytes of decoded pixels that the
    probe holds all the time. pixels: the bytes of decoded pixels that a training holds; it frees them before it
    predicts.
    """
    trains = training - held + pixels
    return max(trains, whole - held) if whole > training else trains


def state_bytes(train: TrainConfig, weights: int, trained: int) -> int:
    """Return the bytes of a state: weights, their average (train.ema), and the moments of the optimiser.

    weights: bytes of the network's weights. trained: bytes of the parameters that are trained.
    """
    moments = {"adamw": 2, "sgd": 1 if train.momentum else 0}[train.optimizer]
    return weights + (weights if train.ema else 0) + moments * trained


def checkpoint_bytes(train: TrainConfig, weights: int, trained: int, folds: int) -> int:
    """Return the bytes of the checkpoints of all folds: last, best, raw, average and its snapshots, and two states.

    weights: bytes of one file of weights. trained: bytes of the parameters that are trained.
    """
    state = state_bytes(train, weights, trained)
    files = 2 + (1 if train.ema else 0) + (1 + train.average.count if train.average else 0)
    return folds * (files * weights + 2 * state)
