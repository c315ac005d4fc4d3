"""Read NumPy arrays in files (.npy): numbers alone, never pickles, and nothing is allocated before it is checked.

Source: https://numpy.org/doc/stable/reference/generated/numpy.lib.format.html
"""

from __future__ import annotations

import math
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.lib import format as npy
from numpy.typing import NDArray

from medalist.errors import DataError
from medalist.files import reason
from medalist.reading import IMAGE_BYTES, open_file

_KINDS = "biuf"  # truth values, whole numbers with and without sign, floating point


@dataclass(frozen=True)
class ArrayHeader:
    """What a file says of its array: its shape, the type of its numbers, and whether columns are written first."""

    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    by_column: bool


def array_header(path: Path) -> ArrayHeader:
    """Return the header of a .npy file. Raises DataError as `read_array` does, also where numbers are missing."""
    with _opened(path) as file:
        return _header(path, file)


def read_array(path: Path) -> NDArray[Any]:
    """Return the array of a .npy file as it is stored: truth values, whole numbers or floating point.

    Raises DataError, which names the file: where it is missing, is no .npy file, holds Python objects or texts, or has
    fewer or more bytes than its header says.
    """
    with _opened(path) as file:
        header = _header(path, file)
        flat = np.frombuffer(file.read(), header.dtype)
    return flat.reshape(header.shape, order="F" if header.by_column else "C")


def _opened(path: Path) -> BinaryIO:
    try:
        return open_file(path, IMAGE_BYTES)
    except OSError as error:
        raise DataError(f"{path}: {reason(error)}") from error


def _header(path: Path, file: BinaryIO) -> ArrayHeader:
    """Read the header; afterwards the file stands at the first number."""
    readers = {(1, 0): npy.read_array_header_1_0, (2, 0): npy.read_array_header_2_0}
    try:
        version = npy.read_magic(file)
        if version not in readers:
            raise DataError(f"{path}: a .npy file of version {version[0]}.{version[1]}; save it again with numpy.save")
        shape, by_column, dtype = readers[version](file)
    except (ValueError, EOFError) as error:
        raise DataError(f"{path}: no .npy file, or damaged; download it again") from error
    if dtype.hasobject or dtype.kind not in _KINDS:
        raise DataError(f"{path}: an array of {dtype}; only arrays of numbers are read, never pickles")
    due = file.tell() + math.prod(shape) * dtype.itemsize
    size = os.fstat(file.fileno()).st_size
    if min(shape, default=0) < 0 or size != due:
        raise DataError(f"{path}: {size} bytes, and its header says {due}; it is damaged or cut off, download it again")
    return ArrayHeader(tuple(shape), dtype, bool(by_column))
