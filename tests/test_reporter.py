from __future__ import annotations

import io
import json
from pathlib import Path

import pytest
from rich.console import Console

from medalist.reporter import Note, Progress, read_note


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


def test_the_time_left_follows_the_recent_speed(clock: Clock) -> None:
    made, _ = console(quiet=True)
    bar = Progress(made, "train", 2000, None)
    for _ in range(600):  # ten minutes at a step a second
        clock.now += 1
        bar.advance()
    assert bar.left_seconds() == pytest.approx(1400)
    for _ in range(1000):  # then ten times as fast; over the whole it would be 700 / 1600 * 400 = 175 s
        clock.now += 0.1
        bar.advance()
    left = bar.left_seconds()
    assert left is not None and 40 < left < 120


def test_a_steady_speed_is_found_whatever_the_sizes_of_the_steps(clock: Clock) -> None:
    made, _ = console(quiet=True)
    bar = Progress(made, "train", 1000, None)
    for steps in (1, 7, 2, 50, 3, 100, 37):
        clock.now += 0.5 * steps
        bar.advance(steps)
        assert bar.left_seconds() == pytest.approx(0.5 * (1000 - bar._done))


def test_a_stretch_without_steps_makes_it_longer(clock: Clock) -> None:
    made, _ = console(quiet=True)
    bar = Progress(made, "train", 20, None)
    clock.now += 10
    bar.advance(10)
    assert bar.left_seconds() == pytest.approx(10)
    clock.now += 10
    assert bar.left_seconds() == pytest.approx(20)


def test_a_note_says_how_far_it_is_and_goes_away(clock: Clock, tmp_path: Path) -> None:
    path = tmp_path / "fold0" / "progress.json"
    made, _ = console()
    with progress(made, "train", 100, path) as bar:
        assert read_note(path) == Note(0, 100, None, "train")
        clock.now += 1
        bar.advance()
        assert read_note(path) == Note(0, 100, None, "train")  # not sooner than every two seconds
        bar.skip(40)
        clock.now += 1.5
        bar.advance(4)
        assert json.loads(path.read_text()) == {"done": 5, "total": 60, "left_seconds": 27.2, "title": "train"}
        # by hand: e = exp(-1.5 / 30); (1 * e + 1.5) / (1 * e + 4) * 55 = 27.24
    assert list(path.parent.iterdir()) == []


@pytest.mark.parametrize("terminal", [False, True])
def test_the_note_goes_away_after_an_error_too(tmp_path: Path, terminal: bool) -> None:
    path = tmp_path / "progress.json"
    made, _ = console(terminal=terminal)
    with pytest.raises(KeyboardInterrupt), progress(made, "train", 10, path):
        assert path.exists()
        raise KeyboardInterrupt
    assert list(tmp_path.iterdir()) == []


def test_a_note_that_cannot_be_written_stops_nothing(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    made, _ = console()
    with progress(made, "train", 10, tmp_path / "file" / "progress.json") as bar:
        bar.advance(10)
    assert bar._done == 10


@pytest.mark.parametrize(
    "text",
    ["", "{", "[]", "3", "[" * 5000, '{"done": 1}', '{"done": 1, "total": 2, "left_seconds": -1, "title": ""}'],
    ids=["empty", "half", "list", "number", "deep", "short", "negative"],
)
def test_a_damaged_note_is_none(tmp_path: Path, text: str) -> None:
    path = tmp_path / "progress.json"
    path.write_text(text)
    assert read_note(path) is None
    assert read_note(tmp_path / "none.json") is None
