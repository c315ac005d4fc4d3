"""Training that is interrupted, and goes on as if it had not been."""

from __future__ import annotations

import errno
import json
import os
import shutil
import struct
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.torch
import torch
from lightning_fabric import Fabric
from safetensors import SafetensorError
from torch import Tensor, nn

from medalist.data.features import FeatureDataset
from medalist.data.loader import Batch, batches
from medalist.data.samplers import ShuffleBatchSampler, SizeBucketSampler
from medalist.data.settings import WeightedSampler
from medalist.engine import checkpoint, train
from medalist.engine.checkpoint import load_state, save_state, states
from medalist.engine.job import TrainJob
from medalist.engine.settings import CheckpointConfig, TrainConfig
from medalist.engine.train import fit
from medalist.errors import MedalistError, RunError
from medalist.reporter import Progress, TimedProgress
from medalist.tasks.embed.datasets import label_target
from medalist.tasks.embed.losses.metric import build_metric_loss
from medalist.tasks.embed.losses.settings import MarginTerm, MetricLossConfig, SupConTerm
from medalist.tasks.embed.task import EmbedTask
from medalist.tasks.segment.loss_settings import LossConfig
from medalist.tasks.segment.task import SegmentTask

Make = Callable[..., TrainJob]
Ended = tuple[dict[str, dict[str, Tensor]], list[dict[str, float]]]

EACH = CheckpointConfig(steps=1, minutes=0)
SECOND = CheckpointConfig(steps=2, minutes=0)
FULL: dict[str, Any] = {"epochs": 3, "ema": 0.7, "accumulate": 2, "evaluate_every": 1, "checkpoint": EACH}
"""Three batches in an epoch, two in a step of the optimiser: an epoch ends within what would be a group."""

MIXES = (
    {"kind": "mixup", "p": 0.7},
    {"kind": "cutmix", "p": 0.7},
    {"kind": "mosaic", "p": 0.7},
)
FEATURES: dict[str, dict[str, Any]] = {
    "ema and accumulate": {"ema": 0.7, "accumulate": 2},
    "sgd": {"optimizer": "sgd", "momentum": 0.8, "schedule": "cosine", "hold": 0.2},
    "hard": {"hard": 2},
    "hard and accumulate": {"hard": 2, "accumulate": 3},
    "freeze": {"freeze": 1, "layer_decay": 0.5},
    "average of last": {"average": {"of": "last", "count": 2}, "keep": "average"},
    "average of best": {"average": {"of": "best", "count": 2, "recalibrate": 2}, "ema": 0.5},
    "mix": {"mix": MIXES},
    "sizes": {"sizes": ({"epochs": 1, "size": (8, 8)}, {"epochs": 1, "size": (12, 8)})},
    "weighted": {"sampler": WeightedSampler(kind="weighted", weights={"odd": 3.0})},
    "bf16": {"precision": "bf16-mixed"},
}


class Interrupted(SegmentTask):
    """Ctrl-C at one training loss."""

    def __init__(self, at: int):
        super().__init__(LossConfig(bce=1.0, dice=1.0), ("body", "border"))
        self.left = at

    def loss(self, outputs: Tensor, batch: Batch) -> Mapping[str, Tensor]:
        if not torch.is_inference_mode_enabled():
            if self.left == 0:
                raise KeyboardInterrupt
            self.left -= 1
        return super().loss(outputs, batch)


class Listening(TimedProgress):
    """Keeps what was said, and what was skipped."""

    def __init__(self) -> None:
        super().__init__(lambda _: None, "test", 1000, None)
        self.said: list[str] = []
        self.skipped: list[int] = []

    def say(self, text: str) -> None:
        self.said.append(text)

    def skip(self, steps: int) -> None:
        self.skipped.append(steps)


def run(job: TrainJob) -> Listening:
    """Train to the end; what was said meanwhile."""
    heard = Listening()
    fit(job, lambda row: None, heard)
    return heard


