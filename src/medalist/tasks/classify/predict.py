"""OOF and test predictions of classifiers, written to disk as tables."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from medalist.contest import Contest
from medalist.data.fitted import FittedInferenceDataset
from medalist.data.loader import batches
from medalist.data.samplers import SizeBucketSampler
from medalist.engine.rows import merged_rows
from medalist.errors import TrainingError
from medalist.parts import parts_of
from medalist.records import Sample
from medalist.reporter import Reporter
from medalist.runs.runs import Run
from medalist.runs.sources import predicting_sources
from medalist.stores.store import StoredPart
from medalist.stores.tables import TableStore
from medalist.tasks.classify.classes import classes_of, columns_of
from medalist.tasks.classify.inference import predict as predict_batches
from medalist.tasks.classify.jobs import build_task
from medalist.tasks.classify.network import build_model, build_normalisation
from medalist.tasks.classify.settings import ClassifySettings
from medalist.tasks.jobs import made_by, open_devices, predicted_part
from medalist.tasks.kept_classes import refuse_other_classes
from medalist.tasks.networks import trained_networks
from medalist.tasks.own import parts_changed
from medalist.tasks.pixels import read_of


def predict(run: Run, settings: ClassifySettings, contest: Contest, fold: int | None, reporter: Reporter) -> None:
    """Predict a fold's held-out samples; for None the test part, averaged over all trained folds.

    Does nothing where these predictions exist already and were made with the present weights. Raises TrainingError
    where a prediction is not finite.
    """
    folds, samples, part = predicted_part(run, contest, fold)
    store, classes = TableStore(run.folder / part[0]), classes_of(contest)
    refuse_other_classes(run, classes)
    ids = tuple(sample.id for sample in samples)
    sources = predicting_sources(settings.competition, settings.task.kind)
    wanted = StoredPart(columns_of(settings, classes), ids, made_by(run, settings, contest, folds), sources)
    if store.part(part[1]) == wanted and store.intact(part[1]):
        return
    values = _values(run, settings, contest, folds, samples, (store, part[1]), reporter)
    fabric = open_devices(settings)
    if fabric.is_global_zero:
        bad = np.flatnonzero(~np.isfinite(values).all(axis=1))
        if len(bad):
            raise TrainingError(
                f"the prediction of sample {ids[bad[0]]} is not finite; lower train.lr, or set train.precision=32-true"
            )
        store.write(part[1], wanted, values)
    fabric.barrier()


def _values(
    run: Run,
    settings: ClassifySettings,
    contest: Contest,
    folds: Sequence[int],
    samples: Sequence[Sample],
    part: tuple[TableStore, str],
    reporter: Reporter,
) -> NDArray[np.float32]:
    """Return the predictions float32[N, C] (C = 1 for grades); of several processes only the first has all rows."""
    classes, fabric = classes_of(contest), open_devices(settings)
    task = build_task(settings, classes, [1] * len(classes))
    parts = parts_of(contest.competition)
    changed = parts_changed(run, settings.model, parts)
    if changed and fabric.is_global_zero:
        reporter.say(f"note: {changed}")
    network = build_model(settings, len(classes), own=parts)
    models = trained_networks(network, run, settings, folds, fabric)
    size, norm = settings.image.size, build_normalisation(settings)
    read, channels = read_of(contest, settings), settings.model.in_channels
    dataset = FittedInferenceDataset(samples, range(len(samples)), size, norm, read, channels=channels)
    rank, world = fabric.global_rank, fabric.world_size
    sampler = SizeBucketSampler([size] * len(samples), 1, settings.predict.batch, rank, world)
    loader = batches(dataset, sampler, settings.loader.workers, fabric.device.type == "cuda")
    store, name = part
    if fabric.is_global_zero:
        store.start(name)  # removes the index, so that an interrupted prediction does not look complete
    fabric.barrier()
    rows = np.zeros((len(samples), len(columns_of(settings, classes))), np.float32)
    with reporter.progress(f"predict {name}", sum(map(len, sampler.batches))) as bar:
        last = settings.train.channels_last
        for indices, found in predict_batches(fabric, task, models, loader, settings.predict, last):
            rows[list(indices)] = found
            bar.advance(len(indices))
    if world > 1:
        store.folder.mkdir(parents=True, exist_ok=True)
        own = [key[1] for batch in sampler.batches for key in batch]
        rows = merged_rows(fabric, store.folder, own, rows, len(samples))
    return rows
