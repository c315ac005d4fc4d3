from __future__ import annotations

import io

import pytest
from rich.console import Console

from medalist import progress as module
from medalist.progress import Progress, progress


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    made = Clock()
    monkeypatch.setattr(module.time, "monotonic", made)
    return made


def console(terminal: bool = False, quiet: bool = False) -> tuple[Console, io.StringIO]:
    file = io.StringIO()
    return Console(file=file, force_terminal=terminal, quiet=quiet, width=100), file


def test_plain_lines_say_how_much_is_left_of_the_whole(clock: Clock) -> None:
    made, file = console()
    with progress(made, "train", 40) as bar:
        bar.say("start")
        clock.now += 20
        bar.advance(10)
        bar.say("epoch 1")
        clock.now += 19
        bar.advance(29)
        bar.say("[b]epoch 2[/b]")
    assert file.getvalue().splitlines() == [
        "start  [0/40, ? left]",
        "epoch 1  [10/40, 1:00 left]",
        "[b]epoch 2[/b]  [39/40, 0:01 left]",
    ]


def test_a_silent_stretch_is_broken_by_a_line(clock: Clock) -> None:
    made, file = console()
    with progress(made, "reading", 100) as bar:
        for _ in range(50):
            clock.now += 1.01
            bar.advance()
    assert len(file.getvalue().splitlines()) == 1
    assert file.getvalue().startswith("reading  [30/100, 1:1")


def test_steps_that_were_done_before_do_not_count(clock: Clock) -> None:
    made, file = console()
    bar = Progress(made, "train", 100, None)
    bar.skip(60)
    clock.now += 10
    bar.advance(10)
    bar.say("on")
    assert file.getvalue() == "on  [10/40, 0:30 left]\n"


def test_quiet_says_nothing(clock: Clock) -> None:
    made, file = console(terminal=True, quiet=True)
    with progress(made, "train", 3) as bar:
        clock.now += 1000
        bar.advance()
        bar.say("line")
    assert file.getvalue() == ""


def test_a_terminal_shows_a_bar_that_goes_away_and_keeps_the_lines() -> None:
    made, file = console(terminal=True)
    with progress(made, "train", 10) as bar:
        bar.skip(2)
        bar.advance(8)
        bar.say("epoch 1 of 1")
    text = file.getvalue()
    assert "train" in text and "8/8" in text
    assert "epoch 1 of 1  [8/8, 0:00 left]" in text


def test_the_bar_goes_away_after_an_error_too() -> None:
    made, file = console(terminal=True)
    with pytest.raises(KeyboardInterrupt), progress(made, "train", 10) as bar:
        bar.advance()
        raise KeyboardInterrupt
    assert file.getvalue().endswith("\x1b[2K") or "\x1b[?25h" in file.getvalue()  # the cursor is back
