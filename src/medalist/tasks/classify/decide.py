"""Make labels from probabilities or grades. Torch-free."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import assert_never

import numpy as np
from numpy.typing import NDArray

from medalist.config import OwnConfig
from medalist.errors import ConfigError
from medalist.parts import OwnParts, running
from medalist.records import Labels
from medalist.tasks.classify.decide_settings import (
    ArgmaxConfig,
    DecideConfig,
    RegressionConfig,
    ThresholdConfig,
    ThresholdsConfig,
)

Values = NDArray[np.float64]


def refuse_unfit(config: DecideConfig, classes: Sequence[str]) -> None:
    """Raise ConfigError where the decision's settings do not fit the contest's classes."""
    match config:
        case ThresholdsConfig(thresholds=dict(named)):
            unknown = [name for name in named if name not in classes]
            if unknown:
                listed = ", ".join(classes[:20])
                raise ConfigError(f"decide.thresholds: there is no class '{unknown[0]}'; there are: {listed}")
        case RegressionConfig(cuts=tuple(cuts)) if len(cuts) != len(classes) - 1:
            raise ConfigError(f"decide.cuts has {len(cuts)} numbers; {len(classes)} grades need {len(classes) - 1}")
        case RegressionConfig(cuts=tuple(cuts)) if cuts and not (cuts[0] >= 0 and cuts[-1] <= len(classes) - 1):
            raise ConfigError(f"decide.cuts = {list(cuts)}: cuts lie between the grades 0 and {len(classes) - 1}")
        case ArgmaxConfig(top=top) if top > len(classes):
            raise ConfigError(f"decide.top = {top}, but there are {len(classes)} classes")
        case _:
            return


def is_tuned(config: DecideConfig) -> bool:
    """Return whether the thresholds or cuts of the decision are tuned on OOF predictions."""
    match config:
        case ThresholdConfig():
            return config.threshold == "tuned"
        case ThresholdsConfig():
            return config.thresholds == "tuned"
        case RegressionConfig():
            return config.cuts == "tuned"
        case _:
            return False


def default_thresholds(config: DecideConfig, classes: Sequence[str]) -> Values:
    """Return the numbers of a decision before tuning: thresholds float64[C] or cuts float64[C-1]; none for argmax."""
    match config:
        case ThresholdConfig():
            return np.full(len(classes), 0.5 if config.threshold == "tuned" else config.threshold)
        case ThresholdsConfig():
            named: Mapping[str, float] = {} if isinstance(config.thresholds, str) else config.thresholds
            return np.array([named.get(name, 0.5) for name in classes], np.float64)
        case RegressionConfig():
            if isinstance(config.cuts, str):
                return np.arange(0.5, len(classes) - 1)
            return np.array(config.cuts, np.float64)
        case ArgmaxConfig() | OwnConfig():
            return np.empty(0)
        case _:
            assert_never(config)


def grades(values: Values) -> Values:
    """Return the grade of each row, float64[N].

    It is the mean grade of class probabilities [N, C], or the only column of grades [N, 1].
    """
    return values[:, 0] if values.shape[1] == 1 else values @ np.arange(values.shape[1])


OwnDecide = Callable[[Values, Sequence[str]], tuple[str, ...]]
"""A function: a row of values and the classes -> the names of its labels, the best first."""


def own_decide(config: DecideConfig, own: OwnParts) -> OwnDecide | None:
    """Return the function of the contest's folder that a config names, or None where it names none.

    The function: one row float64[C] of probabilities (or float64[1], a grade), and the classes -> the names of its
    labels, the best first. Raises ConfigError where there is none of this name; the function raises it where it fails,
    or where it answers something else.
    """
    if not isinstance(config, OwnConfig):
        return None
    function = own.find("DECIDES", config, "decide", 2)

    def names(row: Values, classes: Sequence[str]) -> tuple[str, ...]:
        assert own.file is not None
        with running(own.file, f"decide = {config.name} fails"):
            found = function(row.copy(), tuple(classes))
        if isinstance(found, str) or not isinstance(found, Sequence) or not all(name in classes for name in found):
            raise ConfigError(
                f"decide = {config.name} gives {found!r:.100}, and must give a tuple of names of classes, such as "
                f"('{classes[0]:.60}',)"
            )
        if len(set(found)) < len(found):
            raise ConfigError(f"decide = {config.name} gives a class twice: {found!r:.100}")
        return tuple(found)

    return names


def decide(
    values: Values,
    config: DecideConfig,
    numbers: Values,
    classes: Sequence[str],
    own: OwnDecide | None = None,
) -> list[Labels]:
    """Return the labels of each row of float64[N, C] (probabilities) or [N, 1] (grades).

    numbers: thresholds or cuts, from `default_thresholds` or from tuning. own: what `own_decide` returned. The answers
    keep the probabilities, where there are any, because some formats write them.
    """
    names = decided_names(values, config, numbers, classes, own)
    if values.shape[1] == 1 and len(classes) > 1:
        return [Labels(one) for one in names]
    return [Labels(one, row) for one, row in zip(names, values, strict=True)]


def decided_names(
    values: Values,
    config: DecideConfig,
    numbers: Values,
    classes: Sequence[str],
    own: OwnDecide | None = None,
) -> list[tuple[str, ...]]:
    """Return only the names of the labels of each row; see `decide`."""
    match config:
        case OwnConfig():
            assert own is not None
            return [own(row, classes) for row in values]
        case ArgmaxConfig():
            best = np.argsort(-values, axis=1, kind="stable")[:, : config.top]
            return [tuple(classes[at] for at in row) for row in best.tolist()]
        case RegressionConfig():
            cut = np.searchsorted(numbers, grades(values), side="right")
            return [(classes[at],) for at in cut.tolist()]
        case ThresholdConfig() | ThresholdsConfig():
            rows = decided_flags(values, numbers, config.least, config.most)
            order = np.argsort(-values, axis=1, kind="stable")  # the most probable first, as ranked formats need it
            ranked = zip(order.tolist(), rows.tolist(), strict=True)
            return [tuple(classes[at] for at in places if flags[at]) for places, flags in ranked]
        case _:
            assert_never(config)


def decided_flags(values: Values, thresholds: Values, least: int = 0, most: int | None = None) -> NDArray[np.bool_]:
    """Return which classes are chosen, bool[N, C]: those above their thresholds, from `least` up to `most` of them.

    Where too few are above their thresholds, the most probable other classes are added. Where too many are, the most
    probable of them are kept.
    """
    flags: NDArray[np.bool_] = values > thresholds
    if least or most is not None:
        order = np.argsort(-values, axis=1, kind="stable")
        rank = np.empty_like(order)
        np.put_along_axis(rank, order, np.arange(values.shape[1])[np.newaxis], axis=1)
        count = np.clip(flags.sum(axis=1), least, values.shape[1] if most is None else most)
        # Classes above their thresholds come first, then all by probability, so that a class with a low threshold is
        # not replaced by a more probable class that is below its threshold.
        order = np.lexsort((rank, ~flags), axis=1)
        place = np.empty_like(order)
        np.put_along_axis(place, order, np.arange(values.shape[1])[np.newaxis], axis=1)
        flags = place < count[:, np.newaxis]
    return flags
