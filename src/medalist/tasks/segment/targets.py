"""Make the targets, on which a network is trained, from the truth."""

from __future__ import annotations

from collections.abc import Sequence
from typing import assert_never

import numpy as np
from numpy.typing import NDArray

from medalist.data.map_targets import VOID, ClassTarget, MapTarget
from medalist.data.offsets import Offsets
from medalist.errors import ConfigError, DataError
from medalist.records import Answer, Boxes, Instances, Labels, Mask, Ranking
from medalist.tasks.segment.channels import BACKGROUND, OFFSETS, class_numbers, is_regression
from medalist.tasks.segment.planes import nearness, numbered, planes
from medalist.tasks.segment.settings import SegmentConfig


def map_target(
    truth: Answer, config: SegmentConfig, channels: Sequence[str], classes: Sequence[str] = ()
) -> MapTarget | ClassTarget:
    """Return the target of one sample: a map of 0 and 1 for each of the network's channels, or, under softmax, a class.

    classes: the contest's names of the classes of masks. The channels of masks are those of `channels.class_numbers`,
    and the channels of instances are those of `planes.planes`. Under softmax planes are made exclusive: of two
    planes at one pixel, the later channel counts. Raises ConfigError for channels that this truth cannot give, and
    DataError for a mask with a class that the contest does not have.
    """
    match truth:
        case Instances(labels=labels):
            return _of_instances(labels, config, channels)
        case Mask():
            return _of_mask(truth, config, channels, classes)
        case Ranking():
            raise ConfigError("task.kind = segment, but the contest asks for identities; begin with base: embed")
        case Labels():
            raise ConfigError("task.kind = segment, but the contest asks for labels; begin with base: classify")
        case Boxes():
            raise ConfigError("task.kind = segment, but the contest asks for boxes; begin with base: detect")
        case _:
            assert_never(truth)


def blank_target(size: tuple[int, int], config: SegmentConfig, channels: Sequence[str]) -> MapTarget | ClassTarget:
    """Return a target of the type that `map_target` gives, of (height, width) `size` and with nothing in it."""
    if config.activation == "softmax":
        return ClassTarget(np.zeros(size, np.uint8), len(channels))
    return MapTarget(np.zeros((*size, len(channels)), np.uint8))


def target_bytes(config: SegmentConfig, channels: Sequence[str]) -> int:
    """Return the bytes that a cache keeps of the target for each pixel, where no pixel is void."""
    if config.activation == "softmax":
        return 1
    objects = 2 if any(name in OFFSETS for name in channels) else 0
    return len(channels) + objects + (config.border_sigma is not None)


def _of_mask(
    mask: Mask, config: SegmentConfig, channels: Sequence[str], classes: Sequence[str]
) -> MapTarget | ClassTarget:
    numbers, values, void = class_numbers(channels, classes, config.activation), mask.classes, mask.void
    alone = not classes and config.activation == "sigmoid" and len(channels) == 1
    highest = int(values.max(initial=0))
    if classes and highest >= len(classes):
        raise DataError(
            f"its mask has class {highest}, and the contest has the classes 0..{len(classes) - 1} "
            f"({', '.join(classes)})"
        )
    if not classes and not alone and highest > numbers[-1]:
        raise ConfigError(
            f"model.channels names {len(channels)} classes ({', '.join(channels)}), but a mask has class {highest}; "
            f"name one channel for each class {numbers[0]}..{highest}"
        )
    if config.border_sigma is not None:
        raise ConfigError("task.border_sigma weighs pixels between objects, and masks have none; leave it out")
    if void is not None and not void.any():
        void = None
    if config.activation == "softmax":
        return ClassTarget(values if void is None else np.where(void, np.uint8(VOID), values), len(channels))
    maps = np.stack([values > 0 if alone else values == number for number in numbers], axis=-1)
    if void is not None:
        maps[void] = False
    return MapTarget(maps.astype(np.uint8), void)


def _of_instances(labels: NDArray[np.int32], config: SegmentConfig, channels: Sequence[str]) -> MapTarget | ClassTarget:
    made = planes(labels, channels, config)
    if config.activation == "sigmoid":
        numbers = tuple(place for place, name in enumerate(channels) if is_regression(name))
        near = None if config.border_sigma is None else nearness(labels, config.border_sigma)
        maps = np.stack([made[name] for name in channels], axis=-1).astype(np.uint8)
        offsets = _offsets(labels, config, channels)
        return MapTarget(maps if offsets is None else offsets.drawn(maps), None, near, offsets, numbers)
    if BACKGROUND not in channels:
        raise ConfigError(
            "task.activation = softmax gives each pixel one channel: add background to model.channels, as in "
            f"[{', '.join((BACKGROUND, *channels))}]"
        )
    classes = np.zeros(labels.shape, np.uint8)
    for number, name in enumerate(channels):
        classes[made[name] > 0] = number
    return ClassTarget(classes, len(channels))


def _offsets(labels: NDArray[np.int32], config: SegmentConfig, channels: Sequence[str]) -> Offsets | None:
    places = tuple(channels.index(name) if name in channels else None for name in OFFSETS)
    if places == (None, None):
        return None
    return Offsets(numbered(labels), (places[0], places[1]), config.offset_range)
