"""Windows of large images, made ready for the network as whole images are."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from medalist.codecs.disk import bands
from medalist.codecs.images import Orientation
from medalist.codecs.windows import DecodedPicture, Picture, open_picture
from medalist.competition import Competition
from medalist.data.preparing import stretch_table
from medalist.data.settings import ImageConfig
from medalist.data.tiling import mirrored_places


@dataclass(frozen=True, eq=False)
class WindowedImage:
    """An image that is read by windows. table: uint8[256], the new value of each value; None where they stay."""

    picture: Picture
    table: NDArray[np.uint8] | None = None

    @property
    def size(self) -> tuple[int, int]:
        """(height, width)."""
        return self.picture.size

    def window(self, rows: slice, columns: slice) -> NDArray[np.uint8]:
        """Return uint8[h, w, 3] of rows and columns inside the image."""
        found = self.picture.window(rows, columns)
        return found if self.table is None else np.asarray(cv2.LUT(found, self.table), np.uint8)

    def mirrored(self, rows: range, columns: range) -> NDArray[np.uint8]:
        """Return uint8[h, w, 3] of rows and columns that may lie outside the image, which is mirrored at its edges."""
        height, width = self.size
        down, right = mirrored_places(rows, height), mirrored_places(columns, width)
        top, left = int(down.min()), int(right.min())
        seen = self.window(slice(top, int(down.max()) + 1), slice(left, int(right.max()) + 1))
        return seen if _follow(down) and _follow(right) else seen[np.ix_(down - top, right - left)]


COUNTED = 1 << 20
"""Values that are counted at a time."""

OpenImage = Callable[[Path], WindowedImage]
"""A function that opens an image file by windows."""


def opener(
    white: int, config: ImageConfig, folder: Path, orientation: Orientation = "shown", memory: int | None = None
) -> OpenImage:
    """Return the function that opens images of a contest by windows.

    folder, memory: see `codecs.windows.open_picture`. A window has the pixels that `data.items.reader` gives of
    the whole image.
    """
    return partial(
        _opened, partial(open_picture, folder=folder, white=white, orientation=orientation, memory=memory), config
    )


def contest_opener(competition: Competition, config: ImageConfig, folder: Path, memory: int | None = None) -> OpenImage:
    """Return the function that opens images of a contest by windows, with the pixels of `data.items.contest_reader`.

    Where the contest reads its images itself, each is read whole. folder, memory: see `codecs.windows.open_picture`.
    """
    if competition.read_image is None:
        return opener(competition.white, config, folder, competition.orientation, memory)
    return partial(_opened, partial(_decoded, competition), config)


def _decoded(competition: Competition, path: Path) -> DecodedPicture:
    return DecodedPicture(competition.image(path))


def _opened(open_one: Callable[[Path], Picture], config: ImageConfig, path: Path) -> WindowedImage:
    picture = open_one(path)
    values = np.arange(256, dtype=np.uint8)
    table = ~values if config.invert else values
    if config.contrast == "stretch":
        counts = np.zeros(256, np.int64)
        for rows in bands(picture.size):
            seen = table[picture.window(rows, slice(0, picture.size[1]))]
            for part in np.array_split(seen.reshape(-1), 1 + seen.size // COUNTED):  # it makes int64 of all it counts
                counts += np.bincount(part, minlength=256)
        stretched = stretch_table(counts)
        table = table if stretched is None else stretched[table]
    return WindowedImage(picture, None if (table == values).all() else table)


def _follow(places: NDArray[np.int64]) -> bool:
    return bool((np.diff(places) == 1).all())
