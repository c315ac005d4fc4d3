"""What Linux, macOS and Windows do differently: locks, processes that end with another one, files that are replaced.

No other module imports what only some of them have. The branches for Windows and macOS are run by tests on Linux, with
stand-ins for what Linux lacks; docs/platforms.md says what was never run on those systems.
"""

from __future__ import annotations

import _thread
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
"""Whether the usual file system takes `A` and `a` for one name."""

FORKS = sys.platform == "linux"
"""Whether processes may be forked. macOS has the call, but its own libraries do not survive it."""

REPLACE_SECONDS = 2.0
"""How long Windows is asked again to replace a file that another process has open for a moment."""

LOCKED_BYTE = 1 << 30
"""The byte that is locked on Windows: far behind the end, as a locked byte cannot be read by others."""

if sys.platform == "win32":
    import msvcrt

    def lock(file: IO[Any]) -> bool:
        """Hold an open file against other processes, without waiting; False where another one holds it.

        The hold ends when the file is closed, also by the end of this process. Processes that this one starts do not
        share it.
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
        """Hold a folder against other processes while the block runs; yields False where another one holds it.

        Windows locks no folder: a file beside it is locked in its place, and removed at the end.
        """
        place = folder.with_name(f".{folder.name}.lock")
        with place.open("a+", encoding="utf-8") as file:
            yield lock(file)
        with suppress(OSError):  # another process waits for it
            place.unlink()

    def peak_memory() -> int:
        """The most bytes of memory that this process had."""
        import psutil

        return int(psutil.Process().memory_info().peak_wset)

else:
    import fcntl

    def lock(file: IO[Any]) -> bool:
        """Hold an open file against other processes, without waiting; False where another one holds it.

        The hold ends when the file is closed, also by the end of this process. Processes that this one starts do not
        share it.
        """
        try:
            # A record lock: unlike flock's it does not live on in loader processes that were forked from this one.
            fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            return False
        return True

    @contextmanager
    def held_folder(folder: Path) -> Iterator[bool]:
        """Hold a folder against other processes while the block runs; yields False where another one holds it."""
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
        """The most bytes of memory that this process had."""
        try:
            # Linux: what getrusage says begins with the peak of the process that started this one.
            status = Path("/proc/self/status").read_text(encoding="ascii", errors="replace")
            return 1024 * int(status.partition("VmHWM:")[2].split()[0])
        except (OSError, IndexError, ValueError):
            import resource

            peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
            return peak if sys.platform == "darwin" else peak * 1024


def replace(temporary: Path, path: Path) -> None:
    """Put a file in the place of another one, which may be missing; OSError.

    Windows refuses that while another process, a virus scanner for instance, has either of them open.
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


@contextmanager
def sign_of_life() -> Iterator[tuple[str, tuple[int, ...]]]:
    """What this process gives to those that it starts in the block, so that `wait_for_end_of` tells of its end.

    A text, and the file descriptors that they must inherit.
    """
    if WINDOWS:
        yield str(os.getpid()), ()
        return
    reading, writing = os.pipe()  # the end that is read closes when this process is gone, however it ended
    try:
        yield str(reading), (reading,)
    finally:
        os.close(reading)
        os.close(writing)


def wait_for_end_of(sign: str) -> None:
    """Wait until the process that gave this sign of life is gone."""
    if not WINDOWS:
        os.read(int(sign), 1)
        return
    import psutil

    with suppress(psutil.NoSuchProcess):
        psutil.Process(int(sign)).wait()


def end_this_process() -> None:
    """Let the main thread run the handler of SIGTERM; to be called by another thread."""
    if WINDOWS:  # where os.kill ends the process at once, without the handler
        _thread.interrupt_main(signal.SIGTERM)
    else:
        os.kill(os.getpid(), signal.SIGTERM)
