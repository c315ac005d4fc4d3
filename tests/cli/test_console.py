from __future__ import annotations

import io
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from rich.console import Console

from medalist.cli.console import ConsoleReporter, PlainConsole
from medalist.cli.queue_display import LiveDisplay, queue_table
from medalist.cli.session import say, table
from medalist.reporter import LineReporter, ProgressStatus, printable, read_status
from medalist.runs.runs import Run
from medalist.training.queue_status import JobEnd, JobStatus, QueueStatus


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    made = Clock()
    monkeypatch.setattr("medalist.reporter.time.monotonic", made)
    return made


def spoken(terminal: bool = False, quiet: bool = False) -> tuple[ConsoleReporter, io.StringIO]:
    file = io.StringIO()
    return ConsoleReporter(Console(file=file, force_terminal=terminal, quiet=quiet, width=100)), file


def test_plain_lines_say_how_much_is_left_of_the_whole(clock: Clock) -> None:
    reporter, file = spoken()
    with reporter.progress("train", 40) as progress:
        progress.say("start")
        clock.now += 20
        progress.advance(10)
        progress.say("epoch 1")
        clock.now += 19
        progress.advance(29)
        progress.say("[b]epoch 2[/b]")
    assert file.getvalue().splitlines() == [
        "start  [0/40, ? left]",
        "epoch 1  [10/40, 1:00 left]",
        "[b]epoch 2[/b]  [39/40, 0:01 left]",
    ]


@pytest.mark.parametrize("terminal", [False, True])
def test_a_line_is_neither_folded_nor_read_as_markup(terminal: bool) -> None:
    reporter, file = spoken(terminal)
    line = f"[b]wrote[/b] {'/a folder' * 30}/1.5.csv"
    reporter.say(line)
    assert file.getvalue() == f"{line}\n"


def test_a_silent_stretch_is_broken_by_a_line(clock: Clock) -> None:
    reporter, file = spoken()
    with reporter.progress("reading", 100) as progress:
        for _ in range(50):
            clock.now += 1.01
            progress.advance()
    assert len(file.getvalue().splitlines()) == 1
    assert file.getvalue().startswith("reading  [30/100, 1:1")


def test_quiet_says_nothing(clock: Clock) -> None:
    reporter, file = spoken(terminal=True, quiet=True)
    reporter.say("line")
    with reporter.progress("train", 3) as progress:
        clock.now += 1000
        progress.advance()
        progress.say("line")
    assert file.getvalue() == ""


def test_a_terminal_shows_a_bar_that_goes_away_and_keeps_the_lines() -> None:
    reporter, file = spoken(terminal=True)
    with reporter.progress("train", 10) as progress:
        progress.skip(2)
        progress.advance(8)
        progress.say("epoch 1 of 1")
    text = file.getvalue()
    assert "train" in text and "8/8" in text
    assert "epoch 1 of 1  [8/8, 0:00 left]" in text


def test_the_bar_goes_away_after_an_error_too() -> None:
    reporter, file = spoken(terminal=True)
    with pytest.raises(KeyboardInterrupt), reporter.progress("train", 10) as progress:
        progress.advance()
        raise KeyboardInterrupt
    assert file.getvalue().endswith("\x1b[2K") or "\x1b[?25h" in file.getvalue()  # the cursor is back


@pytest.mark.parametrize("terminal", [False, True])
def test_a_note_says_how_far_it_is_and_goes_away(clock: Clock, tmp_path: Path, terminal: bool) -> None:
    path = tmp_path / "fold0" / "progress.json"
    reporter, _ = spoken(terminal)
    with reporter.progress("train", 100, path) as progress:
        assert read_status(path) == ProgressStatus(0, 100, None, "train")
        clock.now += 3
        progress.advance(10)
        assert read_status(path) == ProgressStatus(10, 100, 27.0, "train")
    assert list(path.parent.iterdir()) == []


@pytest.mark.parametrize("terminal", [False, True])
def test_the_note_goes_away_after_an_error_too(tmp_path: Path, terminal: bool) -> None:
    path = tmp_path / "progress.json"
    reporter, _ = spoken(terminal=terminal)
    with pytest.raises(KeyboardInterrupt), reporter.progress("train", 10, path):
        assert path.exists()
        raise KeyboardInterrupt
    assert list(tmp_path.iterdir()) == []


def test_a_note_that_cannot_be_written_stops_nothing(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    reporter, file = spoken()
    with reporter.progress("train", 10, tmp_path / "file" / "progress.json") as progress:
        progress.advance(10)
        progress.say("on")
    assert file.getvalue() == "on  [10/10, 0:00 left]\n"


CODES = "\x1b]0;title\x07\x1b[2Jname\x9b31m\u202e\u200b\r\x08"
"""Codes that set a terminal's title, clear it, colour it, turn the direction of writing, and write over a line."""


def clean(text: str) -> bool:
    return all(letter.isprintable() or letter == "\n" for letter in text)


def test_a_text_for_a_terminal_has_no_codes() -> None:
    assert printable("é → ± 日本\n") == "é → ± 日本\n"
    assert clean(printable(CODES)) and len(printable(CODES)) == len(CODES)


def test_nothing_that_is_told_can_be_a_code_for_the_terminal() -> None:
    """Ids, labels, strata, runs and paths reach the output by lines, tables, bars and logs."""
    file, lines = io.StringIO(), list[str]()
    console = PlainConsole(file=file, width=200)
    console.print(f"x {CODES}")
    say(console, f"x {CODES}")
    table(console, CODES, ["id", CODES], [[CODES, 3], ["two\nlines", None]])
    plain = ConsoleReporter(Console(file=file, width=200))
    for reporter in (ConsoleReporter(console), plain, LineReporter(lines.append)):
        reporter.say(CODES)
        with reporter.progress(CODES, 3) as progress:
            progress.say(CODES)
    assert "two lines" in file.getvalue() and file.getvalue().count("name") == 9
    assert clean(file.getvalue()) and all(map(clean, lines)) and len(lines) == 2


def test_the_table_of_a_queue_has_no_codes_of_names(tmp_path: Path) -> None:
    job: Any = SimpleNamespace(run=Run(tmp_path / CODES.replace("/", "")), fold=0, title=CODES)
    file = io.StringIO()
    console = PlainConsole(file=file, width=200)
    console.print(queue_table(QueueStatus([job], [JobStatus("training", last=CODES)], 0, None)))
    LiveDisplay(console).end(job, JobEnd(2, CODES, 0.0))
    assert clean(file.getvalue()) and file.getvalue().count("name") == 4


def test_a_bar_has_no_markup_of_its_title_and_shows_the_time_left(clock: Clock) -> None:
    reporter, file = spoken(terminal=True)
    with reporter.progress("[b]train[/b]", 100) as progress:
        for _ in range(50):
            clock.now += 1
            progress.advance()
    assert "[b]train[/b]" in file.getvalue() and "0:50" in file.getvalue()
