"""Arrays that may be too large for memory: they lie in files without a name, which no crash leaves behind."""

from __future__ import annotations

import mmap
import tempfile
from collections.abc import Iterator
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from medalist.errors import MedalistError
from medalist.system import release_pages, reserve

BAND_PIXELS = 1 << 22
"""The pixels of a band of rows, where a large array is worked on band by band."""


def disk_array(shape: tuple[int, ...], dtype: DTypeLike, folder: Path) -> NDArray[Any]:
    """Return an array of zeros in a memory-mapped file in `folder`.

    The file has no name, so it is deleted when the array is, and also when the process is killed. `release` frees the
    memory that its pages take. Raises MedalistError where the disk is full or the folder cannot be written.
    """
    kind = np.dtype(dtype)
    size = max(1, prod(shape) * kind.itemsize)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder) as file:
            reserve(file, size)  # without it a full disk would end the process by a signal
            made: NDArray[Any] = np.memmap(file, dtype=kind, mode="r+", shape=shape)
            return made
    except OSError as error:
        raise MedalistError(
            f"cannot keep {size / 1e9:.1f} GB of pixels in {folder}: {error.strerror or error}; free space on that disk"
        ) from error


def release(array: NDArray[Any]) -> None:
    """Free the memory of an array of `disk_array`, or of a view of it; its values stay on disk.

    Nothing is done for arrays in memory.
    """
    mapped = _mapped(array)
    if mapped is not None:
        release_pages(mapped)


def bands(size: tuple[int, int], pixels: int = BAND_PIXELS) -> Iterator[slice]:
    """Yield slices of rows that together are all rows of (height, width), each of about `pixels` pixels."""
    height, width = size
    step = max(1, pixels // max(1, width))
    for first in range(0, height, step):
        yield slice(first, min(height, first + step))


def is_on_disk(array: NDArray[Any]) -> bool:
    """Return whether an array is one of `disk_array`, or a view of it."""
    return _mapped(array) is not None


def _mapped(array: NDArray[Any]) -> mmap.mmap | None:
    base: object = array
    while isinstance(base, np.ndarray):
        base = base.base
    return base if isinstance(base, mmap.mmap) else None
