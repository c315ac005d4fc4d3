"""The live table of a queue on a terminal."""

from __future__ import annotations

from collections.abc import Callable
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.live import Live
from rich.markup import escape
from rich.table import Table

from medalist.reporter import printable
from medalist.training.queue_status import RUNNING, JobEnd, QueueJob, QueueStatus, clock, end_line


class LiveDisplay:
    """A table that is drawn again about once a second, and a line above it for each job that ends."""

    def __init__(self, console: Console):
        """`console` must be a terminal."""
        self._console = console
        self._live = Live(console=console, auto_refresh=False)
        self._status: Callable[[], QueueStatus] | None = None

    def __enter__(self) -> Self:
        self._live.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        """Leave the table as it is at the end."""
        if self._status is not None:
            self.show(self._status)
        self._live.stop()

    def end(self, job: QueueJob, end: JobEnd) -> None:
        """Print a line about how a job ended."""
        self._console.print(printable(end_line(job, end)), markup=False, highlight=False, soft_wrap=True)

    def show(self, status: Callable[[], QueueStatus]) -> None:
        """Draw the table again."""
        self._status = status
        self._live.update(queue_table(status()), refresh=True)


def queue_table(found: QueueStatus) -> Table:
    """Return the table with a row for each job, and a last row for all jobs."""
    made = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for name in ("run", "fold", "state", "epoch", "last", "best", "left"):
        made.add_column(name, justify="left" if name in ("run", "state", "last") else "right", overflow="fold")
    for job, status in zip(found.jobs, found.statuses, strict=True):
        time_left = clock(status.left) if status.phase in RUNNING else ""
        epoch = str(status.epoch) if status.epoch else ""
        made.add_row(
            escape(printable(job.run.name)), str(job.fold), status.word, epoch, status.last, status.best, time_left
        )
    made.add_row("all", f"{found.ended}/{len(found.jobs)}", "", "", "", "", clock(found.left))
    return made
