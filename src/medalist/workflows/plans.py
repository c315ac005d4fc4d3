"""What a training will cost, reckoned from what a probe measured; and how far off that was in the end. Torch-free.

runs/<competition>/<run>/plan.json    what `medalist plan` found; the board and the end of a training read it
"""

from __future__ import annotations

import heapq
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import pairwise
from statistics import median
from typing import Any

from medalist.engine.settings import TrainConfig
from medalist.errors import RunError
from medalist.files import read_json, write_json
from medalist.runs import Run
from medalist.workflows.cost import read_cost

PARTS = ("reading", "training", "looks", "oof", "test")
"""What time goes to: images are read once for all folds, the test part is predicted by all of them at once."""

BY_FOLD = ("training", "looks", "oof")
"""Parts that each fold has for itself; `cost.json` holds what they took."""

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


def looks_of(train: TrainConfig) -> int:
    """How often the held-out samples are looked at: every `evaluate_every` epochs, and at the end."""
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


def longest_lane(folds: Sequence[float], lanes: int) -> float:
    """Seconds until a queue is empty: each of `lanes` takes the next fold as soon as it is free."""
    free = [0.0] * max(1, lanes)
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


@dataclass(frozen=True)
class Option:
    """Another way to train: seconds of the whole plan with it, None where it could not be measured.

    changes: whether weights and predictions become others. note: why there is no figure, or what to mind.
    """

    change: str
    seconds: float | None
    changes: bool
    note: str = ""

    def gain(self, whole: float) -> float:
        """Share of the plan's time that it saves; below 0 where it takes longer."""
        assert self.seconds is not None
        return 1 - self.seconds / whole if whole else 0.0


def sorted_options(options: Sequence[Option]) -> list[Option]:
    """The fastest first, those without a figure last."""
    return sorted(options, key=lambda option: (option.seconds is None, option.seconds or 0.0, option.change))


@dataclass(frozen=True)
class Plan:
    """What a training is expected to cost.

    seconds: by part, over all folds. by_fold: of each fold, by the parts it has for itself. compute: seconds of
    processors or GPUs over all processes; wall: until the queue's last fold is done and the test part is predicted.
    disk: bytes of `checkpoints` and `predictions`. measured: the probe's figures. notes: what was not measured, in
    words.
    """

    config: str
    date: str
    machine: Mapping[str, Any]
    folds: tuple[int, ...]
    processes: int
    lanes: int
    seconds: Mapping[str, float]
    by_fold: Mapping[str, Mapping[str, float]]
    wall: float
    compute: float
    host_bytes: int
    device_bytes: int
    disk: Mapping[str, int]
    options: tuple[Option, ...]
    measured: Mapping[str, Any]
    notes: tuple[str, ...]
    probe_seconds: float

    @property
    def whole(self) -> float:
        """Seconds of all parts, one after the other."""
        return sum(self.seconds.values())


def write_plan(run: Run, plan: Plan) -> None:
    """Write `plan.json`, whole or not at all; figures that are not finite raise ValueError."""
    write_json(run.folder / "plan.json", asdict(plan))


def planned(run: Run, config: str) -> dict[int, float] | None:
    """Seconds planned for each fold (training, looks, OOF) of a run of the config with this hash.

    None where there is no plan, or one of another config. RunError where the file is damaged.
    """
    path = run.folder / "plan.json"
    if not path.exists():
        return None
    try:
        value = read_json(path)
        if not isinstance(value["config"], str):
            raise TypeError(value["config"])
        found = {int(fold): sum(_seconds(parts[name]) for name in BY_FOLD) for fold, parts in value["by_fold"].items()}
    except (LookupError, TypeError, ValueError, AttributeError):
        raise RunError(f"{path} is damaged; delete it, or run medalist plan again") from None
    return found if value["config"] == config else None


def took(run: Run, fold: int) -> float | None:
    """Seconds that a fold took to train and to predict; None before that was written. RunError where it is damaged."""
    cost = read_cost(run, fold)
    if cost is None:
        return None
    try:
        return _seconds(cost.train_seconds) + _seconds(cost.oof_seconds)
    except ValueError:
        path = run.fold_folder(fold) / "cost.json"
        raise RunError(f"{path} is damaged; delete it, it only says what the fold has cost") from None


def _seconds(value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < math.inf:
        raise ValueError(value)
    return float(value)


@dataclass(frozen=True)
class PlanError:
    """Seconds planned, and taken, over the folds that are done."""

    planned: float
    took: float

    @property
    def off(self) -> float:
        """How much longer it took, as a share of what was planned; below 0 where it was faster."""
        return self.took / self.planned - 1 if self.planned else 0.0

    @property
    def percent(self) -> str:
        """`off` in words: +6 %."""
        return f"{100 * self.off:+.0f} %"

    def __str__(self) -> str:
        return f"planned {short_clock(self.planned)}, took {short_clock(self.took)} ({self.percent})"


def plan_error(run: Run) -> PlanError | None:
    """How far a run's plan was off, over its folds that were planned and are done; None where there are none.

    RunError where `plan.json`, `lock.json` or a `cost.json` is damaged.
    """
    by_fold = planned(run, run.lock().config)
    if by_fold is None:
        return None
    taken = {fold: seconds for fold in by_fold if (seconds := took(run, fold)) is not None}
    return PlanError(sum(by_fold[fold] for fold in taken), sum(taken.values())) if taken else None


def clock(seconds: float) -> str:
    """h:mm:ss."""
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes // 60}:{minutes % 60:02}:{rest:02}"


def short_clock(seconds: float) -> str:
    """m:ss below an hour, else h:mm:ss."""
    return clock(seconds) if seconds >= 3599.5 else "{}:{:02}".format(*divmod(round(seconds), 60))


def in_bytes(count: float) -> str:
    """Megabytes, or gigabytes from one on."""
    return f"{count / 1e9:.2f} GB" if count >= 1e9 else f"{count / 1e6:.0f} MB"