def stop(job: TrainJob) -> Listening:
    """Train until the task has its Ctrl-C."""
    heard = Listening()
    with pytest.raises(KeyboardInterrupt):
        fit(job, lambda row: None, heard)
    assert_whole(job.folder)
    assert not (job.folder / "last.safetensors").exists()
    return heard


def end(folder: Path) -> Ended:
    """All weights by file name, and the rows without their times."""
    weights = {path.name: safetensors.torch.load_file(path) for path in folder.glob("*.safetensors")}
    lines = (folder / "metrics.jsonl").read_text().splitlines()
    rows = [{name: value for name, value in json.loads(line).items() if name != "seconds"} for line in lines]
    return weights, rows


def assert_same_end(first: TrainJob, second: TrainJob) -> None:
    """The same files, no state, snapshot or half-written file among them, and the same numbers to the last bit."""
    names = sorted(path.name for path in first.folder.iterdir())
    assert names == sorted(path.name for path in second.folder.iterdir())
    kept = {f"{name}.safetensors" for name in ("average", "best", "last", "raw")}
    assert set(names) <= kept | {"metrics.jsonl"} and ("raw.safetensors" in names) == (first.config.ema > 0)
    assert ("average.safetensors" in names) == (first.config.average is not None)
    (weights, rows), (other_weights, other_rows) = end(first.folder), end(second.folder)
    assert rows == other_rows and [list(row) for row in rows] == [list(row) for row in other_rows]
    assert weights.keys() == other_weights.keys() >= {"last.safetensors", "best.safetensors"}
    for name, one in weights.items():
        two = other_weights[name]
        assert one.keys() == two.keys()
        assert all(torch.equal(one[part], two[part]) and one[part].dtype == two[part].dtype for part in one), name


def assert_whole(folder: Path) -> None:
    """Nothing half written under any name, at most two states, and what is there can be read."""
    names = [path.name for path in folder.iterdir()] if folder.exists() else []
    assert not [name for name in names if name.startswith(".")]
    for name in names:
        if name.endswith(".safetensors"):
            safetensors.torch.load_file(folder / name)
    assert len(states(folder)) <= 2
    assert not load_state(folder)[1]


@pytest.fixture(scope="module")
def whole(make_in: Make, tmp_path_factory: pytest.TempPathFactory) -> TrainJob:
    """The training that nothing interrupts. Tests must not change its folder."""
    job = make_in(tmp_path_factory.mktemp("engine"), "whole", **FULL)
    run(job)
    return job


@pytest.mark.parametrize("name", FEATURES)
def test_interrupted_at_any_batch(make: Make, name: str) -> None:
    features: dict[str, Any] = {"epochs": 3, "evaluate_every": 1, **FEATURES[name]}
    whole = make("whole", **features)  # its states are rarer: they change nothing
    run(whole)
    steps = whole.steps
    assert steps == (12 if "hard" in name else 9)
    points = range(steps) if name == "ema and accumulate" else (1, 4, steps - 2)
    for rhythm, at in [*((EACH, at) for at in points), (SECOND, 5)]:
        folder = f"{rhythm.steps} {at}"
        stop(make(folder, task=Interrupted(at), checkpoint=rhythm, **features))
        again = make(folder, checkpoint=rhythm, **features)
        heard = run(again)
        (skipped,) = heard.skipped
        assert at - 4 < skipped <= at
        told = [line for line in heard.said if "resumes" in line]
        assert told == (
            [f"fold 0: resumes at step {skipped}, in epoch {skipped // (steps // 3) + 1}"] if skipped else []
        )
        assert_same_end(again, whole)
        shutil.rmtree(again.folder)


@pytest.mark.parametrize("name", FEATURES)
def test_interrupted_again_and_again(make: Make, name: str) -> None:
    """Each attempt gets four batches far, so all of them together meet many more states than epochs."""
    features: dict[str, Any] = {"epochs": 3, "evaluate_every": 1, "checkpoint": EACH, **FEATURES[name]}
    whole = make("whole", **features)
    run(whole)
    came: list[int] = []
    while True:
        heard = Listening()
        job = make("parts", task=Interrupted(4), **features)
        try:
            fit(job, lambda row: None, heard)
        except KeyboardInterrupt:
            came += heard.skipped
            assert_whole(job.folder)
            continue
        break
    assert came == sorted(set(came)) and len(came) > 1, "each got farther than the one before"
    assert_same_end(job, whole)


