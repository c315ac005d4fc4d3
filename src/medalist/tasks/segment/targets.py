"""Make the target maps, on which a network is trained, from the truth."""

from __future__ import annotations

from collections.abc import Sequence
from typing import assert_never

import cv2
import numpy as np
from numpy.typing import NDArray

from medalist.data.targets import MapTarget
from medalist.errors import ConfigError
from medalist.records import Answer, Instances, Labels, Mask, Ranking
from medalist.tasks.segment.settings import SegmentConfig

INSTANCE_CHANNELS = ("body", "border")


def map_target(truth: Answer, config: SegmentConfig, channels: Sequence[str]) -> MapTarget:
    """Return the target uint8[H, W, C] of 0 and 1, one map for each of the network's channels.

    Instances give the maps `body` (all objects) and `border` (between touching objects). A mask gives its foreground
    where there is one channel, and its classes 1..C where there are C channels. Raises ConfigError for channels that
    this truth cannot give.
    """
    match truth:
        case Instances(labels=labels):
            made = {"body": labels > 0, "border": touching_border(labels, config.border)}
            unknown = [name for name in channels if name not in made]
            if unknown:
                raise ConfigError(
                    f"model.channels: instances give {', '.join(INSTANCE_CHANNELS)}, not {', '.join(unknown)}"
                )
            planes = [made[name] for name in channels]
        case Mask(classes=classes) if len(channels) == 1:
            planes = [classes > 0]
        case Mask(classes=classes):
            if classes.max(initial=0) > len(channels):
                raise ConfigError(
                    f"model.channels names {len(channels)} classes ({', '.join(channels)}), but a mask "
                    f"has class {classes.max()}; name one channel for each class 1..{classes.max()}"
                )
            planes = [classes == number for number in range(1, len(channels) + 1)]
        case Ranking():
            raise ConfigError("task.kind = segment, but the contest asks for identities; begin with base: embed")
        case Labels():
            raise ConfigError("task.kind = segment, but the contest asks for labels; begin with base: classify")
        case _:
            assert_never(truth)
    return MapTarget(np.stack(planes, axis=-1).astype(np.uint8))


def touching_border(labels: NDArray[np.int32], radius: int) -> NDArray[np.bool_]:
    """Return bool[H, W], true for pixels whose square window of side 2*radius+1 contains two different objects.

    labels: int32[H, W], 0 = background. Raises ConfigError for more than 65534 objects.
    """
    if labels.max(initial=0) >= np.iinfo(np.uint16).max:
        raise ConfigError(f"an image with {labels.max()} objects; at most 65534 can be told apart")
    numbers = labels.astype(np.uint16)
    kernel = np.ones((2 * radius + 1, 2 * radius + 1), np.uint8)
    highest = cv2.dilate(numbers, kernel, borderType=cv2.BORDER_CONSTANT, borderValue=0)
    # Background becomes the largest number, so that it is never the minimum of a window that has an object.
    raised = np.where(numbers == 0, np.uint16(65535), numbers)
    lowest = cv2.erode(raised, kernel, borderType=cv2.BORDER_CONSTANT, borderValue=65535)
    border: NDArray[np.bool_] = (highest > 0) & (highest != lowest)
    return border
