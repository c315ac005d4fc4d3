"""Training of classifiers: implements `tasks.protocols.Training` for this kind."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np
import torch
from lightning_fabric import Fabric

from medalist.config import OwnConfig
from medalist.data.fitting import kept_size
from medalist.engine.job import TrainJob
from medalist.engine.memory import fit_in_memory as fit
from medalist.parts import parts_of
from medalist.reporter import Reporter
from medalist.runs.setup import TrainSetup
from medalist.tasks.classify.classes import classes_of
from medalist.tasks.classify.decide import refuse_unfit
from medalist.tasks.classify.jobs import build_job
from medalist.tasks.classify.network import build_normalisation
from medalist.tasks.classify.predict import predict
from medalist.tasks.classify.rehearsal import refuse_unanswerable
from medalist.tasks.classify.targets import all_targets
from medalist.tasks.jobs import FoldPlace, open_devices, rehearse_network
from medalist.tasks.kept_classes import keep_classes, refuse_other_classes
from medalist.tasks.own import OwnLoss, refuse_without_encoder
from medalist.tasks.pixels import blank_cache, filled_cache, no_target, pixel_cache, read_of
from medalist.tasks.protocols import DebugSubject

if TYPE_CHECKING:
    from medalist.runs.plans import Plan, PlanRequest

__all__ = ["debug_subject", "fit", "forecast", "open_data", "predict", "rehearse"]


def rehearse(setup: TrainSetup) -> None:
    """Make the training of each fold with blank images.

    Raises an error where image sizes, labels, classes, the encoder or the submission format do not fit.
    """
    settings, contest = setup.settings, setup.contest
    classes = classes_of(contest)
    refuse_other_classes(setup.run, classes)
    refuse_unfit(settings.decide, classes)
    own = parts_of(contest.competition)
    refuse_unanswerable(settings, contest.competition.submission, classes, own)
    targets = all_targets(contest, contest.split.train, settings.task.mode == "multi")
    cache = blank_cache(contest, kept_size(settings.image), no_target)
    read, fabric = read_of(contest, settings), open_devices(settings)
    for fold in setup.chosen:
        place = FoldPlace.of(setup, fold)
        job = build_job(settings, fabric, cache, targets, classes, place, setup.weights, read)
        seen = (settings.model.in_channels, *settings.image.seen_in_training)
        rehearse_network(settings.train, job.model, [job.sampler], fabric.world_size, seen)
        if isinstance(settings.model, OwnConfig):
            refuse_without_encoder(job.model, settings.model, settings.train)
    if isinstance(settings.loss, OwnConfig):
        values = torch.from_numpy(np.stack([target.value for target in targets[:2]]))
        OwnLoss(settings.loss, own, by_sample=True).refuse_unfit((len(values), len(classes)), values)


def open_data(setup: TrainSetup, fabric: Fabric, reporter: Reporter) -> Callable[[int], TrainJob]:
    """Read all training samples into the cache; return a function from the number of a fold to its training."""
    settings, contest, classes = setup.settings, setup.contest, classes_of(setup.contest)
    if fabric.is_global_zero:
        keep_classes(setup.run, classes)
    targets = all_targets(contest, contest.split.train, settings.task.mode == "multi")
    cache = filled_cache(contest, settings, no_target, setup.run.folder, reporter)
    read = read_of(contest, settings)
    return lambda fold: build_job(
        settings, fabric, cache, targets, classes, FoldPlace.of(setup, fold), setup.weights, read
    )


def forecast(setup: TrainSetup, request: PlanRequest, started: float, reporter: Reporter) -> Plan:
    """Return the expected cost of the training; it is measured with the real loop."""
    from medalist.planning.forecast import make_plan  # here, because a training does not need it
    from medalist.tasks.classify import cost

    return make_plan(setup, cost, request, started, reporter)


def debug_subject(setup: TrainSetup, fold: int) -> DebugSubject:
    """Return the fold's training; an image is decoded only when a batch needs it."""
    settings, contest, place = setup.settings, setup.contest, FoldPlace.of(setup, fold)
    classes = classes_of(contest)
    targets = all_targets(contest, contest.split.train, settings.task.mode == "multi")
    cache, fabric = pixel_cache(contest, settings, no_target, place.folder), open_devices(settings)
    job = build_job(settings, fabric, cache, targets, classes, place, setup.weights, read_of(contest, settings))
    positions = {job.names[index]: number for number, index in enumerate(place.positions(cache.samples)[0])}
    return DebugSubject(job, positions, build_normalisation(settings), classes=classes)
