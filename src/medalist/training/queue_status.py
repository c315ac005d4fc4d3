"""What a queue of folds shows: where each job is, by the files it leaves, and when all will be done. Torch-free."""

from __future__ import annotations

import heapq
import json
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Literal, Self

from rich.console import Console
from rich.live import Live
from rich.markup import escape
from rich.table import Table

from medalist.reporter import LINE_EVERY_SECONDS, read_note
from medalist.runs import Run

State = Literal["waiting", "reading", "training", "predicting", "done", "failed"]

ATTEMPT = "=== attempt"
"""How the line of a log begins that each attempt at a job writes first."""

HIGHER_IS_BETTER = ("recall@1", "dice_")
"""Figures of a look that are shown where there are any, by the beginning of their names; else the losses are."""


@dataclass(frozen=True)
class QueueJob:
    """One fold of one run, to be trained by `medalist train CONFIG OVERRIDES --fold FOLD --name RUN --data DATA`."""

    config: Path
    overrides: tuple[str, ...]
    data: str | None
    fold: int
    run: Run

    @property
    def log(self) -> Path:
        """What the job says, apart from the others."""
        return self.run.fold_folder(self.fold) / "train.log"

    @property
    def title(self) -> str:
        """How lines name it."""
        return f"{self.run.name} fold {self.fold}"


@dataclass(frozen=True)
class JobEnd:
    """How a job ended: exit code of the command line, the error's line (empty after 0), seconds of the last attempt."""

    code: int
    line: str
    seconds: float


@dataclass(frozen=True)
class Lane:
    """Where a job is. epoch: how many have ended. last, best: a figure of the looks. left: seconds, where known."""

    state: State
    retried: int = 0
    epoch: int = 0
    last: str = ""
    best: str = ""
    left: float | None = None

    @property
    def word(self) -> str:
        """The state, and how often the worker was lost."""
        return f"{self.state}, retried {self.retried}" if self.retried else self.state


def look(job: QueueJob, since: int, end: JobEnd | None) -> Lane:
    """Where a job is. `since` is how long its log was before the queue began."""
    tried = attempts(job.log, since)
    folder = job.run.fold_folder(job.fold)
    epoch, last, best = figures(folder / "metrics.jsonl")
    retried = max(0, tried - 1)
    if end is not None:
        return Lane("failed" if end.code else "done", retried, epoch, last, best)
    if not tried:
        return Lane("waiting", 0, epoch, last, best)
    note = read_note(folder / "progress.json")
    state: State = "reading" if note is None else "training"
    if job.fold in job.run.trained_folds():
        state = "predicting"
    return Lane(state, retried, epoch, last, best, note.left_seconds if note else None)


def attempts(log: Path, since: int) -> int:
    """How often a job was begun since its log was so many bytes long."""
    try:
        with log.open("rb") as file:
            file.seek(since)
            return sum(line.startswith(ATTEMPT.encode()) for line in file)
    except OSError:
        return 0


def figures(path: Path) -> tuple[int, str, str]:
    """Of metrics.jsonl: epochs that ended, and one figure of the looks as it was last and at its best, "" for none."""
    rows: list[dict[str, float]] = []
    try:
        for line in path.read_text(encoding="utf-8").splitlines():
            rows.append({str(name): float(value) for name, value in json.loads(line).items()})
    except (OSError, ValueError, TypeError, AttributeError, RecursionError):
        pass  # what stands before a damaged line still counts
    looks = [name for row in rows for name in row]
    shown = [name for start in HIGHER_IS_BETTER for name in looks if name.startswith(start)]
    name = next((name for name in (*shown, "val_loss", "loss") if name in looks), None)
    if name is None:
        return len(rows), "", ""
    values = [row[name] for row in rows if name in row]
    best = min(values) if name.endswith("loss") else max(values)
    return len(rows), f"{name} {values[-1]:.4f}", f"{best:.4f}"


