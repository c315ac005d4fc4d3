"""OOF and test predictions of detectors, written to disk as boxes."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import psutil
from lightning_fabric import Fabric

from medalist.contest import Contest
from medalist.data.loader import batches
from medalist.data.samplers import SizeBucketSampler
from medalist.data.windows import contest_opener
from medalist.engine.gathering import all_gather_lists
from medalist.errors import TrainingError
from medalist.records import BoxPrediction, Sample
from medalist.reporter import Reporter
from medalist.runs.runs import Run
from medalist.runs.sources import predicting_sources
from medalist.stores.boxes import BoxStore
from medalist.stores.store import StoredPart
from medalist.system import peak_memory
from medalist.tasks.detect.classes import classes_of
from medalist.tasks.detect.datasets import SliceDataset
from medalist.tasks.detect.inference import in_slice, merged, slices_in
from medalist.tasks.detect.inference import predict as predict_batches
from medalist.tasks.detect.jobs import build_task
from medalist.tasks.detect.memory import fitted_batch
from medalist.tasks.detect.network import build_model, build_normalisation
from medalist.tasks.detect.settings import DetectSettings
from medalist.tasks.jobs import made_by, open_devices, predicted_part
from medalist.tasks.kept_classes import refuse_other_classes
from medalist.tasks.networks import trained_networks
from medalist.tasks.peak_memory import in_gb


def predict(run: Run, settings: DetectSettings, contest: Contest, fold: int | None, reporter: Reporter) -> None:
    """Predict a fold's held-out samples; for None the test part, with the boxes of all trained folds.

    Does nothing where these predictions exist already and were made with the present weights. Raises TrainingError
    where a prediction is not finite.
    """
    folds, samples, part = predicted_part(run, contest, fold)
    store, name, classes = BoxStore(run.folder / part[0]), part[1], classes_of(contest)
    refuse_other_classes(run, classes)
    ids = tuple(sample.id for sample in samples)
    sources = predicting_sources(settings.competition, settings.task.kind)
    wanted = StoredPart(classes, ids, made_by(run, settings, contest, folds), sources)
    if store.part(name) == wanted and store.intact(name):
        return
    fabric = open_devices(settings)
    if fabric.is_global_zero:
        store.start(name)  # removes the index, so that an interrupted prediction does not look complete
    fabric.barrier()
    found = _predictions(run, settings, contest, folds, samples, fabric, (name, reporter))
    if fabric.is_global_zero:
        refuse_not_finite(ids, found)
        store.write(name, wanted, found)
    fabric.barrier()


def refuse_not_finite(ids: Sequence[str], found: Sequence[BoxPrediction]) -> None:
    """Raise TrainingError where a box has numbers that are not finite."""
    for name, one in zip(ids, found, strict=True):
        if not (np.isfinite(one.xyxy).all() and np.isfinite(one.scores).all()):
            raise TrainingError(
                f"the prediction of sample {name} is not finite; lower train.lr, or set train.precision=32-true"
            )


def _predictions(
    run: Run,
    settings: DetectSettings,
    contest: Contest,
    folds: Sequence[int],
    samples: Sequence[Sample],
    fabric: Fabric,
    shown: tuple[str, Reporter],
) -> list[BoxPrediction]:
    """Return the predictions of all samples, in each of several processes."""
    config, frame = settings.predict, settings.image
    classes = len(classes_of(contest))
    network, task = build_model(settings.model, classes), build_task(settings, classes)
    models = trained_networks(network, run, settings, folds, fabric)
    sizes = [sample.size for sample in samples]
    slices = slices_in(sizes, config)
    norm, channels = build_normalisation(settings), settings.model.in_channels
    batch = config.batch
    if config.memory is not None and samples:
        batch = fabric.broadcast(fitted_batch(fabric, task, models, settings, norm, sizes, slices))
    free = None if config.most_bytes is None else config.most_bytes - psutil.Process().memory_info().rss
    open_image = contest_opener(contest.competition, frame, run.folder, free)
    dataset = SliceDataset(samples, slices, frame, norm, open_image, channels)
    rank, world = fabric.global_rank, fabric.world_size
    sampler = SizeBucketSampler([frame.size] * len(slices), 1, batch, rank, world)
    loader = batches(dataset, sampler, settings.loader.workers, fabric.device.type == "cuda")
    parts: list[tuple[int, BoxPrediction]] = []
    name, reporter = shown
    with reporter.progress(f"predict {name}", sum(map(len, sampler.batches))) as bar:
        last = settings.train.channels_last
        for number, by_source in predict_batches(fabric, task, models, loader, config, last):
            parts.append((number, in_slice(by_source, slices[number][1], frame)))
            bar.advance()
    if config.memory is not None and fabric.is_global_zero:
        reporter.say(f"{name}: {batch} frames at a time, peak memory {in_gb(peak_memory())} of {config.memory}")
    parts = sorted(all_gather_lists(parts, fabric), key=lambda part: part[0])
    return merged([part for _, part in parts], slices, sizes, config)
