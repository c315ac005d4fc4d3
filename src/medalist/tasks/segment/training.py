"""Training of segmentation: implements `tasks.protocols.Training` for this kind."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import torch
from lightning_fabric import Fabric

from medalist.config import OwnConfig
from medalist.data.cache import PixelCache
from medalist.data.crops import WindowCache
from medalist.data.dataset import TrainDataset
from medalist.data.settings import TileSampler
from medalist.data.targets import Target
from medalist.engine.job import TrainJob
from medalist.engine.memory import fit_in_memory as fit
from medalist.errors import ConfigError, DataError
from medalist.parts import parts_of
from medalist.records import MapPrediction, Sample
from medalist.report.classes import Classes
from medalist.reporter import Reporter, SilentReporter
from medalist.runs.setup import TrainSetup
from medalist.tasks.jobs import FoldPlace, open_devices, rehearse_network
from medalist.tasks.own import OwnLoss, refuse_without_encoder
from medalist.tasks.pixels import CHANNELS, blank_cache, filled_cache, pixel_cache, read_of
from medalist.tasks.protocols import DebugSubject
from medalist.tasks.segment.channels import class_numbers
from medalist.tasks.segment.class_weights import CountedTargets, PixelCounts, lacking
from medalist.tasks.segment.conditions import refuse_unfit
from medalist.tasks.segment.crops import Contents, as_seen, filled_windows
from medalist.tasks.segment.deciding import decide_by, has_second_stage, rehearse_decision
from medalist.tasks.segment.jobs import batch_sampler, build_job, target_maker
from medalist.tasks.segment.loss_settings import losses_in
from medalist.tasks.segment.network import build_network, build_normalisation
from medalist.tasks.segment.predict import predict
from medalist.tasks.segment.settings import SegmentSettings
from medalist.tasks.segment.targets import blank_target

if TYPE_CHECKING:
    from medalist.runs.plans import Plan, PlanRequest

__all__ = ["debug_subject", "fit", "forecast", "open_data", "predict", "rehearse"]


def rehearse(setup: TrainSetup) -> None:
    """Prepare the training with blank images of the contest's sizes. Raises ConfigError where something does not fit.

    Augmentation must end in one size that the network accepts, the sampler must find its strata in each fold's training
    part, and the truth must give the network's channels.
    """
    settings: SegmentSettings = setup.settings
    samples, own = setup.contest.split.train, parts_of(setup.contest.competition)
    if settings.model.in_channels != CHANNELS:
        raise ConfigError(
            f"model.in_channels = {settings.model.in_channels}: images are read as RGB; set it to {CHANNELS}"
        )

    refuse_unfit(settings.model, samples)

    def blank(sample: Sample) -> Target:
        return blank_target(sample.size, settings.task, settings.model.channels)

    cache = blank_cache(setup.contest, None, blank, as_seen(samples, settings))
    norm = build_normalisation(settings)
    whole = TrainDataset(cache, range(len(samples)), settings.augment, norm, settings.seed, own)
    size = whole.check(settings.model.stride)
    samplers = []
    fabric = open_devices(settings)
    for fold in setup.chosen:
        training = set(setup.folds.training(fold))
        samplers.append(batch_sampler(settings, [sample for sample in samples if sample.id in training], fabric))
    with suppress(DataError):  # because the cache reports all bad samples at once later
        target_maker(setup.contest, settings)(samples[0])
    network = build_network(settings, setup.weights, setup.chosen[0], own)
    if isinstance(settings.model, OwnConfig):
        refuse_without_encoder(network, settings.model, settings.train)
    shape = (2, len(settings.model.channels), *size)
    if isinstance(settings.loss, OwnConfig):
        OwnLoss(settings.loss, own, by_sample=False).refuse_unfit(shape, torch.zeros(shape))
    if has_second_stage(settings.decide):
        from medalist.postprocess.regressor import lightgbm

        lightgbm()  # ConfigError where it is not installed
    if isinstance(settings.decide, OwnConfig):
        decide_by(settings.decide, own)(MapPrediction(np.zeros(shape[1:], np.uint8), settings.model.channels))
    else:
        rehearse_decision(settings, setup.contest, own)
    rehearse_network(settings.train, network, samplers, fabric.world_size, (settings.model.seen_channels, *size))


def open_data(setup: TrainSetup, fabric: Fabric, reporter: Reporter) -> Callable[[int], TrainJob]:
    """Read all training samples into the cache; return a function from the number of a fold to its training."""
    settings, contest = setup.settings, setup.contest
    read, targets = read_of(contest, settings), target_maker(contest, settings)
    cache: PixelCache | WindowCache
    contents: Contents = {}
    if isinstance(settings.sampler, TileSampler):
        cache, contents = filled_windows(contest, settings, settings.sampler, setup.run.folder, reporter)
    else:
        cache = filled_cache(contest, settings, targets, setup.run.folder, reporter)

    def job_of(fold: int) -> TrainJob:
        place = FoldPlace.of(setup, fold)
        training = [cache.samples[index] for index in place.positions(cache.samples)[0]]
        counts = _counts(settings, targets, training)
        for line in lacking(f"fold {fold}", training, settings.model.channels, counts):
            reporter.say(line)
        return build_job(settings, fabric, cache, place, setup.weights, read, contents, counts)

    return job_of


def _counts(settings: SegmentSettings, targets: CountedTargets, samples: Sequence[Sample]) -> list[PixelCounts]:
    """Return the pixel counts of samples where they are known already or the loss asks for them, and else nothing."""
    weigh = any(loss.class_weights != "none" for loss in losses_in(settings.loss))
    known = all(sample.id in targets.known for sample in samples)
    return [targets.counts(sample) for sample in samples] if weigh or known else []


def forecast(setup: TrainSetup, request: PlanRequest, started: float, reporter: Reporter) -> Plan:
    """Return the expected cost of the training; it is measured with the real loop."""
    from medalist.planning.forecast import make_plan  # here, because a training does not need it
    from medalist.tasks.segment import cost

    return make_plan(setup, cost, request, started, reporter)


def debug_subject(setup: TrainSetup, fold: int) -> DebugSubject:
    """Return the fold's training; an image is decoded only when a batch needs it."""
    settings, contest = setup.settings, setup.contest
    place = FoldPlace.of(setup, fold)
    targets = target_maker(contest, settings)
    cache: PixelCache | WindowCache
    contents: Contents = {}
    if isinstance(settings.sampler, TileSampler):
        cache, contents = filled_windows(contest, settings, settings.sampler, place.folder, SilentReporter())
    else:
        cache = pixel_cache(contest, settings, targets, place.folder)
    counts = _counts(settings, targets, [cache.samples[index] for index in place.positions(cache.samples)[0]])
    read = read_of(contest, settings)
    job = build_job(settings, open_devices(settings), cache, place, setup.weights, read, contents, counts)
    positions = {job.names[index]: number for number, index in enumerate(place.positions(cache.samples)[0])}
    classes, channels = contest.competition.classes, settings.model.channels
    subject = DebugSubject(job, positions, build_normalisation(settings), channels)
    if not classes:
        return subject
    numbers = class_numbers(channels, classes, settings.task.activation)
    return replace(subject, mask_classes=Classes(classes), numbers=numbers)
