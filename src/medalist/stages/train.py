"""`medalist train`: the folds of one config, each trained and its held-out samples predicted."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import assert_never

import numpy as np
import torch
from lightning_fabric import Fabric
from numpy.typing import NDArray
from rich.console import Console

from medalist.build import (
    Share,
    build_cache,
    build_embed_fit,
    build_fabric,
    build_fit,
    build_network,
    build_normalisation,
    build_task,
    sample_order,
)
from medalist.data.cache import Decoded, PixelCache
from medalist.data.dataset import TrainSet, reader
from medalist.data.fitting import kept_size
from medalist.data.settings import ClassSampler
from medalist.data.transforms import compose_augment
from medalist.engine.devices import first_alone, together
from medalist.engine.memory import batch_that_fits, is_out_of_memory, too_large
from medalist.engine.optimizer import scaled_lr
from medalist.engine.tracking import Log, tracking
from medalist.engine.job import Fit
from medalist.engine.train import fit
from medalist.errors import ConfigError, DataError, FoldError, TrainingError
from medalist.folds import Folds, write_folds
from medalist.models.weights import Resolved, encoder_weights
from medalist.processes import alone_in, place
from medalist.progress import Progress, progress
from medalist.records import Sample
from medalist.runs import Run, create_run, make_lock
from medalist.settings import EmbedSettings, SegmentSettings, Settings, load_settings
from medalist.stages.contest import Contest, contest_folds, open_contest
from medalist.stages.cost import write_cost
from medalist.stages.doctor import machine
from medalist.stages.embed import embed_oof
from medalist.stages.features import kept_features
from medalist.stages.predict import predict_oof
from medalist.stages.rank import refuse_unwritable

RESERVED = ("", ".", "..", "folds", "features", "data")
"""Names that no run may have: they mean other folders beside the runs."""

CHANNELS = 3
"""Of every image, as it is read."""

CACHE_THREADS = 2
"""Threads that fill the cache; Pillow and OpenCV let go of the interpreter's lock while they decode."""


@dataclass(frozen=True)
class TrainPlan:
    """A training that was checked and may start; only images that cannot be read may still stop it."""

    settings: Settings
    contest: Contest
    folds: Folds
    chosen: tuple[int, ...]
    weights: Resolved | None
    run: Run


def run_name(config: Path, overrides: Sequence[str]) -> str:
    """The config's name; overrides are added to it, so that each idea has a run of its own. At most 150 bytes."""
    parts = [config.stem, *(override.strip().replace("/", "_").replace(" ", "") for override in overrides)]
    name = "+".join(parts)
    if len(name.encode()) <= 150:
        return name
    return name.encode()[:137].decode(errors="ignore") + "+" + sha256(name.encode()).hexdigest()[:12]


def prepare(
    config: Path,
    overrides: Sequence[str],
    data: str | None,
    fold: Sequence[int],
    name: str | None,
    root: Path,
) -> TrainPlan:
    """Check all that can be checked before any pixel is kept: config, augmentation, weights, data, folds, network.

    Then make the run's folder. Raises ConfigError, WeightsError, DataError, FoldError, RunError.
    """
    settings = load_settings(config, tuple(overrides))
    name = name or run_name(config, overrides)
    if Path(name).name != name or name in RESERVED:
        raise ConfigError(f"a run cannot be called '{name}'; give --name a plain word")
    compose_augment(settings.augment)
    weights = encoder_weights(settings.model)
    contest = open_contest(settings.competition, data or settings.data, root)
    folds = contest_folds(contest, settings.folds, root)
    chosen = tuple(dict.fromkeys(fold)) or tuple(range(folds.n))
    for number in chosen:
        if not 0 <= number < folds.n:
            raise FoldError(f"fold {number} does not exist; this config has folds 0..{folds.n - 1}")
    hashes = {weights.name: weights.sha256} if weights else {}
    lock = make_lock(settings, contest.split, folds, hashes, contest.data, config, overrides, machine())
    folder = root / settings.competition / name
    if set(chosen) - set(Run(folder).trained_folds()):
        match settings:
            case SegmentSettings():
                rehearse(settings, contest)
                rehearse_orders(settings, contest, folds, chosen)
                build_network(settings, weights, chosen[0])
            case EmbedSettings():
                rehearse_embedding(settings, contest, folds, chosen, weights)
            case _:
                assert_never(settings)
    run = create_run(folder, settings, lock)
    write_folds(folder / "folds.csv", folds)
    return TrainPlan(settings, contest, folds, chosen, weights, run)


