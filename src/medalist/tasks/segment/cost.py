"""What segmentation costs: the kind's side of a probe (`planning.cost_model.CostModel`)."""

from __future__ import annotations

import time
from dataclasses import replace
from functools import partial
from pathlib import Path

from lightning_fabric import Fabric

from medalist.data.dataset import InferenceDataset
from medalist.engine.job import TrainJob
from medalist.engine.views import VIEWS
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
from medalist.tasks.segment.inference import predict
from medalist.tasks.segment.jobs import build_job, build_normalisation, build_task, target_maker
from medalist.tasks.segment.settings import SegmentSettings


def source(setup: TrainSetup, folder: Path, until: float, reporter: Reporter) -> Source:
    """Decoded samples, each with its maps."""
    settings: SegmentSettings = setup.settings
    weight = CHANNELS + len(settings.model.channels)
    sizes = [weight * sample.size[0] * sample.size[1] for sample in setup.contest.split.train]
    return sampled_source(setup, target_maker(setup.contest, settings), sizes, until)


def job(
    setup: TrainSetup, settings: SegmentSettings, fabric: Fabric, source: Source, fold: int, folder: Path
) -> TrainJob:
    """The training of a fold."""
    place, read = FoldPlace(setup.folds, fold, folder), read_of(setup.contest, settings)
    return build_job(settings, fabric, source.data, place, setup.weights, read)


def passes(settings: SegmentSettings, folds: int) -> int:
    """Each fold's network sees the test part."""
    return folds


def copies(settings: SegmentSettings, folds: int) -> int:
    """The folds' maps are averaged."""
    return 1


def batches(samples: list[Sample], settings: SegmentSettings) -> list[InferenceBatch]:
    """Batches of one padded size."""
    return inference_batches([sample.size for sample in samples], settings.model.stride, settings.predict.batch)


def predicted(setup: TrainSetup, fold: int | None) -> list[list[Sample]]:
    """What a fold has held out, or the test part."""
    return [held_out(setup, fold) if fold is not None else list(setup.contest.split.test)]


def computed(setup: TrainSetup, fold: int | None) -> list[InferenceBatch]:
    """All that is predicted."""
    return [one for part in predicted(setup, fold) for one in batches(part, setup.settings)]


def time_predictions(
    setup: TrainSetup, settings: SegmentSettings, job: TrainJob, folder: Path, each: float, fold: int, until: float
) -> tuple[list[Timed], float]:
    """Time batches of the OOF part in all views, and count the bytes of the maps that were written."""
    every, store = computed(setup, fold), MapStore(folder)
    samples = predicted(setup, fold)[0]
    found = timed(every, partial(_once, setup, settings, job, samples, store), until)
    largest = max(every, key=lambda one: one.pixels)
    if found[-1].pixels < largest.pixels:
        found.append(_one_view(setup, settings, job, samples, store, largest))
    pixels = {store.path(sample.id): area(sample) for sample in samples if store.path(sample.id).exists()}
    return found, sum(path.stat().st_size for path in pixels) / sum(pixels.values())


def again(setup: TrainSetup, settings: SegmentSettings, job: TrainJob, fold: int, before: Timed) -> float:
    """The same batch under other settings."""
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
    raw = read_batch(dataset, one, job.fabric)
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
    """A batch for which there is no time in all views: one view at the largest scale, which takes the same memory."""
    scales, largest = settings.predict.scales, max(settings.predict.scales)
    single = settings.predict.model_copy(update={"tta": "none", "scales": (largest,)})
    found = _once(setup, settings.model_copy(update={"predict": single}), job, samples, store, one)
    times = len(VIEWS[settings.predict.tta]) * sum(scale**2 for scale in scales) / largest**2
    return replace(found, forward=found.forward * times)
