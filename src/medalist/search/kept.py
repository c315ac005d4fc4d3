"""Where an index is kept: cores made, opened from files and folders, and their errors told."""

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

Mode = Literal["mapped", "memory"]
Progress = Callable[[int, int], object]


class Reported:
    """A caller's progress function as the core calls it; remembers whether it raised."""

    def __init__(self, progress: Progress) -> None:
        """Nothing raised yet."""
        self._progress, self.raised = progress, False

    def __call__(self, done: int, total: int) -> bool:
        """Go on, unless the caller's function raises."""
        self.raised = True
        self._progress(done, total)
        self.raised = False
        return True


def new_core(
    dim: int, metric: Metric, refine: Refine, degree: int | None, effort: int | None, seed: int, fields: Schema | None
) -> Core:
    """An empty core; SearchError for what no index can be made with."""
    check_options(dim, metric, refine, degree, effort, seed)
    schema = [(name, KINDS.index(kind)) for name, kind in check_schema(fields).items()]
    try:
        return Core(int(dim), metric, refine, int(degree or 0), int(effort or 0), int(seed), schema)
    except ValueError as error:
        raise SearchError(str(error)) from error


def syncing(fsync: Fsync, seconds: float) -> tuple[int, float]:
    """How a folder's log is synchronised, as the core reads it."""
    number = check_choice(fsync, "fsync", get_args(Fsync))
    least = check_score(seconds, "fsync_seconds")
    if not 0.001 <= least <= 3600:
        raise SearchError(f"fsync_seconds={seconds!r}: expected 0.001 to 3600")
    return number, least


def opened(name: str, mode: Mode, read_only: bool, how: tuple[int, float], threads: int) -> Core:
    """The core of a file or a folder."""
    mapped = check_choice(mode, "mode", get_args(Mode)) == 0
    if Path(name).is_dir():
        return Core.open_folder(name, mapped, bool(read_only), *how, threads)
    if read_only and Path(name).exists():
        raise SearchError(f"{name}: read_only is for folders; a file is never written to, only replaced by save()")
    return Core.open(name, mapped)


@contextmanager
def faults(name: str, reported: Reported | None = None) -> Iterator[None]:
    """Errors of the core as SearchError, those of files with the name of the file or folder.

    What the caller's own progress function raised stays as it was.
    """
    try:
        yield
    except FileError as error:
        raise SearchError(f"{name}: {str(error).removeprefix('file: ').removeprefix('folder: ')}") from error
    except ValueError as error:
        if reported is not None and reported.raised:
            raise
        raise SearchError(str(error)) from error
