"""`medalist train`: the folds of one config, each trained and its held-out samples predicted."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

import numpy as np
from rich.console import Console

from medalist.build import build_cache, build_fabric, build_fit, build_network, build_normalisation, build_task
from medalist.data.cache import Decoded, PixelCache
from medalist.data.dataset import TrainSet, reader
from medalist.data.transforms import compose_augment
from medalist.engine.tracking import tracking
from medalist.engine.train import Fit, fit
from medalist.errors import ConfigError, DataError, FoldError
from medalist.folds import Folds, write_folds
from medalist.models.weights import Resolved, encoder_weights
from medalist.progress import progress
from medalist.records import Sample
from medalist.runs import Run, create_run, make_lock
from medalist.settings import Settings, load_settings
from medalist.stages.contest import Contest, contest_folds, open_contest
from medalist.stages.predict import predict_oof

RESERVED = ("", ".", "..", "folds", "data")
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
    lock = make_lock(settings, contest.split, folds, hashes, contest.data, config, overrides)
    folder = root / settings.competition / name
    if set(chosen) - set(Run(folder).trained_folds()):
        rehearse(settings, contest)
        build_network(settings, weights, chosen[0])
    run = create_run(folder, settings, lock)
    write_folds(folder / "folds.csv", folds)
    return TrainPlan(settings, contest, folds, chosen, weights, run)


def rehearse(settings: Settings, contest: Contest) -> None:
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


def train(plan: TrainPlan, console: Console) -> Run:
    """Train the chosen folds, those that are done left out, and predict each fold's held-out samples."""
    task = build_task(plan.settings)
    contest, settings = plan.contest, plan.settings
    todo = [fold for fold in plan.chosen if fold not in plan.run.trained_folds()]
    if todo:
        cache = build_cache(settings, contest.competition, contest.data, contest.split, task, plan.run.folder)
        with progress(console, "reading images", len(cache)) as bar:
            cache.fill(settings.loader.cache_mb * 1_000_000, CACHE_THREADS, bar.advance)
        _fit_all(plan, cache, todo, console)
    for fold in plan.chosen:
        predict_oof(plan.run, settings, contest, fold, console)
    return plan.run


def _fit_all(plan: TrainPlan, cache: PixelCache, todo: Sequence[int], console: Console) -> None:
    settings, run = plan.settings, plan.run
    fabric = build_fabric(settings)
    task = build_task(settings)
    read = reader(plan.contest.competition.white, settings.image)
    config = settings.model_dump(mode="json")

    def job_of(fold: int) -> Fit:
        folder = run.fold_folder(fold)
        return build_fit(settings, fabric, task, cache, plan.folds, fold, plan.weights, folder, read)

    job = job_of(todo[0])
    planned = job.steps  # folds differ by a few samples: the first one's steps stand for all until each begins
    with progress(console, f"train {run.name}", planned * len(todo)) as bar:
        for fold in todo:
            if fold != todo[0]:
                job = job_of(fold)
            bar.skip(planned - job.steps)
            job.folder.mkdir(parents=True, exist_ok=True)
            with tracking(settings.tracking, job.folder, run.competition, run.name, fold, config) as log:
                fit(job, log, bar)
