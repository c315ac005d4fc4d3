"""Two runs compared on what both were asked: the difference and how sure it is. Torch-free.

Both runs are scored on the same samples of the same folds, so what is hard for one is hard for the other. The
difference is taken within each fold (or sample) before anything is averaged, and its standard error is then much
smaller than that of either score.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean, stdev


@dataclass(frozen=True)
class Paired:
    """One run's score minus another's.

    difference: the mean over the folds that both have of the difference of their scores. by_folds: its standard error,
    that of the mean of these differences; None for fewer than two folds, and rough for few.
    by_samples: the standard error of the mean difference over samples, None for fewer than two. It takes samples as
    independent (too small where they come in groups) and each network as given (it leaves out the luck of training).
    """

    difference: float
    by_folds: float | None
    by_samples: float | None
    folds: int
    samples: int

    @property
    def standard_error(self) -> float | None:
        """By folds where there are at least two, else by samples."""
        return self.by_samples if self.by_folds is None else self.by_folds


def paired(
    folds: Mapping[str, float],
    samples: Mapping[str, float],
    base_folds: Mapping[str, float],
    base_samples: Mapping[str, float],
) -> Paired | None:
    """Compare a run with a base: scores by fold and by sample id of both. None where no fold is in both.

    `samples` and `base_samples` may have samples of further folds: only those that both have are compared.
    """
    shared = [fold for fold in folds if fold in base_folds]
    if not shared:
        return None
    by_fold = [folds[fold] - base_folds[fold] for fold in shared]
    by_sample = sample_differences(samples, base_samples)
    return Paired(fmean(by_fold), standard_error(by_fold), standard_error(by_sample), len(by_fold), len(by_sample))


def sample_differences(samples: Mapping[str, float], base: Mapping[str, float]) -> list[float]:
    """What the first has over the second on each sample that both have."""
    return [value - base[name] for name, value in samples.items() if name in base]


def clearly_behind(samples: Mapping[str, float], best: Mapping[str, float], errors: float = 2.0) -> bool:
    """Whether a run is worse than the best one by more than chance: its mean difference over the samples that both
    have, and `errors` of its standard errors added, is still below 0. Never on fewer than two samples.
    """
    differences = sample_differences(samples, best)
    error = standard_error(differences)
    return error is not None and fmean(differences) + errors * error < 0


def standard_error(values: Sequence[float]) -> float | None:
    """Standard error of the mean of independent values, sd / sqrt(n); None for fewer than two."""
    return stdev(values) / math.sqrt(len(values)) if len(values) > 1 else None
