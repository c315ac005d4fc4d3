"""The cost model of embedding: implements `planning.cost_model.CostModel`, which a probe uses."""

from __future__ import annotations

import time
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from lightning_fabric import Fabric
from numpy.typing import NDArray

from medalist.data.fitted import FittedInferenceDataset
from medalist.data.fitting import kept_size
from medalist.engine.job import TrainJob
from medalist.engine.views import VIEWS
from medalist.files import sha256_json
from medalist.parts import parts_of
from medalist.planning.arithmetic import Timed
from medalist.planning.cost_model import Source
from medalist.planning.inference_cost import InferenceBatch, inference_batches, read_batch, timed
from medalist.records import Sample
from medalist.reporter import Reporter, SilentReporter
from medalist.retrieval.contests import fold_splits
from medalist.runs.setup import TrainSetup
from medalist.tasks.embed.features import kept_features, made_of
from medalist.tasks.embed.inference import embed
from medalist.tasks.embed.jobs import build_job
from medalist.tasks.embed.network import Embedder, Head, build_normalisation
from medalist.tasks.embed.settings import EmbedSettings
from medalist.tasks.embed.vectors import retrieval_of
from medalist.tasks.jobs import FoldPlace, open_devices
from medalist.tasks.pixels import CHANNELS, no_target, read_of
from medalist.tasks.probed import sampled_source

FEATURES_AT_MOST = 200_000_000
"""Number of random feature values that are made at most; where more are needed, all samples share one row."""


def source(setup: TrainSetup, folder: Path, until: float, reporter: Reporter) -> Source:
    """Return the data source: a sampled cache of decoded images, or random features in place of a frozen encoder's."""
    settings, samples = setup.settings, setup.contest.split.train
    if settings.model.frozen:
        features, each = _features(setup, settings, folder)
        known = made_of(settings, setup.weights, samples) if setup.weights else {}
        there = setup.run.folder.parent / "features" / f"{sha256_json(known)[:16]}.json"
        return Source(None, features, 0.0 if there.exists() else each * len(samples), each)
    height, width = kept_size(settings.image)
    return sampled_source(setup, no_target, [CHANNELS * height * width] * len(samples), until)


def _features(setup: TrainSetup, settings: EmbedSettings, folder: Path) -> tuple[NDArray[Any], float]:
    """Return random features of the shape of a frozen encoder's features, and the seconds that one image takes.

    The time is measured with `kept_features` on a few images.
    """
    samples, fabric = setup.contest.split.train, open_devices(settings)
    read = read_of(setup.contest, settings)
    took = []
    few = min(len(samples), settings.predict.batch)
    counts = (few, min(len(samples), 3 * few))
    for number, wanted in enumerate(counts):
        started = time.perf_counter()
        home = folder / f"features{number}"
        found = kept_features(settings, setup.weights, samples[:wanted], read, fabric, home, SilentReporter())
        took.append(time.perf_counter() - started)
    more = counts[1] - counts[0]
    # Both measurements include building the encoder, so the difference is the time of the additional images.
    each = max(0.0, took[1] - took[0]) / more if more else took[1] / counts[1]
    shape = (len(samples), *found.shape[1:])
    random = np.random.default_rng(settings.seed)
    if np.prod(shape) > FEATURES_AT_MOST:
        row = random.standard_normal(found.shape[1:], dtype=np.float32).astype(found.dtype)
        return np.broadcast_to(row, shape), each
    return random.standard_normal(shape, dtype=np.float32).astype(found.dtype), each


def job(
    setup: TrainSetup, settings: EmbedSettings, fabric: Fabric, source: Source, fold: int, folder: Path
) -> TrainJob:
    """Return the training of a fold under these settings."""
    contest = setup.contest
    place = FoldPlace(setup.folds, fold, folder, own=parts_of(contest.competition))
    read, new = read_of(contest, settings), retrieval_of(contest).new
    return build_job(settings, fabric, source.data, contest.split.train, place, setup.weights, read, new)


