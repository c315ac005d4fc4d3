"""Training that is interrupted, and goes on as if it had not been."""

from __future__ import annotations

import errno
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch
from safetensors import SafetensorError
from torch import Tensor

from medalist.data.loader import Batch
from medalist.engine import checkpoint, train
from medalist.engine.checkpoint import load_state
from medalist.engine.train import Fit, fit
from medalist.errors import MedalistError, RunError
from medalist.losses.settings import LossConfig
from medalist.progress import Progress
from medalist.tasks.segment import SegmentTask
from medalist.tasks.settings import SegmentConfig

Make = Callable[..., Fit]
FULL: dict[str, Any] = {"epochs": 3, "ema": 0.7, "accumulate": 2, "evaluate_every": 1}
"""Three batches in an epoch, two in a step of the optimiser: an epoch ends within what would be a group."""


class Interrupted(SegmentTask):
    """Ctrl-C at one training loss."""

    def __init__(self, at: int):
        super().__init__(SegmentConfig(), LossConfig(bce=1.0, dice=1.0), ("body", "border"))
        self.left = at

    def loss(self, outputs: Tensor, batch: Batch) -> Mapping[str, Tensor]:
        if not torch.is_inference_mode_enabled():
            if self.left == 0:
                raise KeyboardInterrupt
            self.left -= 1
        return super().loss(outputs, batch)


def end(job: Fit) -> tuple[dict[str, Tensor], dict[str, Tensor], list[dict[str, float]]]:
    """Last and best weights, and the rows without their times."""
    last, best = (safetensors.torch.load_file(job.folder / f"{name}.safetensors") for name in ("last", "best"))
    lines = (job.folder / "metrics.jsonl").read_text().splitlines()
    rows = [{name: value for name, value in json.loads(line).items() if name != "seconds"} for line in lines]
    return last, best, rows


def assert_same_end(first: Fit, second: Fit) -> None:
    (last, best, rows), (other_last, other_best, other_rows) = end(first), end(second)
    assert rows == other_rows
    for one, two in ((last, other_last), (best, other_best)):
        assert one.keys() == two.keys()
        assert all(torch.equal(one[name], two[name]) for name in one)


def assert_whole(job: Fit) -> None:
    """Nothing half written under any name, and what is there can be read."""
    names = {path.name for path in job.folder.glob("*")} if job.folder.exists() else set()
    assert names <= {"last.safetensors", "best.safetensors", "state.pt", "metrics.jsonl"}
    for name in names:
        path = job.folder / name
        if path.suffix == ".safetensors":
            safetensors.torch.load_file(path)
    if "state.pt" in names:
        state = load_state(job.folder / "state.pt")
        assert state is not None
        assert len(state["rows"]) == len((job.folder / "metrics.jsonl").read_text().splitlines())


@pytest.fixture
def whole(make: Make, quiet: Progress) -> Fit:
    """The training that nothing interrupts."""
    job = make("whole", **FULL)
    fit(job, lambda row: None, quiet)
    return job


