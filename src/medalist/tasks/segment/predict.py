"""OOF and test predictions of segmentation networks, written to disk at native size."""

from __future__ import annotations

from collections.abc import Sequence

from medalist.contest import Contest
from medalist.data.dataset import InferenceDataset
from medalist.data.loader import batches
from medalist.data.samplers import SizeBucketSampler
from medalist.parts import parts_of
from medalist.records import Sample
from medalist.reporter import Reporter
from medalist.runs.runs import Run
from medalist.runs.sources import predicting_sources
from medalist.stores.maps import MapStore
from medalist.stores.store import StoredPart
from medalist.tasks.jobs import made_by, open_devices, predicted_part
from medalist.tasks.networks import trained_networks
from medalist.tasks.own import parts_changed
from medalist.tasks.pixels import read_of
from medalist.tasks.segment.conditions import conditioned, unknown_line
from medalist.tasks.segment.inference import predict as predict_batches
from medalist.tasks.segment.jobs import build_task
from medalist.tasks.segment.network import build_model, build_normalisation
from medalist.tasks.segment.settings import SegmentSettings


def predict(run: Run, settings: SegmentSettings, contest: Contest, fold: int | None, reporter: Reporter) -> None:
    """Predict a fold's held-out samples; for None the test part, averaged over all trained folds.

    Does nothing where these predictions exist already and were made with the present weights.
    """
    folds, samples, part = predicted_part(run, contest, fold)
    _predict(run, settings, contest, folds, samples, MapStore(run.folder / part[0]), part[1], reporter)


def _predict(
    run: Run,
    settings: SegmentSettings,
    contest: Contest,
    folds: Sequence[int],
    samples: Sequence[Sample],
    store: MapStore,
    name: str,
    reporter: Reporter,
) -> None:
    made = made_by(run, settings, contest, folds)
    sources = predicting_sources(settings.competition, settings.task.kind)
    part = StoredPart(settings.model.channels, tuple(sample.id for sample in samples), made, sources)
    if store.part(name) == part and store.intact(name):
        return
    store.refuse_alike(part.ids)
    fabric, task = open_devices(settings), build_task(settings)
    own = parts_of(contest.competition)
    changed = parts_changed(run, settings.model, own)
    notes = [f"note: {changed}" if changed else "", unknown_line(settings.model, samples)]
    for note in filter(None, notes if fabric.is_global_zero else ()):
        reporter.say(note)
    network = build_model(settings.model, own=own)
    models = trained_networks(network, run, settings, folds, fabric)
    stride = settings.model.stride
    read = read_of(contest, settings)
    whole = InferenceDataset(samples, range(len(samples)), stride, build_normalisation(settings), read)
    rank, world = fabric.global_rank, fabric.world_size
    order = SizeBucketSampler([sample.size for sample in samples], stride, settings.predict.batch, rank, world)
    loader = batches(
        conditioned(whole, settings.model, samples), order, settings.loader.workers, fabric.device.type == "cuda"
    )
    if fabric.is_global_zero:
        store.start(name)  # removes the index, so that an interrupted prediction does not look complete
    fabric.barrier()
    with reporter.progress(f"predict {name}", sum(map(len, order.batches))) as bar:
        for index, prediction in predict_batches(
            fabric, task, models, loader, settings.predict, stride, settings.train.channels_last
        ):
            store.write(samples[index].id, prediction)
            bar.advance()
    fabric.barrier()  # the prediction is complete only when all processes have written their samples
    if fabric.is_global_zero:
        store.finish(name, part)
    fabric.barrier()