def test_what_lies_behind_is_not_trained_again(make: Make, whole: TrainJob) -> None:
    """A state is written after each step, of two batches or of what an epoch has left."""
    for at in (0, 1, 2, 3, 8):
        stop(make(str(at), task=Interrupted(at), **FULL))
        again = make(str(at), **FULL)
        logged: list[Mapping[str, float]] = []
        heard = Listening()
        fit(again, logged.append, heard)
        assert heard.skipped == [at // 3 * 3 + at % 3 // 2 * 2]
        assert [row["epoch"] for row in logged] == list(range(at // 3 + 1, 4))
    assert_same_end(again, whole)


def test_without_steps_short_epochs_write_no_state(make: Make, whole: TrainJob) -> None:
    rare: dict[str, Any] = {**FULL, "checkpoint": CheckpointConfig()}
    job = make(task=Interrupted(8), **rare)
    stop(job)
    assert states(job.folder) == []
    assert run(make(**rare)).skipped == [0]
    assert_same_end(job, whole)


def test_by_minutes(make: Make, whole: TrainJob) -> None:
    """Each step is late where the minutes are so short."""
    often: dict[str, Any] = {**FULL, "checkpoint": CheckpointConfig(minutes=1e-9)}
    job = make(task=Interrupted(5), **often)
    stop(job)
    assert [path.name for path in states(job.folder)] == [
        "state-0000000005.safetensors",
        "state-0000000002.safetensors",
    ]
    assert run(make(**often)).skipped == [5]
    assert_same_end(job, whole)


def test_with_workers(make: Make, whole: TrainJob) -> None:
    """Worker processes live on over the epochs of one training, and begin anew in a resumed one."""
    for at, workers in ((2, 0), (5, 2), (7, 2)):
        stop(make("parts", task=Interrupted(at - run_so_far(make)), workers=workers, **FULL))
    job = make("parts", workers=2, **FULL)
    run(job)
    assert_same_end(job, whole)


def run_so_far(make: Make) -> int:
    state, _ = load_state(make("parts").folder)
    return state.batches if state else 0


def test_after_each_epoch(make: Make, quiet: Progress, whole: TrainJob) -> None:
    def enough(row: Mapping[str, float]) -> None:
        raise KeyboardInterrupt

    for _ in range(3):
        job = make("parts", **FULL)
        with pytest.raises(KeyboardInterrupt):
            fit(job, enough, quiet)
        assert_whole(job.folder)
        assert not (job.folder / "last.safetensors").exists()
    fit(make("parts", **FULL), enough, quiet)  # all epochs are done: only `last` is missing
    assert_same_end(job, whole)


def test_the_best_before_an_interruption_stays_the_best(make: Make) -> None:
    """The rate is so high that later epochs are worse."""
    worse: dict[str, Any] = {"epochs": 3, "optimizer": "sgd", "lr": 30.0, "clip": 0, "schedule": "constant"}
    worse |= {"warmup": 0.4, "checkpoint": EACH, "augment": ({"RandomCrop": {"height": 8, "width": 8}},)}
    whole = make("whole", **worse)
    run(whole)
    weights, rows = end(whole.folder)
    assert min(row["val_loss"] for row in rows) == rows[0]["val_loss"]
    for at in (3, 4, 7):
        stop(make(str(at), task=Interrupted(at), **worse))
        job = make(str(at), **worse)
        run(job)
        assert_same_end(job, whole)
    best, last = weights["best.safetensors"], weights["last.safetensors"]
    assert any(not torch.equal(best[name], value) for name, value in last.items())


AVERAGED: dict[str, Any] = {"epochs": 2, "evaluate_every": 1, "checkpoint": EACH, "ema": 0.7}
AVERAGED |= {"average": {"of": "best", "count": 2}}


@pytest.mark.parametrize("after", [False, True])
@pytest.mark.parametrize(
    ("writer", "calls"),
    [("save_weights", 6), ("keep_snapshots", 3), ("write_text", 2), ("save", 6), ("forget_states", 1)],
)
def test_interrupted_between_two_files(
    make: Make, monkeypatch: pytest.MonkeyPatch, writer: str, calls: int, after: bool
) -> None:
    """Before or after any file of an epoch: going on gives the same, and all rows."""
    whole = make("whole", **AVERAGED)
    run(whole)
    real = getattr(train, writer)
    for call in range(calls):
        left = [call]

        def stopping(*arguments: Any, left: list[int] = left) -> None:
            left[0] -= 1
            if left[0] >= 0 or after:
                real(*arguments)
            if left[0] < 0:
                raise KeyboardInterrupt

        monkeypatch.setattr(train, writer, stopping)
        with pytest.raises(KeyboardInterrupt):
            run(make(str(call), **AVERAGED))
        monkeypatch.undo()
        assert_whole(whole.folder.parent / str(call))
        job = make(str(call), **AVERAGED)
        run(job)
        assert_same_end(job, whole)


def test_ctrl_c_in_the_middle_of_a_file(make: Make, quiet: Progress, monkeypatch: pytest.MonkeyPatch) -> None:
    def half(model: Any, name: str, metadata: Any) -> None:
        Path(name).write_bytes(b"half")
        raise KeyboardInterrupt

    monkeypatch.setattr(checkpoint, "save_model", half)
    job = make()
    with pytest.raises(KeyboardInterrupt):
        fit(job, lambda row: None, quiet)
    assert list(job.folder.iterdir()) == []


def test_a_state_is_of_one_moment(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    """However late the writer comes to it: rows that end meanwhile are not in it, nor weights."""
    for job, late in ((make("at once", **FULL), False), (make("late", **FULL), True)):
        kept: list[checkpoint.SavedState] = []
        real = checkpoint.Saver.save

        def save(
            saver: checkpoint.Saver,
            state: checkpoint.SavedState,
            late: bool = late,
            kept: list[checkpoint.SavedState] = kept,
            real: Any = real,
        ) -> None:
            monkeypatch.setattr(checkpoint, "save_state", lambda folder, state: kept.append(state))
            real(saver, state)
            saver.wait()
            if not late:
                kept[-1] = checkpoint.SavedState(state.batches, kept[-1].tensors, json.loads(json.dumps(state.values)))

        monkeypatch.setattr(checkpoint.Saver, "save", save)
        run(job)
        monkeypatch.undo()
        if late:
            later = kept
        else:
            at_once = kept
    assert [len(state.values["rows"]) for state in at_once] == [0, 1, 1, 2, 2, 3]
    assert [len(state.values["rows"]) for state in later] == [0, 1, 1, 2, 2, 3]
    for one, two in zip(at_once, later, strict=True):
        assert one.batches == two.batches and one.values["done"] == two.values["done"]
        assert all(torch.equal(value, two.tensors[name]) for name, value in one.tensors.items())


# What is wrong with states on disk.


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def emptied(path: Path) -> None:
    path.write_bytes(b"")


def flipped(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[-5] ^= 16  # among the weights
    path.write_bytes(data)


def another_number(path: Path) -> None:
    """One digit of a loss of an epoch that has ended."""
    data = path.read_bytes()
    at = data.index(b"0.", data.index(b"loss")) + 2
    digit = b"5" if data[at : at + 1] != b"5" else b"6"
    path.write_bytes(data[:at] + digit + data[at + 1 :])


def another_kind(path: Path) -> None:
    """The same bytes, said to be integers."""
    data = path.read_bytes()
    path.write_bytes(data.replace(b'"F32"', b'"I32"', 1))


DAMAGES = [cut, emptied, flipped, another_number, another_kind]


@pytest.mark.parametrize("damage", DAMAGES)
def test_the_state_before_a_damaged_one(make: Make, whole: TrainJob, damage: Callable[[Path], None]) -> None:
    job = make(task=Interrupted(7), **FULL)
    stop(job)
    newest, before = states(job.folder)
    assert newest.name == "state-0000000006.safetensors" and before.name == "state-0000000005.safetensors"
    damage(newest)
    heard = run(make(**FULL))
    assert heard.skipped == [5]
    assert heard.said[0].startswith(f"fold 0: {newest} is damaged (")
    assert heard.said[0].endswith("); resuming from the state before it")
    assert "\n" not in heard.said[0]
    assert_same_end(job, whole)


@pytest.mark.parametrize("damage", DAMAGES)
def test_two_damaged_states_are_named(make: Make, damage: Callable[[Path], None]) -> None:
    job = make(task=Interrupted(7), **FULL)
    stop(job)
    for path in states(job.folder):
        damage(path)
    with pytest.raises(RunError) as caught:
        run(make(**FULL))
    line = str(caught.value)
    assert "\n" not in line and line.endswith("; delete them to train this fold from the beginning")
    assert all(f"{path} is damaged (" in line for path in states(job.folder))


def test_a_damaged_state_is_damaged_once(make: Make, whole: TrainJob) -> None:
    """Going on writes over it, or it is gone: the next start finds whole states."""
    job = make(task=Interrupted(7), **FULL)
    stop(job)
    cut(states(job.folder)[0])
    stop(make(task=Interrupted(3), **FULL))
    assert not [line for line in run(make(**FULL)).said if "damaged" in line]
    assert_same_end(job, whole)


def test_every_byte_counts(make: Make) -> None:
    """Whatever one byte of a state is changed to: it is used as it was, or not at all."""
    job = make(task=Interrupted(7), **FULL)
    stop(job)
    path, before = states(job.folder)
    before.unlink()
    data, (good, _) = path.read_bytes(), load_state(job.folder)
    assert good is not None
    random = np.random.default_rng(7)
    length = 8 + struct.unpack("<Q", data[:8])[0]
    places = [*range(8), *random.integers(8, length, 500), *random.integers(length, len(data), 200)]
    accepted = 0
    for place in places:
        spoilt = bytearray(data)
        spoilt[place] ^= 1 << int(random.integers(8))
        path.write_bytes(spoilt)
        try:
            state, _ = load_state(job.folder)
        except RunError as error:
            assert "\n" not in str(error)
            continue
        accepted += 1
        assert state is not None and state.values == good.values
        assert state.tensors.keys() == good.tensors.keys()
        for name, value in good.tensors.items():
            assert value.dtype == state.tensors[name].dtype and torch.equal(value, state.tensors[name]), name
    assert accepted < len(places) / 4


def rewritten(job: TrainJob, change: Callable[[dict[str, Tensor], dict[str, Any]], None]) -> Path:
    """The newest state with other tensors and values, its check sum right; the older one is gone."""
    path, *older = states(job.folder)
    for other in older:
        other.unlink()
    state, _ = load_state(job.folder)
    assert state is not None
    tensors, values = dict(state.tensors), dict(state.values)
    change(tensors, values)
    save_state(job.folder, checkpoint.SavedState(state.batches, tensors, values))
    return path


def refused(job: TrainJob) -> str:
    """The one line that refuses the state."""
    with pytest.raises(RunError) as caught:
        run(job)
    line = str(caught.value)
    assert (
        "\n" not in line and len(line) < 700 and (caught.value.__suppress_context__ or caught.value.__context__ is None)
    )
    return line


@pytest.fixture(scope="module")
def stopped_folder(make_in: Make, tmp_path_factory: pytest.TempPathFactory) -> Path:
    job = make_in(tmp_path_factory.mktemp("engine"), "stopped", task=Interrupted(5), **FULL)
    stop(job)
    return job.folder


@pytest.fixture
def stopped(make: Make, stopped_folder: Path) -> TrainJob:
    """Stopped within the second epoch; its states are of 3 and 5 batches."""
    job = make("stopped", **FULL)
    shutil.copytree(stopped_folder, job.folder)
    return job


def test_a_state_of_another_network(make: Make, stopped: TrainJob, network: Any) -> None:
    path = states(stopped.folder)[0]
    line = refused(make("stopped", model=network(norm=False), **FULL))
    assert line.startswith(f"state {path} belongs to another training (")
    assert line.endswith("); delete it to train this fold again")


def test_a_state_of_other_processes(make: Make, stopped: TrainJob) -> None:
    path = rewritten(stopped, lambda tensors, values: values.update(processes=4))
    assert refused(make("stopped", **FULL)) == (
        f"{path} was written by 4 processes, but this training has 1; resume with --devices 4, or delete the file to "
        "train this fold from the beginning"
    )


def test_the_state_that_other_processes_made_is_named(make: Make, stopped: TrainJob) -> None:
    """Not the damaged one after it."""
    newest, before = states(stopped.folder)
    data = newest.read_bytes()
    rewritten(stopped, lambda tensors, values: values.update(processes=4))
    newest.rename(before)
    newest.write_bytes(data[:100])
    assert refused(make("stopped", **FULL)).startswith(f"{before} was written by 4 processes")


def drop(start: str) -> Callable[[dict[str, Tensor], dict[str, Any]], None]:
    def change(tensors: dict[str, Tensor], values: dict[str, Any]) -> None:
        for name in [name for name in tensors if name.startswith(start)]:
            del tensors[name]
        values.pop(start, None)

    return change


@pytest.mark.parametrize(
    "part",
    [
        "model/",
        "model/encoder.0.weight",
        "average/",
        "sums/",
        "rows",
        "best",
        "done",
        "seconds",
        "precision",
        "processes",
    ],
)
def test_a_state_without_a_part(make: Make, stopped: TrainJob, part: str) -> None:
    path = rewritten(stopped, drop(part))
    assert str(path) in refused(make("stopped", **FULL))


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("rows", 7),
        ("rows", [7]),
        ("rows", [{"epoch": []}]),
        ("rows", [{"epoch": 10**400}]),
        ("best", "low"),
        ("best", []),
        ("best", 10**400),
        ("done", "many"),
        ("done", None),
        ("done", float("inf")),
        ("done", float("nan")),
        ("done", -1),
        ("done", 10**9),
        ("seconds", {}),
        ("seconds", 10**400),
        ("precision", []),
        ("precision", 3),
        ("processes", {"a": 1}),
    ],
    ids=lambda value: str(value)[:12],
)
def test_hostile_values(make: Make, stopped: TrainJob, name: str, value: Any) -> None:
    path = rewritten(stopped, lambda tensors, values: values.update({name: value}))
    assert str(path) in refused(make("stopped", **FULL))


def header(path: Path, change: Callable[[dict[str, Any]], Any]) -> None:
    """Put another header before the tensors."""
    data = path.read_bytes()
    length = 8 + struct.unpack("<Q", data[:8])[0]
    made = json.dumps(change(json.loads(data[8:length]))).encode()
    path.write_bytes(struct.pack("<Q", len(made)) + made + data[length:])


def with_note(**note: Any) -> Callable[[dict[str, Any]], Any]:
    return lambda head: {**head, "__metadata__": {**head["__metadata__"], **note}}


HEADERS: dict[str, Callable[[dict[str, Any]], Any]] = {
    "no notes": lambda head: {name: value for name, value in head.items() if name != "__metadata__"},
    "no check": lambda head: {**head, "__metadata__": {"values": head["__metadata__"]["values"]}},
    "no values": lambda head: {**head, "__metadata__": {"check": head["__metadata__"]["check"]}},
    "a number": with_note(check=7),
    "deep": with_note(values="[" * 100_000),
    "no JSON": with_note(values="__import__('os').mkdir('mark')"),
    "a list": with_note(values="[1]"),
    "long number": with_note(values="1" * 10_000),
    "a list of tensors": lambda head: [head],
    "far away": lambda head: {**head, "model/x": {"dtype": "F32", "shape": [2], "data_offsets": [0, 1 << 60]}},
    "too large": lambda head: {
        **head,
        "model/x": {"dtype": "F32", "shape": [1 << 62, 1 << 62], "data_offsets": [0, 8]},
    },
    "odd kind": lambda head: {**head, "model/x": {"dtype": "F4", "shape": [0], "data_offsets": [0, 0]}},
    "odd name": lambda head: {**head, "model/\n../x\x1b[2J": {"dtype": "F32", "shape": [0], "data_offsets": [0, 0]}},
}


@pytest.mark.parametrize("name", HEADERS)
def test_hostile_headers(
    make: Make, stopped: TrainJob, name: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    path, before = states(stopped.folder)
    before.unlink()
    header(path, HEADERS[name])
    assert str(path) in refused(make("stopped", **FULL))
    assert [entry.name for entry in tmp_path.iterdir()] == ["stopped"]


# What is wrong with the disk, or was.


def full(path: str | Path) -> None:
    Path(path).write_bytes(b"half")
    raise SafetensorError("Error while serializing: I/O error: No space left on device (os error 28)")


@pytest.mark.parametrize("call", [1, 2, 5])
def test_a_full_disk_in_the_background(make: Make, whole: TrainJob, monkeypatch: pytest.MonkeyPatch, call: int) -> None:
    """It is told at the next state, or at the end; what was there before stays."""
    real, calls = safetensors.torch.save_file, [0]

    def save_file(tensors: Any, name: str, metadata: Any) -> None:
        calls[0] += 1
        if calls[0] > call:
            full(name)
        real(tensors, name, metadata=metadata)

    job = make(**FULL)
    monkeypatch.setattr(checkpoint, "save_file", save_file)
    with pytest.raises(MedalistError, match=r"^disk full while writing .*; free space and run the command again$"):
        run(job)
    monkeypatch.undo()
    assert calls == [call + 1], "nothing was tried after it"
    assert_whole(job.folder)
    written = [2, 3, 5, 6, 8, 9][:call]
    assert [int(path.stem[6:]) for path in states(job.folder)] == written[::-1][:2]
    again = make(**FULL)
    assert run(again).skipped == [written[-1]]
    assert_same_end(again, whole)


@pytest.mark.parametrize("what", ["weights", "rows"])
def test_a_full_disk(make: Make, whole: TrainJob, monkeypatch: pytest.MonkeyPatch, what: str) -> None:
    real_text, real_save = Path.write_text, safetensors.torch.save_model
    job = make(**FULL)

    def second_epoch() -> bool:
        return (job.folder / "metrics.jsonl").exists()

    def write_text(path: Path, *arguments: Any, **options: Any) -> int:
        if what == "rows" and second_epoch():
            raise OSError(errno.ENOSPC, "No space left on device")
        return real_text(path, *arguments, **options)

    def save_model(model: Any, name: str, metadata: Any) -> None:
        if what == "weights" and second_epoch():
            full(name)
        real_save(model, name, metadata)

    monkeypatch.setattr(Path, "write_text", write_text)
    monkeypatch.setattr(checkpoint, "save_model", save_model)
    with pytest.raises(MedalistError, match=r"^disk full while writing .*; free space and run the command again$"):
        run(job)
    monkeypatch.undo()
    assert_whole(job.folder)
    assert len(states(job.folder)) == 2
    again = make(**FULL)
    assert run(again).skipped == [5]
    assert_same_end(again, whole)


def test_what_a_killed_process_left_is_cleaned(make: Make, stopped: TrainJob, whole: TrainJob) -> None:
    (stopped.folder / ".1a2b3c4d-state-0000000008.safetensors").write_bytes(b"half")
    (stopped.folder / ".5e6f7a8b-best.safetensors").write_bytes(b"half")
    (stopped.folder / ".5e6f7a8b-metrics.jsonl").write_bytes(b"half")
    job = make("stopped", **FULL)
    run(job)
    assert_same_end(job, whole)


def test_two_states_at_most(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whenever one was written, and under any interruption."""
    real, counts = checkpoint.save_state, []

    def counting(folder: Path, state: checkpoint.SavedState) -> None:
        real(folder, state)
        counts.append(len(list(folder.glob("*state*"))))

    monkeypatch.setattr(checkpoint, "save_state", counting)
    for at in (4, 2, 2):
        stop(make("parts", task=Interrupted(at), **{**FULL, "accumulate": 1}))
    run(make("parts", **{**FULL, "accumulate": 1}))
    assert counts[:2] == [1, 2] and set(counts[1:]) == {2}


def test_going_on_does_not_write_into_the_state(make: Make, stopped: TrainJob) -> None:
    """It is mapped into memory when it is read, and the optimiser changes its tensors in place."""
    path = states(stopped.folder)[0]
    data = path.read_bytes()
    os.link(path, stopped.folder.parent / "linked")
    stop(make("stopped", task=Interrupted(2), **{**FULL, "checkpoint": CheckpointConfig(minutes=0)}))
    assert (stopped.folder.parent / "linked").read_bytes() == data


# Embeddings, whose loss remembers batches.


class Vectors(nn.Module):
    """float32[B, 5] -> unit vectors float32[B, 4]; has the loss as a part, as networks of embeddings do."""

    def __init__(self, criterion: nn.Module):
        super().__init__()
        self.encoder = nn.Sequential(nn.Linear(5, 4), nn.Dropout(0.2))
        self.criterion = criterion

    def forward(self, features: Tensor) -> Tensor:
        return nn.functional.normalize(self.encoder(features), dim=-1)


class InterruptedEmbedding(EmbedTask):
    """Ctrl-C at one training loss, none where `left` is below 0."""

    left = -1

    def loss(self, outputs: Tensor, batch: Batch) -> Mapping[str, Tensor]:
        if self.left == 0:
            raise KeyboardInterrupt
        self.left -= 1
        return super().loss(outputs, batch)


def embedding(folder: Path, at: int = -1, memory: int = 7) -> TrainJob:
    """Twelve features of three identities, five batches of two; the others are held out."""
    random = np.random.default_rng(4)
    labels = [0, 1, 2, 0, 1, 2, 0, 1, 2, 0, 1, 2, 0, 1, 2]
    targets = [label_target(label) for label in labels]
    features = random.normal(size=(15, 5)).astype(np.float32) + np.eye(5, dtype=np.float32)[labels]
    torch.manual_seed(11)
    terms = (MarginTerm(kind="arcface"), SupConTerm(kind="supcon", memory=memory))
    criterion = build_metric_loss(MetricLossConfig(terms=terms), 4, [4, 3, 3])
    task = InterruptedEmbedding(criterion)
    task.left = at
    config = TrainConfig(epochs=2, batch=2, lr=0.05)
    return TrainJob(
        fabric=Fabric(accelerator="cpu", devices=1),
        task=task,
        model=Vectors(criterion),
        train=batches(FeatureDataset(features, range(10), targets[:10]), ShuffleBatchSampler(10, 2, 5), 0),
        held_out=batches(
            FeatureDataset(features, range(10, 15), targets[10:]), SizeBucketSampler([(1, 1)] * 5, 1, 2), 0
        ),
        config=config,
        seed=5,
        fold=0,
        folder=folder,
        names=[f"s{number}" for number in range(15)],
        checkpoint=EACH,
    )


def test_the_memory_of_a_loss_goes_on_within_an_epoch(tmp_path: Path) -> None:
    whole, without = embedding(tmp_path / "whole"), embedding(tmp_path / "without", memory=0)
    run(whole)
    run(without)
    assert end(whole.folder)[1] != end(without.folder)[1], "the memory counts"
    for at in range(10):
        stop(embedding(tmp_path / str(at), at))
        again = embedding(tmp_path / str(at))
        assert run(again).skipped == [at]
        assert_same_end(again, whole)


@pytest.mark.parametrize("name", ["memory/known", "memory/labels"])
def test_another_memory_is_refused(tmp_path: Path, name: str) -> None:
    job = embedding(tmp_path / "run", 3)
    stop(job)

    def narrow(tensors: dict[str, Tensor], values: dict[str, Any]) -> None:
        tensors[name] = tensors[name][..., :2].clone()

    path = rewritten(job, narrow)
    assert refused(embedding(tmp_path / "run")).startswith(f"state {path} belongs to another training (memory of ")
