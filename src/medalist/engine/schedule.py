"""Learning-rate schedules as pure functions of the step."""

from __future__ import annotations

import math
from typing import assert_never

from medalist.engine.settings import TrainConfig

POLY_POWER = 0.9
"""The power that DeepLab (arXiv 1606.00915) and nnU-Net use."""


def lr_factor(step: int, total: int, config: TrainConfig) -> float:
    """Return the factor on the highest learning rate in one step. `step` is 0..total-1.

    The last `round(hold * total)` steps stay at final_lr (at 1 with `constant`). At least the last step stays there;
    the first step never does. The warm-up takes the first `round(warmup * total)` steps, but leaves at least two steps
    after it: one at the peak of 1, and one at final_lr (where the schedule falls). The warm-up never starts at a factor
    of zero, because the first batch would be wasted.
    """
    held = max(1, min(round(config.hold * total), total - 1))
    end = total - held  # the first step at final_lr; with hold = 0 it is the last step
    warm = min(round(config.warmup * total), max(0, end - 1))
    floor = config.final_lr
    if step < warm:
        share = (step + 1) / (warm + 1)
        if config.schedule == "one_cycle":
            # Rises from a 25th of the peak by half a cosine (Smith and Topin, arXiv 1708.07120).
            return 1 / 25 + (1 - 1 / 25) * (1 - math.cos(math.pi * share)) / 2
        return share
    done = min(1.0, (step - warm) / max(1, end - warm))
    match config.schedule:
        case "constant":
            return 1.0
        case "cosine" | "one_cycle":
            return floor + (1 - floor) * (1 + math.cos(math.pi * done)) / 2
        case "poly":
            return floor + (1 - floor) * math.pow(1 - done, POLY_POWER)
        case _:
            assert_never(config.schedule)
