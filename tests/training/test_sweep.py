from __future__ import annotations

import csv
import json
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from safetensors.numpy import load_file, save_file

from medalist.errors import ConfigError, RunError
from medalist.kinds import run_settings
from medalist.reporter import SilentReporter
from medalist.runs.fold_weights import keep_hashes, note_of
from medalist.training.axes import Axis, Choice, Range, typed
from medalist.training.distributions import distribution
from medalist.training.queue_status import JobEnd, QueueJob
from medalist.training.sweep import (
    COLUMNS,
    Sweep,
    sweep_file,
    sweep_grid,
    sweep_trials,
    write_table,
)


class Trainer:
    """Stands for the queue: a job's predictions are as good as its learning rate is high, up to 0.01."""

    def __init__(self, toy: Any, predict: Callable[..., None]) -> None:
        self.toy, self.predict = toy, predict
        self.jobs: list[QueueJob] = []
        self.stop_after = 10_000

    def __call__(self, jobs: Sequence[QueueJob]) -> list[JobEnd]:
        ends = []
        for job in jobs:
            if len(self.jobs) == self.stop_after:
                raise KeyboardInterrupt
            self.jobs.append(job)
            lr = run_settings(job.run).train.lr
            if lr > 0.9:
                ends.append(JobEnd(2, "the loss is nan", 1.0))
                continue
            shutil.copytree(self.toy.run.fold_folder(job.fold), job.run.fold_folder(job.fold))
            for path in job.run.fold_folder(job.fold).glob("*.safetensors"):  # weights say whose they are
                note = json.dumps(note_of(job.fold, job.run.lock()))
                save_file(load_file(path), path, metadata={"medalist": note})
            keep_hashes(job.run, job.fold)
            self.predict(job.run, self.toy.contest(), body=230 if lr > 5e-4 else 60)
            ends.append(JobEnd(0, "", 1.0))
        return ends

    @property
    def done(self) -> list[tuple[str, int]]:
        return [(job.run.name, job.fold) for job in self.jobs]


@pytest.fixture
def trainer(toy: Any, predict_anew: Callable[..., None]) -> Trainer:
    return Trainer(toy, predict_anew)


@pytest.fixture
def sweep(toy: Any, trainer: Trainer, tmp_path: Path) -> Callable[..., Sweep]:
    def made(folds: tuple[int, ...] = (), prune: bool = False) -> Sweep:
        return Sweep(toy.config, (), str(toy.data), folds, tmp_path / "swept", trainer, SilentReporter(), prune)

    return made


def by_name(found: Sweep) -> dict[str, dict[str, Any]]:
    return {row[0]: dict(zip(COLUMNS, row, strict=True)) for row in found.rows()}


def test_a_grid_trains_base_and_points_and_compares_them(
    sweep: Callable[..., Sweep], trainer: Trainer, tmp_path: Path
) -> None:
    found = sweep()
    sweep_grid(found, [Choice("train.lr", ("1e-3", "1e-4"))])  # 1e-3 is the default: the base itself
    assert trainer.done == [("tiny", 0), ("tiny+train.lr=1e-4", 0), ("tiny", 1), ("tiny+train.lr=1e-4", 1)]
    rows = by_name(found)
    base, worse = rows["tiny"], rows["tiny+train.lr=1e-4"]
    assert list(rows) == ["tiny", "tiny+train.lr=1e-4"]  # the best first
    assert (base["difference"], base["state"], base["folds"]) == ("", "done, the base", "2/2")
    points = {point.name: point for point in found.points.values()}
    values = [[points[name].scores["oof"]["folds"][fold] for fold in "01"] for name in rows]
    differences = [second - first for first, second in zip(*values, strict=True)]
    assert worse["difference"] == f"{sum(differences) / 2:+.4f}" and float(worse["difference"]) < 0
    assert worse["± folds"] == f"{abs(differences[0] - differences[1]) / 2:.4f}"  # sd / sqrt(2) of two
    assert float(worse["± samples"]) > 0 and worse["seconds"].isdecimal()
    path = sweep_file(tmp_path / "swept", "toy_nuclei", Path("tiny.yaml"), ["train.lr=1e-3,1e-4"], ".csv")
    write_table(path, found.rows())
    assert path.name == "tiny+train.lr=1e-3,1e-4.csv"
    with path.open(newline="") as file:
        assert list(csv.reader(file)) == [list(COLUMNS), *found.rows()]
    again = sweep()
    sweep_grid(again, [Choice("train.lr", ("1e-3", "1e-4"))])
    assert len(trainer.jobs) == 4 and again.rows() == found.rows()


