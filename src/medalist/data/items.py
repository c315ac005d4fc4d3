"""One image on its way to the network: read as the config says, normalised, and with its padding.

This file is light to import: prediction from Python needs it, and no augmentation.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from medalist.codecs.images import Orientation, read_image
from medalist.competition import Competition
from medalist.data.fitting import fit_image, kept_size, trimmed
from medalist.data.padding import Padding
from medalist.data.settings import FitConfig, ImageConfig
from medalist.data.targets import Target
from medalist.errors import DataError
from medalist.records import Sample

Key = tuple[int, int] | tuple[int, int, int]
"""The key of one item: (epoch, position in the dataset). The augmentation of a sample depends only on this key and on
the run's seed. Where a sample is repeated in an epoch, the key is (epoch, position, number of earlier times in this
epoch), so that the repeated sample is augmented differently."""


STRETCH_SHARE = 1e-3
"""Share of an image's values that a stretch may clip at each end."""


@dataclass(frozen=True, eq=False)
class Item:
    """One sample, ready for a batch.

    index: the sample's number in the cache or in the list of samples. image: float32[3, h, w], normalised, or features
    float32[...] in place of an image. target: None where the truth is not known, as in the test part. padding: the
    geometry of the image before padding. condition: float32[K], what the network is told beside the image, if anything.
    """

    index: int
    image: Tensor
    target: Target | None
    padding: Padding
    condition: Tensor | None = None


@dataclass(frozen=True)
class Normalisation:
    """Mean and std for each channel of images in 0..1, as in the encoder's pretraining."""

    mean: tuple[float, ...]
    std: tuple[float, ...]


Read = Callable[[Path], NDArray[np.uint8]]
"""A function that reads an image file: path -> uint8[H, W, 3], ready for augmentation. It raises DataError where the
file cannot be read."""


def reader(white: int, config: ImageConfig, orientation: Orientation = "shown") -> Read:
    """Return the function that reads image files of a contest, and makes them ready as `prepared` does.

    white: the value of a 16-bit image that is shown as white. orientation: how EXIF orientations are read.
    """
    return partial(_ready, partial(read_image, white=white, orientation=orientation), config)


def contest_reader(competition: Competition, config: ImageConfig) -> Read:
    """Return the function that reads image files as `Competition.image` does, and makes them ready as `prepared` does.

    Other processes can get it: a reader of the contest's own comes with its folder, not by its name.
    """
    if competition.read_image is None:
        return reader(competition.white, config, competition.orientation)
    return partial(_ready, competition.image, config)


def _ready(read: Read, config: ImageConfig, path: Path) -> NDArray[np.uint8]:
    return prepared(read(path), config)


def prepared(image: NDArray[np.uint8], config: ImageConfig) -> NDArray[np.uint8]:
    """Invert a decoded image uint8[H, W, 3] and stretch its contrast, where the config says so.

    With a FitConfig all images get one size, `fitting.kept_size`.
    """
    if config.invert:
        image = ~image
    if config.contrast == "stretch":
        image = stretch_contrast(image)
    if isinstance(config, FitConfig):
        if config.trim is not None:
            image = trimmed(image, config.trim, config.fill)
        image = fit_image(image, kept_size(config), config.fit, config.fill)
    return image


def read_named(read: Read, sample: Sample) -> NDArray[np.uint8]:
    """Read the image of a sample. Raises DataError, which names the sample and the file."""
    try:
        return read(sample.images[0])
    except DataError as error:
        raise DataError(f"sample {sample.id}: {error}") from error


def stretch_contrast(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Stretch the values of uint8[H, W, 3] linearly to 0..255; a thousandth of the values at each end is clipped.

    All channels get the same map, so that hues stay. An image with only one value is returned unchanged.
    """
    table = stretch_table(np.bincount(image.ravel(), minlength=256))
    return image if table is None else np.asarray(cv2.LUT(image, table), np.uint8)


def stretch_table(counts: NDArray[np.int64]) -> NDArray[np.uint8] | None:
    """Return the new value uint8[256] of each value of an image, see `stretch_contrast`; None where nothing changes.

    counts: int64[256], how often the image has each value.
    """
    sums = counts.cumsum()
    low = int(np.searchsorted(sums, STRETCH_SHARE * sums[-1], side="right"))
    high = int(np.searchsorted(sums, (1 - STRETCH_SHARE) * sums[-1]))
    if high <= low:
        return None
    levels = (np.arange(256) - low) * (255 / (high - low))
    table: NDArray[np.uint8] = np.clip(np.rint(levels), 0, 255).astype(np.uint8)
    return table


def normalise(image: NDArray[np.uint8], mean: Sequence[float], std: Sequence[float]) -> NDArray[np.float32]:
    """Normalise uint8[H, W, C] to float32[C, H, W] by the encoder's mean and std, both given for values in 0..1."""
    assert image.shape[2] == len(mean) == len(std), (image.shape, mean, std)
    scale = 1 / (255 * np.asarray(std, np.float32))
    shift = -np.asarray(mean, np.float32) / np.asarray(std, np.float32)
    out = np.empty((len(scale), *image.shape[:2]), np.float32)
    for channel, plane in enumerate(out):
        # A table of all 256 values is 7 times as fast as arithmetic on the interleaved image.
        table = np.arange(256, dtype=np.float32) * scale[channel] + shift[channel]
        cv2.LUT(cv2.extractChannel(image, channel), table, dst=plane)
    return out


def make_item(
    index: int, image: NDArray[np.uint8], target: Target | None, norm: Normalisation, padding: Padding
) -> Item:
    """Normalise an image uint8[H, W, C] and put it together with its target and padding."""
    return Item(index, torch.from_numpy(normalise(image, norm.mean, norm.std)), target, padding)
