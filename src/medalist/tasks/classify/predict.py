"""Out-of-fold and test predictions of classifiers, kept as tables."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from medalist.contest import Contest
from medalist.data.fitted import FittedInferenceDataset
from medalist.data.loader import batches
from medalist.data.samplers import SizeBucketSampler
from medalist.engine.checkpoint import load_weights
from medalist.engine.rows import merged_rows
from medalist.errors import TrainingError
from medalist.records import Sample
from medalist.reporter import Reporter
from medalist.runs.runs import Run
from medalist.stores.store import StoredPart
from medalist.stores.tables import TableStore
from medalist.tasks.classify.classes import classes_of, refuse_other_classes
from medalist.tasks.classify.inference import predict as predict_batches
from medalist.tasks.classify.jobs import build_normalisation, build_task
from medalist.tasks.classify.network import build_network
from medalist.tasks.classify.settings import ClassifySettings
from medalist.tasks.jobs import made_by, open_devices, predicted_part, to_predict
from medalist.tasks.pixels import read_of

GRADE = "grade"
"""The one column of runs that give a number."""


def columns_of(settings: ClassifySettings, classes: Sequence[str]) -> tuple[str, ...]:
    """What the columns of a prediction are called."""
    return (GRADE,) if settings.gives_grades else tuple(classes)


def predict(run: Run, settings: ClassifySettings, contest: Contest, fold: int | None, reporter: Reporter) -> None:
    """Predict what a fold has held out; of None the test part by all trained folds, averaged.

    Nothing where that is done with the weights that are there.
    """
    folds, samples, part = predicted_part(run, contest, fold)
    store, classes = TableStore(run.folder / part[0]), classes_of(contest)
    refuse_other_classes(run, classes)
    ids = tuple(sample.id for sample in samples)
    wanted = StoredPart(columns_of(settings, classes), ids, made_by(run, settings, contest, folds))
    if store.part(part[1]) == wanted:
        return
    values = _values(run, settings, contest, folds, samples, (store, part[1]), reporter)
    fabric = open_devices(settings)
    if fabric.is_global_zero:
        bad = np.flatnonzero(~np.isfinite(values).all(axis=1))
        if len(bad):
            raise TrainingError(
                f"the prediction of sample {ids[bad[0]]} is not finite; lower train.lr, or say train.precision=32-true"
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
    """Predictions float32[N, C]; of several processes the first has all."""
    classes, fabric = classes_of(contest), open_devices(settings)
    task = build_task(settings, classes, [1] * len(classes))
    models = []
    for fold in folds:
        model = build_network(settings, None, fold, len(classes))
        load_weights(model, run.checkpoint(fold, settings.train.keep))
        models.append(to_predict(model, fabric, settings.train.channels_last))
    size, norm = settings.image.size, build_normalisation(settings)
    read, channels = read_of(contest, settings), settings.model.in_channels
    dataset = FittedInferenceDataset(samples, range(len(samples)), size, norm, read, channels=channels)
    rank, world = fabric.global_rank, fabric.world_size
    sampler = SizeBucketSampler([size] * len(samples), 1, settings.predict.batch, rank, world)
    loader = batches(dataset, sampler, settings.loader.workers, fabric.device.type == "cuda")
    store, name = part
    if fabric.is_global_zero:
        store.start(name)  # stopped half-way, it must not pass for what was there before
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
