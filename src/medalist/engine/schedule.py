"""Learning-rate schedules as pure functions of the step."""

from __future__ import annotations

import math
from typing import assert_never

from medalist.engine.settings import TrainConfig

POLY_POWER = 0.9
"""As in DeepLab (arXiv 1606.00915) and nnU-Net."""


def lr_factor(step: int, total: int, config: TrainConfig) -> float:
    """The factor on the highest learning rate in step 0..total-1 of all steps.

    The last `round(hold * total)` steps, but not the first one, rest at final_lr (at 1 under `constant`), which the
    fall has reached by then. The warm-up takes the first `round(warmup * total)` steps, but leaves at least two before
    the rest ends: for the peak of 1, and for the end at final_lr (where the schedule falls). It never starts at zero,
    where the first batch would be wasted.
    """
    held = max(1, min(round(config.hold * total), total - 1))
    end = total - held  # the first step at final_lr; without a rest it is the last one
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
