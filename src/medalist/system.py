"""What Linux, macOS and Windows do differently: locks, the end of a starting process, replaced files, peak memory.

Only this module imports modules that one of the systems does not have. Tests on Linux run the branches for Windows with
stand-ins. docs/platforms.md says what was never run on Windows and macOS.
"""

from __future__ import annotations

import _thread
import io
import mmap
import os
import signal
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any

WINDOWS = sys.platform == "win32"

CASELESS = sys.platform in ("darwin", "win32")
"""Whether the system's usual file system takes `A` and `a` for one name."""

FORKS = sys.platform == "linux"
"""Whether this process may be forked. macOS can fork too, but its own libraries may crash in the new process."""

DEVICES = frozenset(["CON", "PRN", "AUX", "NUL", *(f"{port}{n}" for port in ("COM", "LPT") for n in range(1, 10))])
"""Names that Windows takes for devices, with any suffix."""

REPLACE_SECONDS = 2.0
"""How long a file that is in use is tried to be replaced on Windows."""

LOCKED_BYTE = 1 << 30
"""The byte of a file that is locked on Windows. It is far behind the end, because other processes cannot read a locked
byte."""

if sys.platform == "win32":
    import msvcrt

    def lock(file: IO[Any]) -> bool:
        """Lock an open file against other processes without waiting; returns False where another process has the lock.

        The lock ends when the file is closed or this process ends. Processes that this process starts do not have it.
        """
        os.lseek(file.fileno(), LOCKED_BYTE, os.SEEK_SET)
        try:
            msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)
        except OSError:
            return False
        finally:
            os.lseek(file.fileno(), 0, os.SEEK_SET)
        return True

    @contextmanager
    def held_folder(folder: Path) -> Iterator[bool]:
        """Lock a folder against other processes while the block runs; yields False where another process has the lock.

        Windows cannot lock a folder, so a file beside the folder is locked, and removed at the end.
        """
        place = folder.with_name(f".{folder.name}.lock")
        with place.open("a+", encoding="utf-8") as file:
            yield lock(file)
        with suppress(OSError):  # another process has opened it
            place.unlink()

    def peak_memory() -> int:
        """Return the peak memory of this process in bytes."""
        import psutil

        return int(psutil.Process().memory_info().peak_wset)

else:
    import fcntl

    def lock(file: IO[Any]) -> bool:
        """Lock an open file against other processes without waiting; returns False where another process has the lock.

        The lock ends when the file is closed or this process ends. Processes that this process starts do not have it.
        """
        try:
            # A record lock, because a lock by flock would stay alive in loader processes forked from this process.
            fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            return False
        return True

    @contextmanager
    def held_folder(folder: Path) -> Iterator[bool]:
        """Lock a folder against other processes while the block runs; yields False where another one has the lock."""
        place = os.open(folder, os.O_RDONLY)
        try:
            try:
                fcntl.flock(place, fcntl.LOCK_EX | fcntl.LOCK_NB)
                held = True
            except OSError:
                held = False
            yield held
        finally:
            os.close(place)

    def peak_memory() -> int:
        """Return the peak memory of this process in bytes."""
        try:
            # On Linux, getrusage is wrong: its peak starts with the peak of the process that started this one.
            status = Path("/proc/self/status").read_text(encoding="ascii", errors="replace")
            return 1024 * int(status.partition("VmHWM:")[2].split()[0])
        except (OSError, IndexError, ValueError):
            import resource

            peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
            return peak if sys.platform == "darwin" else peak * 1024


def replace(temporary: Path, path: Path) -> None:
    """Rename a file to `path`, and replace the file that is there. Raises OSError.

    Windows refuses this while another process, for instance a virus scanner, has one of the files open. It is tried
    again for REPLACE_SECONDS.
    """
    deadline = time.monotonic() + REPLACE_SECONDS
    while True:
        try:
            temporary.replace(path)
            return
        except PermissionError:
            if not WINDOWS or time.monotonic() >= deadline:
                raise
        time.sleep(0.02)


def offline() -> bool:
    """Return whether MEDALIST_OFFLINE forbids the network; it does unless it is empty, "0", "false" or "no"."""
    return os.environ.get("MEDALIST_OFFLINE", "").strip().lower() not in ("", "0", "false", "no")


def hold_standard_streams() -> None:
    """Open what this process was started without: its standard input, output or error.

    Without them, the next opened file would get their numbers, and what a library prints would be written into it.
    """
    while (free := os.open(os.devnull, os.O_RDWR)) <= 2:
        os.set_inheritable(free, True)
    os.close(free)
    # Python has None for a stream that was closed.
    if sys.stdout is None:
        sys.stdout = os.fdopen(1, "w", encoding="utf-8", closefd=False)
    if sys.stderr is None:
        sys.stderr = os.fdopen(2, "w", encoding="utf-8", closefd=False)


def release_pages(mapped: mmap.mmap) -> None:
    """Free the memory that the pages of a mapped file take in this process; the file keeps what was written.

    Windows frees them by itself where memory is scarce.
    """
    if sys.platform != "win32":
        mapped.madvise(mmap.MADV_DONTNEED)


def reserve(file: IO[Any], size: int) -> None:
    """Make an open file `size` bytes long, and take the room on the disk where the system can do it. Raises OSError."""
    if hasattr(os, "posix_fallocate"):
        os.posix_fallocate(file.fileno(), 0, size)
    else:
        file.truncate(size)


def forget_peak_memory() -> bool:
    """Let `peak_memory` begin again with the present memory; return False where the system cannot do it."""
    try:
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")
    except OSError:
        return False
    return True


def flush_file(path: Path) -> None:
    """Write a file's content from the system's buffers to the disk. Raises OSError, for instance for a full disk."""
    place = os.open(str(path), os.O_RDWR)  # Windows flushes only files that are open for writing
    try:
        os.fsync(place)
    finally:
        os.close(place)


def flush_folder(folder: Path) -> None:
    """Write the names of a folder's files to the disk, where the system and the file system can do it."""
    if WINDOWS:  # it cannot open a folder, and its file system writes names in order
        return
    place = os.open(folder, os.O_RDONLY)
    try:
        with suppress(OSError):  # some network file systems refuse it
            os.fsync(place)
    finally:
        os.close(place)


def print_unknown_letters() -> None:
    """Print `?` for a letter that the output cannot encode: many terminals and pipes are not in UTF-8."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")


@contextmanager
def sign_of_life() -> Iterator[tuple[str, tuple[int, ...]]]:
    """Yield what started processes need to notice the end of this process: a text, and file descriptors to inherit.

    The text is the argument of `wait_for_end_of` there. It is valid while the block runs.
    """
    if WINDOWS:
        yield str(os.getpid()), ()
        return
    reading, writing = os.pipe()  # the system closes the writing end when this process ends, also by a kill
    try:
        yield str(reading), (reading,)
    finally:
        os.close(reading)
        os.close(writing)


def wait_for_end_of(sign: str) -> None:
    """Wait until the process that gave this sign of life has ended."""
    if not WINDOWS:
        os.read(int(sign), 1)
        return
    import psutil

    with suppress(psutil.NoSuchProcess):
        psutil.Process(int(sign)).wait()


def end_this_process() -> None:
    """Make the main thread run the handler of SIGTERM. Another thread calls this."""
    if WINDOWS:  # os.kill would end the process at once there, without the handler
        _thread.interrupt_main(signal.SIGTERM)
    else:
        os.kill(os.getpid(), signal.SIGTERM)
