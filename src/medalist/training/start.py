"""What is checked before a training begins, and what it then knows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import assert_never

import numpy as np
from numpy.typing import NDArray
from torch import nn

from medalist.build import (
    Share,
    build_embed_fit,
    build_fabric,
    build_network,
    build_normalisation,
    build_task,
    sample_order,
)
from medalist.contest import Contest, contest_folds, open_contest
from medalist.data.cache import Decoded, PixelCache
from medalist.data.dataset import TrainDataset, reader
from medalist.data.fitting import kept_size
from medalist.data.settings import ClassSampler
from medalist.data.transforms import compose_augment
from medalist.engine.devices import first_alone
from medalist.engine.optimizer import freeze, scaled_lr
from medalist.engine.settings import TrainConfig
from medalist.errors import ConfigError, DataError, FoldError
from medalist.folds.folds import Folds, write_folds
from medalist.models.recompute import recompute
from medalist.models.weights import Resolved, encoder_weights
from medalist.processes import place
from medalist.records import Sample
from medalist.runs import Lock, Run, create_run, make_lock, refuse_mismatch
from medalist.settings import EmbedSettings, SegmentSettings, Settings, load_settings
from medalist.tasks.embed.ranking import refuse_unwritable
from medalist.training.doctor import machine

RESERVED = ("", ".", "..", "folds", "features", "data", "sweeps")
"""Names that no run may have: they mean other folders beside the runs."""

CHANNELS = 3
"""Of every image, as it is read."""


@dataclass(frozen=True)
class TrainPlan:
    """A training that was checked and may start; only images that cannot be read may still stop it."""

    settings: Settings
    contest: Contest
    folds: Folds
    chosen: tuple[int, ...]
    weights: Resolved | None
    run: Run
    lock: Lock


def run_name(config: Path, overrides: Sequence[str]) -> str:
    """The config's name; overrides are added to it, so that each idea has a run of its own. At most 150 bytes."""
    parts = [config.stem, *(override.strip().replace("/", "_").replace(" ", "") for override in overrides)]
    name = "+".join(parts)
    if len(name.encode()) <= 150:
        return name
    return name.encode()[:137].decode(errors="ignore") + "+" + sha256(name.encode()).hexdigest()[:12]


def checked(
    config: Path,
    overrides: Sequence[str],
    data: str | None,
    fold: Sequence[int],
    name: str | None,
    root: Path,
) -> TrainPlan:
    """Check all that can be checked before any pixel is kept: config, augmentation, weights, data, folds, network.

    Nothing is made of the run. Raises ConfigError, WeightsError, DataError, FoldError, and RunError where the run's
    folder is of another config, data, folds or weights.
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
    run = Run(root / settings.competition / name)
    if (run.folder / "lock.json").exists():
        refuse_mismatch(run, settings, lock)
    if set(chosen) - set(run.trained_folds()):
        match settings:
            case SegmentSettings():
                rehearse(settings, contest, folds, chosen)
                rehearse_network(settings.train, build_network(settings, weights, chosen[0]))
            case EmbedSettings():
                rehearse_embedding(settings, contest, folds, chosen, weights)
            case _:
                assert_never(settings)
    return TrainPlan(settings, contest, folds, chosen, weights, run, lock)


def prepare(
    config: Path,
    overrides: Sequence[str],
    data: str | None,
    fold: Sequence[int],
    name: str | None,
    root: Path,
) -> TrainPlan:
    """`checked`, and then the run's folder."""
    plan = checked(config, overrides, data, fold, name, root)
    create_run(plan.run.folder, plan.settings, plan.lock)
    write_folds(plan.run.folder / "folds.csv", plan.folds)
    return plan


def rehearse_network(train: TrainConfig, network: nn.Module) -> None:
    """Try on a network that will not be trained what train.* asks of it: ConfigError where it cannot."""
    if train.grad_checkpointing:
        recompute(network)
    if train.freeze:
        freeze(network)


def rehearse(settings: SegmentSettings, contest: Contest, folds: Folds, chosen: Sequence[int]) -> None:
    """Take blank images of the contest's sizes the way of real ones: ConfigError where they do not fit the network.

    Augmentation must end in one size that the network takes, the sampler must find its strata in each fold's training
    part, and the truth must give the network's channels.
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
    whole = TrainDataset(cache, range(len(samples)), settings.augment, build_normalisation(settings), settings.seed)
    whole.check(settings.model.stride)
    fabric = build_fabric(settings)
    for fold in chosen:
        training = set(folds.training(fold))
        sample_order(settings, [sample.stratum for sample in samples if sample.id in training], fabric)
    try:
        task.targets(contest.truth(samples[0]))
    except DataError:
        return  # the cache names all bad samples at once


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
        job = build_embed_fit(settings, fabric, source, samples, share, weights, read, contest.retrieval.new)
        rehearse_network(settings.train, job.model)


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
