"""The order in which a probe measures: reading, training, looks, predictions, then the other stages of the training.

It is that of a training, as the peak of a process's memory never falls.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from lightning_fabric import Fabric
from numpy.typing import NDArray
from rich.console import Console

from medalist.build import build_fabric
from medalist.data.cache import PixelCache
from medalist.data.dataset import reader
from medalist.engine.job import TrainJob
from medalist.engine.resume import APART_SECONDS
from medalist.engine.settings import CheckpointConfig
from medalist.files import sha256_json
from medalist.settings import EmbedSettings, Settings
from medalist.stores.maps import Store
from medalist.tasks.embed.features import kept_features, made_of
from medalist.training.planning.inference_cost import (
    Whole,
    chosen,
    held_out,
    largest_peak,
    sample_sizes,
    time_looks,
    time_predictions,
    whole_batches,
    wholes,
)
from medalist.training.planning.probe import (
    KEPT_AT_MOST,
    Ran,
    Subject,
    attempt,
    device_peak,
    let_go,
    run,
    sampled_cache,
    weights_bytes,
)
from medalist.training.planning.sampled_cache import SampledCache, area
from medalist.training.start import TrainPlan
from medalist.training.train import CACHE_THREADS
from medalist.workflows.cost import forget_peak, peak_memory
from medalist.workflows.plans import Pace, Stage, Timed, in_bytes, peak_bytes, stages_of, state_bytes

FEATURES_AT_MOST = 200_000_000
"""Values of random features that are made; beyond it one row stands for all."""

Kind = tuple[tuple[int, int] | None, bool]


@dataclass(frozen=True, eq=False)
class Base:
    """What was measured of the config as it is.

    paces: by (size, frozen). looks, oof: batches of whole images. ahead: share of reading that workers hide behind
    prediction. reading: seconds, for the whole contest. host_bytes, device_bytes: at the peak of a training.
    bytes_a_pixel: of predictions on disk. all_megabytes: what all decoded pixels take where they are not all kept.
    """

    settings: Settings
    fold: int
    stage: Stage
    ran: Ran
    paces: Mapping[Kind, Pace]
    looks: tuple[Timed, ...]
    oof: tuple[Timed, ...]
    ahead: float
    reading: float
    host_bytes: int
    device_bytes: int
    weights: int
    trained: int
    bytes_a_pixel: float
    all_megabytes: int | None
    notes: tuple[str, ...]
    subject: Callable[[bool], Subject]

    def networks(self, folds: int) -> int:
        """Forward passes that the test part needs for each view: frozen encoders are one for all folds."""
        return 1 if isinstance(self.settings, EmbedSettings) and self.settings.model.frozen else folds

    def held_out(self, plan: TrainPlan, fold: int) -> list[Whole]:
        """The batches of a look at a fold's held-out samples."""
        return whole_batches(*sample_sizes(held_out(plan, fold), self.settings))

    def figures(self) -> dict[str, Any]:
        """The probe's figures, for those who want to know."""
        return {
            "fold": self.fold,
            "batches": self.ran.seen,
            "batches_an_epoch": self.ran.per_epoch,
            "paces": [{"size": size, "frozen": cold, **asdict(pace)} for (size, cold), pace in self.paces.items()],
            "looks": [asdict(one) for one in self.looks],
            "oof": [asdict(one) for one in self.oof],
            "worker_bytes": self.ran.worker_bytes,
            "setup_seconds": self.ran.setup,
        }


