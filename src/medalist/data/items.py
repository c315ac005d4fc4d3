"""One image on its way to the network: read as the config says, normalised, and with its padding.

This file is light to import: prediction from Python needs it, and no augmentation.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from medalist.codecs.images import Orientation, read_image
from medalist.competition import Competition
from medalist.data.fitting import kept_size
from medalist.data.padding import Padding
from medalist.data.preparing import Preparation, made_ready, normalise
from medalist.data.settings import FitConfig, ImageConfig
from medalist.data.targets import Target
from medalist.errors import DataError
from medalist.records import Sample

Key = tuple[int, int] | tuple[int, int, int]
"""The key of one item: (epoch, position in the dataset). The augmentation of a sample depends only on this key and on
the run's seed. Where a sample is repeated in an epoch, the key is (epoch, position, number of earlier times in this
epoch), so that the repeated sample is augmented differently."""


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
    """Make a decoded image uint8[H, W, 3] ready as the config says; see `preparing.made_ready`."""
    return made_ready(image, preparation_of(config))


def preparation_of(config: ImageConfig) -> Preparation:
    """Return what a config does to each decoded image, as a value that needs no pydantic."""
    stretch = config.contrast == "stretch"
    if not isinstance(config, FitConfig):
        return Preparation(config.invert, stretch)
    return Preparation(config.invert, stretch, config.trim, config.fill, config.fit, kept_size(config))


def read_named(read: Read, sample: Sample) -> NDArray[np.uint8]:
    """Read the image of a sample. Raises DataError, which names the sample and the file."""
    try:
        return read(sample.images[0])
    except DataError as error:
        raise DataError(f"sample {sample.id}: {error}") from error


def make_item(
    index: int, image: NDArray[np.uint8], target: Target | None, norm: Normalisation, padding: Padding
) -> Item:
    """Normalise an image uint8[H, W, C] and put it together with its target and padding."""
    return Item(index, torch.from_numpy(normalise(image, norm.mean, norm.std)), target, padding)
