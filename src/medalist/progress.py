"""What long work shows: a bar with the time left over all of it on a terminal, plain lines elsewhere."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.progress import Progress as RichProgress

LINE_EVERY_SECONDS = 30.0
"""How often plain output says how far it is, where nothing else was said."""


class Progress:
    """Steps done of all steps, and lines said in between."""

    def __init__(self, console: Console, title: str, total: int, bar: RichProgress | None):
        """`bar` is None where plain lines are wanted."""
        self._console, self._title, self._total = console, title, total
        self._bar = bar
        self._task = bar.add_task(title, total=total) if bar else None
        self._done = 0
        self._started = self._said = time.monotonic()

    def advance(self, steps: int = 1) -> None:
        """Count finished steps."""
        self._done += steps
        if self._bar is not None and self._task is not None:
            self._bar.advance(self._task, steps)
        elif time.monotonic() - self._said > LINE_EVERY_SECONDS:
            self.say(self._title)

    def skip(self, steps: int) -> None:
        """Leave out steps that turned out to be done already, so that they do not count for the speed."""
        self._total -= steps
        if self._bar is not None and self._task is not None:
            self._bar.update(self._task, total=self._total)

    def say(self, text: str) -> None:
        """One line, with the time left."""
        self._said = time.monotonic()
        self._console.print(f"{text}  [{self._done}/{self._total}, {self._left()} left]", markup=False, highlight=False)

    def _left(self) -> str:
        if not self._done:
            return "?"
        seconds = (time.monotonic() - self._started) / self._done * (self._total - self._done)
        minutes, rest = divmod(round(seconds), 60)
        return f"{minutes}:{rest:02}"


@contextmanager
def progress(console: Console, title: str, total: int) -> Iterator[Progress]:
    """Show the progress of `total` steps while the block runs."""
    if not console.is_terminal or console.quiet:
        yield Progress(console, title, total, None)
        return
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
    with RichProgress(*columns, TimeElapsedColumn(), TimeRemainingColumn(), console=console, transient=True) as bar:
        yield Progress(console, title, total, bar)
