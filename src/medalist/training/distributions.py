"""From the keys of a sweep to the distributions that Optuna samples."""

from __future__ import annotations

from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution

from medalist.training.axes import Axis, Choice


def distribution(axis: Axis) -> BaseDistribution:
    """Return the distribution from which Optuna samples the values of a key."""
    if isinstance(axis, Choice):
        return CategoricalDistribution(axis.values)
    if axis.whole:
        return IntDistribution(int(axis.low), int(axis.high), log=axis.log)
    return FloatDistribution(axis.low, axis.high, log=axis.log)