def measure(plan: TrainPlan, folder: Path, ends: Mapping[str, float], console: Console) -> Base:
    """Measure the config as it is; `ends`: moments of `perf_counter` at which each part has to end."""
    settings, fold = plan.settings, plan.chosen[0]
    stages = stages_of(settings.train)
    stage = max(stages, key=lambda one: (not one.frozen, np.prod(one.size) if one.size else np.inf))
    kept, source, reading, features = _source(plan, folder, ends["reading"], console)
    notes = (
        []
        if kept is None or len(kept.kept) >= len(kept.samples)
        else [f"read {len(kept.kept)} of {len(kept.samples)} images"]
    )
    if settings.train.compile:
        notes.append("measured without train.compile, as compiling takes minutes")
    subject = Subject(plan, source, folder, ends["options"])
    ran, unseen = _trained(subject, settings, stage, fold, ends["training"])
    weights, trained = weights_bytes(ran.job.model)
    looks = _looked(plan, kept, ran.job, trained, ends["looks"])
    after_training, between = peak_memory(), forget_peak()
    store = Store(folder / "store")
    oof, bytes_a_pixel = time_predictions(plan, settings, ran.job, store, features, fold, ends["oof"])
    held = 0 if kept is None else kept.kept_bytes
    pixels = 0 if kept is None else kept.bytes
    whole = largest_peak(
        between, peak_memory(), [one.pixels for one in oof], [one.pixels for one in wholes(plan, fold)]
    )
    host = peak_bytes(after_training + unseen, whole, held, pixels)
    device = device_peak(ran.job.fabric)
    paces = {(stage.size, stage.frozen): ran.pace}
    for other in stages:
        paces.setdefault(
            (other.size, other.frozen), _pace_of(subject, settings, other, ran, stage, fold, ends["stages"])
        )
    if ran.worker_bytes:
        notes.append(f"the loader's {settings.loader.workers} workers hold {in_bytes(ran.worker_bytes)} more")

    def of(every: bool) -> Subject:
        if not every or kept is None:
            return subject
        kept.fitting = len(kept.samples)
        return subject

    all_fit = kept is None or kept.fitting >= len(kept.samples)
    return Base(
        settings=settings,
        fold=fold,
        stage=stage,
        ran=ran,
        paces=paces,
        looks=tuple(looks),
        oof=tuple(oof),
        ahead=_ahead(settings, ran.job.fabric),
        reading=reading,
        host_bytes=host,
        device_bytes=device,
        weights=weights,
        trained=trained,
        bytes_a_pixel=bytes_a_pixel,
        all_megabytes=None if all_fit or kept is None else -(-kept.all_bytes // 1_000_000),
        notes=tuple(notes),
        subject=of,
    )


def _source(
    plan: TrainPlan, folder: Path, until: float, console: Console
) -> tuple[SampledCache | None, PixelCache | NDArray[Any], float, float]:
    """What a training reads from, the seconds of reading all, and of the features of one image (0: not frozen)."""
    settings, samples = plan.settings, plan.contest.split.train
    if isinstance(settings, EmbedSettings) and settings.model.frozen:
        features, each = _features(plan, settings, folder, console)
        known = made_of(settings, plan.weights, samples) if plan.weights else {}
        there = plan.run.folder.parent / "features" / f"{sha256_json(known)[:16]}.json"
        return None, features, 0.0 if there.exists() else each * len(samples), each
    kept = sampled_cache(plan)
    most = min(KEPT_AT_MOST, settings.loader.cache_mb * 1_000_000)
    read = kept.fill(until, CACHE_THREADS, most, settings.seed)
    share = read.pixels / sum(area(sample) for sample in samples)
    return kept, PixelCache(kept, samples), read.seconds / share, 0.0


def _features(plan: TrainPlan, settings: EmbedSettings, folder: Path, console: Console) -> tuple[NDArray[Any], float]:
    """Random features of the shape of a frozen encoder's, and the seconds of one image, by `kept_features` itself."""
    samples, fabric = plan.contest.split.train, build_fabric(settings)
    read = reader(plan.contest.competition.white, settings.image)
    took = []
    few = min(len(samples), settings.predict.batch)
    counts = (few, min(len(samples), 3 * few))
    for number, wanted in enumerate(counts):
        started = time.perf_counter()
        found = kept_features(
            settings, plan.weights, samples[:wanted], read, fabric, folder / f"features{number}", Console(quiet=True)
        )
        took.append(time.perf_counter() - started)
    more = counts[1] - counts[0]
    # The encoder is built in both; what further images take is what counts.
    each = max(0.0, took[1] - took[0]) / more if more else took[1] / counts[1]
    shape = (len(samples), *found.shape[1:])
    random = np.random.default_rng(settings.seed)
    if np.prod(shape) > FEATURES_AT_MOST:
        row = random.standard_normal(found.shape[1:], dtype=np.float32).astype(found.dtype)
        return np.broadcast_to(row, shape), each
    return random.standard_normal(shape, dtype=np.float32).astype(found.dtype), each


def _trained(subject: Subject, settings: Settings, stage: Stage, fold: int, until: float) -> tuple[Ran, int]:
    """The base's training; and bytes of states that a real one writes, where there was no time to do so here."""
    now = time.perf_counter()
    ran = run(subject, settings, stage, fold, now + 0.75 * (until - now))
    whole = settings.train.epochs * (ran.per_epoch * ran.pace.batch + ran.pace.epoch)
    if not settings.checkpoint.steps and whole < APART_SECONDS:
        return ran, 0
    wanted = ran.pace.first + (2 + settings.train.accumulate) * ran.pace.batch
    if time.perf_counter() + wanted > until:
        weights, trained = weights_bytes(ran.job.model)
        # Its tensors are copied, and copied again as the file is made.
        return ran, 2 * state_bytes(settings.train, weights, trained)
    let_go()
    often = settings.model_copy(update={"checkpoint": CheckpointConfig(steps=1, minutes=0)})
    again = run(subject, often, stage, fold, time.perf_counter(), least=2 + settings.train.accumulate)
    return replace(
        again, pace=ran.pace, seen=ran.seen, setup=ran.setup, worker_bytes=max(again.worker_bytes, ran.worker_bytes)
    ), 0


def _pace_of(
    subject: Subject, settings: Settings, other: Stage, ran: Ran, stage: Stage, fold: int, until: float
) -> Pace:
    """The pace of another stage: measured where there is time, else by its pixels."""
    if time.perf_counter() + ran.pace.first + 4 * ran.pace.batch < until:
        found = attempt(subject, settings, other, fold, time.perf_counter() + 6 * ran.pace.batch)
        let_go()
        if found is not None:
            return replace(found.pace, first=ran.pace.first)
    native = next(iter(ran.job.train)).image.shape[-2:]
    ratio = float(np.prod(other.size or native) / np.prod(stage.size or native))
    return replace(ran.pace, batch=ran.pace.batch * ratio)


def _looked(plan: TrainPlan, kept: SampledCache | None, job: TrainJob, trained: int, until: float) -> list[Timed]:
    """Time looks at the held-out samples, in the memory that a training then has."""
    samples = held_out(plan, plan.chosen[0])
    whole = whole_batches(*sample_sizes(samples, plan.settings))
    if kept is not None:
        kept.hold([samples[position] for one in chosen(whole, 5) for position in one.positions])
    # The optimiser was let go with the training; its moments are there when a real one looks.
    moments = torch.ones(2 * trained // 4, device=job.fabric.device)
    found = time_looks(job, whole, until)
    del moments
    return found


def _ahead(settings: Settings, fabric: Fabric) -> float:
    """The share of reading that workers hide behind the network: all of it on a GPU; else they share its processors."""
    if not settings.loader.workers:
        return 0.0
    return 1.0 if fabric.device.type == "cuda" else 1 - 1 / max(2, torch.get_num_threads())
