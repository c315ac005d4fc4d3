from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from medalist.kinds import parse_settings
from medalist.runs.runs import Run
from medalist.training import queue_status
from medalist.training.queue_status import (
    ATTEMPT,
    JobEnd,
    JobStatus,
    LineDisplay,
    QueueJob,
    QueueWatch,
    clock,
    figures,
    job_status,
    queue_left,
)
from medalist.training.request import TrainRequest

CONFIG = """\
competition: toy
model: {kind: unet, encoder: test_resnet, channels: [body]}
loss: {bce: 1.0}
decide: {kind: threshold}
"""
SETTINGS = parse_settings(CONFIG, "a.yaml")


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
    request = TrainRequest(SETTINGS, Path("a.yaml"), (), None, (fold,), "a[b]", tmp_path)
    return QueueJob(request, Run(tmp_path / "toy" / "a[b]"))


def write(folder: Path, rows: list[dict[str, float]]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))


def test_the_status_follows_the_files_of_the_job(tmp_path: Path) -> None:
    one = job(tmp_path)
    folder = one.run.fold_folder(0)
    assert job_status(one, 0, None) == JobStatus("waiting")
    folder.mkdir(parents=True)
    one.log.write_text(f"{ATTEMPT} 1 of a queue before\n")
    since = one.log.stat().st_size
    assert job_status(one, since, None).phase == "waiting"
    with one.log.open("a") as file:
        file.write(f"{ATTEMPT} 1 now\n")
    assert job_status(one, since, None) == JobStatus("reading")
    (folder / "progress.json").write_text('{"done": 1, "total": 4, "left_seconds": 90, "title": "train a"}')
    write(folder, [{"epoch": 1, "val_loss": 0.5, "dice_body": 0.7}, {"epoch": 2, "val_loss": 0.4, "dice_body": 0.6}])
    assert job_status(one, since, None) == JobStatus("training", 0, 2, "dice_body 0.6000", "0.7000", 90.0)
    with one.log.open("a") as file:
        file.write(f"{ATTEMPT} 2 now\n")
    assert job_status(one, since, None).word == "training, retried 1"
    (folder / "last.safetensors").write_bytes(b"")
    assert job_status(one, since, None).phase == "predicting"
    assert job_status(one, since, JobEnd(0, "", 3.0)).phase == "done"
    assert job_status(one, since, JobEnd(2, "no", 3.0)).word == "failed, retried 1"


def test_figures_survive_what_is_damaged(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    assert figures(path) == (0, "", "")
    path.write_text('{"epoch": 1, "loss": 0.5}\n{"epoch": 2, "loss": 0.6}\n{"epoch": ')
    assert figures(path) == (2, "loss 0.6000", "0.5000")
    path.write_text('{"val_loss": 0.5, "loss": 1, "recall@1": 0.25, "dice_x": 1}\n[]\n')
    assert figures(path) == (1, "recall@1 0.2500", "0.2500")


def test_plain_lines_come_now_and_then(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    now = [1000.0]
    monkeypatch.setattr(queue_status.time, "monotonic", lambda: now[0])
    said: list[str] = []
    watch = QueueWatch([job(tmp_path), job(tmp_path, 1)], 2)
    with LineDisplay(said.append) as shown:
        first = watch.jobs[0]
        first.log.parent.mkdir(parents=True)
        first.log.write_text(f"{ATTEMPT} 1\n")
        shown.show(watch.status)
        assert said == []
        now[0] += 31
        shown.show(watch.status)
        shown.end(watch.jobs[0], JobEnd(0, "", 61.0))
        shown.end(watch.jobs[1], JobEnd(2, "[b]no[/b]", 1.0))
    assert said == [
        "0 of 2 jobs ended, ? left: a[b] fold 0 reading",
        "a[b] fold 0: done in 1:01",
        "a[b] fold 1: failed: [b]no[/b]",
    ]


def test_the_whole_queue_is_watched(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two workers: fold 0 took 50 seconds, fold 1 has 30 left after 20, so that fold 2 ends in 50."""
    now = [1000.0]
    monkeypatch.setattr(queue_status.time, "monotonic", lambda: now[0])
    watch = QueueWatch([job(tmp_path, fold) for fold in range(3)], 2)
    assert [status.phase for status in watch.status().statuses] == ["waiting"] * 3 and watch.status().left is None
    folder = tmp_path / "toy" / "a[b]" / "fold1"
    folder.mkdir(parents=True)
    (folder / "train.log").write_text(f"{ATTEMPT} 1\n")
    assert watch.status().statuses[1].phase == "reading"
    now[0] += 20
    (folder / "progress.json").write_text('{"done": 1, "total": 4, "left_seconds": 30, "title": "train a"}')
    watch.ends[0] = JobEnd(0, "", 50.0)
    found = watch.status()
    assert [status.phase for status in found.statuses] == ["done", "training", "waiting"]
    assert (found.ended, found.left) == (1, 50.0)
