from __future__ import annotations

import json
from pathlib import Path

import pytest

from medalist.reporter import LineReporter, ProgressStatus, SilentReporter, TimedProgress, read_status


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


class Drawn:
    """A bar that stores its updates."""

    def __init__(self) -> None:
        self.done = 0
        self.totals: list[int] = []

    def advance(self, steps: int) -> None:
        self.done += steps

    def total(self, steps: int) -> None:
        self.totals.append(steps)


def silent(total: int) -> TimedProgress:
    return TimedProgress(lambda _: None, "train", total, None)


def test_plain_lines_say_how_much_is_left_of_the_whole(clock: Clock) -> None:
    lines: list[str] = []
    reporter = LineReporter(lines.append)
    reporter.say("[b]before[/b]")
    with reporter.progress("train", 40) as progress:
        progress.say("start")
        clock.now += 20
        progress.advance(10)
        progress.say("epoch 1")
        clock.now += 19
        progress.advance(29)
        progress.say("[b]epoch 2[/b]")
    assert lines == [
        "[b]before[/b]",
        "start  [0/40, ? left]",
        "epoch 1  [10/40, 1:00 left]",
        "[b]epoch 2[/b]  [39/40, 0:01 left]",
    ]


def test_a_silent_stretch_is_broken_by_a_line(clock: Clock) -> None:
    lines: list[str] = []
    with LineReporter(lines.append).progress("reading", 100) as progress:
        for _ in range(50):
            clock.now += 1.01
            progress.advance()
    assert len(lines) == 1 and lines[0].startswith("reading  [30/100, 1:1")


def test_steps_that_were_done_before_do_not_count(clock: Clock) -> None:
    lines: list[str] = []
    progress = TimedProgress(lines.append, "train", 100, None)
    progress.skip(60)
    clock.now += 10
    progress.advance(10)
    progress.say("on")
    assert lines == ["on  [10/40, 0:30 left]"]


def test_a_bar_is_told_of_all_steps_and_keeps_the_lines_short(clock: Clock) -> None:
    """If a bar is drawn, the progress prints no lines by itself, even if no message is printed for a long time."""
    lines: list[str] = []
    bar = Drawn()
    progress = TimedProgress(lines.append, "train", 10, bar)
    progress.skip(2)
    for _ in range(8):
        clock.now += 60
        progress.advance()
    progress.say("done")
    assert (bar.done, bar.totals, lines) == (8, [8], ["done  [8/8, 0:00 left]"])


def test_silence_says_nothing_and_counts_all_the_same(
    clock: Clock, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "fold0" / "progress.json"
    reporter = SilentReporter()
    reporter.say("line")
    with reporter.progress("train", 3, path) as progress:
        assert read_status(path) == ProgressStatus(0, 3, None, "train")
        clock.now += 1000
        progress.advance()
        progress.say("line")
        assert read_status(path) == ProgressStatus(1, 3, 2000, "train")
    assert capfd.readouterr() == ("", "")
    assert list(path.parent.iterdir()) == []


def test_the_time_left_follows_the_recent_speed(clock: Clock) -> None:
    progress = silent(2000)
    for _ in range(600):  # ten minutes with one step a second
        clock.now += 1
        progress.advance()
    assert progress.left_seconds() == pytest.approx(1400)
    for _ in range(1000):  # then ten times as fast; the mean speed would give 700 / 1600 * 400 = 175 s
        clock.now += 0.1
        progress.advance()
    left = progress.left_seconds()
    assert left is not None and 40 < left < 120


def test_a_steady_speed_is_found_whatever_the_sizes_of_the_steps(clock: Clock) -> None:
    progress = silent(1000)
    for steps in (1, 7, 2, 50, 3, 100, 37):
        clock.now += 0.5 * steps
        progress.advance(steps)
        assert progress.left_seconds() == pytest.approx(0.5 * (1000 - progress._done))


def test_a_stretch_without_steps_makes_it_longer(clock: Clock) -> None:
    progress = silent(20)
    clock.now += 10
    progress.advance(10)
    assert progress.left_seconds() == pytest.approx(10)
    clock.now += 10
    assert progress.left_seconds() == pytest.approx(20)


def test_the_time_left_does_not_jump_around_an_evaluation(clock: Clock) -> None:
    """An evaluation of 60 s after each 100 steps of 1 s is expected again, and does not count as slow steps."""
    progress = silent(500)
    told: list[float] = []

    def evaluate() -> str:
        for _ in range(6):
            clock.now += 10
            told.append(progress.left_seconds() or 0)
        return "figures"

    due = []
    for epoch in range(5):
        for step in range(100):
            clock.now += 1
            progress.advance()
            told.append(progress.left_seconds() or 0)
            due.append(499 - 100 * epoch - step + 60 * (5 - epoch))
        assert progress.aside(evaluate) == "figures"
        due += [400 - 100 * epoch + 60 * (4 - epoch) + rest for rest in (50, 40, 30, 20, 10, 0)]
    for number, (said, right) in enumerate(zip(told, due, strict=True)):
        if number > 106:  # from the end of the first evaluation on
            assert said == pytest.approx(right, abs=1), number


def test_a_note_says_how_far_it_is_and_goes_away(clock: Clock, tmp_path: Path) -> None:
    path = tmp_path / "fold0" / "progress.json"
    with LineReporter(lambda _: None).progress("train", 100, path) as progress:
        assert read_status(path) == ProgressStatus(0, 100, None, "train")
        clock.now += 1
        progress.advance()
        assert read_status(path) == ProgressStatus(0, 100, None, "train")  # not sooner than every two seconds
        progress.skip(40)
        clock.now += 1.5
        progress.advance(4)
        assert json.loads(path.read_text()) == {"done": 5, "total": 60, "left_seconds": 27.2, "title": "train"}
        # by hand: e = exp(-1.5 / 30); (1 * e + 1.5) / (1 * e + 4) * 55 = 27.24
    assert list(path.parent.iterdir()) == []


@pytest.mark.parametrize("reporter", [SilentReporter(), LineReporter(lambda _: None)], ids=["silent", "lines"])
def test_the_note_goes_away_after_an_error_too(tmp_path: Path, reporter: SilentReporter | LineReporter) -> None:
    path = tmp_path / "progress.json"
    with pytest.raises(KeyboardInterrupt), reporter.progress("train", 10, path):
        assert path.exists()
        raise KeyboardInterrupt
    assert list(tmp_path.iterdir()) == []


def test_a_note_that_cannot_be_written_stops_nothing(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    lines: list[str] = []
    with LineReporter(lines.append).progress("train", 10, tmp_path / "file" / "progress.json") as progress:
        progress.advance(10)
        progress.say("on")
    assert lines == ["on  [10/10, 0:00 left]"]


@pytest.mark.parametrize(
    "text",
    ["", "{", "[]", "3", "[" * 5000, '{"done": 1}', '{"done": 1, "total": 2, "left_seconds": -1, "title": ""}'],
    ids=["empty", "half", "list", "number", "deep", "short", "negative"],
)
def test_a_damaged_note_is_none(tmp_path: Path, text: str) -> None:
    path = tmp_path / "progress.json"
    path.write_text(text)
    assert read_status(path) is None
    assert read_status(tmp_path / "none.json") is None
