"""What a training will cost, reckoned from what a probe measured. Torch-free."""

from __future__ import annotations

import heapq
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from statistics import median

from medalist.engine.settings import TrainConfig

WARM_UP = 2
"""First steps of a training that do not count: memory is allocated and kernels are chosen in them."""


@dataclass(frozen=True)
class Stage:
    """Epochs that cost alike: batches of `size` = (height, width), None as augmentation makes them; encoder frozen."""

    epochs: int
    size: tuple[int, int] | None
    frozen: bool


def stages_of(train: TrainConfig) -> tuple[Stage, ...]:
    """The kinds of epochs of a training, with how many there are of each, in order of their first."""
    counts: dict[tuple[tuple[int, int] | None, bool], int] = {}
    for epoch in range(train.epochs):
        kind = train.size_in(epoch), epoch < train.freeze
        counts[kind] = counts.get(kind, 0) + 1
    return tuple(Stage(epochs, *kind) for kind, epochs in counts.items())


def validations_of(train: TrainConfig) -> int:
    """How often the held-out samples are validated: every `evaluate_every` epochs, and at the end."""
    between = (train.epochs - 1) // train.evaluate_every if train.evaluate_every else 0
    return between + 1


@dataclass(frozen=True)
class Pace:
    """Seconds of a training: of one batch, of what the first ones take beyond it, and of the end of an epoch."""

    batch: float
    first: float
    epoch: float


def pace(started: float, ends: Sequence[float], group: int, per_epoch: int) -> Pace:
    """The pace of a training whose batches ended at these moments.

    A batch takes the median over groups of `group` batches (a step of the optimiser), the first ones left out, and
    those in which an epoch ended: what they take longer is the epoch's. Fewer batches than that still give a figure.
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
    """One batch of whole images: its pixels (of all images, padded), and seconds to read, forward and write it.

    forward: by one network, in all views and scales.
    """

    pixels: int
    read: float
    forward: float
    write: float = 0.0


def at_pixels(known: Sequence[tuple[int, float]], pixels: int) -> float:
    """Seconds of a batch of so many pixels, from measured ones: a straight line between neighbours.

    Beyond the largest, and below the smallest, seconds follow the pixels.
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
    """Seconds of predicting batches of so many pixels each by `networks` at once, from those that were timed.

    ahead: the share of reading that is hidden behind the networks, as worker processes do it; at most what they take.
    """
    read = sum(at_pixels([(one.pixels, one.read) for one in timed], pixels) for pixels in batches)
    forward = networks * sum(at_pixels([(one.pixels, one.forward) for one in timed], pixels) for pixels in batches)
    write = sum(at_pixels([(one.pixels, one.write) for one in timed], pixels) for pixels in batches)
    return forward + write + read - min(ahead * read, forward)


def training_seconds(
    train: TrainConfig, paces: Mapping[tuple[tuple[int, int] | None, bool], Pace], batches: int
) -> float:
    """Seconds of all epochs of `batches` each; `paces` by (size, frozen), the warm-up counted once."""
    seconds = max((pace.first for pace in paces.values()), default=0.0)
    for stage in stages_of(train):
        found = paces[stage.size, stage.frozen]
        seconds += stage.epochs * (batches * found.batch + found.epoch)
    return seconds


def share_of_batches(batches: int, samples: int, of: int, processes: int) -> int:
    """Batches an epoch of a fold with `samples` training samples, where one with `of` has `batches`, on processes."""
    return max(1, math.floor(batches * samples / of / processes + 1e-9))


def queue_seconds(folds: Sequence[float], folds_at_once: int) -> float:
    """Seconds until a queue is empty: each of `folds_at_once` takes the next fold as soon as it is free."""
    free = [0.0] * max(1, folds_at_once)
    for seconds in folds:
        heapq.heappush(free, heapq.heappop(free) + seconds)
    return max(free)


def peak_bytes(training: int, whole: int, held: int, pixels: int) -> int:
    """The peak of a process that trains and then predicts, from what a probe has seen.

    training, whole: the probe's peaks before and after it predicted, in which it held `held` bytes of pixels all the
    time. A training keeps `pixels` bytes, and lets go of them before it predicts.
    """
    trains = training - held + pixels
    return max(trains, whole - held) if whole > training else trains


def state_bytes(train: TrainConfig, weights: int, trained: int) -> int:
    """Bytes of a state to go on from: weights, their average, and what the optimiser has gathered."""
    moments = {"adamw": 2, "sgd": 1 if train.momentum else 0}[train.optimizer]
    return weights + (weights if train.ema else 0) + moments * trained


def checkpoint_bytes(train: TrainConfig, weights: int, trained: int, folds: int) -> int:
    """Bytes of the checkpoints of all folds: last, best, average and its snapshots, and the two states.

    weights: bytes of one file of weights; trained: those of the parameters that the optimiser moves.
    """
    state = state_bytes(train, weights, trained)
    files = 2 + (1 + train.average.count if train.average else 0)
    return folds * (files * weights + 2 * state)
