"""Make new cores, open cores from files and folders, and turn their errors into SearchError."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Literal, get_args

from medalist.errors import SearchError
from medalist.search._ann import Core, FileError
from medalist.search.answers import Metric, Refine
from medalist.search.checks import Fsync, check_choice, check_options, check_score, file_name
from medalist.search.schema import KINDS, Schema, check_schema

__all__ = ["Mode", "Progress", "Reported", "faults", "file_name", "new_core", "opened", "syncing"]

Mode = Literal["mapped", "memory", "auto"]  # in the order of ann::Mode
Progress = Callable[[int, int], object]


class Reported:
    """A caller's progress function in the form that the core calls. `raised` says whether it raised an exception."""

    def __init__(self, progress: Progress) -> None:
        """Wrap a progress function; `raised` is False."""
        self._progress, self.raised = progress, False

    def __call__(self, done: int, total: int) -> bool:
        """Call the caller's function; return True, so that the core continues."""
        self.raised = True
        self._progress(done, total)
        self.raised = False
        return True


def new_core(
    dim: int, metric: Metric, refine: Refine, degree: int | None, effort: int | None, seed: int, fields: Schema | None
) -> Core:
    """Return an empty core. Raises SearchError for options that no index can have."""
    check_options(dim, metric, refine, degree, effort, seed)
    schema = [(name, KINDS.index(kind)) for name, kind in check_schema(fields).items()]
    try:
        return Core(int(dim), metric, refine, int(degree or 0), int(effort or 0), int(seed), schema)
    except ValueError as error:
        raise SearchError(str(error)) from error


def syncing(fsync: Fsync, seconds: float) -> tuple[int, float]:
    """Return how a folder's log is synced, as the core reads it: the number of the mode, and the seconds.

    Raises SearchError for another mode, or for seconds outside 0.001 to 3600.
    """
    number = check_choice(fsync, "fsync", get_args(Fsync))
    least = check_score(seconds, "fsync_seconds")
    if not 0.001 <= least <= 3600:
        raise SearchError(f"fsync_seconds={seconds!r}: expected 0.001 to 3600")
    return number, least


def opened(name: str, mode: Mode, read_only: bool, how: tuple[int, float], threads: int) -> Core:
    """Open the core of a file or a folder. Raises SearchError where `read_only` is asked for a file."""
    where = check_choice(mode, "mode", get_args(Mode))
    if Path(name).is_dir():
        return Core.open_folder(name, where, bool(read_only), *how, threads)
    if read_only and Path(name).exists():
        raise SearchError(f"{name}: read_only is for folders; a file is never written to, only replaced by save()")
    return Core.open(name, where)


@contextmanager
def faults(name: str, reported: Reported | None = None) -> Iterator[None]:
    """Turn errors of the core into SearchError; an error of a file names the file or folder.

    A ValueError that the caller's own progress function raised is not changed.
    """
    try:
        yield
    except FileError as error:
        raise SearchError(f"{name}: {str(error).removeprefix('file: ').removeprefix('folder: ')}") from error
    except ValueError as error:
        if reported is not None and reported.raised:
            raise
        raise SearchError(str(error)) from error
