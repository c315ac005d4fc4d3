"""The cost model of detection: implements `planning.cost_model.CostModel`, which a probe uses."""

from __future__ import annotations

import time
from functools import partial
from pathlib import Path

from lightning_fabric import Fabric

from medalist.data.windows import contest_opener
from medalist.engine.job import TrainJob
from medalist.parts import parts_of
from medalist.planning.arithmetic import Timed
from medalist.planning.cost_model import Source
from medalist.planning.inference_cost import InferenceBatch, held_out, inference_batches, read_batch, timed
from medalist.records import Sample
from medalist.reporter import Reporter
from medalist.runs.setup import TrainSetup
from medalist.tasks.detect.classes import classes_of
from medalist.tasks.detect.datasets import SliceDataset
from medalist.tasks.detect.inference import predict, slices_in, views_of
from medalist.tasks.detect.jobs import build_job, build_task
from medalist.tasks.detect.model_settings import MASK_SIDE, MaskRcnnConfig
from medalist.tasks.detect.network import build_normalisation
from medalist.tasks.detect.settings import DetectSettings
from medalist.tasks.detect.targets import all_boxes, object_target
from medalist.tasks.jobs import FoldPlace
from medalist.tasks.pixels import CHANNELS
from medalist.tasks.probed import sampled_source

ROW = 30
"""Bytes of a box on disk, before compression."""

OBJECTS = 2
"""Bytes of a pixel in a map of objects."""


def source(setup: TrainSetup, folder: Path, until: float, reporter: Reporter) -> Source:
    """Return the data source: a sampled cache of decoded images with their boxes."""
    samples = setup.contest.split.train
    each = CHANNELS + (OBJECTS if isinstance(setup.settings.model, MaskRcnnConfig) else 0)
    sizes = [each * sample.size[0] * sample.size[1] for sample in samples]
    return sampled_source(setup, partial(object_target, setup.contest), sizes, until)


def job(
    setup: TrainSetup, settings: DetectSettings, fabric: Fabric, source: Source, fold: int, folder: Path
) -> TrainJob:
    """Return the training of a fold under these settings."""
    contest = setup.contest
    place = FoldPlace(setup.folds, fold, folder, own=parts_of(contest.competition))
    targets = all_boxes(contest, contest.split.train)
    return build_job(settings, fabric, source.data, targets, classes_of(contest), place, setup.weights)


def passes(settings: DetectSettings, folds: int) -> int:
    """Return the forward passes over the test part: one for each fold's network."""
    return folds


def copies(settings: DetectSettings, folds: int) -> int:
    """Return how often the boxes of an image are kept: once for each fold's network."""
    return folds


def batches(samples: list[Sample], settings: DetectSettings) -> list[InferenceBatch]:
    """Return the batches in which the slices of these samples are predicted; all frames have one size."""
    count = len(slices_in([sample.size for sample in samples], settings.predict))
    return inference_batches([settings.image.size] * count, 1, settings.predict.batch)


def predicted(setup: TrainSetup, fold: int | None) -> list[list[Sample]]:
    """Return the fold's held-out samples, or the test part where `fold` is None."""
    return [held_out(setup, fold) if fold is not None else list(setup.contest.split.test)]


def computed(setup: TrainSetup, fold: int | None) -> list[InferenceBatch]:
    """Return the batches of all slices that are predicted."""
    return [one for part in predicted(setup, fold) for one in batches(part, setup.settings)]


def time_predictions(
    setup: TrainSetup, settings: DetectSettings, job: TrainJob, folder: Path, each: float, fold: int, until: float
) -> tuple[list[Timed], float]:
    """Time batches of the fold's OOF part in all views; return the times and the most bytes on disk for each pixel."""
    samples, (height, width) = predicted(setup, fold)[0], settings.image.size
    found = timed(batches(samples, settings), partial(_once, setup, settings, job, samples), until)
    return found, row_bytes(settings) * settings.predict.most * len(views_of(settings.predict)) / (height * width)


def row_bytes(settings: DetectSettings) -> int:
    """Return the bytes of a box on disk with its mask, if it has one, before compression."""
    return ROW + (MASK_SIDE**2 if isinstance(settings.model, MaskRcnnConfig) else 0)


def again(setup: TrainSetup, settings: DetectSettings, job: TrainJob, fold: int, before: Timed) -> float:
    """Time the batch of `before` again under these settings; return the new forward time divided by the old one."""
    samples = predicted(setup, fold)[0]
    one = next(one for one in batches(samples, settings) if one.pixels == before.pixels)
    _once(setup, settings, job, samples, one)
    return _once(setup, settings, job, samples, one).forward / before.forward if before.forward else 1.0


def _once(
    setup: TrainSetup, settings: DetectSettings, job: TrainJob, samples: list[Sample], one: InferenceBatch
) -> Timed:
    slices = slices_in([sample.size for sample in samples], settings.predict)
    norm, channels = build_normalisation(settings), settings.model.in_channels
    open_image = contest_opener(setup.contest.competition, settings.image, job.folder)
    dataset = SliceDataset(samples, slices, settings.image, norm, open_image, channels)
    started = time.perf_counter()
    raw = read_batch(dataset, one, job.fabric)
    seen = time.perf_counter()
    last = settings.train.channels_last
    task = build_task(settings, len(classes_of(setup.contest)))
    for _ in predict(job.fabric, task, [job.model], [raw], settings.predict, last):
        pass
    return Timed(one.pixels, seen - started, time.perf_counter() - seen)
