"""The reporter of the command line: lines, and on a terminal a progress bar with the time left."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from medalist.reporter import LineReporter, Progress, TimedProgress

if TYPE_CHECKING:
    from rich.console import Console
    from rich.progress import Progress as RichProgress
    from rich.progress import TaskID


@dataclass(frozen=True, eq=False)
class ConsoleReporter:
    """Prints to a rich console. Names that users have chosen are never read as markup, and paths are not wrapped."""

    console: Console

    def say(self, text: str) -> None:
        """Print one plain line."""
        self.console.print(text, markup=False, highlight=False, soft_wrap=True)

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
            from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn
            from rich.progress import Progress as RichProgress

            columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
            with RichProgress(
                *columns, TimeElapsedColumn(), TimeRemainingColumn(), console=self.console, transient=True
            ) as drawn:
                bar = _Bar(drawn, drawn.add_task(title, total=total))
                yield TimedProgress(self.say, title, total, bar, note)


@dataclass(frozen=True, eq=False)
class _Bar:
    drawn: RichProgress
    task: TaskID

    def advance(self, steps: int) -> None:
        self.drawn.advance(self.task, steps)

    def total(self, steps: int) -> None:
        self.drawn.update(self.task, total=steps)
