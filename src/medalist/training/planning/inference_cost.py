"""A probe of whole images: looks at held-out samples, and predictions; by batches that stand for all."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np
from lightning_fabric import Fabric

from medalist.build import build_normalisation, build_task
from medalist.contest import fold_splits
from medalist.data.dataset import InferenceDataset, reader
from medalist.data.loader import Batch, SizeBucketSampler, batches
from medalist.engine.job import TrainJob
from medalist.engine.train import evaluate
from medalist.records import Sample
from medalist.settings import EmbedSettings, SegmentSettings, Settings
from medalist.stores.maps import Store
from medalist.tasks.embed.datasets import FittedInferenceDataset
from medalist.tasks.embed.inference import embed
from medalist.tasks.embed.network import Embedder, Head
from medalist.tasks.segment.inference import VIEWS, predict
from medalist.training.planning.sampled_cache import area
from medalist.training.start import TrainPlan
from medalist.workflows.plans import Timed


@dataclass(frozen=True)
class Whole:
    """Batches of whole images: positions among some samples, and the pixels of all of them, padded."""

    positions: tuple[int, ...]
    pixels: int


def whole_batches(sizes: Sequence[tuple[int, int]], stride: int, batch: int) -> list[Whole]:
    """The batches in which images of these native sizes are predicted."""
    made = []
    for keys in SizeBucketSampler(sizes, stride, batch):
        height, width = sizes[keys[0][1]]
        pixels = (height + -height % stride) * (width + -width % stride)
        made.append(Whole(tuple(key[1] for key in keys), len(keys) * pixels))
    return made


def chosen(whole: Sequence[Whole], most: int) -> list[Whole]:
    """Up to `most` batches that stand for all, ascending: evenly spread over their pixels, and the largest."""
    ordered = sorted({one.pixels: one for one in whole}.values(), key=lambda one: one.pixels)
    if len(ordered) <= most:
        return ordered
    every = sorted(whole, key=lambda one: one.pixels)
    ends = np.cumsum([one.pixels for one in every])
    marks = (np.arange(most - 1) + 0.5) / (most - 1) * ends[-1]
    picked = {every[int(place)].pixels: every[int(place)] for place in np.searchsorted(ends, marks)}
    picked[ordered[-1].pixels] = ordered[-1]
    return sorted(picked.values(), key=lambda one: one.pixels)


Once = Callable[[Whole], Timed]


def timed(whole: Sequence[Whole], once: Once, until: float, most: int = 5) -> list[Timed]:
    """Time batches that stand for all, from the smallest to the largest, each again where there is time for it.

    The first look at a shape takes longer, as memory is allocated, and counts only where there is no second. A batch
    that would not end in time is left out, but the first.
    """
    found: list[Timed] = []
    for one in chosen(whole, most):
        if found:
            last = found[-1]
            expected = (last.read + last.forward + last.write) * one.pixels / last.pixels
            if time.perf_counter() + expected > until:
                break
        first = once(one)
        took = first.read + first.forward + first.write
        again = time.perf_counter() + took < until - took and took < 2
        found.append(once(one) if again else first)
    return found


def largest_peak(before: int, peak: int, tried: Sequence[int], all_pixels: Sequence[int]) -> int:
    """The peak of prediction, from `before` bytes at its begin and the `peak` over the batches that were tried.

    What a batch needs grows with its pixels, and the largest may not have been tried, for want of time.
    """
    most = max(all_pixels, default=0)
    seen = max(tried, default=0)
    return peak + round((peak - before) * (most / seen - 1)) if most > seen > 0 and peak > before else peak


def time_looks(job: TrainJob, whole: Sequence[Whole], until: float) -> list[Timed]:
    """Time `engine.train.evaluate` on batches of the held-out samples, whose positions `whole` speaks of."""

    def once(one: Whole) -> Timed:
        order = [[(0, position) for position in one.positions]]
        part = replace(job, held_out=batches(job.held_out.dataset, order, 0))  # type: ignore[arg-type]
        started = time.perf_counter()
        evaluate(part, job.model)
        return Timed(one.pixels, 0.0, time.perf_counter() - started)

    return timed(whole, once, until)


def sample_sizes(samples: Sequence[Sample], settings: Settings) -> tuple[list[tuple[int, int]], int, int]:
    """(height, width) at which each sample is predicted, the stride, and the batch of prediction."""
    if isinstance(settings, SegmentSettings):
        return [sample.size for sample in samples], settings.model.stride, settings.predict.batch
    return [settings.image.size] * len(samples), 1, settings.predict.batch


def held_out(plan: TrainPlan, fold: int) -> list[Sample]:
    """The samples that a fold holds out, in the order of its `TrainJob.held_out`."""
    by_id = {sample.id: sample for sample in plan.contest.split.train}
    return [by_id[name] for name in plan.folds.held_out(fold)]


def wholes(plan: TrainPlan, fold: int | None) -> list[Whole]:
    """The batches in which a fold's OOF part is predicted, or the test part where that is None."""
    return [one for part in predicted(plan, fold) for one in whole_batches(*sample_sizes(part, plan.settings))]


def computed(plan: TrainPlan, fold: int | None) -> list[Whole]:
    """`wholes`, without what a frozen encoder has said already: of all training samples its features are kept."""
    settings = plan.settings
    if not isinstance(settings, EmbedSettings) or not settings.model.frozen or settings.predict.tta != "none":
        return wholes(plan, fold)
    parts = [part for part in predicted(plan, fold) if tuple(part) != tuple(plan.contest.split.train)]
    return [one for part in parts for one in whole_batches(*sample_sizes(part, settings))]


