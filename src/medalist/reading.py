"""Open files that others made: regular files up to a largest size, and nothing that makes the reader wait.

A named pipe would make a reader wait for ever, and a device such as /dev/zero has no end. Every file that a user or a
contest gives is opened here, or looked at here before a library opens it by its name.
"""

from __future__ import annotations

import errno
import os
import stat
import sys
from pathlib import Path
from typing import BinaryIO, cast

from medalist.errors import UnreadableFile

CONFIG_BYTES = 256 * 1024
"""The largest config. YAML is read at about 100 kB a second."""

TABLE_BYTES = 4 * 1024**3
"""The largest csv."""

JSON_BYTES = 1024**3
"""The largest JSON file, and the largest file of figures, ids or notes."""

IMAGE_BYTES = 4 * 1024**3
"""The largest image file that is read whole."""

WINDOWED_BYTES = 1024**4
"""The largest image file that is read by windows."""

CHUNK = 1024**2

_KINDS = (
    (stat.S_ISDIR, "a folder, not a file"),
    (stat.S_ISFIFO, "a named pipe, not a file"),
    (stat.S_ISSOCK, "a socket, not a file"),
    (stat.S_ISCHR, "a device, not a file"),
    (stat.S_ISBLK, "a device, not a file"),
)
# A pipe that nobody writes to opens at once with O_NONBLOCK. Windows has neither of these flags.
_NO_WAITING = getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_NOCTTY", 0)


def open_file(path: str | os.PathLike[str], largest: int | None = None) -> BinaryIO:
    """Open a regular file for reading.

    largest: the most bytes that the file may have; None for any size. Raises UnreadableFile, which says what the path
    is or names the largest size, and OSError where the file is missing or may not be read.
    """
    file = cast(BinaryIO, open(path, "rb", opener=_regular))  # noqa: SIM115  # the caller closes it
    try:
        if largest is not None and (size := os.fstat(file.fileno()).st_size) > largest:
            raise _too_large(path, in_units(size), largest)
    except BaseException:
        file.close()
        raise
    return file


def read_bytes(path: str | os.PathLike[str], largest: int) -> bytes:
    """Return the bytes of a regular file of at most `largest` bytes. Raises as `open_file` does."""
    with open_file(path, largest) as file:
        # The size of a file under /proc is said to be 0, and other files may grow while they are read.
        parts = [file.read(os.fstat(file.fileno()).st_size)]
        count = len(parts[0])
        while more := file.read(CHUNK):
            parts.append(more)
            count += len(more)
            if count > largest:
                raise _too_large(path, f"{in_units(count)} so far", largest)
    return parts[0] if len(parts) == 1 else b"".join(parts)


def read_text(path: str | os.PathLike[str], largest: int) -> str:
    """Return the UTF-8 text of a regular file of at most `largest` bytes, with line ends as they are.

    Raises as `open_file` does, and UnicodeDecodeError.
    """
    return read_bytes(path, largest).decode("utf-8")


def require_file(path: str | os.PathLike[str], largest: int | None = None) -> None:
    """Raise as `open_file` does; a library will open the file by its name."""
    open_file(path, largest).close()


def in_units(count: int) -> str:
    """Return a number of bytes as text, in kB, MB or GB (powers of 1024)."""
    for unit, size in (("GB", 1024**3), ("MB", 1024**2), ("kB", 1024)):
        if count >= size:
            return f"{count / size:.3g} {unit}"
    return f"{count} bytes"


def _regular(name: str, flags: int) -> int:
    """Open a path for `open`, and refuse everything but regular files, before and after it is opened."""
    _refuse_other(Path(name).stat().st_mode, name)  # opening a device can have effects
    descriptor = os.open(name, flags | _NO_WAITING)
    try:
        _refuse_other(os.fstat(descriptor).st_mode, name)
        if sys.platform != "win32":
            os.set_blocking(descriptor, True)
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor


def _refuse_other(mode: int, name: str) -> None:
    if not stat.S_ISREG(mode):
        what = next((what for is_kind, what in _KINDS if is_kind(mode)), "not a regular file")
        raise UnreadableFile(errno.EINVAL, what, name)


def _too_large(path: str | os.PathLike[str], size: str, largest: int) -> UnreadableFile:
    return UnreadableFile(errno.EINVAL, f"{size} is more than the {in_units(largest)} that are read here", str(path))
