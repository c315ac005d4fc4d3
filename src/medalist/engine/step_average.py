"""The exponential moving average of the weights over steps (train.ema), whose decay is warmed up."""

from __future__ import annotations

import math

from timm.utils.model_ema import ModelEmaV3
from torch import nn

from medalist.engine.settings import TrainConfig

LEFT_OVER = 0.1
"""From this share of the first weights on, which the decay alone would leave in the average, the user is told."""

FORGOTTEN = 0.01
"""The share of the first weights that the advised decay would leave."""


def step_average(model: nn.Module, config: TrainConfig) -> ModelEmaV3 | None:
    """Return the average of a network's weights over steps, which begins with its present weights; None without one."""
    return ModelEmaV3(model, decay=config.ema) if config.ema else None


def warmed(decay: float, step: int) -> float:
    """Return the decay of one step, counted from 0: at most `decay`, and lower in the first steps.

    min(decay, (1 + n) / (10 + n)) is the rule of TensorFlow's `ExponentialMovingAverage` with `num_updates`. After n
    steps the average then spans about the last n / 9 steps. Without this rule the first, random weights have the share
    decay ** n of the average, which is 0.99 after 60 steps with a decay of 0.9998. The number of the step is known from
    the place in the training, so a state need not hold it, and a state of an older version is continued in this way.
    """
    return min(decay, (1 + step) / (10 + step))


def follow(average: ModelEmaV3, model: nn.Module, config: TrainConfig, step: int) -> None:
    """Move the average towards the network's weights after the optimiser's step `step`, counted from 0."""
    average.decay = warmed(config.ema, step)
    average.update(model)


def too_slow(config: TrainConfig, steps: int) -> str:
    """Return a line where the decay is too high for a training of so many steps, and the decay to type; else empty."""
    share = config.ema**steps
    if not config.ema or share <= LEFT_OVER:
        return ""
    return (
        f"train.ema={config.ema:g} is made for more than {steps} steps: alone it would leave {100 * share:.0f} % of "
        f"the first weights in the average, so it is warmed up and spans about the last {math.ceil(steps / 9)} steps; "
        f"type train.ema={advised(steps):g} for this training, or train.keep=raw for the weights without average"
    )


def advised(steps: int) -> float:
    """Return the decay, rounded to one digit of its distance from 1, that leaves 1 % of the first weights."""
    return 1 - float(f"{1 - FORGOTTEN ** (1 / max(1, steps)):.1g}")