def queue_left(running: Sequence[float | None], waiting: int, typical: float | None, workers: int) -> float | None:
    """Seconds until all jobs are done: what is left of those that run (None: as long as is typical), then the waiting
    ones, each on the worker that is free first. None where it cannot be known.
    """
    if typical is None and (waiting or None in running):
        return 0.0 if not waiting and not running else None
    ends = [typical or 0.0 if left is None else left for left in running]
    ends += [0.0] * max(0, workers - len(ends))
    heapq.heapify(ends)
    for _ in range(waiting):
        heapq.heapreplace(ends, ends[0] + (typical or 0.0))
    return max(ends, default=0.0)


def clock(seconds: float | None) -> str:
    """Hours, minutes and seconds."""
    if seconds is None:
        return "?"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


@dataclass(eq=False)
class QueueDisplay:
    """The live table of a queue on a terminal, and plain lines elsewhere; `ends` is filled by the queue."""

    console: Console
    jobs: Sequence[QueueJob]
    workers: int
    ends: dict[int, JobEnd] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._since = [job.log.stat().st_size if job.log.exists() else 0 for job in self.jobs]
        self._begun: dict[int, float] = {}
        self._said = time.monotonic()
        live = self.console.is_terminal and not self.console.quiet
        self._live = Live(console=self.console, auto_refresh=False) if live else None

    def __enter__(self) -> Self:
        if self._live:
            self._live.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        if self._live:
            self.show()
            self._live.stop()

    def since(self, number: int) -> int:
        """How long a job's log was before the queue began."""
        return self._since[number]

    def end(self, number: int, end: JobEnd) -> None:
        """Note the end of a job, and say it."""
        self.ends[number] = end
        how = f"failed: {end.line}" if end.code else f"done in {clock(end.seconds)}"
        self.console.print(f"{self.jobs[number].title}: {how}", markup=False, highlight=False, soft_wrap=True)

    def show(self) -> None:
        """Show where all jobs are: at once on a terminal, by a line now and then elsewhere."""
        if self._live is None and time.monotonic() - self._said < LINE_EVERY_SECONDS:
            return
        lanes = [
            look(job, since, self.ends.get(i))
            for i, (job, since) in enumerate(zip(self.jobs, self._since, strict=True))
        ]
        left = self._left(lanes)
        if self._live:
            self._live.update(self._table(lanes, left), refresh=True)
            return
        self._said = time.monotonic()
        shown = zip(self.jobs, lanes, strict=True)
        busy = [_told(job, lane) for job, lane in shown if lane.state not in ("waiting", "done", "failed")]
        line = f"{len(self.ends)} of {len(self.jobs)} jobs ended, {clock(left)} left: {'; '.join(busy)}"
        self.console.print(line, markup=False, highlight=False, soft_wrap=True)

    def _left(self, lanes: Sequence[Lane]) -> float | None:
        now = time.monotonic()
        running = [number for number, lane in enumerate(lanes) if lane.state in ("reading", "training", "predicting")]
        for number in running:
            self._begun.setdefault(number, now)
        whole = [end.seconds for end in self.ends.values() if end.code == 0]
        for number in running:
            left = lanes[number].left
            if left is not None:
                whole.append(now - self._begun[number] + left)
        typical = sum(whole) / len(whole) if whole else None
        waiting = sum(lane.state == "waiting" for lane in lanes)
        return queue_left([lanes[number].left for number in running], waiting, typical, self.workers)

    def _table(self, lanes: Sequence[Lane], left: float | None) -> Table:
        made = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
        for name in ("run", "fold", "state", "epoch", "last", "best", "left"):
            made.add_column(name, justify="left" if name in ("run", "state", "last") else "right", overflow="fold")
        for job, lane in zip(self.jobs, lanes, strict=True):
            time_left = "" if lane.state in ("waiting", "done", "failed") else clock(lane.left)
            epoch = str(lane.epoch) if lane.epoch else ""
            made.add_row(escape(job.run.name), str(job.fold), lane.word, epoch, lane.last, lane.best, time_left)
        made.add_row("all", f"{len(self.ends)}/{len(self.jobs)}", "", "", "", "", clock(left))
        return made


def _told(job: QueueJob, lane: Lane) -> str:
    parts = [f"{job.title} {lane.word}"]
    if lane.epoch:
        parts += [f"epoch {lane.epoch}", lane.last]
    if lane.left is not None:
        parts.append(f"{clock(lane.left)} left")
    return ", ".join(parts)
