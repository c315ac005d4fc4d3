"""Choose from candidates those that help together, one after the other, by the scores of samples. Torch-free."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from math import sqrt

import numpy as np
from numpy.typing import NDArray

Chosen = tuple[int, ...]
"""Numbers of candidates, ascending."""

Scores = Callable[[Chosen], NDArray[np.float64]]
"""A function: chosen candidates -> the score of each sample with them, float64[S]. () is the base, without any."""


@dataclass(frozen=True)
class Gain:
    """A mean difference over samples and its standard error, which is infinite for fewer than two samples."""

    mean: float
    error: float

    @property
    def is_clear(self) -> bool:
        """Whether the difference is above one standard error."""
        return self.mean > self.error


def gain_of(scores: NDArray[np.float64], base: NDArray[np.float64]) -> Gain:
    """Return the gain of one choice over another on the same samples, both float64[S]."""
    difference = scores - base
    if len(difference) < 2:
        return Gain(float(difference.mean()) if len(difference) else 0.0, float("inf"))
    return Gain(float(difference.mean()), float(difference.std(ddof=1)) / sqrt(len(difference)))


def greedy(candidates: Collection[int], scores: Scores, samples: NDArray[np.bool_]) -> Chosen:
    """Add one candidate after the other, each time the one that gains most, while it gains clearly.

    samples: bool[S], the samples on which gains are computed. The gain of a candidate is taken to become smaller when
    others are chosen, so that only candidates that may still be the best are tried again.
    """
    chosen: Chosen = ()
    base = scores(())[samples]
    expected = {one: gain_of(scores((one,))[samples], base) for one in sorted(candidates)}
    while expected:
        fresh: set[int] = set()
        while True:
            best = max(expected, key=lambda one: (expected[one].mean, -one))
            if best in fresh or not chosen:
                break
            expected[best] = gain_of(scores(_with(chosen, best))[samples], base)
            fresh.add(best)
        if not expected[best].is_clear:
            break
        chosen = _with(chosen, best)
        base = scores(chosen)[samples]
        del expected[best]
    return chosen


def judged(candidates: Collection[int], scores: Scores, parts: NDArray[np.int64]) -> NDArray[np.float64]:
    """Return the score of each sample with what `greedy` chooses on the other parts: float64[S].

    parts: int64[S], the part of each sample.
    """
    found = np.empty(len(parts))
    for part in np.unique(parts):
        mine = parts == part
        found[mine] = scores(greedy(candidates, scores, ~mine))[mine]
    return found


def _with(chosen: Sequence[int], one: int) -> Chosen:
    return tuple(sorted({*chosen, one}))