def rehearse(settings: SegmentSettings, contest: Contest) -> None:
    """Take blank images of the contest's sizes the way of real ones: ConfigError where they do not fit the network.

    Augmentation must end in one size that the network takes, and the truth must give the network's channels.
    """
    task, samples = build_task(settings), contest.split.train
    if settings.model.in_channels != CHANNELS:
        raise ConfigError(
            f"model.in_channels = {settings.model.in_channels}: images are read as RGB; set it to {CHANNELS}"
        )

    def blank(sample: Sample) -> Decoded:
        target = np.zeros((*sample.size, len(settings.model.channels)), np.uint8)
        return np.zeros((*sample.size, CHANNELS), np.uint8), target

    cache = PixelCache(blank, samples)
    whole = TrainSet(cache, range(len(samples)), settings.augment, build_normalisation(settings), settings.seed)
    whole.check(settings.model.stride)
    try:
        task.targets(contest.truth(samples[0]))
    except DataError:
        return  # the cache names all bad samples at once


def rehearse_orders(settings: SegmentSettings, contest: Contest, folds: Folds, chosen: Sequence[int]) -> None:
    """Order the training samples of each fold: ConfigError where the sampler's strata are not in all of them."""
    fabric = build_fabric(settings)
    for fold in chosen:
        training = set(folds.training(fold))
        strata = [sample.stratum for sample in contest.split.train if sample.id in training]
        sample_order(settings, strata, fabric)


def rehearse_embedding(
    settings: EmbedSettings, contest: Contest, folds: Folds, chosen: Sequence[int], weights: Resolved | None
) -> None:
    """Make the training of each fold on blank images: ConfigError where sizes, identities, batches or the encoder do
    not fit.
    """
    refuse_unwritable(contest)
    samples, size = contest.split.train, kept_size(settings.image)
    source: PixelCache | NDArray[np.float32] = np.zeros((len(samples), 1), np.float32)
    if not settings.model.frozen:
        source = PixelCache(lambda sample: (np.zeros((*size, CHANNELS), np.uint8), None), samples)
    read, fabric = reader(contest.competition.white, settings.image), build_fabric(settings)
    for fold in chosen:
        share = Share(folds, fold, Path())  # nothing is written there before the training begins
        build_embed_fit(settings, fabric, source, samples, share, weights, read, contest.retrieval.new)


def prepare_together(
    config: Path,
    overrides: Sequence[str],
    data: str | None,
    fold: Sequence[int],
    name: str | None,
    root: Path,
) -> TrainPlan:
    """`prepare` in each process of this command, the first one first."""
    fabric = build_fabric(load_settings(config, tuple(overrides)))
    return first_alone(fabric, lambda: prepare(config, overrides, data, fold, name, root))


def step_line(settings: Settings) -> str:
    """What a step of the optimiser is made of, and its highest learning rate."""
    train, world = settings.train, place().world
    batch = train.batch
    if isinstance(settings, EmbedSettings) and isinstance(settings.sampler, ClassSampler):
        batch = settings.sampler.classes * settings.sampler.per_class
    rate = scaled_lr(train, world)
    return (
        f"a step is of {batch * train.accumulate * world} samples: batch {batch} x accumulate {train.accumulate} x "
        f"processes {world}; learning rate up to {rate:g} (lr_scale: {train.lr_scale})"
    )


def train(plan: TrainPlan, console: Console) -> Run:
    """Train the chosen folds, those that are done left out, and predict each fold's held-out samples.

    RunError where another process is at work on one of them.
    """
    fabric, run = build_fabric(plan.settings), plan.run
    todo = [fold for fold in plan.chosen if fold not in run.trained_folds()]
    with together(fabric):
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
                if fold in todo and fabric.is_global_zero:
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
                if fold in run.trained_folds():  # by another command, while this one was at other folds
                    bar.skip(job.steps)
                    continue
                with tracking(tracker, job.folder, run.competition, run.name, fold, config) as log:
                    _fit(job, log, bar)


def _fit(job: Fit, log: Log, bar: Progress) -> None:
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


def jobs(plan: TrainPlan, fabric: Fabric, console: Console) -> Callable[[int], Fit]:
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
