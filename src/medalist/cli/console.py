"""The reporter of the command line: lines, and on a terminal a progress bar with the time left."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console

from medalist.reporter import LineReporter, Progress, TimedProgress, printable

if TYPE_CHECKING:
    from rich.progress import Progress as RichProgress
    from rich.progress import TaskID
    from rich.text import Text

BROKEN_PIPE = 141
"""The exit code where nobody reads the output any more, as after `| head -1`: 128 plus the number of SIGPIPE."""


class PlainConsole(Console):
    """A console on which no text can be a code for the terminal, whatever names the text holds."""

    def render_str(self, text: str, **how: Any) -> Text:
        """Make a text that can be drawn. Rich calls this for every string: of lines, and of the cells of tables."""
        return super().render_str(printable(text), **how)

    def on_broken_pipe(self) -> None:
        """End the command without a word, because nobody reads the output."""
        self.quiet = True
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise SystemExit(BROKEN_PIPE)


@dataclass(frozen=True, eq=False)
class ConsoleReporter:
    """Prints to a rich console. Names that users have chosen are never read as markup, and paths are not wrapped."""

    console: Console

    def say(self, text: str) -> None:
        """Print one plain line."""
        self.console.print(printable(text), markup=False, highlight=False, soft_wrap=True)

    @contextmanager
    def progress(self, title: str, total: int, note: Path | None = None) -> Iterator[Progress]:
        """Show a progress bar on a terminal, and plain lines elsewhere."""
        # Only the lines of a progress may be wrapped, because they contain no paths.
        with LineReporter(lambda line: self.console.print(line, markup=False, highlight=False)).progress(
            title, total, note
        ) as lines:
            if not self.console.is_terminal or self.console.quiet:
                yield lines
                return
            from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn
            from rich.progress import Progress as RichProgress

            columns = (TextColumn("{task.description}", markup=False), BarColumn(), MofNCompleteColumn())
            left = TextColumn("{task.fields[left]}", markup=False)  # rich's own estimate knows no evaluations
            with RichProgress(*columns, TimeElapsedColumn(), left, console=self.console, transient=True) as drawn:
                bar = _Bar(drawn, drawn.add_task(printable(title), total=total, left="?"))
                timed = TimedProgress(self.say, title, total, bar, note)
                drawn.update(bar.task, left=_Left(timed))
                yield timed


@dataclass(frozen=True, eq=False)
class _Left:
    """The time left, each time it is drawn."""

    timed: TimedProgress

    def __str__(self) -> str:
        return self.timed.left()


@dataclass(frozen=True, eq=False)
class _Bar:
    drawn: RichProgress
    task: TaskID

    def advance(self, steps: int) -> None:
        self.drawn.advance(self.task, steps)

    def total(self, steps: int) -> None:
        self.drawn.update(self.task, total=steps)
