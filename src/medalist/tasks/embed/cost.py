"""What embedding costs: the kind's side of a probe (`planning.cost_model.CostModel`)."""

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
from medalist.planning.arithmetic import Timed
from medalist.planning.cost_model import Source
from medalist.planning.inference_cost import InferenceBatch, inference_batches, read_batch, timed
from medalist.records import Sample
from medalist.reporter import Reporter, SilentReporter
from medalist.retrieval.contests import fold_splits
from medalist.runs.setup import TrainSetup
from medalist.tasks.embed.features import kept_features, made_of
from medalist.tasks.embed.inference import embed
from medalist.tasks.embed.jobs import build_job, build_normalisation
from medalist.tasks.embed.network import Embedder, Head
from medalist.tasks.embed.settings import EmbedSettings
from medalist.tasks.embed.vectors import retrieval_of
from medalist.tasks.jobs import FoldPlace, open_devices
from medalist.tasks.pixels import CHANNELS, no_target, read_of
from medalist.tasks.probed import sampled_source

FEATURES_AT_MOST = 200_000_000
"""Values of random features that are made; beyond it one row stands for all."""


def source(setup: TrainSetup, folder: Path, until: float, reporter: Reporter) -> Source:
    """Decoded samples, or random features in the place of those of a frozen encoder."""
    settings, samples = setup.settings, setup.contest.split.train
    if settings.model.frozen:
        features, each = _features(setup, settings, folder)
        known = made_of(settings, setup.weights, samples) if setup.weights else {}
        there = setup.run.folder.parent / "features" / f"{sha256_json(known)[:16]}.json"
        return Source(None, features, 0.0 if there.exists() else each * len(samples), each)
    height, width = kept_size(settings.image)
    return sampled_source(setup, no_target, [CHANNELS * height * width] * len(samples), until)


def _features(setup: TrainSetup, settings: EmbedSettings, folder: Path) -> tuple[NDArray[Any], float]:
    """Random features of the shape of a frozen encoder's, and the seconds of one image, by `kept_features` itself."""
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
    # The encoder is built in both; what further images take is what counts.
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
    """The training of a fold."""
    contest, place = setup.contest, FoldPlace(setup.folds, fold, folder)
    read, new = read_of(contest, settings), retrieval_of(contest).new
    return build_job(settings, fabric, source.data, contest.split.train, place, setup.weights, read, new)


def passes(settings: EmbedSettings, folds: int) -> int:
    """Each fold's network sees the test part; frozen encoders are one for all folds."""
    return 1 if settings.model.frozen else folds


def copies(settings: EmbedSettings, folds: int) -> int:
    """The folds' vectors stand side by side."""
    return folds


def batches(samples: list[Sample], settings: EmbedSettings) -> list[InferenceBatch]:
    """Batches of one size."""
    return inference_batches([settings.image.size] * len(samples), 1, settings.predict.batch)


def predicted(setup: TrainSetup, fold: int | None) -> list[list[Sample]]:
    """What a fold's splits ask and answer with; of the test part its queries, and its gallery."""
    split = setup.contest.split
    if fold is None:
        gallery = [] if split.gallery == split.test else list(split.gallery or split.train)
        return [list(split.test), gallery]
    wanted = {name for each in fold_splits(setup.contest, setup.folds, fold) for name in (*each.queries, *each.gallery)}
    return [[sample for sample in split.train if sample.id in wanted]]


def computed(setup: TrainSetup, fold: int | None) -> list[InferenceBatch]:
    """All that is predicted, without what a frozen encoder has said already: of all training samples it is kept."""
    settings, parts = setup.settings, predicted(setup, fold)
    if settings.model.frozen and settings.predict.tta == "none":
        parts = [part for part in parts if tuple(part) != tuple(setup.contest.split.train)]
    return [one for part in parts for one in batches(part, settings)]


def time_predictions(
    setup: TrainSetup, settings: EmbedSettings, job: TrainJob, folder: Path, each: float, fold: int, until: float
) -> tuple[list[Timed], float]:
    """Time batches of the OOF part in all views; a vector is what is kept of an image."""
    samples = predicted(setup, fold)[0]
    every = batches(samples, settings)
    height, width = settings.image.size
    bytes_a_pixel = _dim(job) * 4 / (height * width)
    if settings.model.frozen:
        most = max(every, key=lambda one: one.pixels)
        return [Timed(most.pixels, 0.0, each * len(VIEWS[settings.predict.tta]) * len(most.positions))], bytes_a_pixel
    return timed(every, partial(_once, setup, settings, job, samples), until), bytes_a_pixel


def again(setup: TrainSetup, settings: EmbedSettings, job: TrainJob, fold: int, before: Timed) -> float:
    """The same batch under other settings."""
    if settings.model.frozen:
        return 1.0
    samples = predicted(setup, fold)[0]
    one = next(one for one in batches(samples, settings) if one.pixels == before.pixels)
    _once(setup, settings, job, samples, one)
    return _once(setup, settings, job, samples, one).forward / before.forward if before.forward else 1.0


def _dim(job: TrainJob) -> int:
    """Components of an embedder's vectors: what its loss is made for."""
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