def passes(settings: EmbedSettings, folds: int) -> int:
    """Return the forward passes over the test part: one for each fold's network, or one for a frozen encoder."""
    return 1 if settings.model.frozen else folds


def copies(settings: EmbedSettings, folds: int) -> int:
    """Return the number of folds, because the vectors of all folds are stored side by side."""
    return folds


def batches(samples: list[Sample], settings: EmbedSettings) -> list[InferenceBatch]:
    """Return the batches in which these samples are predicted; all images have one size."""
    return inference_batches([settings.image.size] * len(samples), 1, settings.predict.batch)


def predicted(setup: TrainSetup, fold: int | None) -> list[list[Sample]]:
    """Return the samples of a fold's retrieval splits in one list; for None the test queries, and the gallery."""
    split = setup.contest.split
    if fold is None:
        gallery = [] if split.gallery == split.test else list(split.gallery or split.train)
        return [list(split.test), gallery]
    wanted = {name for each in fold_splits(setup.contest, setup.folds, fold) for name in (*each.queries, *each.gallery)}
    return [[sample for sample in split.train if sample.id in wanted]]


def computed(setup: TrainSetup, fold: int | None) -> list[InferenceBatch]:
    """Return the batches of all samples that are predicted.

    With a frozen encoder the training samples are left out, because their features are stored already.
    """
    settings, parts = setup.settings, predicted(setup, fold)
    if settings.model.frozen and settings.predict.tta == "none":
        parts = [part for part in parts if tuple(part) != tuple(setup.contest.split.train)]
    return [one for part in parts for one in batches(part, settings)]


def time_predictions(
    setup: TrainSetup, settings: EmbedSettings, job: TrainJob, folder: Path, each: float, fold: int, until: float
) -> tuple[list[Timed], float]:
    """Time batches of the fold's OOF part in all views; return the times and the bytes on disk for each pixel.

    A prediction is one float32 vector for each image.
    """
    samples = predicted(setup, fold)[0]
    every = batches(samples, settings)
    height, width = settings.image.size
    bytes_a_pixel = _dim(job) * 4 / (height * width)
    if settings.model.frozen:
        most = max(every, key=lambda one: one.pixels)
        return [Timed(most.pixels, 0.0, each * len(VIEWS[settings.predict.tta]) * len(most.positions))], bytes_a_pixel
    return timed(every, partial(_once, setup, settings, job, samples), until), bytes_a_pixel


def again(setup: TrainSetup, settings: EmbedSettings, job: TrainJob, fold: int, before: Timed) -> float:
    """Time the batch of `before` again under these settings; return the new forward time divided by the old one."""
    if settings.model.frozen:
        return 1.0
    samples = predicted(setup, fold)[0]
    one = next(one for one in batches(samples, settings) if one.pixels == before.pixels)
    _once(setup, settings, job, samples, one)
    return _once(setup, settings, job, samples, one).forward / before.forward if before.forward else 1.0


def _dim(job: TrainJob) -> int:
    """Return the number of components of the embedder's vectors."""
    head = job.model.head if isinstance(job.model, Embedder) else job.model
    assert isinstance(head, Head)
    return head.dim


def _once(
    setup: TrainSetup, settings: EmbedSettings, job: TrainJob, samples: list[Sample], one: InferenceBatch
) -> Timed:
    read, norm, channels = read_of(setup.contest, settings), build_normalisation(settings), settings.model.in_channels
    dataset = FittedInferenceDataset(samples, range(len(samples)), settings.image.size, norm, read, channels=channels)
    started = time.perf_counter()
    raw = read_batch(dataset, one, job.fabric)
    seen = time.perf_counter()
    for _ in embed(job.fabric, [job.model], [raw], settings.predict, settings.train.channels_last):
        pass
    return Timed(one.pixels, seen - started, time.perf_counter() - seen)
