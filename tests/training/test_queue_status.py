from __future__ import annotations

import io
import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from medalist.report.eda import look
from medalist.runs.runs import Run
from medalist.training.queue_status import ATTEMPT, JobEnd, QueueDisplay, QueueJob, clock, figures, queue_left


@pytest.mark.parametrize(
    ("running", "waiting", "typical", "workers", "left"),
    [
        ([], 0, None, 2, 0.0),
        ([10.0, 4.0], 0, None, 2, 10.0),
        ([10.0, 4.0], 1, 5.0, 2, 10.0),  # the third runs from 4 to 9
        ([10.0, 4.0], 2, 5.0, 2, 14.0),  # from 4 to 9, from 9 to 14
        ([10.0, None], 0, 7.0, 2, 10.0),
        ([10.0, None], 0, None, 2, None),
        ([10.0], 1, None, 2, None),
        ([], 3, 5.0, 2, 10.0),
        ([6.0], 2, 5.0, 1, 16.0),
    ],
)
def test_the_end_of_the_queue(
    running: list[float | None], waiting: int, typical: float | None, workers: int, left: float | None
) -> None:
    assert queue_left(running, waiting, typical, workers) == left


@given(st.integers(0, 20), st.integers(1, 5), st.floats(0.1, 100))
def test_equal_jobs_end_in_rounds(waiting: int, workers: int, each: float) -> None:
    assert queue_left([], waiting, each, workers) == pytest.approx(-(-waiting // workers) * each)


def test_clock() -> None:
    assert [clock(seconds) for seconds in (None, 0, 61, 3725)] == ["?", "0:00", "1:01", "1:02:05"]


def job(tmp_path: Path, fold: int = 0) -> QueueJob:
    return QueueJob(Path("a.yaml"), (), None, fold, Run(tmp_path / "toy" / "a[b]"))


def write(folder: Path, rows: list[dict[str, float]]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))


def test_a_lane_follows_the_files_of_its_job(tmp_path: Path) -> None:
    one = job(tmp_path)
    folder = one.run.fold_folder(0)
    assert look(one, 0, None) == Lane("waiting")
    folder.mkdir(parents=True)
    one.log.write_text(f"{ATTEMPT} 1 of a queue before\n")
    since = one.log.stat().st_size
    assert look(one, since, None).state == "waiting"
    with one.log.open("a") as file:
        file.write(f"{ATTEMPT} 1 now\n")
    assert look(one, since, None) == Lane("reading")
    (folder / "progress.json").write_text('{"done": 1, "total": 4, "left_seconds": 90, "title": "train a"}')
    write(folder, [{"epoch": 1, "val_loss": 0.5, "dice_body": 0.7}, {"epoch": 2, "val_loss": 0.4, "dice_body": 0.6}])
    assert look(one, since, None) == Lane("training", 0, 2, "dice_body 0.6000", "0.7000", 90.0)
    with one.log.open("a") as file:
        file.write(f"{ATTEMPT} 2 now\n")
    assert look(one, since, None).word == "training, retried 1"
    (folder / "last.safetensors").write_bytes(b"")
    assert look(one, since, None).state == "predicting"
    assert look(one, since, JobEnd(0, "", 3.0)).state == "done"
    assert look(one, since, JobEnd(2, "no", 3.0)).word == "failed, retried 1"


def test_figures_survive_what_is_damaged(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    assert figures(path) == (0, "", "")
    path.write_text('{"epoch": 1, "loss": 0.5}\n{"epoch": 2, "loss": 0.6}\n{"epoch": ')
    assert figures(path) == (2, "loss 0.6000", "0.5000")
    path.write_text('{"val_loss": 0.5, "loss": 1, "recall@1": 0.25, "dice_x": 1}\n[]\n')
    assert figures(path) == (1, "recall@1 0.2500", "0.2500")


def test_plain_lines_come_now_and_then_and_a_terminal_has_a_table(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = [1000.0]
    monkeypatch.setattr(module.time, "monotonic", lambda: now[0])
    file = io.StringIO()
    with QueueDisplay(Console(file=file, width=200), [job(tmp_path), job(tmp_path, 1)], 2) as shown:
        first = shown.jobs[0]
        first.log.parent.mkdir(parents=True)
        first.log.write_text(f"{ATTEMPT} 1\n")
        shown.show()
        assert file.getvalue() == ""
        now[0] += 31
        shown.show()
        shown.end(0, JobEnd(0, "", 61.0))
        shown.end(1, JobEnd(2, "[b]no[/b]", 1.0))
    assert file.getvalue().splitlines() == [
        "0 of 2 jobs ended, ? left: a[b] fold 0 reading",
        "a[b] fold 0: done in 1:01",
        "a[b] fold 1: failed: [b]no[/b]",
    ]
    file = io.StringIO()
    with QueueDisplay(Console(file=file, width=100, force_terminal=True), [job(tmp_path, 3)], 2) as shown:
        shown.show()
    assert "a[b]" in file.getvalue() and "waiting" in file.getvalue() and "0/1" in file.getvalue()
