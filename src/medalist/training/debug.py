"""`medalist debug`: inspect the network of one fold before or after its training, and write a page about it.

All tests work on copies of the network.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from itertools import islice
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from medalist.config import dump_config
from medalist.data.items import Item, Key, Normalisation
from medalist.data.loader import Batch, collate
from medalist.data.targets import BoxTargets, LabelTargets, MapTargets
from medalist.engine.checkpoint import load_weights
from medalist.engine.first_steps import lr_range, overfit
from medalist.engine.gradients import flows
from medalist.engine.inspect import anatomy, idleness
from medalist.engine.job import TrainJob
from medalist.engine.mixing import mixed, resized
from medalist.engine.nan_hunt import hunt
from medalist.errors import ConfigError
from medalist.files import write_json
from medalist.kinds import kind_of
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
from medalist.reporter import Reporter
from medalist.runs.plans import short_clock
from medalist.runs.setup import TrainSetup
from medalist.tasks.protocols import DebugSubject
from medalist.training.coverage import coverage
from medalist.training.findings import Diagnostics, facts, tables, wrong
from medalist.training.request import TrainRequest
from medalist.training.start import checked

DIAGNOSED, PICTURED = 4, 3
"""How many batches the diagnostics use, and how many of these are shown as pictures."""


@dataclass(frozen=True)
class DebugRequest:
    """The options of `medalist debug`, beside the config.

    steps: the number of steps on one batch, and of the learning-rate range test. epoch: the epoch whose order and
    augmentation are used, counted from 1 as in messages. samples: ids of training samples that make the one batch;
    empty = the first batches of the loader. checkpoint: weights to start from; None = the weights with which a training
    starts. folder: the folder of the page; None = `debug` in the folder that the run has, or would have.
    """

    steps: int = 100
    epoch: int = 1
    samples: tuple[str, ...] = ()
    checkpoint: Path | None = None
    folder: Path | None = None


@dataclass(frozen=True)
class Debugged:
    """The results of `medalist debug`; the page shows all of them.

    wrong: warnings, worst first. facts: results as (name, text).
    """

    page: Path
    wrong: tuple[str, ...]
    facts: tuple[tuple[str, str], ...]
    tables: tuple[Grid, ...]
    diagnostics: Diagnostics


@dataclass(frozen=True, eq=False)
class Scene:
    """A fold's training whose checks have passed. It is not run, and no run folder is made for it."""

    setup: TrainSetup
    subject: DebugSubject
    folder: Path

    @property
    def job(self) -> TrainJob:
        """The training of the fold."""
        return self.subject.job


def debug(asked: TrainRequest, request: DebugRequest, reporter: Reporter) -> Debugged:
    """Inspect the network of one fold, and write `index.html`, pictures and `debug.json`.

    asked: the config, and the one fold. Raises ConfigError, WeightsError, DataError, FoldError and RunError in the same
    cases as a training before it starts.
    """
    scene = prepare_scene(asked, request)
    reporter.say(f"two tests make {request.steps} steps each (--steps); how long they take is said after a few batches")
    job, epoch = scene.job, request.epoch - 1
    named = [named_batch(scene.subject, request.samples, epoch)] if request.samples else []
    batches = named or list(islice(stream(job, epoch), DIAGNOSED))
    names = scene.subject.channels or scene.subject.classes
    covered = coverage(batches, tuple(names), scene.setup.settings.augment)
    with reporter.progress("debug", 6) as bar:
        seen = anatomy(job, batches[0])
        bar.advance()
        started = time.perf_counter()
        hunted = hunt(job, batches)
        bar.advance()
        each = (time.perf_counter() - started) / len(batches)
        bar.say(f"two tests of {request.steps} steps follow, about {short_clock(2 * request.steps * each)} (--steps)")
        # Where values are not finite at the start, the other tests would only show more such values.
        sound = hunted.culprit is None
        idle = idleness(job, batches) if sound else None
        bar.advance()
        flowing = flows(job, batches[0]) if sound else None
        bar.advance()
        tried = overfit(job, batches[0], request.steps)
        bar.advance()
        tested = lr_range(job, stream(job, epoch), request.steps) if sound else None
        bar.advance()
    diagnostics = Diagnostics(seen, hunted, idle, flowing, tried, tested, job.config.lr, covered)
    return _written(scene, diagnostics, batches[:PICTURED])


def prepare_scene(asked: TrainRequest, request: DebugRequest) -> Scene:
    """Make the same checks as a training, and make the fold's job. Pixels are decoded when a batch needs them."""
    setup = checked(asked)
    folder = request.folder or setup.run.folder / "debug"
    subject = kind_of(setup.settings).training().debug_subject(setup, setup.chosen[0])
    if request.checkpoint is not None:
        load_weights(subject.job.model, request.checkpoint, finite=False)
    return Scene(setup, replace(subject, job=replace(subject.job, epoch=request.epoch - 1)), folder)


def stream(job: TrainJob, epoch: int) -> Iterator[Batch]:
    """Yield batches as the training loop uses them, without end, from the start of `epoch` (counted from 0).

    The batches are on the device, resized and mixed.
    """
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


def named_batch(subject: DebugSubject, names: Sequence[str], epoch: int) -> Batch:
    """Return a batch of the named training samples, augmented as in `epoch`, and not mixed.

    A single sample is in the batch twice with two augmentations, because batch norms need two samples. Raises
    ConfigError for ids that the fold does not train on.
    """
    job, position = subject.job, subject.positions
    dataset: Any = job.train.dataset
    inner = dataset.dataset  # the outer dataset returns errors as values
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


