"""`medalist debug`: a network looked at before, or after, a training: one fold's job, on copies, with a page."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import islice
from pathlib import Path
from typing import Any, assert_never

import numpy as np
from rich.console import Console

from medalist.build import (
    Share,
    build_cache,
    build_embed_fit,
    build_fabric,
    build_fit,
    build_normalisation,
    classes_of,
)
from medalist.config import dump_config
from medalist.contest import Contest
from medalist.data.dataset import Item, Key, Normalisation, TrainDataset, reader
from medalist.data.loader import Batch, collate
from medalist.engine.checkpoint import load_weights
from medalist.engine.first_steps import lr_range, overfit
from medalist.engine.gradients import flows
from medalist.engine.inspect import anatomy, idleness
from medalist.engine.job import TrainJob
from medalist.engine.mixing import mixed, resized
from medalist.engine.nan_hunt import hunt
from medalist.errors import ConfigError
from medalist.files import write_json
from medalist.folds.folds import Folds
from medalist.report.network import (
    BatchPicture,
    DebugReport,
    Grid,
    lr_range_figure,
    overfit_figure,
    write_batch,
    write_chart,
    write_debug,
)
from medalist.report.pictures import Picture
from medalist.reporter import progress
from medalist.settings import EmbedSettings, SegmentSettings, Settings
from medalist.tasks.embed.datasets import IdentityTrainDataset, views_of
from medalist.tasks.embed.network import Embedder
from medalist.training.findings import Looks, facts, tables, wrong
from medalist.training.start import TrainPlan, checked, run_name

LOOKED_AT, PICTURED = 4, 3
"""Batches that the looks share, and how many of them are drawn."""


@dataclass(frozen=True)
class Asked:
    """What `medalist debug` was asked, beside the config.

    epoch: whose order and augmentation, from 1 as messages count. samples: ids of training samples that make the one
    batch; empty = the loader's first. checkpoint: weights to start from; None = as a training starts. folder: where
    the page goes; None = `debug` in the folder that the run has, or would have.
    """

    data: str | None = None
    fold: int = 0
    steps: int = 100
    epoch: int = 1
    samples: tuple[str, ...] = ()
    checkpoint: Path | None = None
    folder: Path | None = None


@dataclass(frozen=True)
class Debugged:
    """What was found: `wrong`, worst first; `facts` as (name, text); `tables`; all of it on the page."""

    page: Path
    wrong: tuple[str, ...]
    facts: tuple[tuple[str, str], ...]
    tables: tuple[Grid, ...]
    looks: Looks


@dataclass(frozen=True, eq=False)
class Scene:
    """A fold's training that was checked and will not run: no run's folder is made for it."""

    settings: Settings
    contest: Contest
    folds: Folds
    job: TrainJob
    folder: Path


def debug(config: Path, overrides: Sequence[str], asked: Asked, root: Path, console: Console) -> Debugged:
    """Look at one fold's network and write `index.html`, pictures and `debug.json`.

    Raises ConfigError, WeightsError, DataError, FoldError, RunError as a training would before it starts.
    """
    scene = prepare_scene(config, overrides, asked, root)
    job, epoch = scene.job, asked.epoch - 1
    named = [named_batch(job, asked.samples, epoch)] if asked.samples else []
    batches = named or list(islice(stream(job, epoch), LOOKED_AT))
    with progress(console, "debug", 6) as bar:
        seen = anatomy(job, batches[0])
        bar.advance()
        hunted = hunt(job, batches)
        bar.advance()
        # what is not finite at the start would say nothing about the rest, but numbers that are not
        sound = hunted.culprit is None
        idle = idleness(job, batches) if sound else None
        bar.advance()
        flowing = flows(job, batches[0]) if sound else None
        bar.advance()
        tried = overfit(job, batches[0], asked.steps)
        bar.advance()
        tested = lr_range(job, stream(job, epoch), asked.steps) if sound else None
        bar.advance()
    looks = Looks(seen, hunted, idle, flowing, tried, tested, job.config.lr)
    return _written(scene, looks, batches[:PICTURED], config, overrides)


def prepare_scene(config: Path, overrides: Sequence[str], asked: Asked, root: Path) -> Scene:
    """Check what a training checks, and make the fold's job; pixels are decoded when a batch wants them.

    A frozen encoder is looked at as a part of the network, on pixels: features of the whole contest would take as long
    as a training.
    """
    plan = checked(config, overrides, asked.data, [asked.fold], None, root)
    folder = asked.folder or plan.run.folder / "debug"
    job = _job(plan, Share(plan.folds, asked.fold, plan.run.fold_folder(asked.fold)))
    if asked.checkpoint is not None:
        load_weights(job.model, asked.checkpoint)
    return Scene(plan.settings, plan.contest, plan.folds, job, folder)


def _job(plan: TrainPlan, share: Share) -> TrainJob:
    settings, contest, weights = plan.settings, plan.contest, plan.weights
    fabric, samples = build_fabric(settings), contest.split.train
    read = reader(contest.competition.white, settings.image)
    cache = build_cache(settings, contest.competition, contest.data, contest.split, share.folder)
    match settings:
        case SegmentSettings():
            return build_fit(settings, fabric, cache, share, weights, read)
        case EmbedSettings():
            frozen = settings.model.frozen
            whole = settings.model_copy(update={"model": settings.model.model_copy(update={"frozen": False})})
            job = build_embed_fit(whole, fabric, cache, samples, share, weights, read, contest.retrieval.new)
            if frozen:
                assert isinstance(job.model, Embedder)
                job.model.encoder.requires_grad_(False)
            return job
        case _:
            assert_never(settings)


def stream(job: TrainJob, epoch: int) -> Iterator[Batch]:
    """Batches as the loop feeds them, from the beginning of `epoch` on without end: on the device, resized, mixed."""
    order: Any = job.train.batch_sampler
    while True:
        order.epoch, order.first = epoch, 0
        for number, raw in enumerate(job.train):
            yield _as_fed(job, raw, epoch, epoch * job.batches + number)
        epoch += 1


def _as_fed(job: TrainJob, raw: Batch, epoch: int, at: int) -> Batch:
    size = job.config.size_in(min(epoch, job.config.epochs - 1))
    batch = resized(raw.to(job.fabric.device, job.config.channels_last), size)
    return mixed(batch, job.config.mix, job.seed, at, job.fabric.global_rank)


def named_batch(job: TrainJob, names: Sequence[str], epoch: int) -> Batch:
    """A batch of training samples, augmented as in `epoch`, not mixed; a single one comes twice, augmented anew.

    Batch norms need two. ConfigError for ids that the fold does not train on.
    """
    dataset: Any = job.train.dataset
    inner = dataset.dataset  # under the one that hands mistakes over
    assert isinstance(inner, TrainDataset | IdentityTrainDataset)
    views = len(inner.views) if isinstance(inner, IdentityTrainDataset) else 1
    position = {job.names[index]: number * views for number, index in enumerate(inner.indices)}
    unknown = [name for name in names if name not in position]
    if unknown:
        known = "it is held out in this fold, take another --fold" if unknown[0] in job.names else "no such sample"
        raise ConfigError(f"--samples {unknown[0]}: not among the {len(position)} this fold is trained on ({known})")
    keys: list[Key] = [(epoch, position[name]) for name in names]
    if len(keys) == 1:
        keys.append((epoch, position[names[0]], 1))
    items: list[Item] = [inner[key] for key in keys]
    batch = collate(items).to(job.fabric.device, job.config.channels_last)
    return resized(batch, job.config.size_in(min(epoch, job.config.epochs - 1)))


def _written(scene: Scene, looks: Looks, batches: Sequence[Batch], config: Path, overrides: Sequence[str]) -> Debugged:
    folder, settings = scene.folder, scene.settings
    found, lines, shown = wrong(looks), facts(looks), tables(looks)
    channels = settings.model.channels if isinstance(settings, SegmentSettings) else ()
    pictures = list(_pictures(scene, batches, channels))
    charts = []
    if looks.overfit and len(looks.overfit.losses) > 1:
        chart = write_chart(folder / "overfit.png", overfit_figure(looks.overfit.losses, looks.overfit.goal))
        charts.append(("One batch by heart", lines[1][1], chart))
    if looks.lr_range:
        tested = looks.lr_range
        figure = lr_range_figure(tested.rates, tested.losses, tested.smoothed, tested.steepest, tested.tenth, looks.lr)
        charts.append(("Learning-rate range", lines[-1][1], write_chart(folder / "lr_range.png", figure)))
    page = DebugReport(
        run=run_name(config, overrides),
        competition=settings.competition,
        wrong=found,
        facts=[("looked at", f"{scene.job.title} of {scene.folds.n}, {looks.hunt.samples} training samples"), *lines],
        tables=shown,
        channels=channels,
        pictures=pictures,
        charts=charts,
        config=dump_config(settings),
    )
    write_json(folder / "debug.json", plain({"wrong": found, **asdict(looks)}))
    write_debug(folder / "index.html", page)
    return Debugged(folder / "index.html", tuple(found), tuple(lines), tuple(shown), looks)


def _pictures(scene: Scene, batches: Sequence[Batch], channels: Sequence[str]) -> Iterator[tuple[str, Picture]]:
    norm = build_normalisation(scene.settings)
    names = class_names(scene) if isinstance(scene.settings, EmbedSettings) else ()
    for number, batch in enumerate(batches):
        shown = picture_of(batch, norm, scene.job.names, names)
        picture = write_batch(scene.folder / f"batch{number}.png", shown, channels)
        drawn = "" if len(shown.ids) <= 16 else ", the first 16"
        yield f"batch {number}: {len(shown.ids)} samples{drawn}", picture


def picture_of(batch: Batch, norm: Normalisation, ids: Sequence[str], classes: Sequence[str]) -> BatchPicture:
    """A batch without its normalisation, uint8, with what its labels say; values that are not finite become black."""
    mean, std = (np.asarray(values, np.float32)[:, None, None] for values in (norm.mean, norm.std))
    pixels = np.nan_to_num(batch.image.float().cpu().numpy() * std + mean, nan=0, posinf=1, neginf=0)
    images = np.rint(np.clip(pixels, 0, 1) * 255).astype(np.uint8).transpose(0, 2, 3, 1)
    targets = None if batch.target is None else np.nan_to_num(batch.target.float().cpu().numpy())
    captions = [""] * len(batch.indices)
    if batch.labels is not None and classes:
        captions = [classes[label] for label in batch.labels.tolist()]
        if batch.mixed is not None:
            others, share = batch.mixed
            captions = [
                f"{share:.2f} {own}, {1 - share:.2f} {classes[other]}"
                for own, other in zip(captions, others.tolist(), strict=True)
            ]
    return BatchPicture(images, targets, [ids[index] for index in batch.indices], captions)


def class_names(scene: Scene) -> list[str]:
    """What each class of an embedder is called: the identity, its turn, then composed ones."""
    assert isinstance(scene.settings, EmbedSettings)
    fold = int(re.sub(r"\D", "", scene.job.title))
    training = set(scene.folds.training(fold))
    samples = [sample for sample in scene.contest.split.train if sample.id in training]
    classes = classes_of(scene.settings, samples, scene.contest.retrieval.new)
    views = views_of(scene.settings.task.turns, scene.settings.task.mirrored)
    words = [f" turned {90 * turns}" * bool(turns) + " mirrored" * mirror for turns, mirror in views]
    named = [f"{name}{word}" for name in classes.names for word in words]
    return named + [f"composition {number}" for number in range(len(classes.composed))]


def plain(value: Any) -> Any:
    """Values as JSON has them; numbers that are not finite become their names."""
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    if isinstance(value, Mapping):
        return {str(name): plain(one) for name, one in value.items()}
    if isinstance(value, list | tuple):
        return [plain(one) for one in value]
    return value