def test_a_config_that_is_clearly_behind_is_dropped_after_its_first_fold(
    sweep: Callable[..., Sweep], trainer: Trainer
) -> None:
    found = sweep(prune=True)
    sweep_grid(found, [Choice("train.lr", ("2e-3", "1e-4"))])
    assert trainer.done[:3] == [("tiny", 0), ("tiny+train.lr=2e-3", 0), ("tiny+train.lr=1e-4", 0)]
    assert trainer.done[3:] == [("tiny", 1), ("tiny+train.lr=2e-3", 1)]
    rows = by_name(found)
    assert rows["tiny+train.lr=1e-4"]["state"] == "dropped: on fold 0 clearly behind tiny"
    assert rows["tiny+train.lr=1e-4"]["folds"] == "1/2" and rows["tiny+train.lr=1e-4"]["± folds"] == ""
    assert float(rows["tiny+train.lr=1e-4"]["difference"]) < 0
    assert rows["tiny+train.lr=2e-3"]["state"] == "done" and rows["tiny+train.lr=2e-3"]["difference"] == "+0.0000"


def test_a_base_that_is_behind_goes_on(sweep: Callable[..., Sweep], trainer: Trainer, toy: Any) -> None:
    toy.config.write_text(toy.config.read_text().replace("epochs: 1", "lr: 1e-4, epochs: 1"))
    found = sweep(prune=True)
    sweep_grid(found, [Choice("train.lr", ("1e-3", "2e-3"))])
    assert by_name(found)["tiny"]["state"] == "done, the base" and ("tiny", 1) in trainer.done


def test_one_that_fails_does_not_stop_the_others(sweep: Callable[..., Sweep], trainer: Trainer) -> None:
    found = sweep(folds=(1,))
    sweep_grid(found, [Choice("train.lr", ("1", "2e-3"))])
    rows = by_name(found)
    assert rows["tiny+train.lr=1"]["state"] == "failed: fold 1: the loss is nan"
    assert (rows["tiny+train.lr=1"]["OOF"], rows["tiny+train.lr=1"]["folds"]) == ("", "0/1")
    assert list(rows)[-1] == "tiny+train.lr=1" and rows["tiny+train.lr=2e-3"]["folds"] == "1/1"


def test_a_config_that_is_wrong_stops_all_before_anything_starts(
    sweep: Callable[..., Sweep], trainer: Trainer, tmp_path: Path
) -> None:
    with pytest.raises(ConfigError, match=r"train\.lr = -1"):
        sweep_grid(sweep(), [Choice("train.lr", ("1e-3", "-1"))])
    assert trainer.jobs == [] and not (tmp_path / "swept").exists()


SPACE: list[Axis] = [Range("train.lr", 1e-5, 1e-2, False), Choice("train.optimizer", ("adamw", "sgd"))]


def test_trials_that_were_stopped_go_on_as_if_they_were_not(
    sweep: Callable[..., Sweep], trainer: Trainer, tmp_path: Path
) -> None:
    trainer.stop_after = 2
    with pytest.raises(KeyboardInterrupt):
        sweep_trials(sweep(folds=(0,)), SPACE, 2, 5, tmp_path / "a" / "study.log", 1)
    trainer.stop_after = 10_000
    found = sweep(folds=(0,))
    sweep_trials(found, SPACE, 2, 5, tmp_path / "a" / "study.log", 1)
    stopped = [job.run.name for job in trainer.jobs]
    shutil.rmtree(tmp_path / "swept")
    trainer.jobs.clear()
    whole = sweep(folds=(0,))
    sweep_trials(whole, SPACE, 2, 5, tmp_path / "b" / "study.log", 1)
    assert [job.run.name for job in trainer.jobs] == stopped and len(set(stopped)) == 3
    assert [row[:6] for row in whole.rows()] == [row[:6] for row in found.rows()] and len(found.rows()) == 3
    more = sweep(folds=(0,))
    sweep_trials(more, SPACE, 2, 5, tmp_path / "b" / "study.log", 1)
    assert len(trainer.jobs) == 3 and more.rows() == whole.rows()


def test_a_damaged_journal_is_one_line(sweep: Callable[..., Sweep], tmp_path: Path) -> None:
    (tmp_path / "study.log").write_text("{}\n[\n")
    with pytest.raises(RunError, match=r"study\.log is damaged .*; delete it to start again$"):
        sweep_trials(sweep(folds=(0,)), SPACE, 2, 5, tmp_path / "study.log", 1)


