"""Training of detectors: implements `tasks.protocols.Training` for this kind."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING

from lightning_fabric import Fabric

from medalist.engine.job import TrainJob
from medalist.engine.memory import fit_in_memory as fit
from medalist.reporter import Reporter
from medalist.runs.setup import TrainSetup
from medalist.tasks.detect.classes import classes_of
from medalist.tasks.detect.jobs import build_job
from medalist.tasks.detect.network import build_normalisation
from medalist.tasks.detect.predict import predict
from medalist.tasks.detect.rehearsal import refuse_other_truths, refuse_unanswerable
from medalist.tasks.detect.targets import all_boxes, object_target
from medalist.tasks.jobs import FoldPlace, open_devices, rehearse_network
from medalist.tasks.kept_classes import keep_classes, refuse_other_classes
from medalist.tasks.pixels import blank_cache, filled_cache, pixel_cache
from medalist.tasks.protocols import DebugSubject

if TYPE_CHECKING:
    from medalist.runs.plans import Plan, PlanRequest

__all__ = ["debug_subject", "fit", "forecast", "open_data", "predict", "rehearse"]


def rehearse(setup: TrainSetup) -> None:
    """Make the training of each fold with blank images.

    Raises an error where frames, boxes, classes, the encoder or the submission format do not fit.
    """
    settings, contest = setup.settings, setup.contest
    classes = classes_of(contest)
    refuse_other_classes(setup.run, classes)
    refuse_other_truths(contest, settings.model)
    refuse_unanswerable(settings.decide, contest.competition.submission, classes, contest.split.train[0])
    targets = all_boxes(contest, contest.split.train)
    cache = blank_cache(contest, None, partial(object_target, contest))
    fabric = open_devices(settings)
    for fold in setup.chosen:
        place = FoldPlace.of(setup, fold)
        job = build_job(settings, fabric, cache, targets, classes, place, setup.weights)
        seen = (settings.model.in_channels, *settings.image.size)
        rehearse_network(settings.train, job.model, [job.sampler], fabric.world_size, seen)


def open_data(setup: TrainSetup, fabric: Fabric, reporter: Reporter) -> Callable[[int], TrainJob]:
    """Read all training samples into the cache; return a function from the number of a fold to its training."""
    settings, contest, classes = setup.settings, setup.contest, classes_of(setup.contest)
    if fabric.is_global_zero:
        keep_classes(setup.run, classes)
    targets = all_boxes(contest, contest.split.train)
    cache = filled_cache(contest, settings, partial(object_target, contest), setup.run.folder, reporter)
    return lambda fold: build_job(settings, fabric, cache, targets, classes, FoldPlace.of(setup, fold), setup.weights)


def forecast(setup: TrainSetup, request: PlanRequest, started: float, reporter: Reporter) -> Plan:
    """Return the expected cost of the training; it is measured with the real loop."""
    from medalist.planning.forecast import make_plan  # here, because a training does not need it
    from medalist.tasks.detect import cost

    return make_plan(setup, cost, request, started, reporter)


def debug_subject(setup: TrainSetup, fold: int) -> DebugSubject:
    """Return the fold's training; an image is decoded only when a batch needs it."""
    settings, contest, place = setup.settings, setup.contest, FoldPlace.of(setup, fold)
    classes, targets = classes_of(contest), all_boxes(contest, contest.split.train)
    cache, fabric = (
        pixel_cache(contest, settings, partial(object_target, contest), place.folder),
        open_devices(settings),
    )
    job = build_job(settings, fabric, cache, targets, classes, place, setup.weights)
    positions = {job.names[index]: number for number, index in enumerate(place.positions(cache.samples)[0])}
    return DebugSubject(job, positions, build_normalisation(settings), classes=classes)
