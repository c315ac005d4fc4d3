"""The score of a run by the thresholds of its decision, from stored OOF maps: is the threshold right? Torch-free."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from hashlib import sha256
from typing import Any, assert_never

import numpy as np

from medalist.postprocess.classes import ClassRoles
from medalist.postprocess.decide import decide
from medalist.postprocess.settings import ClassesConfig, DecideConfig, ThresholdConfig, WatershedConfig
from medalist.records import Answer, MapPrediction, Sample, Score

STEPS = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9)
"""The thresholds that are tried, beside the one that the run was scored with."""
FAST, SLOW = 60_000_000, 4_000_000
"""Pixels that are decided for each threshold at most: of masks, and of objects by watershed, which is slower."""
MANY = 8
"""Of more classes than this, every second threshold is tried, because each class has thresholds of its own."""


@dataclass(frozen=True)
class Sweep:
    """The score by one threshold of the decision, of `samples` of the run's `of` scored samples.

    name: the key of `decide`. used: its value in the run's score. thresholds: ascending. scores: of all samples that
    were tried. folds: the same by fold, empty where the score is no mean over samples. honest: the score with each fold
    decided by the threshold that is best on the other folds, None where it is not known. channel: of the class whose
    threshold this is, where each class has its own; "" where the threshold is that of all. setting: the values of all
    channels in the run's score, for a class.
    """

    name: str
    used: float
    thresholds: tuple[float, ...]
    scores: tuple[float, ...]
    folds: Mapping[int, tuple[float, ...]]
    honest: float | None
    samples: int
    of: int
    channel: str = ""
    setting: Mapping[str, float] = field(default_factory=dict)

    @property
    def now(self) -> float:
        """The score at the threshold that is used."""
        return self.scores[self.thresholds.index(self.used)]

    @property
    def best(self) -> float:
        """The threshold with the highest score; of equal ones the nearest to the one that is used."""
        return self.thresholds[_best(self.scores, self.thresholds, self.used)]


@dataclass(frozen=True)
class _Tried:
    """A threshold to try. name, used, channel, setting: as in `Sweep`. changed: value -> the decision with it."""

    name: str
    used: float
    changed: Callable[[float], DecideConfig]
    channel: str = ""
    setting: Mapping[str, float] = field(default_factory=dict)


def swept(
    how: DecideConfig,
    samples: Sequence[Sample],
    truths: Mapping[str, Answer],
    fold_of: Callable[[str], int],
    maps_of: Callable[[str], MapPrediction],
    score: Callable[[Mapping[str, Answer], Mapping[str, Answer]], Score],
    roles: ClassRoles | None = None,
) -> list[Sweep]:
    """Return the score by each threshold of the decision that matters most; for classes also by each class's own.

    Samples are taken in the order of a hash of their ids, until they have as many pixels as the decision may cost.

    Args:
        how: the decision as the run was scored.
        samples: the scored samples. truths: by id. fold_of: the fold of an id. maps_of: the stored maps of an id.
        score: the metric of the contest: truths, answers -> score.
        roles: what the channels mean for masks of several classes.
    """
    tried = _tried(how, roles)
    classes = sum(bool(one.channel) for one in tried)
    taken = affordable(samples, how, classes)
    maps = {sample.id: maps_of(sample.id) for sample in taken}
    asked = {name: truths[name] for name in maps}
    found = []
    for one in tried:
        steps = tuple(sorted({*(STEPS[::2] if classes > MANY else STEPS), one.used}))
        scores = [
            score(asked, {name: decide(maps[name], one.changed(step), roles=roles) for name in maps}) for step in steps
        ]
        folds, honest = _by_fold(scores, steps, one.used, fold_of)
        values = tuple(each.value for each in scores)
        if all(np.isfinite(values)):
            counts = (len(taken), len(samples))
            found.append(Sweep(one.name, one.used, steps, values, folds, honest, *counts, one.channel, one.setting))
    return found


def _best(scores: Sequence[float], thresholds: Sequence[float], used: float) -> int:
    """Return the place of the highest score; of equal ones that of the threshold that is nearest to `used`."""
    places = range(len(scores))
    return max(places, key=lambda at: (scores[at], -abs(thresholds[at] - used)))


def decided_channel(how: DecideConfig, channels: Sequence[str]) -> str:
    """Return the name of the map that is compared with the threshold."""
    match how:
        case WatershedConfig():
            return "body"
        case ThresholdConfig():
            return how.channel or channels[0]
        case ClassesConfig():
            return channels[-1]
        case _:
            assert_never(how)


def affordable(samples: Sequence[Sample], how: DecideConfig, classes: int = 0) -> list[Sample]:
    """Return the samples, or those that come first in the order of a hash and have few enough pixels; at least one.

    classes: the number of thresholds of classes; each of them needs decisions of its own.
    """
    most = SLOW if isinstance(how, WatershedConfig) else min(FAST, 4 * FAST // max(1, classes))
    ordered = sorted(samples, key=lambda sample: sha256(sample.id.encode("utf-8", "surrogatepass")).digest())
    pixels = np.cumsum([sample.size[0] * sample.size[1] for sample in ordered])
    return ordered[: max(1, int(np.count_nonzero(pixels <= most)))]


def _tried(how: DecideConfig, roles: ClassRoles | None) -> list[_Tried]:
    match how:
        case WatershedConfig():
            return [_of_all(how, name) for name in ("body", "seed")]
        case ThresholdConfig():
            return [_of_all(how, "threshold")]
        case ClassesConfig():
            keys = [*(["threshold"] if how.rule == "thresholds" else []), *(["present"] if how.present else [])]
            whole = [_of_all(how, key) for key in keys if isinstance(getattr(how, key), float)]
            return [*whole, *(one for key in keys for one in _by_class(how, key, roles))]
        case _:
            assert_never(how)


def _of_all(how: DecideConfig, name: str) -> _Tried:
    return _Tried(name, float(getattr(how, name)), lambda step: how.model_copy(update={name: step}))


def _by_class(how: ClassesConfig, key: str, roles: ClassRoles | None) -> list[_Tried]:
    """Return what to try of a key that may have a value for each class; a gate only for classes that have one."""
    asked = [name for name, number in roles.numbers.items() if number or not roles.background] if roles else []
    given: Any = getattr(how, key)
    if isinstance(given, Mapping):
        now = {name: float(given.get(name, 0.5)) for name in asked if key == "threshold" or name in given}
    else:
        now = {name: float(given) for name in asked}

    def changed(channel: str, step: float) -> ClassesConfig:
        return how.model_copy(update={key: {**now, channel: step}})

    if len(now) < 2 and not isinstance(given, Mapping):
        return []  # the threshold of all is that of the only class
    return [_Tried(key, used, partial(changed, name), name, now) for name, used in now.items()]


def _by_fold(
    scores: Sequence[Score], steps: Sequence[float], used: float, fold_of: Callable[[str], int]
) -> tuple[dict[int, tuple[float, ...]], float | None]:
    """Return the scores by fold, and the score with each fold decided as is best on the others; ({}, None) if unknown.

    scores: one for each threshold in `steps`, of the same samples.
    """
    names = list(scores[0].by_sample)
    table = np.array([[one.by_sample[name] for name in names] for one in scores], np.float64)
    is_mean = table.size and np.allclose(table.mean(axis=1), [one.value for one in scores], rtol=0, atol=1e-9)
    of_fold = np.array([fold_of(name) for name in names], np.int64)
    folds = np.unique(of_fold).tolist()
    if not is_mean or len(folds) < 2:
        return {}, None
    by_fold = {fold: tuple(table[:, of_fold == fold].mean(axis=1).tolist()) for fold in folds}
    honest = np.empty(len(names))
    for fold in folds:
        others = table[:, of_fold != fold].mean(axis=1).round(12).tolist()
        honest[of_fold == fold] = table[_best(others, steps, used), of_fold == fold]
    return by_fold, float(honest.mean())
