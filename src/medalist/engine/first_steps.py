"""What a few steps on copies of the network tell: whether one batch can be learned, and which learning rates work."""

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
"""The share of the first loss that must be left at most."""

STAYS = 3
"""Losses in a row at the goal that end it."""

SURE = 20.0
"""The highest logit of a perfect answer."""

LOWEST_LR, HIGHEST_LR = 1e-7, 1.0
DIVERGED = 4.0
SMOOTHING = 0.8
"""Weight of the past in the smoothed loss. It lags four steps behind, a quarter of a decade in 100 steps; the 0.98 of
longer tests would lag three decades."""

SETTLES = 10
"""Steps after which the smoothed loss says more of the rate than of the batch."""


@dataclass(frozen=True)
class Overfit:
    """How one batch is learned by heart.

    losses: before each step, the last one after all; it ends early where one is not finite, or the last STAYS are at
    the goal. best: what a perfect answer would give, where that is known, else 0. goal: best and a tenth of the way
    from it to the first loss.
    """

    lr: float
    losses: tuple[float, ...]
    best: float
    goal: float

    @property
    def finite(self) -> bool:
        """Whether all losses were."""
        return all(math.isfinite(loss) for loss in self.losses)

    @property
    def learned(self) -> bool:
        """Whether the loss is at the goal in the end."""
        return self.finite and self.losses[-1] <= self.goal


@dataclass(frozen=True)
class LrRange:
    """A learning-rate range test (Smith, arXiv 1506.01186).

    rates, losses: of each step; smoothed: their mean with weights that fall into the past. steepest: the rate at which
    the smoothed loss fell fastest; tenth: a tenth of the rate at its minimum; both None where it never fell. diverged:
    whether it ended because the smoothed loss was above four times its best, or not finite.
    """

    rates: tuple[float, ...]
    losses: tuple[float, ...]
    smoothed: tuple[float, ...]
    steepest: float | None
    tenth: float | None
    diverged: bool


def losses_of_steps(job: TrainJob, batches: Iterable[Batch], rates: Iterable[float]) -> Iterator[float]:
    """Step once with each rate on the next batch; yield the loss before each step.

    Not `engine.train.fit`: that is a whole training, with evaluation, averages and files in each of its epochs. What
    decides a step is the same: copy of the network, optimiser and its groups, precision, clipping.
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
    """Learn one batch, always the same pixels, for at most so many steps at a constant rate; None: the config's lr.

    A network and a loss that fit each other and the targets get there; one that cannot learn four images by heart will
    not learn four thousand.
    """
    rate, best = job.config.lr if lr is None else lr, perfect_loss(job, batch)
    losses: list[float] = []
    for loss in losses_of_steps(job, (batch for _ in range(steps + 1)), (rate for _ in range(steps + 1))):
        losses.append(loss)
        best = best if best < losses[0] else 0.0  # else outputs are no logits of the target
        goal = best + LEARNED * max(0.0, losses[0] - best)
        if not math.isfinite(loss) or (len(losses) > STAYS and max(losses[-STAYS:]) <= goal):
            break
    return Overfit(rate, tuple(losses), best, goal)


def perfect_loss(job: TrainJob, batch: Batch) -> float:
    """The loss of right logits, sure where the target is; 0 where it is not known what these are."""
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
    """Raise the rate from `low` to `high` by the same factor in each step, and see where the loss falls and explodes.

    `batches` are taken one a step; where they end, so does the test. Stops early as `LrRange.diverged` says.
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
    """Where the smoothed loss falls fastest by the logarithm of the rate, and a tenth of where it is lowest.

    The first steps are left out: there the mean is still of few batches. None and None where the loss does not fall by
    a hundredth of what it was.
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