def predicted(plan: TrainPlan, fold: int | None) -> list[list[Sample]]:
    """The samples of a fold's OOF part, or of the test part where that is None: its queries, and its gallery."""
    split = plan.contest.split
    if not isinstance(plan.settings, EmbedSettings):
        return [held_out(plan, fold) if fold is not None else list(split.test)]
    if fold is None:
        gallery = [] if split.gallery == split.test else list(split.gallery or split.train)
        return [list(split.test), gallery]
    trials = fold_splits(plan.contest, plan.folds, fold)
    wanted = {name for trial in trials for name in (*trial.queries, *trial.gallery)}
    return [[sample for sample in split.train if sample.id in wanted]]


def time_predictions(
    plan: TrainPlan, settings: Settings, job: TrainJob, store: Store, features: float, fold: int, until: float
) -> tuple[list[Timed], float]:
    """Time prediction of batches of a fold's OOF part; and bytes on disk of a pixel that is predicted."""
    whole = wholes(plan, fold)
    if isinstance(settings, EmbedSettings):
        vector = _dim(job) * 4
        height, width = settings.image.size
        views = len(VIEWS[settings.predict.tta])
        if settings.model.frozen:
            most = max(whole, key=lambda one: one.pixels)
            return [Timed(most.pixels, 0.0, features * views * len(most.positions))], vector / (height * width)
        samples = predicted(plan, fold)[0]
        return timed(whole, partial(_embed_once, plan, settings, job, samples), until), vector / (height * width)
    samples = predicted(plan, fold)[0]
    once = partial(_predict_once, plan, settings, job, samples, store)
    found = timed(whole, once, until)
    largest = max(whole, key=lambda one: one.pixels)
    if found[-1].pixels < largest.pixels:
        found.append(_one_view(plan, settings, job, samples, store, largest))
    pixels = {store.path(sample.id): area(sample) for sample in samples if store.path(sample.id).exists()}
    return found, sum(path.stat().st_size for path in pixels) / sum(pixels.values())


def _dim(job: TrainJob) -> int:
    """Components of an embedder's vectors: what its loss is made for."""
    head = job.model.head if isinstance(job.model, Embedder) else job.model
    assert isinstance(head, Head)
    return head.dim


def _embed_once(plan: TrainPlan, settings: EmbedSettings, job: TrainJob, samples: list[Sample], one: Whole) -> Timed:
    read = reader(plan.contest.competition.white, settings.image)
    norm, channels = build_normalisation(settings), settings.model.in_channels
    everyone = range(len(samples))
    source = FittedInferenceDataset(samples, everyone, settings.image.size, norm, read, channels=channels)
    started = time.perf_counter()
    raw = _batch(source, one, job.fabric)
    seen = time.perf_counter()
    for _ in embed(job.fabric, [job.model], [raw], settings.predict, settings.train.channels_last):
        pass
    return Timed(one.pixels, seen - started, time.perf_counter() - seen)


def _predict_once(
    plan: TrainPlan, settings: SegmentSettings, job: TrainJob, samples: list[Sample], store: Store, one: Whole
) -> Timed:
    read, stride = reader(plan.contest.competition.white, settings.image), settings.model.stride
    source = InferenceDataset(samples, range(len(samples)), stride, build_normalisation(settings), read)
    started = time.perf_counter()
    raw = _batch(source, one, job.fabric)
    seen = time.perf_counter()
    found = list(
        predict(
            job.fabric,
            build_task(settings),
            [job.model],
            [raw],  # type: ignore[arg-type]  # all it does is to iterate
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
    plan: TrainPlan, settings: SegmentSettings, job: TrainJob, samples: list[Sample], store: Store, one: Whole
) -> Timed:
    """A batch for which there is no time in all views: one view at the largest scale, which takes the same memory."""
    scales, largest = settings.predict.scales, max(settings.predict.scales)
    single = settings.predict.model_copy(update={"tta": "none", "scales": (largest,)})
    found = _predict_once(plan, settings.model_copy(update={"predict": single}), job, samples, store, one)
    times = len(VIEWS[settings.predict.tta]) * sum(scale**2 for scale in scales) / largest**2
    return replace(found, forward=found.forward * times)


def again(plan: TrainPlan, settings: Settings, job: TrainJob, fold: int, before: Timed) -> float:
    """What prediction takes under other settings, as a share of what it took before; on a batch that was timed."""
    if isinstance(settings, EmbedSettings) and settings.model.frozen:
        return 1.0
    one = next(one for one in wholes(plan, fold) if one.pixels == before.pixels)
    samples = predicted(plan, fold)[0]
    if isinstance(settings, EmbedSettings):
        once = partial(_embed_once, plan, settings, job, samples)
    else:
        once = partial(_predict_once, plan, settings, job, samples, Store(job.folder / "store"))
    once(one)
    return once(one).forward / before.forward if before.forward else 1.0


def _batch(source: Any, one: Whole, fabric: Fabric) -> Batch:
    order: Any = [[(0, position) for position in one.positions]]
    found: Batch = next(iter(batches(source, order, 0, fabric.device.type == "cuda")))
    return found
