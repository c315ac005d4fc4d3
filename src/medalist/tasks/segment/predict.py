"""OOF and test predictions of segmentation networks, written to disk at native size."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace

import psutil
from lightning_fabric import Fabric

from medalist.codecs.headers import MOST_PIXELS
from medalist.contest import Contest
from medalist.data.dataset import InferenceDataset
from medalist.data.loader import batches
from medalist.data.samplers import SizeBucketSampler
from medalist.data.windows import contest_opener
from medalist.errors import ConfigError, DataError
from medalist.parts import parts_of
from medalist.records import Sample
from medalist.reporter import Progress, Reporter
from medalist.runs.runs import Run
from medalist.runs.sources import predicting_sources
from medalist.stores.maps import MapStore
from medalist.stores.store import StoredPart
from medalist.system import peak_memory
from medalist.tasks.jobs import made_by, open_devices, predicted_part
from medalist.tasks.networks import trained_networks
from medalist.tasks.own import parts_changed
from medalist.tasks.peak_memory import in_gb
from medalist.tasks.pixels import read_of
from medalist.tasks.segment.conditions import condition_of, conditioned, unknown_line
from medalist.tasks.segment.inference import predict as predict_batches
from medalist.tasks.segment.jobs import build_task
from medalist.tasks.segment.memory import fitted
from medalist.tasks.segment.network import build_model, build_normalisation
from medalist.tasks.segment.settings import PredictConfig, SegmentSettings
from medalist.tasks.segment.tiled import TilePredictor, Tiles


def predict(run: Run, settings: SegmentSettings, contest: Contest, fold: int | None, reporter: Reporter) -> None:
    """Predict a fold's held-out samples; for None the test part, averaged over all trained folds.

    Does nothing where these predictions exist already and were made with the present weights. Raises ConfigError where
    an image is too large to be predicted whole and there are no tiles, and where `predict.memory` is too small.
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
    part = StoredPart(settings.model.outputs, tuple(sample.id for sample in samples), made, sources)
    if _is_there(store.part(name), part, settings.predict) and store.intact(name):
        return
    store.refuse_alike(part.ids)
    refuse_large(samples, settings.predict)
    fabric, own = open_devices(settings), parts_of(contest.competition)
    changed = parts_changed(run, settings.model, own)
    notes = [f"note: {changed}" if changed else "", unknown_line(settings.model, samples)]
    for note in filter(None, notes if fabric.is_global_zero else ()):
        reporter.say(note)
    models = trained_networks(build_model(settings.model, own=own), run, settings, folds, fabric)
    predictor = TilePredictor(
        fabric,
        build_task(settings),
        models,
        build_normalisation(settings),
        settings.predict,
        settings.model.stride,
        settings.train.channels_last,
        store.folder,
        condition_of(settings.model),
    )
    if settings.predict.memory is not None and samples:
        config = fabric.broadcast(fitted(predictor, [sample.size for sample in samples]))
        predictor = replace(predictor, config=config)
        settings = settings.model_copy(update={"predict": config})
        part = replace(part, made_by=made_by(run, settings, contest, folds))
    if fabric.is_global_zero:
        store.start(name)  # removes the index, so that an interrupted prediction does not look complete
    fabric.barrier()
    _write_all(settings, contest, samples, predictor, store, fabric, name, reporter)
    fabric.barrier()  # the prediction is complete only when all processes have written their samples
    if fabric.is_global_zero:
        store.finish(name, part)
    fabric.barrier()


def refuse_large(samples: Sequence[Sample], config: PredictConfig) -> None:
    """Raise ConfigError for images that are too large to be predicted whole where the config has no tiles."""
    if config.tile is not None or config.memory is not None:
        return
    large = [sample for sample in samples if sample.size[0] * sample.size[1] > MOST_PIXELS]
    if large:
        height, width = large[0].size
        raise ConfigError(
            f"sample {large[0].id} has {width}x{height} pixels ({len(large)} of {len(samples)} samples are so large), "
            f"and at most {MOST_PIXELS / 1e6:.0f} million are predicted whole; type --memory 4GB, or "
            "predict.tile='{size: 1024, overlap: 256}'"
        )


def _is_there(found: StoredPart | None, part: StoredPart, config: PredictConfig) -> bool:
    """Return whether a stored part is the wanted one. Where memory chooses the tiles, any tiles will do."""
    if found is None or config.memory is None or config.tile is not None:
        return found == part
    return replace(found, made_by=_without_tile(found.made_by)) == replace(part, made_by=_without_tile(part.made_by))


def _without_tile(made: Mapping[str, str]) -> dict[str, str]:
    predict = {key: value for key, value in json.loads(made["predict"]).items() if key != "tile"}
    return {**made, "predict": json.dumps(predict, sort_keys=True)}


def _write_all(
    settings: SegmentSettings,
    contest: Contest,
    samples: Sequence[Sample],
    predictor: TilePredictor,
    store: MapStore,
    fabric: Fabric,
    name: str,
    reporter: Reporter,
) -> None:
    """Predict and write this process's share: images that fit into a tile as wholes, the others tile by tile."""
    config, stride, rank, world = predictor.config, predictor.stride, fabric.global_rank, fabric.world_size
    tile = config.tile
    tiled = [number for number, one in enumerate(samples) if tile is not None and max(one.size) > tile.size]
    rest = sorted(set(range(len(samples))) - set(tiled))
    whole = InferenceDataset(samples, rest, stride, predictor.normalisation, read_of(contest, settings))
    order = SizeBucketSampler([samples[number].size for number in rest], stride, config.batch, rank, world)
    told = conditioned(whole, settings.model, samples)
    loader = batches(told, order, settings.loader.workers, fabric.device.type == "cuda")
    own = tiled[rank::world]
    counts = {number: Tiles.of(samples[number].size, tile, stride).count for number in own} if tile is not None else {}
    if tile is not None and own:
        reporter.say(
            f"{name}: {len(tiled)} of {len(samples)} images are larger than a tile; tiles of {tile.size} with overlap "
            f"{tile.overlap} ({tile.window}), batch {config.batch}"
        )
    with reporter.progress(f"predict {name}", sum(map(len, order.batches)) + sum(counts.values())) as bar:
        for index, prediction in predict_batches(
            fabric,
            predictor.task,
            predictor.models,
            loader,
            config,
            stride,
            predictor.channels_last,
            predictor.normalisation,
        ):
            store.write(samples[index].id, prediction)
            bar.advance()
        seams = {
            samples[number].id: _write_tiled(settings, contest, samples[number], predictor, store, bar)
            for number in own
        }
    if seams:
        worst = max(seams, key=lambda one: seams[one])
        reporter.say(
            f"{name}: jumps across seams of tiles are {sum(seams.values()) / len(seams):.2f} times those elsewhere, "
            f"at most {seams[worst]:.2f} (sample {worst})"
        )
    if config.memory is not None:
        reporter.say(f"{name}: peak memory {in_gb(peak_memory())} of {config.memory}")


def _write_tiled(
    settings: SegmentSettings,
    contest: Contest,
    sample: Sample,
    predictor: TilePredictor,
    store: MapStore,
    bar: Progress,
) -> float:
    """Predict a large image and write its maps; return the score of its seams."""
    most = predictor.config.most_bytes
    free = None if most is None else most - psutil.Process().memory_info().rss
    try:
        image = contest_opener(contest.competition, settings.image, store.folder, free)(sample.images[0])
    except DataError as error:
        raise DataError(f"sample {sample.id}: {error}") from error
    found = predictor.predict(image, bar.advance, sample.meta)
    store.write(sample.id, found.prediction)
    return found.seam_score
