"""Training of embedders: implements `tasks.protocols.Training` for this kind."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np
from lightning_fabric import Fabric
from numpy.typing import NDArray

from medalist.data.cache import PixelCache
from medalist.data.fitting import kept_size
from medalist.engine.devices import first_alone
from medalist.engine.job import TrainJob
from medalist.engine.memory import fit_in_memory as fit
from medalist.reporter import Reporter
from medalist.retrieval.contests import refuse_unwritable
from medalist.runs.setup import TrainSetup
from medalist.tasks.embed.datasets import views_of
from medalist.tasks.embed.embedding import predict
from medalist.tasks.embed.features import kept_features
from medalist.tasks.embed.jobs import Classes, build_job, classes_of
from medalist.tasks.embed.network import Embedder, Head, build_normalisation
from medalist.tasks.embed.settings import EmbedSettings
from medalist.tasks.embed.vectors import retrieval_of
from medalist.tasks.jobs import FoldPlace, open_devices, rehearse_network
from medalist.tasks.pixels import blank_cache, filled_cache, no_target, pixel_cache, read_of
from medalist.tasks.protocols import DebugSubject

if TYPE_CHECKING:
    from medalist.runs.plans import Plan, PlanRequest

__all__ = ["debug_subject", "fit", "forecast", "open_data", "predict", "rehearse"]


def rehearse(setup: TrainSetup) -> None:
    """Make the training of each fold with blank images.

    Raises ConfigError where image sizes, identities, batches or the encoder do not fit.
    """
    settings, contest = setup.settings, setup.contest
    new = retrieval_of(contest).new
    refuse_unwritable(contest)
    samples = contest.split.train
    source: PixelCache | NDArray[np.float32] = np.zeros((len(samples), 1), np.float32)
    if not settings.model.frozen:
        source = blank_cache(contest, kept_size(settings.image), no_target)
    read, fabric = read_of(contest, settings), open_devices(settings)
    for fold in setup.chosen:
        job = build_job(settings, fabric, source, samples, FoldPlace.of(setup, fold), setup.weights, read, new)
        seen: tuple[int, ...] = (settings.model.in_channels, *settings.image.seen_in_training)
        if isinstance(job.model, Head):  # with a frozen encoder the head alone is trained, on features
            seen = job.model.features
        rehearse_network(settings.train, job.model, [job.sampler], fabric.world_size, seen)


def open_data(setup: TrainSetup, fabric: Fabric, reporter: Reporter) -> Callable[[int], TrainJob]:
    """Read all training samples into the cache, or compute and store their features where the encoder is frozen.

    Returns a function from the number of a fold to its training.
    """
    settings, contest, samples = setup.settings, setup.contest, setup.contest.split.train
    read, new = read_of(contest, settings), retrieval_of(contest).new
    source: PixelCache | NDArray[np.float32]
    if settings.model.frozen:
        home = setup.run.folder.parent
        source = first_alone(
            fabric, lambda: kept_features(settings, setup.weights, samples, read, fabric, home, reporter)
        )
    else:
        source = filled_cache(contest, settings, no_target, setup.run.folder, reporter)
    return lambda fold: build_job(
        settings, fabric, source, samples, FoldPlace.of(setup, fold), setup.weights, read, new
    )


def forecast(setup: TrainSetup, request: PlanRequest, started: float, reporter: Reporter) -> Plan:
    """Return the expected cost of the training; it is measured with the real loop."""
    from medalist.planning.forecast import make_plan  # here, because a training does not need it
    from medalist.tasks.embed import cost

    return make_plan(setup, cost, request, started, reporter)


def debug_subject(setup: TrainSetup, fold: int) -> DebugSubject:
    """Return the fold's training on pixels.

    A frozen encoder is made a part of the network, because computing the features of all images takes long.
    """
    settings, contest, place = setup.settings, setup.contest, FoldPlace.of(setup, fold)
    samples, new, frozen = contest.split.train, retrieval_of(contest).new, settings.model.frozen
    whole = settings.model_copy(update={"model": settings.model.model_copy(update={"frozen": False})})
    cache = pixel_cache(contest, settings, no_target, place.folder)
    read = read_of(contest, settings)
    job = build_job(whole, open_devices(settings), cache, samples, place, setup.weights, read, new)
    if frozen:
        assert isinstance(job.model, Embedder)
        job.model.encoder.requires_grad_(False)
    training = [samples[index] for index in place.positions(samples)[0]]
    classes = classes_of(settings, training, new)
    known = [sample for sample in training if sample.annotation[0] in classes.number]
    views = len(views_of(settings.task.turns, settings.task.mirrored))
    positions = {sample.id: number * views for number, sample in enumerate(known)}
    return DebugSubject(job, positions, build_normalisation(settings), classes=class_names(settings, classes))


def class_names(settings: EmbedSettings, classes: Classes) -> list[str]:
    """Return the name of each class: the identity with its view ("a turned 90"), then "composition 0" and so on."""
    views = views_of(settings.task.turns, settings.task.mirrored)
    words = [f" turned {90 * turns}" * bool(turns) + " mirrored" * mirror for turns, mirror in views]
    named = [f"{name}{word}" for name in classes.names for word in words]
    return named + [f"composition {number}" for number in range(len(classes.composed))]
