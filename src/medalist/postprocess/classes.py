"""Decide which class each pixel is, from the probability maps of several classes.

Probabilities stay bytes (0..255): 20 maps of 2048x1024 pixels are 42 MB, and their floats would be four times as many.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from difflib import get_close_matches
from typing import TypeVar, assert_never

import numpy as np
from numpy.typing import NDArray
from skimage.measure import label as same_value_pieces

from medalist.codecs.disk import bands, release
from medalist.errors import ConfigError
from medalist.postprocess.bands import LARGE_PIXELS, drop_small
from medalist.postprocess.settings import PRESENCE, ClassesConfig
from medalist.records import MapPrediction, Mask

T = TypeVar("T", int, float, float | None)

_NO_CLASS = 255  # no class has this number


@dataclass(frozen=True)
class ClassRoles:
    """What the channels of a network mean for a mask.

    numbers: the number of the class of each channel, by the channel's name, in the network's order. background: whether
    class 0 is the background: what remains where no other class is.
    """

    numbers: Mapping[str, int]
    background: bool = True

    @property
    def is_complete(self) -> bool:
        """Whether every pixel has a most probable class: there is a channel for class 0."""
        return 0 in self.numbers.values()


def roles_by_position(channels: Sequence[str]) -> ClassRoles:
    """Return the roles of channels that are the classes 1, 2, ... beside a background."""
    own = [name for name in channels if not name.startswith(PRESENCE)]
    return ClassRoles({name: at for at, name in enumerate(own, start=1)})


@dataclass(frozen=True, eq=False)
class _Plane:
    """The map uint8[...] of one class. A pixel may be of the class where its value is above `limit`."""

    name: str
    number: int
    map: NDArray[np.uint8]
    limit: int = 0


def class_mask(prediction: MapPrediction, config: ClassesConfig, roles: ClassRoles) -> Mask:
    """Return the classes of one image, in this order: gate classes, take the best, drop small pieces and small classes.

    Raises ConfigError where the prediction lacks a map of `roles`, or a rule does not fit the channels.
    """
    refuse_unfit(config, roles)
    missing = [name for name in roles.numbers if name not in prediction.channels]
    if missing:
        raise ConfigError(
            f"decide.kind 'classes': the prediction has no map '{missing[0]}', only: {', '.join(prediction.channels)}"
        )
    planes = _present(prediction, config, _planes(prediction, config, roles), roles)
    classes = _by_bands(planes, (prediction.maps.shape[1], prediction.maps.shape[2]), config)
    asked = {plane.name: plane.number for plane in planes if not (roles.background and plane.number == 0)}
    least = {number: size for name, number in asked.items() if (size := _of(config.min_size, name, 0)) > 1}
    if least:
        classes = _next_best(classes, _small(classes, least), planes, config)
    for name, number in asked.items():
        own = classes == number
        if 0 < np.count_nonzero(own) < _of(config.empty_below, name, 0):
            others = [plane for plane in planes if plane.number != number]
            classes = _next_best(classes, own, others, config)
            planes = others
    return Mask(classes)


def refuse_unfit(config: ClassesConfig, roles: ClassRoles) -> None:
    """Raise ConfigError where a rule cannot serve these channels, or a setting names no class that it is about."""
    named = {"min_size": config.min_size, "empty_below": config.empty_below, "present": config.present}
    for key, setting in (*named.items(), ("threshold", config.threshold)):
        for name in setting if isinstance(setting, Mapping) else ():
            if name not in roles.numbers:
                near = get_close_matches(name, roles.numbers, n=1)
                hint = f"; did you mean '{near[0]}'?" if near else ""
                raise ConfigError(f"decide.{key}: no channel '{name}', only {', '.join(roles.numbers)}{hint}")
            if roles.background and roles.numbers[name] == 0:
                raise ConfigError(f"decide.{key}: '{name}' is the background, which is what remains; leave it out")
    if config.rule == "argmax" and not roles.is_complete:
        raise ConfigError(
            f"decide.rule = argmax: no channel is the background (channels: {', '.join(roles.numbers)}), so it would "
            "never be answered; type decide.rule=thresholds, or give the background a channel"
        )
    if config.rule == "thresholds" and config.otherwise == "background" and not roles.background:
        raise ConfigError(
            "decide.otherwise = background: the contest has no class 'background'; type decide.otherwise=best, or "
            "decide.rule=argmax"
        )


def _planes(prediction: MapPrediction, config: ClassesConfig, roles: ClassRoles) -> list[_Plane]:
    """The maps of the classes that pixels may get. By thresholds, the background is what remains, not a map."""
    planes = []
    for name, number in roles.numbers.items():
        if config.rule == "thresholds" and config.otherwise == "background" and number == 0:
            continue
        limit = highest_below(_of(config.threshold, name, 0.5)) if config.rule == "thresholds" else 0
        planes.append(_Plane(name, number, prediction.maps[prediction.channels.index(name)], limit))
    return planes


def _present(
    prediction: MapPrediction, config: ClassesConfig, planes: Sequence[_Plane], roles: ClassRoles
) -> list[_Plane]:
    """The classes that the image may have. Of a contest without background, all of them where none would be left."""
    kept = []
    for plane in planes:
        gate = _of(config.present, plane.name, None)
        at = PRESENCE + plane.name
        seen = prediction.maps[prediction.channels.index(at)] if at in prediction.channels else plane.map
        if gate is None or (roles.background and plane.number == 0) or int(seen.max(initial=0)) > highest_below(gate):
            kept.append(plane)
    return kept or ([] if roles.background else list(planes))


def _by_bands(planes: Sequence[_Plane], size: tuple[int, int], config: ClassesConfig) -> NDArray[np.uint8]:
    """The class of each pixel of a whole image; its maps may lie on disk."""
    classes = np.empty(size, np.uint8)
    for rows in bands(size):
        parts = [replace(plane, map=plane.map[rows]) for plane in planes]
        classes[rows] = _decided(parts, classes[rows].shape, config)
        for plane in planes:
            release(plane.map)
    return classes


def _decided(planes: Sequence[_Plane], shape: tuple[int, ...], config: ClassesConfig) -> NDArray[np.uint8]:
    """The class of each pixel; of equally probable classes the first one."""
    match config.rule:
        case "argmax":
            return _best(planes, shape, with_limits=False)[0]
        case "thresholds":
            classes, best = _best(planes, shape, with_limits=True)
            if config.otherwise == "best":
                anyway, _ = _best(planes, shape, with_limits=False)
                np.copyto(classes, anyway, where=best == 0)
            return classes
        case _:
            assert_never(config.rule)


def _best(
    planes: Sequence[_Plane], shape: tuple[int, ...], with_limits: bool
) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """The most probable class of each pixel, and its value; without one, class 0, or the first class without limits."""
    first = planes[0].number if planes and not with_limits else 0
    classes, best = np.full(shape, first, np.uint8), np.zeros(shape, np.uint8)
    for plane in planes:
        better = plane.map > best
        if with_limits:
            better &= plane.map > plane.limit
        np.copyto(best, plane.map, where=better)
        np.copyto(classes, np.uint8(plane.number), where=better)
    return classes, best


def _small(classes: NDArray[np.uint8], least: Mapping[int, int]) -> NDArray[np.bool_]:
    """The pixels of connected pieces of one class that have fewer pixels than `least` says for this class."""
    if classes.size > LARGE_PIXELS:
        dropped = np.zeros(classes.shape, np.bool_)
        for number, size_of_class in least.items():
            kept = classes == number
            drop_small(kept, size_of_class)
            dropped |= (classes == number) & ~kept
        return dropped
    pieces: NDArray[np.int64] = same_value_pieces(classes, background=_NO_CLASS, connectivity=1)  # type: ignore[no-untyped-call]
    size = np.bincount(pieces.ravel())
    owner = np.zeros(len(size), np.uint8)
    owner[pieces] = classes  # every pixel of a piece has the same class
    wanted = np.zeros(_NO_CLASS + 1, np.int64)
    wanted[list(least)] = list(least.values())
    small: NDArray[np.bool_] = (size < wanted[owner])[pieces]
    return small


def _next_best(
    classes: NDArray[np.uint8], dropped: NDArray[np.bool_], planes: Sequence[_Plane], config: ClassesConfig
) -> NDArray[np.uint8]:
    """The classes with the dropped pixels as what they would be without their own class."""
    if not dropped.any():
        return classes
    changed = classes.copy()
    for number in np.unique(classes[dropped]).tolist():
        at = dropped & (classes == number)
        others = [replace(plane, map=plane.map[at]) for plane in planes if plane.number != number]
        changed[at] = _decided(others, (int(np.count_nonzero(at)),), config)
    return changed


def highest_below(threshold: float) -> int:
    """Return the highest value 0..255 whose probability, value / 255, is not above a threshold."""
    return int(np.count_nonzero(np.arange(256, dtype=np.float32) / 255 <= threshold)) - 1


def _of(setting: T | Mapping[str, T], name: str, default: T) -> T:
    """The setting of a channel: the one number for all, or its own; `default` where it is not named."""
    return setting.get(name, default) if isinstance(setting, Mapping) else setting