def files_of(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.fixture
def scored(toy: Any, medalist: Callable[..., Any]) -> Any:
    assert medalist("--runs", toy.runs, "score", "toy_nuclei/tiny", "--data", toy.data).code == 0
    return toy


def tried(toy: Any, trainer: Trainer, *fixed: str) -> Sweep:
    return Sweep(toy.config, fixed, str(toy.data), (), toy.runs, trainer, SilentReporter())


def test_a_sweep_of_decisions_trains_nothing_and_uses_stored_predictions(
    scored: Any, trainer: Trainer, medalist: Callable[..., Any]
) -> None:
    before = files_of(scored.run.folder)
    found = tried(scored, trainer, "decide.seed=0.55")
    sweep_grid(found, [Choice("decide.body", ("0.5", "0.95")), Choice("decide.min_size", ("20",))])
    assert trainer.jobs == [] and files_of(scored.run.folder) == before
    assert [run.name for run in scored.runs.glob("toy_nuclei/*") if (run / "lock.json").exists()] == ["tiny"]
    rows = by_name(found)
    best, worse = "tiny+decide.seed=0.55", "tiny+decide.seed=0.55+decide.body=0.95+decide.min_size=20"
    assert set(rows) == {best, worse} and float(rows[worse]["OOF"]) < float(rows[best]["OOF"])
    assert rows[best]["state"] == "done, the base" and rows[worse]["folds"] == "2/2"
    words = ("score", "toy_nuclei/tiny", "--data", scored.data, "decide.seed=0.55", "decide.body=0.5")
    shown = medalist("--runs", scored.runs, *words).out
    assert f"{found.base.scores['oof']['value']:.4f}" in shown


def test_a_sweep_of_predictions_trains_nothing_and_uses_stored_weights(scored: Any, trainer: Trainer) -> None:
    before = files_of(scored.run.folder)
    found = tried(scored, trainer)
    sweep_grid(found, [Choice("predict.tta", ("none", "flips")), Choice("decide.body", ("0.4", "0.5"))])
    assert trainer.jobs == [] and files_of(scored.run.folder) == before
    points = {point.name: point for point in found.points.values()}
    assert len(points) == 4 and all(point.state == "done" for point in points.values())
    made = {point.scores["predict"]["fold0"]["tta"] for point in points.values()}
    assert made == {"none", "flips"}
    assert not list(found.scratch.parent.glob(found.scratch.name))


@pytest.mark.slow
def test_a_sweep_of_decisions_by_trials_goes_on_and_trains_nothing(
    scored: Any, trainer: Trainer, tmp_path: Path
) -> None:
    space: list[Axis] = [Range("decide.body", 0.3, 0.9, False)]
    rows = []
    for trials in (2, 3):
        found = tried(scored, trainer)
        sweep_trials(found, space, trials, 1, tmp_path / "study.log", 1)
        rows.append([row[:2] for row in found.rows()])
    assert trainer.jobs == [] and len(rows[1]) == 4
    assert all(row in rows[1] for row in rows[0])


def test_a_sweep_of_decisions_of_a_fold_that_is_not_trained_trains_the_base_once(scored: Any, trainer: Trainer) -> None:
    shutil.copytree(scored.run.folder, scored.runs.parent / "kept")
    shutil.rmtree(scored.run.folder / "fold1")
    (scored.run.folder / "oof" / "fold1.json").unlink()
    trainer.toy = type("Kept", (), {"run": type(scored.run)(scored.runs.parent / "kept"), "contest": scored.contest})
    found = tried(scored, trainer)
    sweep_grid(found, [Choice("decide.body", ("0.5", "0.6", "0.7"))])
    assert trainer.done == [("tiny", 1)] and len(found.rows()) == 3


def test_ranges_become_distributions() -> None:
    lr = distribution(SPACE[0])
    assert (lr.low, lr.high, lr.log) == (1e-5, 1e-2, True)  # type: ignore[attr-defined]
    count = distribution(Range("train.batch", 2, 8, True))
    assert (count.low, count.high, count.log) == (2, 8, False)  # type: ignore[attr-defined]
    assert distribution(SPACE[1]).choices == ("adamw", "sgd")  # type: ignore[attr-defined]
    assert [typed(value) for value in (0.0012345, 1e-5, 7, "a")] == ["0.001234", "1e-05", "7", "a"]
