"""Measure views of test-time augmentation on OOF samples: implements `tasks.protocols.Viewing` for this kind.

Nothing of the run changes: the maps of each view are kept in a temporary folder.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from hashlib import sha256
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import torch
from lightning_fabric import Fabric
from pydantic import TypeAdapter, ValidationError
from torch import nn

from medalist.codecs.headers import MOST_PIXELS
from medalist.contest import Contest
from medalist.data.dataset import InferenceDataset
from medalist.data.loader import batches
from medalist.data.samplers import SizeBucketSampler
from medalist.engine.view_settings import View
from medalist.errors import ConfigError, FoldError, RunError
from medalist.folds.judged import judged_parts
from medalist.parts import parts_of
from medalist.records import Answer, MapPrediction, Sample, Score
from medalist.reporter import Progress, Reporter
from medalist.runs.runs import Run
from medalist.stores.maps import MapStore
from medalist.tasks.jobs import open_devices, trained_or_refuse
from medalist.tasks.networks import trained_networks
from medalist.tasks.pixels import read_of
from medalist.tasks.protocols import Table
from medalist.tasks.scored import scored_decide
from medalist.tasks.segment.answering import regressor_of
from medalist.tasks.segment.conditions import conditioned
from medalist.tasks.segment.deciding import decide_by, roles_of
from medalist.tasks.segment.inference import seen_in_views
from medalist.tasks.segment.jobs import build_task
from medalist.tasks.segment.network import build_model, build_normalisation
from medalist.tasks.segment.settings import SegmentDecide, SegmentSettings
from medalist.tasks.segment.view_choice import CANDIDATES, Trial, named, single_views, tables


def measure_views(
    run: Run,
    settings: SegmentSettings,
    contest: Contest,
    only: bool,
    folds: Sequence[int],
    most: int | None,
    reporter: Reporter,
) -> Sequence[Table]:
    """Predict held-out samples in each view, and return what each view gains and costs, and which set is proposed.

    only: whether just the views of `settings.predict.tta` are tried, else also CANDIDATES. folds: the folds, empty for
    all that are trained. most: the most samples, those that come first in the order of a hash.
    """
    trained = trained_or_refuse(run)
    missing = [fold for fold in folds if fold not in trained]
    if missing:
        raise FoldError(f"fold {missing[0]} of {run.name} is not trained; trained are: {', '.join(map(str, trained))}")
    chosen = sorted(set(folds)) or trained
    tta = settings.predict.tta
    configured = single_views((tta,) if isinstance(tta, str) and tta != "none" else () if tta == "none" else tta)
    views = list(dict.fromkeys([*([] if only else single_views(CANDIDATES)), *configured]))
    if not views:
        raise RunError("predict.tta = none names no view to try; name some, as 'predict.tta=[hflip,{scale: 1.25}]'")
    _refuse_unfit(settings, views)
    samples = _samples(run, contest, chosen, most, reporter)
    truths = contest.evaluation.fold_truths(contest, run.folds(), chosen)
    asked = {sample.id: truths[sample.id] for sample in samples}
    how: SegmentDecide = scored_decide(run, TypeAdapter(SegmentDecide), settings.decide)
    decide = decide_by(
        how,
        parts_of(contest.competition),
        roles=roles_of(how, settings, contest.competition),
        regressor=regressor_of(run, how),
    )
    with TemporaryDirectory() as scratch:
        stores = [MapStore(Path(scratch) / str(number)) for number in range(len(views) + 1)]
        seconds, channels = _predicted(run, settings, contest, chosen, samples, [View(), *views], stores, reporter)

        def read(view: int, name: str) -> MapPrediction:
            return stores[view].read(name, channels)

        def score(answers: Mapping[str, Answer]) -> Score:
            return contest.competition.score(asked, answers)

        parts = judged_parts(run.folds(), samples)
        numbers = np.array([parts[sample.id] for sample in samples], np.int64)
        ids = tuple(sample.id for sample in samples)
        trial = Trial(ids, numbers, tuple(views), tuple(seconds), read, decide, score)
        with reporter.progress("score views", len(views) + 1) as bar:
            for choice in [(), *((number,) for number in range(len(views)))]:
                trial.scored(choice)
                bar.advance()
        return tables(trial, configured, f"{run.competition}/{run.name}", settings.predict.scales)


def _refuse_unfit(settings: SegmentSettings, views: Sequence[View]) -> None:
    """Raise ConfigError where a config could not have these views, as it is with channels that are directions."""
    predict = {**settings.predict.model_dump(mode="json"), "tta": [named(view) for view in views]}
    try:
        SegmentSettings.model_validate_json(json.dumps({**settings.model_dump(mode="json"), "predict": predict}))
    except ValidationError as error:
        raise ConfigError(error.errors()[0]["msg"].removeprefix("Value error, ")) from None


def _samples(run: Run, contest: Contest, folds: Sequence[int], most: int | None, reporter: Reporter) -> list[Sample]:
    held_out = {name for fold in folds for name in run.folds().held_out(fold)}
    there = [sample for sample in contest.split.train if sample.id in held_out]
    samples = [sample for sample in there if sample.size[0] * sample.size[1] <= MOST_PIXELS]
    if len(samples) < len(there):
        reporter.say(f"note: {len(there) - len(samples)} images are left out, because views are tried on whole images")
    if not samples:
        raise RunError(f"{run.folder}: no held-out image is small enough to be seen as a whole")
    if most is None or len(samples) <= most:
        return samples
    drawn = sorted(samples, key=lambda one: sha256(one.id.encode("utf-8", "surrogatepass")).digest())[:most]
    kept = {sample.id for sample in drawn}
    return [sample for sample in samples if sample.id in kept]


def _predicted(
    run: Run,
    settings: SegmentSettings,
    contest: Contest,
    folds: Sequence[int],
    samples: Sequence[Sample],
    views: Sequence[View],
    stores: Sequence[MapStore],
    reporter: Reporter,
) -> tuple[list[float], tuple[str, ...]]:
    """Write the maps of each view, and return the seconds of each view and the names of the maps."""
    fabric = open_devices(settings)
    network = build_model(settings.model, own=parts_of(contest.competition))
    seconds, channels = [0.0] * len(views), settings.model.outputs
    with reporter.progress("predict views", len(samples) * len(views)) as bar:
        for fold in folds:
            held_out = set(run.folds().held_out(fold))
            own = [sample for sample in samples if sample.id in held_out]
            models = trained_networks(network, run, settings, [fold], fabric)
            for number, found, took in _seen(fabric, settings, contest, models, own, views, bar):
                seconds[number] += took
                for index, prediction in found:
                    stores[number].write(own[index].id, prediction)
                    channels = prediction.channels
    return seconds, channels


@torch.inference_mode()
def _seen(
    fabric: Fabric,
    settings: SegmentSettings,
    contest: Contest,
    models: Sequence[nn.Module],
    samples: Sequence[Sample],
    views: Sequence[View],
    bar: Progress,
) -> Iterator[tuple[int, list[tuple[int, MapPrediction]], float]]:
    """Yield (number of the view, (index of a sample, its maps) of a batch, seconds of the batch in this view)."""
    stride, norm, task = settings.model.stride, build_normalisation(settings), build_task(settings)
    whole = InferenceDataset(samples, range(len(samples)), stride, norm, read_of(contest, settings))
    order = SizeBucketSampler([sample.size for sample in samples], stride, settings.predict.batch)
    for model in models:
        model.eval()
    told = conditioned(whole, settings.model, samples)
    for raw in batches(told, order, settings.loader.workers, fabric.device.type == "cuda"):
        batch = raw.to(fabric.device, settings.train.channels_last)
        for number, view in enumerate(views):
            scaled = [replace(view, scale=scale * view.scale) for scale in settings.predict.scales]
            started = time.perf_counter()
            with fabric.autocast():
                maps = seen_in_views(task, models, batch.image, scaled, stride, norm)
            found = task.predict(maps, batch)  # copies to the processor, and so waits for the device
            took = time.perf_counter() - started
            bar.advance(len(found))
            yield number, list(zip(batch.indices, found, strict=True)), took
