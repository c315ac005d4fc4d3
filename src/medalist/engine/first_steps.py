"""Two tests of a few steps on copies of the network: can it overfit one batch, and which learning rates work?"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice

import torch
from torch import Tensor

from medalist.data.loader import Batch
from medalist.engine.inspect import own_copy
from medalist.engine.job import TrainJob
from medalist.engine.optimizer import make_optimizer

LEARNED = 0.1
"""A batch counts as learned when at most this share of the first loss, above the best possible loss, is left."""

STAYS = 3
"""The test ends when this number of losses in a row have reached the goal."""

SURE = 20.0
"""The highest absolute logit of a perfect output."""

LOWEST_LR, HIGHEST_LR = 1e-7, 1.0
DIVERGED = 4.0
SMOOTHING = 0.8
"""Weight of the earlier losses in the smoothed loss. The smoothed loss lags four steps behind, which is a quarter of a
decade of the learning rate in a test of 100 steps. The usual 0.98 of longer tests would lag three decades."""

SETTLES = 10
"""After this number of steps the smoothed loss depends more on the learning rate than on single batches."""


@dataclass(frozen=True)
class Overfit:
    """How the network overfits one batch.

    losses: the loss before each step, and the loss after the last step. They end early where a loss is not finite, or
    where the last STAYS losses have reached the goal. best: the loss of a perfect output, or 0 where it is not known.
    goal: best + LEARNED * (first loss - best).
    """

    lr: float
    losses: tuple[float, ...]
    best: float
    goal: float

    @property
    def finite(self) -> bool:
        """Whether all losses were finite."""
        return all(math.isfinite(loss) for loss in self.losses)

    @property
    def learned(self) -> bool:
        """Whether the last loss has reached the goal."""
        return self.finite and self.losses[-1] <= self.goal


@dataclass(frozen=True)
class LrRange:
    """A learning-rate range test (Smith, arXiv 1506.01186).

    rates, losses: the learning rate and the loss of each step. smoothed: the exponential moving average of the losses.
    steepest: the rate at which the smoothed loss fell fastest. tenth: a tenth of the rate at which the smoothed loss
    was lowest. Both are None where the smoothed loss never fell. diverged: whether the test ended because the smoothed
    loss was above four times its minimum, or the loss was not finite.
    """

    rates: tuple[float, ...]
    losses: tuple[float, ...]
    smoothed: tuple[float, ...]
    steepest: float | None
    tenth: float | None
    diverged: bool


def losses_of_steps(job: TrainJob, batches: Iterable[Batch], rates: Iterable[float]) -> Iterator[float]:
    """Make one step with each rate on the next batch; yield the loss before each step.

    The steps are made on a copy of the network. `engine.train.fit` is not used, because it is a whole training with
    validation, averages and files in each epoch. A step here is the same as there: it has the same optimiser and
    groups, precision and clipping.
    """
    own = own_copy(job)
    model, optimizer = own.fabric.setup(own.model, make_optimizer(own.model, own.config))
    factors = [float(group["lr"]) / own.config.lr for group in optimizer.param_groups]
    for batch, rate in zip(batches, rates, strict=False):
        for group, factor in zip(optimizer.param_groups, factors, strict=True):
            group["lr"] = rate * factor
        loss = own.task.loss(model(batch.image), batch)["loss"]
        yield float(loss.detach())
        own.fabric.backward(loss)
        if own.config.clip:
            own.fabric.clip_gradients(model, optimizer, max_norm=own.config.clip, error_if_nonfinite=False)
        optimizer.step()
        optimizer.zero_grad()


def overfit(job: TrainJob, batch: Batch, steps: int, lr: float | None = None) -> Overfit:
    """Train on one batch, always with the same pixels, for at most `steps` steps at the constant rate `lr`.

    lr: None stands for the lr of the config. The goal is reached where network, loss and targets fit together. A
    network that cannot overfit four images will not learn four thousand.
    """
    rate, best = job.config.lr if lr is None else lr, perfect_loss(job, batch)
    losses: list[float] = []
    for loss in losses_of_steps(job, (batch for _ in range(steps + 1)), (rate for _ in range(steps + 1))):
        losses.append(loss)
        best = best if best < losses[0] else 0.0  # otherwise the outputs are not logits of the target
        goal = best + LEARNED * max(0.0, losses[0] - best)
        if not math.isfinite(loss) or (len(losses) > STAYS and max(losses[-STAYS:]) <= goal):
            break
    return Overfit(rate, tuple(losses), best, goal)


def perfect_loss(job: TrainJob, batch: Batch) -> float:
    """Return the loss of perfect logits for the batch's target, or 0 where the target cannot give perfect logits."""
    logits = None if batch.target is None else batch.target.perfect_logits(SURE)
    if logits is None:
        return 0.0
    own = own_copy(job)
    with torch.no_grad():
        loss: Tensor = own.task.loss(logits, batch)["loss"]
    return float(loss)


def lr_range(
    job: TrainJob, batches: Iterable[Batch], steps: int, low: float = LOWEST_LR, high: float = HIGHEST_LR
) -> LrRange:
    """Raise the learning rate from `low` to `high` by the same factor in each step, and record the losses.

    Each step takes one of `batches`, and the test ends where they end. It stops early where the loss diverges
    (see `LrRange.diverged`).
    """
    assert steps >= 2 and 0 < low < high, (steps, low, high)
    rates = [low * (high / low) ** (step / (steps - 1)) for step in range(steps)]
    losses: list[float] = []
    smoothed: list[float] = []
    mean, diverged = 0.0, False
    for loss in losses_of_steps(job, islice(batches, steps), rates):
        losses.append(loss)
        mean = SMOOTHING * mean + (1 - SMOOTHING) * loss
        smoothed.append(mean / (1 - SMOOTHING ** len(losses)))
        if not math.isfinite(loss) or (len(losses) > SETTLES and smoothed[-1] > DIVERGED * min(smoothed)):
            diverged = True
            break
    taken = rates[: len(losses)]
    steepest, tenth = suggested(taken, smoothed)
    return LrRange(tuple(taken), tuple(losses), tuple(smoothed), steepest, tenth, diverged)


def suggested(rates: Sequence[float], smoothed: Sequence[float]) -> tuple[float | None, float | None]:
    """Return the rate at which the smoothed loss falls fastest over log(rate), and a tenth of the rate at its minimum.

    The first steps are left out, because the mean of few batches is too noisy. Returns (None, None) where the loss does
    not fall by at least a hundredth of its first value.
    """
    skip = min(SETTLES, len(rates) // 4)
    values = [value for value in smoothed[skip:] if math.isfinite(value)]
    along = rates[skip : skip + len(values)]
    if len(values) < 3:
        return None, None
    lowest = min(range(len(values)), key=values.__getitem__)
    if values[lowest] > values[0] - 0.01 * abs(values[0]) or lowest < 2:
        return None, None
    falls = [
        (values[at + 1] - values[at - 1]) / (math.log(along[at + 1]) - math.log(along[at - 1]))
        for at in range(1, lowest)
    ]
    steepest = 1 + min(range(len(falls)), key=falls.__getitem__)
    return along[steepest], along[lowest] / 10
