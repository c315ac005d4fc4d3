"""`medalist predict`: out-of-fold and test predictions, kept on disk at native size."""

from __future__ import annotations

import json
from collections.abc import Sequence

from rich.console import Console

from medalist.build import build_fabric, build_network, build_normalisation, build_task
from medalist.contest import Contest
from medalist.data.dataset import InferenceDataset, reader
from medalist.data.loader import SizeBucketSampler, batches
from medalist.engine.checkpoint import load_weights
from medalist.errors import RunError
from medalist.files import sha256_file
from medalist.records import Sample
from medalist.reporter import progress
from medalist.runs import Run, manifest_hash
from medalist.settings import SegmentSettings
from medalist.stores.maps import Store, StoredPart
from medalist.tasks.segment.inference import predict


def predict_oof(run: Run, settings: SegmentSettings, contest: Contest, fold: int, console: Console) -> None:
    """Predict one fold's held-out samples with the model that did not see them; nothing where that is done."""
    ids = set(run.folds().held_out(fold))
    samples = [sample for sample in contest.split.train if sample.id in ids]
    _predict(run, settings, contest, [fold], samples, run.oof(), f"fold{fold}", console)


def predict_test(run: Run, settings: SegmentSettings, contest: Contest, console: Console) -> None:
    """Predict the test part with all trained folds, averaged; nothing where that is done."""
    trained = run.trained_folds()
    if not trained:
        raise RunError(f"{run.folder} has no trained fold; run medalist train first")
    _predict(run, settings, contest, trained, contest.split.test, run.test(), "test", console)


def made_by(run: Run, settings: SegmentSettings, contest: Contest, folds: Sequence[int]) -> dict[str, str]:
    """What decides a prediction: the hash of each fold's weights, the way of predicting as JSON, the data's hash."""
    keep = settings.train.keep
    made = {f"fold{fold}": sha256_file(run.checkpoint(fold, keep)) for fold in folds}
    made["predict"] = json.dumps(settings.predict.model_dump(mode="json", exclude={"batch"}), sort_keys=True)
    made["data"] = manifest_hash(contest.split)
    return made


def _predict(
    run: Run,
    settings: SegmentSettings,
    contest: Contest,
    folds: Sequence[int],
    samples: Sequence[Sample],
    store: Store,
    name: str,
    console: Console,
) -> None:
    made = made_by(run, settings, contest, folds)
    part = StoredPart(settings.model.channels, tuple(sample.id for sample in samples), made)
    if store.part(name) == part:
        return
    fabric, task = build_fabric(settings), build_task(settings)
    models = []
    for fold in folds:
        model = build_network(settings, None, fold)
        load_weights(model, run.checkpoint(fold, settings.train.keep))
        models.append(fabric.to_device(model))
    stride = settings.model.stride
    read = reader(contest.competition.white, settings.image)
    whole = InferenceDataset(samples, range(len(samples)), stride, build_normalisation(settings), read)
    rank, world = fabric.global_rank, fabric.world_size
    order = SizeBucketSampler([sample.size for sample in samples], stride, settings.predict.batch, rank, world)
    loader = batches(whole, order, settings.loader.workers, fabric.device.type == "cuda")
    if fabric.is_global_zero:
        store.start(name)  # stopped half-way, it must not pass for what was there before
    fabric.barrier()
    with progress(console, f"predict {name}", sum(map(len, order.batches))) as bar:
        for index, prediction in predict(
            fabric, task, models, loader, settings.predict, stride, settings.train.channels_last
        ):
            store.write(samples[index].id, prediction)
            bar.advance()
    fabric.barrier()  # whole are the parts of all processes
    if fabric.is_global_zero:
        store.finish(name, part)
    fabric.barrier()
