"""The cost model of segmentation: implements `planning.cost_model.CostModel`, which a probe uses."""

from __future__ import annotations

import time
from dataclasses import replace
from functools import partial
from pathlib import Path

from lightning_fabric import Fabric

from medalist.data.dataset import InferenceDataset
from medalist.data.settings import TileSampler
from medalist.engine.job import TrainJob
from medalist.engine.view_settings import views_of, work
from medalist.errors import ConfigError
from medalist.parts import parts_of
from medalist.planning.arithmetic import Timed
from medalist.planning.cost_model import Source
from medalist.planning.inference_cost import InferenceBatch, held_out, inference_batches, read_batch, timed
from medalist.planning.sampled_cache import area
from medalist.records import Sample
from medalist.reporter import Reporter
from medalist.runs.setup import TrainSetup
from medalist.stores.maps import MapStore
from medalist.tasks.jobs import FoldPlace
from medalist.tasks.pixels import CHANNELS, read_of
from medalist.tasks.probed import sampled_source
from medalist.tasks.segment.conditions import conditioned
from medalist.tasks.segment.inference import predict
from medalist.tasks.segment.jobs import build_job, build_task, target_maker
from medalist.tasks.segment.network import build_normalisation
from medalist.tasks.segment.settings import SegmentSettings
from medalist.tasks.segment.targets import target_bytes


def source(setup: TrainSetup, folder: Path, until: float, reporter: Reporter) -> Source:
    """Return the data source: a sampled cache of decoded images and their target maps."""
    settings: SegmentSettings = setup.settings
    _refuse_tiles(setup, settings)
    weight = CHANNELS + target_bytes(settings.task, settings.model.channels)
    sizes = [weight * sample.size[0] * sample.size[1] for sample in setup.contest.split.train]
    return sampled_source(setup, target_maker(setup.contest, settings), sizes, until)


def _refuse_tiles(setup: TrainSetup, settings: SegmentSettings) -> None:
    """Raise ConfigError where images are seen by crops or tiles, because a probe measures whole images."""
    tile = settings.predict.tile
    larger = [one.id for one in setup.contest.split.all if tile is not None and max(one.size) > tile.size]
    if isinstance(settings.sampler, TileSampler) or larger or settings.predict.memory is not None:
        raise ConfigError(
            "plan measures whole images, and this config sees them by crops or tiles (sampler.kind, predict.tile, "
            "predict.memory); train one epoch with train.epochs=1 and --fold 0 instead, and look at its cost.json"
        )


def job(
    setup: TrainSetup, settings: SegmentSettings, fabric: Fabric, source: Source, fold: int, folder: Path
) -> TrainJob:
    """Return the training of a fold under these settings."""
    place = FoldPlace(setup.folds, fold, folder, own=parts_of(setup.contest.competition))
    read = read_of(setup.contest, settings)
    return build_job(settings, fabric, source.data, place, setup.weights, read)


def passes(settings: SegmentSettings, folds: int) -> int:
    """Return the forward passes over the test part: one for each fold's network."""
    return folds


def copies(settings: SegmentSettings, folds: int) -> int:
    """Return 1, because the maps of all folds are averaged into one prediction on disk."""
    return 1


def batches(samples: list[Sample], settings: SegmentSettings) -> list[InferenceBatch]:
    """Return the batches in which these samples are predicted; all images of a batch have one padded size."""
    return inference_batches([sample.size for sample in samples], settings.model.stride, settings.predict.batch)


def predicted(setup: TrainSetup, fold: int | None) -> list[list[Sample]]:
    """Return the fold's held-out samples, or the test part where `fold` is None."""
    return [held_out(setup, fold) if fold is not None else list(setup.contest.split.test)]


def computed(setup: TrainSetup, fold: int | None) -> list[InferenceBatch]:
    """Return the batches of all samples that are predicted."""
    return [one for part in predicted(setup, fold) for one in batches(part, setup.settings)]


def time_predictions(
    setup: TrainSetup, settings: SegmentSettings, job: TrainJob, folder: Path, each: float, fold: int, until: float
) -> tuple[list[Timed], float]:
    """Time batches of the fold's OOF part in all views; return the times and the bytes on disk for each pixel."""
    every, store = computed(setup, fold), MapStore(folder)
    samples = predicted(setup, fold)[0]
    found = timed(every, partial(_once, setup, settings, job, samples, store), until)
    largest = max(every, key=lambda one: one.pixels)
    if found[-1].pixels < largest.pixels:
        found.append(_one_view(setup, settings, job, samples, store, largest))
    pixels = {store.path(sample.id): area(sample) for sample in samples if store.path(sample.id).exists()}
    return found, sum(path.stat().st_size for path in pixels) / sum(pixels.values())


def again(setup: TrainSetup, settings: SegmentSettings, job: TrainJob, fold: int, before: Timed) -> float:
    """Time the batch of `before` again under these settings; return the new forward time divided by the old one."""
    one = next(one for one in computed(setup, fold) if one.pixels == before.pixels)
    samples, store = predicted(setup, fold)[0], MapStore(job.folder / "store")
    _once(setup, settings, job, samples, store, one)
    once = _once(setup, settings, job, samples, store, one)
    return once.forward / before.forward if before.forward else 1.0


def _once(
    setup: TrainSetup,
    settings: SegmentSettings,
    job: TrainJob,
    samples: list[Sample],
    store: MapStore,
    one: InferenceBatch,
) -> Timed:
    read, stride = read_of(setup.contest, settings), settings.model.stride
    dataset = InferenceDataset(samples, range(len(samples)), stride, build_normalisation(settings), read)
    started = time.perf_counter()
    raw = read_batch(conditioned(dataset, settings.model, samples), one, job.fabric)
    seen = time.perf_counter()
    found = list(
        predict(
            job.fabric,
            build_task(settings),
            [job.model],
            [raw],
            settings.predict,
            stride,
            settings.train.channels_last,
            build_normalisation(settings),
        )
    )
    done = time.perf_counter()
    for index, prediction in found:
        store.write(samples[index].id, prediction)
    return Timed(one.pixels, seen - started, done - seen, time.perf_counter() - done)


def _one_view(
    setup: TrainSetup,
    settings: SegmentSettings,
    job: TrainJob,
    samples: list[Sample],
    store: MapStore,
    one: InferenceBatch,
) -> Timed:
    """Estimate the time of a batch for which there is no time to compute all views.

    Only one view at the largest scale is computed, which needs the same memory; its time is multiplied by the number of
    views and by the pixels of all scales.
    """
    views = views_of(settings.predict.tta, settings.predict.scales)
    largest = max(view.scale for view in views)
    single = settings.predict.model_copy(update={"tta": "none", "scales": (largest,)})
    found = _once(setup, settings.model_copy(update={"predict": single}), job, samples, store, one)
    return replace(found, forward=found.forward * work(views) / largest**2)