def _written(scene: Scene, diagnostics: Diagnostics, batches: Sequence[Batch]) -> Debugged:
    folder, settings = scene.folder, scene.setup.settings
    found, lines, shown = wrong(diagnostics), facts(diagnostics), tables(diagnostics)
    told = dict(lines)
    channels = tuple(scene.subject.channels)
    pictures = list(_pictures(scene, batches))
    charts = []
    if diagnostics.overfit and len(diagnostics.overfit.losses) > 1:
        chart = write_chart(
            folder / "overfit.png", overfit_figure(diagnostics.overfit.losses, diagnostics.overfit.goal)
        )
        charts.append(("Overfitting one batch", told["one batch"], chart))
    if diagnostics.lr_range:
        tested = diagnostics.lr_range
        figure = lr_range_figure(
            tested.rates, tested.losses, tested.smoothed, tested.steepest, tested.tenth, diagnostics.lr
        )
        charts.append(("Learning-rate range", told["learning rate"], write_chart(folder / "lr_range.png", figure)))
    page = DebugReport(
        run=scene.setup.run.name,
        competition=settings.competition,
        wrong=found,
        facts=[
            ("looked at", f"{scene.job.title} of {scene.setup.folds.n}, {diagnostics.hunt.samples} training samples"),
            *lines,
        ],
        tables=shown,
        channels=channels,
        pictures=pictures,
        charts=charts,
        config=dump_config(settings),
        classes=scene.subject.mask_classes,
        void=any(isinstance(one.target, MapTargets) and one.target.judged is not None for one in batches),
    )
    write_json(folder / "debug.json", plain({"wrong": found, **asdict(diagnostics)}))
    write_debug(folder / "index.html", page)
    return Debugged(folder / "index.html", tuple(found), tuple(lines), tuple(shown), diagnostics)


def _pictures(scene: Scene, batches: Sequence[Batch]) -> Iterator[tuple[str, Picture]]:
    subject = scene.subject
    for number, batch in enumerate(batches):
        shown = picture_of(batch, subject.normalisation, scene.job.names, subject.classes)
        shown = replace(shown, classes=subject.mask_classes, numbers=subject.numbers)
        picture = write_batch(scene.folder / f"batch{number}.png", shown, subject.channels)
        drawn = "" if len(shown.ids) <= 16 else ", the first 16"
        yield f"batch {number}: {len(shown.ids)} samples{drawn}", picture


def picture_of(batch: Batch, norm: Normalisation, ids: Sequence[str], classes: Sequence[str]) -> BatchPicture:
    """Return the images of a batch as uint8 without normalisation, with the text of its labels.

    NaN and -inf become 0; +inf becomes 255.
    """
    mean, std = (np.asarray(values, np.float32)[:, None, None] for values in (norm.mean, norm.std))
    seen = batch.image[:, : len(norm.mean)].float().cpu().numpy()  # without the planes of a condition
    pixels = np.nan_to_num(seen * std + mean, nan=0, posinf=1, neginf=0)
    images = np.rint(np.clip(pixels, 0, 1) * 255).astype(np.uint8).transpose(0, 2, 3, 1)
    target = batch.target if isinstance(batch.target, MapTargets) else None
    targets = None if target is None else np.nan_to_num(target.maps.float().cpu().numpy())
    judged = None if target is None or target.judged is None else target.judged[:, 0].cpu().numpy()
    captions = [""] * len(batch.indices)
    if isinstance(batch.target, LabelTargets) and classes:
        captions = captions_of(batch.target, classes)
    if isinstance(batch.target, BoxTargets):
        images = np.stack([with_boxes(image, xyxy) for image, xyxy in zip(images, batch.target.xyxy, strict=True)])
        captions = [f"{len(labels)} boxes" for labels in batch.target.labels]
    void = None if judged is None else judged == 0
    return BatchPicture(images, targets, [ids[index] for index in batch.indices], captions, void)


def with_boxes(image: NDArray[np.uint8], xyxy: Tensor) -> NDArray[np.uint8]:
    """Return an image uint8[h, w, C] with the outlines of boxes float[N, 4] in white."""
    drawn = np.ascontiguousarray(image)
    for x1, y1, x2, y2 in xyxy.round().int().tolist():
        cv2.rectangle(drawn, (x1, y1), (x2 - 1, y2 - 1), (255,) * drawn.shape[2], 1)
    return drawn


def captions_of(target: LabelTargets, classes: Sequence[str]) -> list[str]:
    """Return a text for the label of each sample in a batch.

    It has the name of the class, or the names of all classes with a flag above 0.5, or the numbers themselves. Mixed
    samples have the labels of both partners with their shares.
    """

    def words(values: Tensor) -> list[str]:
        if not values.is_floating_point():
            return [classes[label] for label in values.tolist()]
        if values.shape[1] != len(classes):
            return [", ".join(f"{value:.3g}" for value in row) for row in values.tolist()]
        return [", ".join(classes[at] for at, value in enumerate(row) if value > 0.5) for row in values.tolist()]

    own = words(target.values)
    if target.partners is None:
        return own
    others, share = target.partners
    return [f"{share:.2f} {one}, {1 - share:.2f} {other}" for one, other in zip(own, words(others), strict=True)]


def plain(value: Any) -> Any:
    """Return a value in a form that JSON can hold; numbers that are not finite become their names."""
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    if isinstance(value, Mapping):
        return {str(name): plain(one) for name, one in value.items()}
    if isinstance(value, list | tuple):
        return [plain(one) for one in value]
    return value
