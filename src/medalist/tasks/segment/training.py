"""Training of segmentation: implements `tasks.protocols.Training` for this kind."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from typing import TYPE_CHECKING

import numpy as np
import torch
from lightning_fabric import Fabric

from medalist.config import OwnConfig
from medalist.data.dataset import TrainDataset
from medalist.data.targets import MapTarget
from medalist.engine.job import TrainJob
from medalist.engine.memory import fit_in_memory as fit
from medalist.errors import ConfigError, DataError
from medalist.parts import parts_of
from medalist.records import MapPrediction, Sample
from medalist.reporter import Reporter
from medalist.runs.setup import TrainSetup
from medalist.tasks.jobs import FoldPlace, open_devices, rehearse_network, sample_sampler
from medalist.tasks.own import OwnLoss, refuse_without_encoder
from medalist.tasks.pixels import CHANNELS, blank_cache, filled_cache, pixel_cache, read_of
from medalist.tasks.protocols import DebugSubject
from medalist.tasks.segment.conditions import refuse_unfit
from medalist.tasks.segment.deciding import decide_by
from medalist.tasks.segment.jobs import build_job, target_maker
from medalist.tasks.segment.network import build_network, build_normalisation
from medalist.tasks.segment.predict import predict
from medalist.tasks.segment.settings import SegmentSettings

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

    def blank(sample: Sample) -> MapTarget:
        return MapTarget(np.zeros((*sample.size, len(settings.model.channels)), np.uint8))

    cache = blank_cache(setup.contest, None, blank)
    norm = build_normalisation(settings)
    whole = TrainDataset(cache, range(len(samples)), settings.augment, norm, settings.seed, own)
    size = whole.check(settings.model.stride)
    samplers = []
    fabric = open_devices(settings)
    for fold in setup.chosen:
        training = set(setup.folds.training(fold))
        strata = [sample.stratum for sample in samples if sample.id in training]
        samplers.append(sample_sampler(settings.sampler, settings, strata, fabric))
    with suppress(DataError):  # because the cache reports all bad samples at once later
        target_maker(setup.contest, settings)(samples[0])
    network = build_network(settings, setup.weights, setup.chosen[0], own)
    if isinstance(settings.model, OwnConfig):
        refuse_without_encoder(network, settings.model, settings.train)
    shape = (2, len(settings.model.channels), *size)
    if isinstance(settings.loss, OwnConfig):
        OwnLoss(settings.loss, own, by_sample=False).refuse_unfit(shape, torch.zeros(shape))
    if isinstance(settings.decide, OwnConfig):
        decide_by(settings.decide, own)(MapPrediction(np.zeros(shape[1:], np.uint8), settings.model.channels))
    rehearse_network(settings.train, network, samplers, fabric.world_size, (settings.model.seen_channels, *size))


def open_data(setup: TrainSetup, fabric: Fabric, reporter: Reporter) -> Callable[[int], TrainJob]:
    """Read all training samples into the cache; return a function from the number of a fold to its training."""
    settings, contest = setup.settings, setup.contest
    cache = filled_cache(contest, settings, target_maker(contest, settings), setup.run.folder, reporter)
    read = read_of(contest, settings)
    return lambda fold: build_job(settings, fabric, cache, FoldPlace.of(setup, fold), setup.weights, read)


def forecast(setup: TrainSetup, request: PlanRequest, started: float, reporter: Reporter) -> Plan:
    """Return the expected cost of the training; it is measured with the real loop."""
    from medalist.planning.forecast import make_plan  # here, because a training does not need it
    from medalist.tasks.segment import cost

    return make_plan(setup, cost, request, started, reporter)


def debug_subject(setup: TrainSetup, fold: int) -> DebugSubject:
    """Return the fold's training; an image is decoded only when a batch needs it."""
    settings, contest = setup.settings, setup.contest
    place = FoldPlace.of(setup, fold)
    cache = pixel_cache(contest, settings, target_maker(contest, settings), place.folder)
    job = build_job(settings, open_devices(settings), cache, place, setup.weights, read_of(contest, settings))
    positions = {job.names[index]: number for number, index in enumerate(place.positions(cache.samples)[0])}
    return DebugSubject(job, positions, build_normalisation(settings), settings.model.channels)
