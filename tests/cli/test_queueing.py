from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import typer
from rich.console import Console
from typer.testing import CliRunner

from medalist.cli import queueing
from medalist.cli.queueing import parse_folds, parse_workers, train_in_queue
from medalist.cli.session import Session
from medalist.errors import ConfigError, MedalistError, RunError
from medalist.kinds import load_settings
from medalist.training.fold_queue import FoldQueue
from medalist.training.queue_status import JobEnd, QueueJob
from medalist.training.request import TrainRequest
from medalist.training.start import prepare


def test_folds_and_workers_as_they_are_typed() -> None:
    assert [parse_folds(text) for text in ("all", "0", "0,2", "2, 0,2")] == [(), (0,), (0, 2), (2, 0)]
    assert [parse_workers(text) for text in (None, "auto", "1", "12")] == [None, None, 1, 12]


@pytest.mark.parametrize("text", ["", "a", "0,", "0;1", "1.5"], ids=str)
def test_folds_that_are_none(text: str) -> None:
    with pytest.raises(ConfigError, match=r"type all, or numbers such as 0,2$"):
        parse_folds(text)


@pytest.mark.parametrize("text", ["", "0", "-1", "two", "99999"], ids=str)
def test_workers_that_are_none(text: str) -> None:
    with pytest.raises(ConfigError, match=r"type auto, or how many folds may be trained at a time$"):
        parse_workers(text)


def asked(toy: Any, *overrides: str) -> TrainRequest:
    settings = load_settings(toy.config, overrides)
    return TrainRequest(settings, toy.config, overrides, str(toy.data), (), None, toy.runs)


@pytest.fixture
def queue(monkeypatch: pytest.MonkeyPatch) -> list[QueueJob]:
    """What came into the queue; fold 1 fails."""
    came: list[QueueJob] = []

    def run(self: FoldQueue, jobs: Sequence[QueueJob]) -> list[JobEnd]:
        came.extend(jobs)
        return [JobEnd(2, "the loss is nan", 1.0) if job.fold == 1 else JobEnd(0, "", 1.0) for job in jobs]

    monkeypatch.setattr(FoldQueue, "run", run)
    return came


def test_a_plan_that_is_done_starts_nothing(
    toy: Any, queue: list[QueueJob], capsys: pytest.CaptureFixture[str]
) -> None:
    request = asked(toy)
    train_in_queue(Session(Console(), toy.runs), prepare(request), request, "2", None)
    assert queue == [] and capsys.readouterr().out == "all folds are done\n"


def test_a_fold_that_fails_is_told_at_the_end(untrained: Any, queue: list[QueueJob]) -> None:
    request = asked(untrained, "train.lr=1e-2")
    setup = prepare(request)
    with pytest.raises(RunError, match=r"^1 of 2 folds failed: fold 1: the loss is nan$"):
        train_in_queue(Session(Console(quiet=True), untrained.runs), setup, request, None, None)
    assert [(job.fold, job.request.overrides, job.run.name) for job in queue] == [
        (0, ("train.lr=1e-2",), "tiny+train.lr=1e-2"),
        (1, ("train.lr=1e-2",), "tiny+train.lr=1e-2"),
    ]
    first = queue[0].request
    assert first.settings == request.settings and first.name == "tiny+train.lr=1e-2"
    assert first.data == str(untrained.data.resolve()) and first.root.is_absolute()
    assert queue[0].run.folder == first.root / "toy_nuclei" / "tiny+train.lr=1e-2"


@pytest.fixture
def sweep(untrained: Any) -> Callable[..., Any]:
    app = typer.Typer()
    queueing.add_to(app)
    app.callback()(lambda: None)

    def command(*words: object) -> Any:
        given = ["sweep", str(untrained.config), "--data", str(untrained.data), *map(str, words)]
        return CliRunner().invoke(app, given, obj=Session(Console(width=200), untrained.runs))

    return command


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["train.lr=1e-3"], "nothing to sweep"),
        (["train.lr=1e-4..1e-2"], "train.lr has a range; type how many points to try with --trials N"),
        (["train.lr=1e-3,x"], "train.lr = 'x'"),
        (["trian.lr=1,2"], "did you mean 'train'?"),
        (["train.lr=1e-3,1e-4", "--folds", "7"], "fold 7 does not exist"),
        (["train.lr=1e-3,1e-4", "--workers", "many"], "--workers many: type auto"),
    ],
    ids=["nothing", "range", "value", "key", "fold", "workers"],
)
def test_mistakes_stop_before_anything_starts(
    sweep: Callable[..., Any], queue: list[QueueJob], words: list[str], said: str
) -> None:
    ended = sweep(*words)
    assert isinstance(ended.exception, MedalistError) and said in str(ended.exception)
    assert queue == []


def test_a_sweep_says_its_table_and_what_failed(
    sweep: Callable[..., Any], queue: list[QueueJob], untrained: Any
) -> None:
    ended = sweep("train.lr=1e-4,1e-3", "--folds", "1")
    assert str(ended.exception) == "2 of 2 runs failed: tiny, tiny+train.lr=1e-4; the table says why"
    assert [job.fold for job in queue] == [1, 1]
    assert "failed: fold 1: the loss is nan" in ended.output
    path = Path(untrained.runs, "toy_nuclei", "sweeps", "tiny+train.lr=1e-4,1e-3.csv")
    assert path.read_text().startswith("run,OOF,difference,± folds,± samples,folds,seconds,state")
