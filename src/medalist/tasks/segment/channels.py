"""What the network's output channels stand for: classes of masks, or planes made from instances. Torch-free."""

from __future__ import annotations

import re
from collections.abc import Sequence
from difflib import get_close_matches
from typing import Literal

from medalist.errors import ConfigError

Activation = Literal["sigmoid", "softmax"]
"""How logits become probabilities: each channel alone, or all channels of a pixel with the sum 1."""

BACKGROUND = "background"
"""The plane of instances that is where no other plane is; by convention also the name of a contest's first class."""

INSTANCE_PLANES = ("body", "border", "contour", BACKGROUND)
"""Planes of 0 and 1 that instances give, beside those of `energy_level`."""

OFFSETS = ("offset_y", "offset_x")
"""Planes with the way from each pixel to the centre of its object, down and to the right; see `data.offsets`."""

REGRESSIONS = ("distance", *OFFSETS)
"""Planes of instances that are numbers in 0..1, and not 0 or 1."""


def energy_level(channel: str) -> int | None:
    """Return 1, 2, … for the channels `energy1`, `energy2`, …; None for all others."""
    found = re.fullmatch(r"energy([1-9][0-9]?)", channel)
    return int(found[1]) if found else None


def is_regression(channel: str) -> bool:
    """Whether a channel is a number in 0..1, which the term `regression` compares, and no probability."""
    return channel in REGRESSIONS


def class_numbers(channels: Sequence[str], classes: Sequence[str], activation: Activation) -> tuple[int, ...]:
    """Return for each channel the number of its class in masks.

    classes: the contest's names of the numbers 0, 1, …; empty where it names none. With names, a channel is the class
    of its name; softmax needs all of them in the contest's order. Without names, channel k is class k under softmax and
    class k + 1 under sigmoid; a single channel under sigmoid stands for all classes above 0, and its number is 1.
    Raises ConfigError for a channel without a class.
    """
    if activation == "softmax" and len(channels) < 2:
        raise ConfigError(
            f"task.activation = softmax needs two channels or more, and model.channels are {', '.join(channels)}; "
            "name a channel for each class, or take sigmoid"
        )
    if not classes:
        first = 0 if activation == "softmax" else 1
        return tuple(range(first, first + len(channels)))
    for name in channels:
        if name not in classes:
            near = get_close_matches(name, classes, n=1)
            hint = f"; did you mean '{near[0]}'?" if near else ""
            raise ConfigError(f"model.channels: the contest has no class '{name}', only {', '.join(classes)}{hint}")
    if activation == "softmax" and tuple(channels) != tuple(classes):
        raise ConfigError(
            "task.activation = softmax needs all classes in the contest's order: set model.channels to "
            f"[{', '.join(classes)}]"
        )
    return tuple(classes.index(name) for name in channels)
