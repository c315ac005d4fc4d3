from __future__ import annotations

import io
from pathlib import Path

import pytest
from rich.console import Console

from medalist.cli.console import ConsoleReporter
from medalist.reporter import ProgressStatus, read_status


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
