"""The status of a queue of folds: how far each job is, read from its files, and the time that is left.

This module needs no torch.
"""

from __future__ import annotations

import heapq
import json
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Literal, Protocol, Self

from medalist.metrics.epochs import is_score
from medalist.reading import JSON_BYTES, open_file, read_text
from medalist.reporter import LINE_EVERY_SECONDS, read_status
from medalist.runs.runs import Run
from medalist.training.request import TrainRequest

Phase = Literal["waiting", "reading", "training", "predicting", "done", "failed"]
RUNNING = ("reading", "training", "predicting")

ATTEMPT = "=== attempt"
"""The beginning of the first line that each attempt at a job writes into its log."""


@dataclass(frozen=True)
class QueueJob:
    """One fold of one run to train. `request` names exactly this fold."""

    request: TrainRequest
    run: Run

    @property
    def fold(self) -> int:
        """The number of the fold."""
        (fold,) = self.request.folds
        return fold

    @property
    def log(self) -> Path:
        """The path of the job's own log."""
        return self.run.fold_folder(self.fold) / "train.log"

    @property
    def title(self) -> str:
        """The name of the job in lines."""
        return f"{self.run.name} fold {self.fold}"


@dataclass(frozen=True)
class JobEnd:
    """How a job ended.

    code: 0 done, 1 a fault of medalist, 2 the user's mistake or a lost worker. line: the line of the error. seconds:
    the time of the last attempt.
    """

    code: int
    line: str
    seconds: float


@dataclass(frozen=True)
class JobStatus:
    """How far a job is.

    retried: how often its worker was lost. epoch: how many epochs have ended. last, best: a figure of the held-out
    samples, as text. left: the seconds that are left, or None where they are not known.
    """

    phase: Phase
    retried: int = 0
    epoch: int = 0
    last: str = ""
    best: str = ""
    left: float | None = None

    @property
    def word(self) -> str:
        """The phase as text, with the number of retries where there are any."""
        return f"{self.phase}, retried {self.retried}" if self.retried else self.phase


def job_status(job: QueueJob, since: int, end: JobEnd | None) -> JobStatus:
    """Return how far a job is. `since` is the length of its log in bytes before the queue began."""
    tried = attempts(job.log, since)
    folder = job.run.fold_folder(job.fold)
    epoch, last, best = figures(folder / "metrics.jsonl")
    retried = max(0, tried - 1)
    if end is not None:
        return JobStatus("failed" if end.code else "done", retried, epoch, last, best)
    if not tried:
        return JobStatus("waiting", 0, epoch, last, best)
    note = read_status(folder / "progress.json")
    phase: Phase = "reading" if note is None else "training"
    if job.fold in job.run.trained_folds():
        phase = "predicting"
    return JobStatus(phase, retried, epoch, last, best, note.left_seconds if note else None)


def attempts(log: Path, since: int) -> int:
    """Return how often a job was started, counted in its log from the byte `since` on."""
    try:
        with open_file(log) as file:
            file.seek(since)
            return sum(line.startswith(ATTEMPT.encode()) for line in file)
    except OSError:
        return 0


def figures(path: Path) -> tuple[int, str, str]:
    """Return the number of ended epochs in metrics.jsonl, and the last and the best value of one figure, as text.

    The figure is the first score, otherwise val_loss, otherwise loss. Both texts are empty where there is none.
    """
    rows: list[dict[str, float]] = []
    try:
        for line in read_text(path, JSON_BYTES).splitlines():
            rows.append({str(name): float(value) for name, value in json.loads(line).items()})
    except (OSError, ValueError, TypeError, AttributeError, RecursionError):
        pass  # the lines before a damaged line still count
    known = [name for row in rows for name in row]
    name = next((name for name in (*filter(is_score, known), "val_loss", "loss") if name in known), None)
    if name is None:
        return len(rows), "", ""
    values = [row[name] for row in rows if name in row]
    best = min(values) if name.endswith("loss") else max(values)
    return len(rows), f"{name} {values[-1]:.4f}", f"{best:.4f}"


