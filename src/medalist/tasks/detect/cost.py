"""The cost model of classification: implements `planning.cost_model.CostModel`, which a probe uses."""

from __future__ import annotations

import time
from functools import partial
from pathlib import Path

from lightning_fabric import Fabric

from medalist.data.fitted import FittedInferenceDataset
from medalist.data.fitting import kept_size
from medalist.engine.job import TrainJob
from medalist.parts import parts_of
from medalist.planning.arithmetic import Timed
from medalist.planning.cost_model import Source
from medalist.planning.inference_cost import InferenceBatch, held_out, inference_batches, read_batch, timed
from medalist.records import Sample
from medalist.reporter import Reporter
from medalist.runs.setup import TrainSetup
from medalist.tasks.detect.classes import classes_of
from medalist.tasks.classify.inference import predict
from medalist.tasks.classify.jobs import build_job, build_task
from medalist.tasks.classify.network import build_normalisation
from medalist.tasks.classify.settings import ClassifySettings
from medalist.tasks.classify.targets import all_targets
from medalist.tasks.jobs import FoldPlace
from medalist.tasks.pixels import CHANNELS, no_target, read_of
from medalist.tasks.probed import sampled_source


def source(setup: TrainSetup, folder: Path, until: float, reporter: Reporter) -> Source:
    """Return the data source: a sampled cache of decoded images."""
    height, width = kept_size(setup.settings.image)
    sizes = [CHANNELS * height * width] * len(setup.contest.split.train)
    return sampled_source(setup, no_target, sizes, until)


def job(
    setup: TrainSetup, settings: ClassifySettings, fabric: Fabric, source: Source, fold: int, folder: Path
) -> TrainJob:
    """Return the training of a fold under these settings."""
    contest = setup.contest
    place = FoldPlace(setup.folds, fold, folder, own=parts_of(contest.competition))
    classes, read = classes_of(contest), read_of(contest, settings)
    targets = all_targets(contest, contest.split.train, settings.task.mode == "multi")
    return build_job(settings, fabric, source.data, targets, classes, place, setup.weights, read)


def passes(settings: ClassifySettings, folds: int) -> int:
    """Return the forward passes over the test part: one for each fold's network."""
    return folds


def copies(settings: ClassifySettings, folds: int) -> int:
    """Return 1, because the predictions of all folds are averaged into one prediction on disk."""
    return 1


def batches(samples: list[Sample], settings: ClassifySettings) -> list[InferenceBatch]:
    """Return the batches in which these samples are predicted; all images have one size."""
    return inference_batches([settings.image.size] * len(samples), 1, settings.predict.batch)


def predicted(setup: TrainSetup, fold: int | None) -> list[list[Sample]]:
    """Return the fold's held-out samples, or the test part where `fold` is None."""
    return [held_out(setup, fold) if fold is not None else list(setup.contest.split.test)]


def computed(setup: TrainSetup, fold: int | None) -> list[InferenceBatch]:
    """Return the batches of all samples that are predicted."""
    return [one for part in predicted(setup, fold) for one in batches(part, setup.settings)]


def time_predictions(
    setup: TrainSetup, settings: ClassifySettings, job: TrainJob, folder: Path, each: float, fold: int, until: float
) -> tuple[list[Timed], float]:
    """Time batches of the fold's OOF part in all views; return the times and the bytes on disk for each pixel.

    A prediction has one float32 for each class, or one float32 for a grade.
    """
    samples, (height, width) = predicted(setup, fold)[0], settings.image.size
    columns = columns_of(settings, classes_of(setup.contest))
    found = timed(batches(samples, settings), partial(_once, setup, settings, job, samples), until)
    return found, 4 * len(columns) / (height * width)


def again(setup: TrainSetup, settings: ClassifySettings, job: TrainJob, fold: int, before: Timed) -> float:
    """Time the batch of `before` again under these settings; return the new forward time divided by the old one."""
    samples = predicted(setup, fold)[0]
    one = next(one for one in batches(samples, settings) if one.pixels == before.pixels)
    _once(setup, settings, job, samples, one)
    return _once(setup, settings, job, samples, one).forward / before.forward if before.forward else 1.0


def _once(
    setup: TrainSetup, settings: ClassifySettings, job: TrainJob, samples: list[Sample], one: InferenceBatch
) -> Timed:
    read, norm, channels = read_of(setup.contest, settings), build_normalisation(settings), settings.model.in_channels
    size, classes = settings.image.size, classes_of(setup.contest)
    dataset = FittedInferenceDataset(samples, range(len(samples)), size, norm, read, channels=channels)
    task = build_task(settings, classes, [1] * len(classes))
    started = time.perf_counter()
    raw = read_batch(dataset, one, job.fabric)
    seen = time.perf_counter()
    for _ in predict(job.fabric, task, [job.model], [raw], settings.predict, settings.train.channels_last):
        pass
    return Timed(one.pixels, seen - started, time.perf_counter() - seen)
