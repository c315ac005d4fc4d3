"""`medalist train`: train the folds of one config, and predict the held-out samples of each fold."""

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
from medalist.processors import release_buffers
from medalist.reporter import Reporter
from medalist.runs.cost import read_cost, write_cost
from medalist.runs.fold_weights import forget_hashes, has_hashes, keep_hashes, read_note
from medalist.runs.runs import Run
from medalist.runs.setup import TrainSetup
from medalist.tasks.protocols import FoldJob, Training
from medalist.training.request import TrainRequest
from medalist.training.start import prepare

if TYPE_CHECKING:
    from medalist.tracking.tracking import Log


def train_request(request: TrainRequest, reporter: Reporter) -> None:
    """Check, prepare and train a request in one process."""
    train(prepare(request), reporter)


def train(setup: TrainSetup, reporter: Reporter) -> Run:
    """Train the chosen folds that are not trained yet, and predict the held-out samples of each chosen fold.

    Raises RunError where another command is working on one of the folds.
    """
    fabric, run = open_fabric(setup.settings.train.precision), setup.run
    training = kind_of(setup.settings).training()
    with together(fabric):
        # The first process decides for all, because another command may finish a fold at any moment.
        todo = fabric.broadcast([fold for fold in setup.chosen if fold not in run.trained_folds()])
        if todo:
            _fit_all(setup, training, todo, fabric, reporter)
            release_buffers()
        for fold in setup.chosen:
            with _holding(run.fold_folder(fold), fabric):
                if fabric.is_global_zero and read_note(run.checkpoint(fold, "last")) and not has_hashes(run, fold):
                    keep_hashes(run, fold)  # a process that was killed at the end of the training has not
                started = time.perf_counter()
                training.predict(run, setup.settings, setup.contest, fold, reporter)
                if fabric.is_global_zero:
                    _tidy(run, fold, time.perf_counter() - started, fabric)
    return run


def _tidy(run: Run, fold: int, seconds: float, fabric: Fabric) -> None:
    """Delete the files that only an unfinished fold needs, and write the fold's `cost.json`."""
    forget_states(run.fold_folder(fold))  # a training that was killed near its end may have left them
    keep_snapshots(run.fold_folder(fold), [])
    if read_cost(run, fold) is None:
        device = torch.cuda.max_memory_allocated() if fabric.device.type == "cuda" else 0
        write_cost(run, fold, seconds, device, fabric.world_size)


@contextmanager
def _holding(folder: Path, fabric: Fabric) -> Iterator[None]:
    """Lock a folder against other commands. Where another command holds it, all processes of this command end."""
    with ExitStack() as held:
        first_alone(fabric, lambda: None if fabric.global_rank else held.enter_context(alone_in(folder)))
        yield


def _fit_all(setup: TrainSetup, training: Training, todo: Sequence[int], fabric: Fabric, reporter: Reporter) -> None:
    settings, run = setup.settings, setup.run
    config = settings.model_dump(mode="json")
    tracked = fabric.is_global_zero and settings.tracking != "none"
    with _holding(run.fold_folder(todo[0]), fabric):  # checked before minutes are spent on reading images
        job_of = training.open_data(setup, fabric, reporter)
    job = job_of(todo[0])
    planned = job.steps  # folds differ by a few samples, so each counts as the first fold until it begins
    note = run.fold_folder(todo[0]) / "progress.json" if len(todo) == 1 and fabric.is_global_zero else None
    with reporter.progress(f"train {run.name}", planned * len(todo), note) as bar:
        for fold in todo:
            if fold != todo[0]:
                job = job_of(fold)
            bar.skip(planned - job.steps)
            with _holding(job.folder, fabric):
                if fabric.broadcast(fold in run.trained_folds()):  # another command has trained it in the meantime
                    bar.skip(job.steps)
                    continue
                with _tracker(setup, job, config) if tracked else nullcontext(lambda row: None) as log:
                    if fabric.is_global_zero:
                        forget_hashes(run, fold)
                    training.fit(job, log, bar)
                    if fabric.is_global_zero:
                        keep_hashes(run, fold)


def _tracker(setup: TrainSetup, job: FoldJob, config: Mapping[str, Any]) -> AbstractContextManager[Log]:
    from medalist.tracking.tracking import tracking  # imported here, because most trainings are not tracked

    run = setup.run
    return tracking(setup.settings.tracking, job.folder, run.competition, run.name, job.fold, config)