def queue_left(running: Sequence[float | None], waiting: int, typical: float | None, workers: int) -> float | None:
    """Return the seconds until all jobs are done, or None where they cannot be known.

    running: the seconds that are left of each running job; None = `typical`. waiting: the number of waiting jobs, each
    of which takes `typical` seconds on the worker that is free first.
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
    """Return seconds as h:mm:ss, or as m:ss below an hour; `?` for None."""
    if seconds is None:
        return "?"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


@dataclass(frozen=True)
class QueueStatus:
    """How far all jobs of a queue are.

    ended: how many jobs have ended. left: the seconds until all are done, or None where they are not known.
    """

    jobs: Sequence[QueueJob]
    statuses: Sequence[JobStatus]
    ended: int
    left: float | None


class QueueWatch:
    """Follows the jobs of a queue by the files that they write. The queue itself fills `ends`."""

    def __init__(self, jobs: Sequence[QueueJob], workers: int):
        """`workers` is the number of jobs that run at a time."""
        self.jobs, self.workers = jobs, workers
        self.ends: dict[int, JobEnd] = {}
        self._since = [job.log.stat().st_size if job.log.exists() else 0 for job in jobs]
        self._begun: dict[int, float] = {}

    def since(self, number: int) -> int:
        """Return the length of a job's log in bytes before the queue began."""
        return self._since[number]

    def status(self) -> QueueStatus:
        """Return how far all jobs are now."""
        statuses = [
            job_status(job, since, self.ends.get(number))
            for number, (job, since) in enumerate(zip(self.jobs, self._since, strict=True))
        ]
        return QueueStatus(self.jobs, statuses, len(self.ends), self._left(statuses))

    def _left(self, statuses: Sequence[JobStatus]) -> float | None:
        now = time.monotonic()
        running = [number for number, status in enumerate(statuses) if status.phase in RUNNING]
        for number in running:
            self._begun.setdefault(number, now)
        whole = [end.seconds for end in self.ends.values() if end.code == 0]
        for number in running:
            left = statuses[number].left
            if left is not None:
                whole.append(now - self._begun[number] + left)
        typical = sum(whole) / len(whole) if whole else None
        waiting = sum(status.phase == "waiting" for status in statuses)
        return queue_left([statuses[number].left for number in running], waiting, typical, self.workers)


class QueueDisplay(Protocol):
    """The display of a queue; it is opened for one run of the queue."""

    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None
    ) -> None: ...

    def end(self, job: QueueJob, end: JobEnd) -> None:
        """Show that a job has ended."""
        ...

    def show(self, status: Callable[[], QueueStatus]) -> None:
        """Show how far all jobs are, if it is time to. This method is called about once a second."""
        ...


class LineDisplay:
    """A display of plain lines: one for each job that ends, and every LINE_EVERY_SECONDS one about all running jobs."""

    def __init__(self, say: Callable[[str], None]):
        """`say` is called with each line."""
        self._say = say
        self._said = time.monotonic()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        """Do nothing, because nothing is open."""

    def end(self, job: QueueJob, end: JobEnd) -> None:
        """Say a line about how a job ended."""
        self._say(end_line(job, end))

    def show(self, status: Callable[[], QueueStatus]) -> None:
        """Say a line about all running jobs, at most every LINE_EVERY_SECONDS."""
        if time.monotonic() - self._said < LINE_EVERY_SECONDS:
            return
        self._said = time.monotonic()
        found = status()
        busy = [_line(job, one) for job, one in zip(found.jobs, found.statuses, strict=True) if one.phase in RUNNING]
        self._say(f"{found.ended} of {len(found.jobs)} jobs ended, {clock(found.left)} left: {'; '.join(busy)}")


def end_line(job: QueueJob, end: JobEnd) -> str:
    """Return the line that says how a job ended."""
    return f"{job.title}: " + (f"failed: {end.line}" if end.code else f"done in {clock(end.seconds)}")


def _line(job: QueueJob, status: JobStatus) -> str:
    parts = [f"{job.title} {status.word}"]
    if status.epoch:
        parts += [f"epoch {status.epoch}", status.last]
    if status.left is not None:
        parts.append(f"{clock(status.left)} left")
    return ", ".join(parts)
