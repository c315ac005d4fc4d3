"""How work that takes long reports its progress: lines, steps done, time left, and a status file for other processes.

Such work takes a `Reporter` as an argument. The command line passes one that draws bars (`cli/console.py`).
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Protocol, TypeVar

from medalist.reading import CONFIG_BYTES, read_bytes

LINE_EVERY_SECONDS = 30.0
"""Plain output has a progress line after this many seconds without a line."""

STATUS_EVERY_SECONDS = 2.0
"""The status file is written again at most once in this many seconds."""

RECENT_SHARE = 0.25
"""The speed is measured over about this share of the time so far; the weight of older steps falls exponentially."""

RECENT_SECONDS = 30.0
"""The speed is measured over at least this many seconds."""

Result = TypeVar("Result")


def printable(text: str) -> str:
    """Return a text for a terminal, with a blank for each character that cannot be printed; ends of lines stay.

    Ids, labels, names of runs and paths come from files. Codes in them could clear the terminal, write elsewhere on it,
    or let one name look like another.
    """
    if text.isprintable():
        return text
    return "".join(letter if letter.isprintable() or letter == "\n" else " " for letter in text)


@dataclass(frozen=True)
class ProgressStatus:
    """The progress of some work, for other processes: steps done, all steps, and seconds left (None: not known)."""

    done: int
    total: int
    left_seconds: float | None
    title: str


def read_status(path: Path) -> ProgressStatus | None:
    """Read the status file that a Progress wrote; None where the file is missing or damaged."""
    try:
        value = json.loads(read_bytes(path, CONFIG_BYTES))
        left = value["left_seconds"]
        seconds = None if left is None else float(left)
        note = ProgressStatus(int(value["done"]), int(value["total"]), seconds, str(value["title"]))
    except (OSError, ValueError, TypeError, LookupError, OverflowError, RecursionError):
        return None
    return None if seconds is not None and not 0 <= seconds < math.inf else note


class Progress(Protocol):
    """Counts the finished steps of some work, and writes lines in between."""

    def advance(self, steps: int = 1) -> None:
        """Count finished steps."""
        ...

    def skip(self, steps: int) -> None:
        """Take steps that were already done off the total, so that they do not count for the speed."""
        ...

    def aside(self, work: Callable[[], Result]) -> Result:
        """Do work that is no step and comes again after as many steps, for instance an evaluation; return its result.

        Its time does not count for the speed of the steps, and is expected again each time.
        """
        ...

    def say(self, text: str) -> None:
        """Write one line, with the time left."""
        ...


class Reporter(Protocol):
    """Shows the user what some work does. A command line, a notebook and a service each have their own Reporter."""

    def say(self, text: str) -> None:
        """Write one plain line."""
        ...

    def progress(self, title: str, total: int, note: Path | None = None) -> AbstractContextManager[Progress]:
        """Show the progress of `total` steps while the block runs.

        note: a status file for other processes; it is deleted when the block ends.
        """
        ...


@dataclass(frozen=True, eq=False)
class SilentReporter:
    """A Reporter that shows nothing."""

    def say(self, text: str) -> None:
        """Do nothing."""

    @contextmanager
    def progress(self, title: str, total: int, note: Path | None = None) -> Iterator[Progress]:
        """Count the steps; only the status file shows them."""
        with _noted(note):
            yield TimedProgress(lambda _: None, title, total, None, note)


@dataclass(frozen=True, eq=False)
class LineReporter:
    """A Reporter that writes plain lines, for log files and notebooks. Some of them say how far the work is.

    write: takes one line, without a newline at the end.
    """

    write: Callable[[str], None]

    def say(self, text: str) -> None:
        """Write the line."""
        self.write(printable(text))

    @contextmanager
    def progress(self, title: str, total: int, note: Path | None = None) -> Iterator[Progress]:
        """Write a line with the progress every LINE_EVERY_SECONDS."""
        with _noted(note):
            yield TimedProgress(self.say, title, total, None, note)


class Bar(Protocol):
    """A progress bar on the screen."""

    def advance(self, steps: int) -> None:
        """Move the bar by finished steps."""
        ...

    def total(self, steps: int) -> None:
        """Set the number of all steps."""
        ...


class TimedProgress:
    """The Progress of all reporters: it counts steps and estimates the time left.

    The time left is estimated from the speed of the recent steps, because the epochs of a training can differ in speed.
    """

    def __init__(self, write: Callable[[str], None], title: str, total: int, bar: Bar | None, note: Path | None = None):
        """`bar` is None where plain lines are wanted. `note` is the status file; the first status is written now."""
        self._write, self._title, self._total = write, title, total
        self._bar, self._note = bar, note
        self._done = 0
        self._recent_steps = self._recent_seconds = 0.0
        self._asides: list[float] = []  # the seconds of each piece of work that was no step
        self._aside_since: float | None = None
        self._aside_at = self._apart = 0  # the step after the last such piece, and the most steps between two
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
        """Take steps that were already done off the total, so that they do not count for the speed."""
        self._total -= steps
        if self._bar is not None:
            self._bar.total(self._total)

    def aside(self, work: Callable[[], Result]) -> Result:
        """Do work that is no step, for instance an evaluation, and return its result."""
        self._aside_since = began = time.monotonic()
        self._apart = max(self._apart, self._done - self._aside_at, 1)
        self._aside_at = self._done
        try:
            return work()
        finally:
            seconds = time.monotonic() - began
            self._asides.append(seconds)
            self._stepped += seconds
            self._aside_since = None

    def say(self, text: str) -> None:
        """Write one line, with the time left."""
        self._said = time.monotonic()
        self._write(f"{text}  [{self._done}/{self._total}, {self.left()} left]")

    def left_seconds(self) -> float | None:
        """Return the seconds that the remaining steps, and the work between them, will take; None before a step."""
        if not self._recent_steps:
            return None
        now, steps = time.monotonic(), max(0, self._total - self._done)
        # The estimate grows while no step is finished, except for the time of other work.
        waited = (now if self._aside_since is None else self._aside_since) - self._stepped
        return (self._recent_seconds + waited) / self._recent_steps * steps + self._aside_left(now, steps)

    def _aside_left(self, now: float, steps: int) -> float:
        """Return the seconds of the other work until `steps` more steps are done: a piece after each `_apart` steps."""
        begun = 0.0 if self._aside_since is None else now - self._aside_since
        pieces = [*self._asides, begun] if begun > max(self._asides, default=0.0) else self._asides
        if not pieces:
            return 0.0
        mean = sum(pieces) / len(pieces)
        due = -(-(steps + self._done - self._aside_at) // self._apart)
        return mean * due + (max(0.0, mean - begun) if begun else 0.0)

    def left(self) -> str:
        """Return the time that is left as m:ss; `?` before the first step."""
        seconds = self.left_seconds()
        if seconds is None:
            return "?"
        minutes, rest = divmod(round(seconds), 60)
        return f"{minutes}:{rest:02}"

    def _write_note(self) -> None:
        """Replace the status file as a whole. Errors are ignored: a full disk must not end the work because of it."""
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
    """Delete the status file when the block ends."""
    try:
        yield
    finally:
        if note is not None:
            with suppress(OSError):
                note.with_name(f".{note.name}").unlink(missing_ok=True)
                note.unlink(missing_ok=True)
