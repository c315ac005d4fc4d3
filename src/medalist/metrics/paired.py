"""Compare two runs on the folds and samples that both have: the difference and its standard error. Torch-free.

Both runs are scored on the same samples of the same folds, so a sample that is hard for one run is hard for the other.
The difference is computed for each fold (or sample) before averaging; therefore its standard error is much smaller than
that of either score.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean, stdev


@dataclass(frozen=True)
class Paired:
    """One run's score minus another's.

    difference: the mean difference of their scores over the folds that both have. by_folds: the standard error of this
    mean; None for fewer than two folds, and not precise for few folds.
    by_samples: the standard error of the mean difference over samples; None for fewer than two. It assumes that samples
    are independent, so it is too small where samples come in groups. It does not include the randomness of training.
    folds, samples: how many both runs have.
    """

    difference: float
    by_folds: float | None
    by_samples: float | None
    folds: int
    samples: int

    @property
    def standard_error(self) -> float | None:
        """The standard error by folds where there are at least two folds, else by samples."""
        return self.by_samples if self.by_folds is None else self.by_folds


def paired(
    folds: Mapping[str, float],
    samples: Mapping[str, float],
    base_folds: Mapping[str, float],
    base_samples: Mapping[str, float],
) -> Paired | None:
    """Compare a run with a base run, from the scores of both by fold and by sample id.

    Only folds and samples that both runs have are compared. Returns None where no fold is in both.
    """
    shared = [fold for fold in folds if fold in base_folds]
    if not shared:
        return None
    by_fold = [folds[fold] - base_folds[fold] for fold in shared]
    by_sample = sample_differences(samples, base_samples)
    return Paired(fmean(by_fold), standard_error(by_fold), standard_error(by_sample), len(by_fold), len(by_sample))


def sample_differences(samples: Mapping[str, float], base: Mapping[str, float]) -> list[float]:
    """Return the score of the first run minus that of the second, for each sample that both have."""
    return [value - base[name] for name, value in samples.items() if name in base]


def clearly_behind(samples: Mapping[str, float], best: Mapping[str, float], errors: float = 2.0) -> bool:
    """Return whether a run is worse than the best run by more than chance.

    It is where the mean difference over the samples that both have, plus `errors` standard errors, is still below 0.
    With fewer than two common samples the result is False.
    """
    differences = sample_differences(samples, best)
    error = standard_error(differences)
    return error is not None and fmean(differences) + errors * error < 0


def standard_error(values: Sequence[float]) -> float | None:
    """Return the standard error of the mean of independent values, sd / sqrt(n); None for fewer than two values."""
    return stdev(values) / math.sqrt(len(values)) if len(values) > 1 else None
