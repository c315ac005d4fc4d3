"""How many slices at a time keep the memory of a prediction below a limit. It is measured, not guessed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import nn

from medalist.data.items import Normalisation
from medalist.data.loader import Batch, collate
from medalist.data.placing import Size
from medalist.engine.placement import Placement
from medalist.errors import ConfigError
from medalist.postprocess.box_slices import ImageSlice
from medalist.processors import release_buffers
from medalist.tasks.detect.datasets import frame_item
from medalist.tasks.detect.inference import predict
from medalist.tasks.detect.settings import DetectSettings
from medalist.tasks.detect.task import DetectTask
from medalist.tasks.peak_memory import SAFE_SHARE, in_gb, peak_while

DECODING = 100_000_000
"""Bytes that decoding some rows of an image takes besides its pixels, and libraries that are imported later."""

BOX = 60
"""Bytes of a box of a slice while the boxes of an image are merged."""

COPIES = 3
"""Copies of the pixels of a slice, or of the rows that it lies in: as they are decoded, as they are cut, and scaled."""


@dataclass(frozen=True)
class Need:
    """The memory of the process that predicts: `fixed` bytes, and `frame` bytes for each frame of a batch."""

    fixed: float
    frame: float

    def of(self, batch: int, read: int) -> float:
        """Return the bytes for a batch, where `read` bytes are taken by what is read and found."""
        return self.fixed + self.frame * batch + read


def fitted_batch(
    place: Placement,
    task: DetectTask,
    models: Sequence[nn.Module],
    settings: DetectSettings,
    norm: Normalisation,
    sizes: Sequence[Size],
    slices: Sequence[tuple[int, ImageSlice]],
) -> int:
    """Return the largest batch, at most `predict.batch`, that keeps the process below `predict.memory`.

    sizes: (height, width) of the images. Raises ConfigError, which says how much memory is needed, where one frame at a
    time is too much.
    """
    config = settings.predict
    most = config.most_bytes
    assert most is not None
    read = read_bytes(settings, sizes, slices)
    need = measured(place, task, models, settings, norm)
    for batch in range(config.batch, 0, -1):
        if need.of(batch, read) <= SAFE_SHARE * most:
            return batch
    least = need.of(1, read) / SAFE_SHARE
    advice = "take smaller slices" if config.slices is not None else "set predict.slices={size: 1024, overlap: 256}"
    smaller = f", or {advice}" if need.fixed < SAFE_SHARE * most else ""  # else no slice is small enough
    raise ConfigError(
        f"predict.memory = {config.memory} is too small: one frame of {settings.image.size[1]}x"
        f"{settings.image.size[0]} at a time needs {in_gb(least)} ({in_gb(need.fixed)} of it for the networks and the "
        f"libraries, {in_gb(read)} for what is read and found); type --memory {in_gb(least).replace(' ', '')}"
        f"{smaller}"
    )


def read_bytes(settings: DetectSettings, sizes: Sequence[Size], slices: Sequence[tuple[int, ImageSlice]]) -> int:
    """Return the most bytes that the rows of a slice take, and the boxes of an image before they are merged."""
    rows = max((3 * COPIES * (one.bottom - one.top) * sizes[number][1] for number, one in slices), default=0)
    counts = np.bincount([number for number, _ in slices]) if slices else np.zeros(1, np.int64)
    return rows + int(counts.max()) * settings.predict.most * BOX + DECODING


def measured(
    place: Placement, task: DetectTask, models: Sequence[nn.Module], settings: DetectSettings, norm: Normalisation
) -> Need:
    """Measure the memory of this process in the forwards of one and of two black frames."""
    _try(place, task, models, settings, norm, 1)  # libraries make what they keep
    peaks = []
    for count in (1, 2):
        release_buffers()
        peaks.append(peak_while(lambda count=count: _try(place, task, models, settings, norm, count)))  # type: ignore[misc]
    release_buffers()
    height, width = settings.image.size
    least = 4.0 * 2 * settings.model.in_channels * height * width  # the frame and its copy
    frame = max(least, peaks[1] - peaks[0])
    return Need(max(0.0, peaks[1] - 2 * frame), frame)


@torch.inference_mode()
def _try(
    place: Placement,
    task: DetectTask,
    models: Sequence[nn.Module],
    settings: DetectSettings,
    norm: Normalisation,
    count: int,
) -> None:
    """Predict a batch of black frames."""
    frame, channels = settings.image, settings.model.in_channels
    black = np.zeros((*frame.size, 3), np.uint8)
    batch: Batch = collate([frame_item(number, black, frame, norm, channels) for number in range(count)])
    for _ in predict(place, task, models, [batch], settings.predict, settings.train.channels_last):
        pass
