"""`medalist train`: the folds of one config, each trained and its held-out samples predicted."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import assert_never

import torch
from lightning_fabric import Fabric
from rich.console import Console

from medalist.build import (
    Share,
    build_cache,
    build_embed_fit,
    build_fabric,
    build_fit,
)
from medalist.data.dataset import reader
from medalist.engine.checkpoint import forget_states
from medalist.engine.devices import first_alone, together
from medalist.engine.job import TrainJob
from medalist.engine.memory import batch_that_fits, is_out_of_memory, too_large
from medalist.engine.snapshots import keep_snapshots
from medalist.engine.tracking import Log, tracking
from medalist.engine.train import fit
from medalist.errors import TrainingError
from medalist.processes import alone_in
from medalist.reporter import Progress, progress
from medalist.runs import Run
from medalist.settings import EmbedSettings, SegmentSettings
from medalist.tasks.embed.embedding import embed_oof
from medalist.tasks.embed.features import kept_features
from medalist.tasks.segment.predict import predict_oof
from medalist.training.start import TrainPlan
from medalist.workflows.cost import read_cost, write_cost

CACHE_THREADS = 2
"""Threads that fill the cache; Pillow and OpenCV let go of the interpreter's lock while they decode."""


def train(plan: TrainPlan, console: Console) -> Run:
    """Train the chosen folds, those that are done left out, and predict each fold's held-out samples.

    RunError where another process is at work on one of them.
    """
    fabric, run = build_fabric(plan.settings), plan.run
    with together(fabric):
        # One list for all processes, though another command may end a fold at any moment.
        todo = fabric.broadcast([fold for fold in plan.chosen if fold not in run.trained_folds()])
        if todo:
            _fit_all(plan, todo, fabric, console)
        for fold in plan.chosen:
            with _holding(run.fold_folder(fold), fabric):
                started = time.perf_counter()
                match plan.settings:
                    case SegmentSettings():
                        predict_oof(run, plan.settings, plan.contest, fold, console)
                    case EmbedSettings():
                        embed_oof(run, plan.settings, plan.contest, fold, console)
                    case _:
                        assert_never(plan.settings)
                if fabric.is_global_zero:
                    forget_states(
                        run.fold_folder(fold)
                    )  # a kill may have come before that, once all weights were there
                    keep_snapshots(run.fold_folder(fold), [])
                    if read_cost(run, fold) is None:
                        device = torch.cuda.max_memory_allocated() if fabric.device.type == "cuda" else 0
                        write_cost(run, fold, time.perf_counter() - started, device, fabric.world_size)
    return run


@contextmanager
def _holding(folder: Path, fabric: Fabric) -> Iterator[None]:
    """Hold a folder against other commands; a refusal ends all processes of this one."""
    with ExitStack() as held:
        first_alone(fabric, lambda: None if fabric.global_rank else held.enter_context(alone_in(folder)))
        yield


def _fit_all(plan: TrainPlan, todo: Sequence[int], fabric: Fabric, console: Console) -> None:
    settings, run = plan.settings, plan.run
    config = settings.model_dump(mode="json")
    tracker = settings.tracking if fabric.is_global_zero else "none"
    with _holding(run.fold_folder(todo[0]), fabric):  # before minutes go into reading images
        job_of = jobs(plan, fabric, console)
    job = job_of(todo[0])
    planned = job.steps  # folds differ by a few samples: the first one's steps stand for all until each begins
    note = run.fold_folder(todo[0]) / "progress.json" if len(todo) == 1 and fabric.is_global_zero else None
    with progress(console, f"train {run.name}", planned * len(todo), note) as bar:
        for fold in todo:
            if fold != todo[0]:
                job = job_of(fold)
            bar.skip(planned - job.steps)
            with _holding(job.folder, fabric):
                if fabric.broadcast(fold in run.trained_folds()):  # by another command, in the meantime
                    bar.skip(job.steps)
                    continue
                with tracking(tracker, job.folder, run.competition, run.name, fold, config) as log:
                    _fit(job, log, bar)


def _fit(job: TrainJob, log: Log, bar: Progress) -> None:
    """Train; where memory does not suffice, TrainingError says which batch would fit."""
    try:
        fit(job, log, bar)
        return
    except (RuntimeError, MemoryError) as error:
        if not is_out_of_memory(error):
            raise
    # The error is gone by now, and with it what the failed step had in memory.
    if job.fabric.world_size > 1:  # the others wait for this one, so no step can be tried
        raise TrainingError(
            f"{job.title}: process {job.fabric.global_rank} is out of memory at train.batch={job.config.batch}; halve "
            "it and double train.accumulate, or start on one device, which finds the batch that fits"
        )
    raise TrainingError(too_large(job, batch_that_fits(job)))


def jobs(plan: TrainPlan, fabric: Fabric, console: Console) -> Callable[[int], TrainJob]:
    """What makes the training of a fold, once the pixels (or the features of a frozen encoder) are read."""
    settings, contest, samples = plan.settings, plan.contest, plan.contest.split.train

    def share(fold: int) -> Share:
        return Share(plan.folds, fold, plan.run.fold_folder(fold))

    read = reader(contest.competition.white, settings.image)
    if isinstance(settings, EmbedSettings) and settings.model.frozen:
        features = first_alone(
            fabric,
            lambda: kept_features(settings, plan.weights, samples, read, fabric, plan.run.folder.parent, console),
        )
        new = contest.retrieval.new
        return lambda fold: build_embed_fit(settings, fabric, features, samples, share(fold), plan.weights, read, new)
    cache = build_cache(settings, contest.competition, contest.data, contest.split, plan.run.folder)
    with progress(console, "reading images", len(cache)) as bar:
        cache.fill(settings.loader.cache_mb * 1_000_000, CACHE_THREADS, bar.advance)
    if isinstance(settings, EmbedSettings):
        new = contest.retrieval.new
        return lambda fold: build_embed_fit(settings, fabric, cache, samples, share(fold), plan.weights, read, new)
    return lambda fold: build_fit(settings, fabric, cache, share(fold), plan.weights, read)
