"""How long work tells what it does: lines, how far it is, when it will be done, and a note that other processes read.

Work takes a `Reporter`. The command line brings one that draws bars (`cli/console.py`).
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Protocol

LINE_EVERY_SECONDS = 30.0
"""How often plain output says how far it is, where nothing else was said."""

STATUS_EVERY_SECONDS = 2.0
"""How often the note is written anew, at most."""

RECENT_SHARE = 0.25
"""The speed is that of about this share of the time so far: steps longer ago count exponentially less."""

RECENT_SECONDS = 30.0
"""And of at least so many seconds."""


@dataclass(frozen=True)
class ProgressStatus:
    """How far some work is, for those who look from outside: steps done of all, and seconds left (None: not known)."""

    done: int
    total: int
    left_seconds: float | None
    title: str


def read_status(path: Path) -> ProgressStatus | None:
    """The note that a Progress wrote; None where there is none, or nothing that can be understood."""
    try:
        value = json.loads(path.read_bytes())
        left = value["left_seconds"]
        seconds = None if left is None else float(left)
        note = ProgressStatus(int(value["done"]), int(value["total"]), seconds, str(value["title"]))
    except (OSError, ValueError, TypeError, LookupError, OverflowError, RecursionError):
        return None
    return None if seconds is not None and not 0 <= seconds < math.inf else note


class Progress(Protocol):
    """Steps done of all steps of some work, and lines said in between."""

    def advance(self, steps: int = 1) -> None:
        """Count finished steps."""
        ...

    def skip(self, steps: int) -> None:
        """Leave out steps that turned out to be done already, so that they do not count for the speed."""
        ...

    def say(self, text: str) -> None:
        """One line, with the time left."""
        ...


class Reporter(Protocol):
    """How work tells what it does: a command line, a notebook and a service each bring their own."""

    def say(self, text: str) -> None:
        """One plain line."""
        ...

    def progress(self, title: str, total: int, note: Path | None = None) -> AbstractContextManager[Progress]:
        """Show the progress of `total` steps while the block runs; `note`, a file, tells it to others until the end."""
        ...


@dataclass(frozen=True, eq=False)
class SilentReporter:
    """Says nothing."""

    def say(self, text: str) -> None:
        """Nothing."""

    @contextmanager
    def progress(self, title: str, total: int, note: Path | None = None) -> Iterator[Progress]:
        """Count for nobody, but for those who read the note."""
        with _noted(note):
            yield TimedProgress(lambda _: None, title, total, None, note)


@dataclass(frozen=True, eq=False)
class LineReporter:
    """Plain lines, and now and then one that says how far the work is: for log files and notebooks.

    write: takes one line, without its end.
    """

    write: Callable[[str], None]

    def say(self, text: str) -> None:
        """Write the line."""
        self.write(text)

    @contextmanager
    def progress(self, title: str, total: int, note: Path | None = None) -> Iterator[Progress]:
        """A line every LINE_EVERY_SECONDS."""
        with _noted(note):
            yield TimedProgress(self.write, title, total, None, note)


class Bar(Protocol):
    """What draws a bar."""

    def advance(self, steps: int) -> None:
        """Move on."""
        ...

    def total(self, steps: int) -> None:
        """Set the number of all steps."""
        ...


class TimedProgress:
    """Steps done of all steps, and lines said in between.

    The time left is judged by the speed of the recent steps, as epochs of a training need not be alike.
    """

    def __init__(self, write: Callable[[str], None], title: str, total: int, bar: Bar | None, note: Path | None = None):
        """`bar` is None where plain lines are wanted. `note` is the file that says from now on how far it is."""
        self._write, self._title, self._total = write, title, total
        self._bar, self._note = bar, note
        self._done = 0
        self._recent_steps = self._recent_seconds = 0.0
        self._started = self._stepped = self._said = self._noted = time.monotonic()
        self._write_note()

    def advance(self, steps: int = 1) -> None:
        """Count finished steps."""
        now = time.monotonic()
        passed = now - self._stepped
        kept = math.exp(-passed / max(RECENT_SECONDS, RECENT_SHARE * (now - self._started)))
        self._recent_steps = self._recent_steps * kept + steps
        self._recent_seconds = self._recent_seconds * kept + passed
        self._stepped = now
        self._done += steps
        if now - self._noted > STATUS_EVERY_SECONDS:
            self._write_note()
        if self._bar is not None:
            self._bar.advance(steps)
        elif now - self._said > LINE_EVERY_SECONDS:
            self.say(self._title)

    def skip(self, steps: int) -> None:
        """Leave out steps that turned out to be done already, so that they do not count for the speed."""
        self._total -= steps
        if self._bar is not None:
            self._bar.total(self._total)

    def say(self, text: str) -> None:
        """One line, with the time left."""
        self._said = time.monotonic()
        self._write(f"{text}  [{self._done}/{self._total}, {self._left()} left]")

    def left_seconds(self) -> float | None:
        """Seconds that the rest will take; None before the first step."""
        if not self._recent_steps:
            return None
        waited = time.monotonic() - self._stepped  # a stretch without steps counts as soon as it is long
        return (self._recent_seconds + waited) / self._recent_steps * max(0, self._total - self._done)

    def _left(self) -> str:
        seconds = self.left_seconds()
        if seconds is None:
            return "?"
        minutes, rest = divmod(round(seconds), 60)
        return f"{minutes}:{rest:02}"

    def _write_note(self) -> None:
        """Replace the note as a whole. A disk that is full ends what matters, not this."""
        if self._note is None:
            return
        self._noted = time.monotonic()
        left = self.left_seconds()
        value = ProgressStatus(self._done, self._total, None if left is None else round(left, 1), self._title)
        temporary = self._note.with_name(f".{self._note.name}")
        with suppress(OSError):
            self._note.parent.mkdir(parents=True, exist_ok=True)
            temporary.write_text(json.dumps(asdict(value)), encoding="utf-8")
            temporary.replace(self._note)


@contextmanager
def _noted(note: Path | None) -> Iterator[None]:
    """Take the note away in the end."""
    try:
        yield
    finally:
        if note is not None:
            with suppress(OSError):
                note.with_name(f".{note.name}").unlink(missing_ok=True)
                note.unlink(missing_ok=True)
