"""`medalist train`: the folds of one config, each trained and its held-out samples predicted."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from lightning_fabric import Fabric

from medalist.engine.checkpoint import forget_states
from medalist.engine.devices import first_alone, open_fabric, together
from medalist.engine.snapshots import keep_snapshots
from medalist.kinds import kind_of
from medalist.processes import alone_in
from medalist.reporter import Reporter
from medalist.runs.cost import read_cost, write_cost
from medalist.runs.runs import Run
from medalist.runs.setup import TrainSetup
from medalist.tasks.protocols import FoldJob, Training
from medalist.training.request import TrainRequest
from medalist.training.start import prepare

if TYPE_CHECKING:
    from medalist.tracking.tracking import Log


def train_request(request: TrainRequest, reporter: Reporter) -> None:
    """Check, prepare and train, in one process."""
    train(prepare(request), reporter)


def train(setup: TrainSetup, reporter: Reporter) -> Run:
    """Train the chosen folds, those that are done left out, and predict each fold's held-out samples.

    RunError where another process is at work on one of them.
    """
    fabric, run = open_fabric(setup.settings.train.precision), setup.run
    training = kind_of(setup.settings).training()
    with together(fabric):
        # One list for all processes, though another command may end a fold at any moment.
        todo = fabric.broadcast([fold for fold in setup.chosen if fold not in run.trained_folds()])
        if todo:
            _fit_all(setup, training, todo, fabric, reporter)
        for fold in setup.chosen:
            with _holding(run.fold_folder(fold), fabric):
                started = time.perf_counter()
                training.predict(run, setup.settings, setup.contest, fold, reporter)
                if fabric.is_global_zero:
                    _tidy(run, fold, time.perf_counter() - started, fabric)
    return run


def _tidy(run: Run, fold: int, seconds: float, fabric: Fabric) -> None:
    """Take away what only an unfinished fold needs, and write what the fold has cost."""
    forget_states(run.fold_folder(fold))  # a kill may have come before that, once all weights were there
    keep_snapshots(run.fold_folder(fold), [])
    if read_cost(run, fold) is None:
        device = torch.cuda.max_memory_allocated() if fabric.device.type == "cuda" else 0
        write_cost(run, fold, seconds, device, fabric.world_size)


@contextmanager
def _holding(folder: Path, fabric: Fabric) -> Iterator[None]:
    """Hold a folder against other commands; a refusal ends all processes of this one."""
    with ExitStack() as held:
        first_alone(fabric, lambda: None if fabric.global_rank else held.enter_context(alone_in(folder)))
        yield


def _fit_all(setup: TrainSetup, training: Training, todo: Sequence[int], fabric: Fabric, reporter: Reporter) -> None:
    settings, run = setup.settings, setup.run
    config = settings.model_dump(mode="json")
    tracked = fabric.is_global_zero and settings.tracking != "none"
    with _holding(run.fold_folder(todo[0]), fabric):  # before minutes go into reading images
        job_of = training.open_data(setup, fabric, reporter)
    job = job_of(todo[0])
    planned = job.steps  # folds differ by a few samples: the first one's steps stand for all until each begins
    note = run.fold_folder(todo[0]) / "progress.json" if len(todo) == 1 and fabric.is_global_zero else None
    with reporter.progress(f"train {run.name}", planned * len(todo), note) as bar:
        for fold in todo:
            if fold != todo[0]:
                job = job_of(fold)
            bar.skip(planned - job.steps)
            with _holding(job.folder, fabric):
                if fabric.broadcast(fold in run.trained_folds()):  # by another command, in the meantime
                    bar.skip(job.steps)
                    continue
                with _tracker(setup, job, config) if tracked else nullcontext(lambda row: None) as log:
                    training.fit(job, log, bar)


def _tracker(setup: TrainSetup, job: FoldJob, config: Mapping[str, Any]) -> AbstractContextManager[Log]:
    from medalist.tracking.tracking import tracking  # what is not asked for is not imported

    run = setup.run
    return tracking(setup.settings.tracking, job.folder, run.competition, run.name, job.fold, config)