@pytest.mark.parametrize("at", [0, 1, 2, 3, 4, 8])
def test_ctrl_c_in_any_step(make: Make, quiet: Progress, whole: Fit, at: int) -> None:
    job = make(task=Interrupted(at), **FULL)
    with pytest.raises(KeyboardInterrupt):
        fit(job, lambda row: None, quiet)
    assert_whole(job)
    assert not (job.folder / "last.safetensors").exists()
    skipped: list[int] = []
    again = make(**FULL)
    quiet.skip = skipped.append  # type: ignore[method-assign]
    logged: list[Mapping[str, float]] = []
    fit(again, logged.append, quiet)
    assert skipped == [at // 3 * 3]
    assert [row["epoch"] for row in logged] == list(range(at // 3 + 1, 4))
    assert_same_end(again, whole)


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("settings", [{}, {"ema": 0.0, "accumulate": 1}, {"optimizer": "sgd", "accumulate": 3}])
def test_interrupted_after_each_epoch(make: Make, quiet: Progress, settings: dict[str, Any], workers: int) -> None:
    """Worker processes live on over the epochs of one training, and begin anew in a resumed one."""
    whole = make("whole", **FULL | settings)
    fit(whole, lambda row: None, quiet)

    def stop(row: Mapping[str, float]) -> None:
        raise KeyboardInterrupt

    for _ in range(3):
        job = make("parts", workers=workers, **FULL | settings)
        with pytest.raises(KeyboardInterrupt):
            fit(job, stop, quiet)
        assert_whole(job)
        assert not (job.folder / "last.safetensors").exists()
    fit(make("parts", **FULL | settings), stop, quiet)  # all epochs are done: only `last` is missing
    assert_same_end(job, whole)


def test_the_best_before_an_interruption_stays_the_best(make: Make, quiet: Progress) -> None:
    """The rate is so high that later epochs are worse."""
    worse: dict[str, Any] = {"epochs": 3, "optimizer": "sgd", "lr": 30.0, "clip": 0, "schedule": "constant"}
    worse |= {"warmup": 0.4}
    whole = make("whole", **worse)
    fit(whole, lambda row: None, quiet)
    _, best, rows = end(whole)
    assert min(row["val_loss"] for row in rows) == rows[0]["val_loss"]

    def stop(row: Mapping[str, float]) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fit(make(**worse), stop, quiet)
    job = make(**worse)
    fit(job, lambda row: None, quiet)
    assert_same_end(job, whole)
    assert any(not torch.equal(best[name], value) for name, value in end(job)[0].items())


@pytest.mark.parametrize("after", [False, True])
@pytest.mark.parametrize("call", [0, 1, 2])
@pytest.mark.parametrize("writer", ["_save_weights", "write_text", "save_state"])
def test_interrupted_between_two_files(
    make: Make, quiet: Progress, whole: Fit, monkeypatch: pytest.MonkeyPatch, writer: str, call: int, after: bool
) -> None:
    """Before or after any file of an epoch: going on gives the same, and all rows."""
    real = getattr(train, writer)
    left = [call]

    def stop(*arguments: Any) -> None:
        left[0] -= 1
        if left[0] >= 0 or after:
            real(*arguments)
        if left[0] < 0:
            raise KeyboardInterrupt

    monkeypatch.setattr(train, writer, stop)
    with pytest.raises(KeyboardInterrupt):
        fit(make(**FULL), lambda row: None, quiet)
    monkeypatch.undo()
    job = make(**FULL)
    fit(job, lambda row: None, quiet)
    assert_whole(job)
    assert_same_end(job, whole)


def test_ctrl_c_in_the_middle_of_a_file(make: Make, quiet: Progress, monkeypatch: pytest.MonkeyPatch) -> None:
    def half(model: Any, name: str) -> None:
        Path(name).write_bytes(b"half")
        raise KeyboardInterrupt

    monkeypatch.setattr(checkpoint, "save_model", half)
    job = make()
    with pytest.raises(KeyboardInterrupt):
        fit(job, lambda row: None, quiet)
    assert list(job.folder.iterdir()) == []


@pytest.mark.parametrize("what", ["state", "weights", "rows"])
def test_a_full_disk_leaves_the_former_state(
    make: Make, quiet: Progress, whole: Fit, monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    real_bytes, real_text, real_save = Path.write_bytes, Path.write_text, checkpoint.save_model
    job = make(**FULL)

    def second_epoch() -> bool:
        return (job.folder / "state.pt").exists()

    def write_bytes(path: Path, data: Any) -> int:
        if what == "state" and second_epoch():
            real_bytes(path, data[:100])
            raise OSError(errno.ENOSPC, "No space left on device", str(path))
        return real_bytes(path, data)

    def write_text(path: Path, *arguments: Any, **options: Any) -> int:
        if what == "rows" and second_epoch():
            raise OSError(errno.ENOSPC, "No space left on device")
        return real_text(path, *arguments, **options)

    def save_model(model: Any, name: str) -> None:
        if what == "weights" and second_epoch():
            real_bytes(Path(name), b"half")
            raise SafetensorError("Error while serializing: I/O error: No space left on device (os error 28)")
        real_save(model, name)

    monkeypatch.setattr(Path, "write_bytes", write_bytes)
    monkeypatch.setattr(Path, "write_text", write_text)
    monkeypatch.setattr(checkpoint, "save_model", save_model)
    with pytest.raises(MedalistError, match=r"^disk full while writing .*; free space and run the command again$"):
        fit(job, lambda row: None, quiet)
    monkeypatch.undo()
    names = {path.name for path in job.folder.iterdir()}
    assert names == {"best.safetensors", "state.pt", "metrics.jsonl"}
    state = load_state(job.folder / "state.pt")
    assert state is not None and len(state["rows"]) == 1
    again = make(**FULL)
    fit(again, lambda row: None, quiet)
    assert_same_end(again, whole)


def test_a_state_of_another_training_is_refused(make: Make, quiet: Progress, whole: Fit, network: Any) -> None:
    path = whole.folder / "state.pt"
    said = rf"^state {path} is of another training \(.*\); delete it to train this fold from its start$"
    state = load_state(path)
    assert state is not None
    others: list[tuple[dict[str, Any], Fit]] = [
        (state, make("whole", model=network(norm=False), **FULL)),
        ({"epoch": 3}, make("whole", **FULL)),
        ({**state, "optimizer": {}}, make("whole", **FULL)),
        ({**state, "rows": [7]}, make("whole", **FULL)),
        ({**state, "model": {"encoder.0.weight": "no tensor"}}, make("whole", **FULL)),
        ({name: value for name, value in state.items() if name != "average"}, make("whole", **FULL)),
    ]
    for content, job in others:
        torch.save(content, path)
        with pytest.raises(RunError, match=said):
            fit(job, lambda row: None, quiet)
