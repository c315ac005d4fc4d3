"""The measurements of a plan, in this order: reading, training, validation, predictions, other stages of the training.

The order is that of a real training, because the peak memory of a process never falls.
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

from medalist.engine.job import TrainJob
from medalist.engine.resume import APART_SECONDS
from medalist.engine.settings import CheckpointConfig
from medalist.planning.arithmetic import Pace, Stage, Timed, peak_bytes, stages_of, state_bytes
from medalist.planning.cost_model import CostModel, predicted_batches
from medalist.planning.inference_cost import InferenceBatch, chosen, held_out, largest_peak, pixels_of, time_validation
from medalist.planning.probe import Ran, Subject, attempt, device_peak, let_go, run, weights_bytes
from medalist.planning.sampled_cache import SampledCache
from medalist.processors import release_buffers
from medalist.reporter import Reporter
from medalist.runs.cost import forget_peak
from medalist.runs.plans import in_bytes
from medalist.runs.setup import TrainSetup
from medalist.system import peak_memory

Kind = tuple[tuple[int, int] | None, bool]


@dataclass(frozen=True, eq=False)
class Base:
    """The measurements of the config without changes.

    fold, stage, ran: the fold, the stage and the result of the timed training. paces: by (size, frozen). validation,
    oof: timed batches of whole images. ahead: the share of the reading that workers do while the network predicts.
    reading: seconds to read the whole contest. host_bytes, device_bytes: peak memory of a training. weights, trained:
    bytes of all weights and of trained parameters. bytes_a_pixel: bytes of a predicted pixel on disk. all_megabytes:
    the size of all decoded pixels, or None where the cache holds all. subject: gives the subject of further probes; for
    True its cache holds all pixels.
    """

    costs: CostModel
    settings: Any
    fold: int
    stage: Stage
    ran: Ran
    paces: Mapping[Kind, Pace]
    validation: tuple[Timed, ...]
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

    def passes(self, folds: int) -> int:
        """Return the number of forward passes that the test part needs for each view."""
        return self.costs.passes(self.settings, folds)

    def held_out(self, setup: TrainSetup, fold: int) -> list[InferenceBatch]:
        """Return the batches of a validation on a fold's held-out samples."""
        return self.costs.batches(held_out(setup, fold), self.settings)

    def figures(self) -> dict[str, Any]:
        """Return the measured figures, which `plan.json` keeps for later inspection."""
        return {
            "fold": self.fold,
            "batches": self.ran.seen,
            "batches_an_epoch": self.ran.per_epoch,
            "paces": [{"size": size, "frozen": cold, **asdict(pace)} for (size, cold), pace in self.paces.items()],
            "validation": [asdict(one) for one in self.validation],
            "oof": [asdict(one) for one in self.oof],
            "worker_bytes": self.ran.worker_bytes,
            "setup_seconds": self.ran.setup,
        }


def measure(setup: TrainSetup, costs: CostModel, folder: Path, ends: Mapping[str, float], reporter: Reporter) -> Base:
    """Measure the config without changes. `ends` holds the moments of `perf_counter` at which each part has to end."""
    settings, fold = setup.settings, setup.chosen[0]
    stages = stages_of(settings.train)
    stage = max(stages, key=lambda one: (not one.frozen, np.prod(one.size) if one.size else np.inf))
    source = costs.source(setup, folder, ends["reading"], reporter)
    kept = source.kept
    notes = (
        []
        if kept is None or len(kept.kept) >= len(kept.samples)
        else [f"read {len(kept.kept)} of {len(kept.samples)} images"]
    )
    if settings.train.compile:
        notes.append("measured without train.compile, as compiling takes minutes")
    subject = Subject(setup, costs, source, folder, ends["options"])
    ran, unseen = _trained(subject, settings, stage, fold, ends["training"])
    weights, trained = weights_bytes(ran.job.model)
    validation = _validated(setup, costs, kept, ran.job, trained, ends["validation"])
    after_training = peak_memory()
    release_buffers()  # as a training does before it predicts
    between = forget_peak()
    oof, bytes_a_pixel = costs.time_predictions(
        setup, settings, ran.job, folder / "store", source.each, fold, ends["oof"]
    )
    held = 0 if kept is None else kept.kept_bytes
    pixels = 0 if kept is None else kept.bytes
    whole = largest_peak(
        between, peak_memory(), [one.pixels for one in oof], pixels_of(predicted_batches(costs, setup, settings, fold))
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
        costs=costs,
        settings=settings,
        fold=fold,
        stage=stage,
        ran=ran,
        paces=paces,
        validation=tuple(validation),
        oof=tuple(oof),
        ahead=_ahead(settings, ran.job.fabric),
        reading=source.reading,
        host_bytes=host,
        device_bytes=device,
        weights=weights,
        trained=trained,
        bytes_a_pixel=bytes_a_pixel,
        all_megabytes=None if all_fit or kept is None else -(-kept.all_bytes // 1_000_000),
        notes=tuple(notes),
        subject=of,
    )


def _trained(subject: Subject, settings: Any, stage: Stage, fold: int, until: float) -> tuple[Ran, int]:
    """Return the timed training of the config, and the bytes that writing a state needs in memory.

    The bytes are 0 where the timed training has written states itself, or where a real training writes none. They are
    computed where there was no time to write states.
    """
    now = time.perf_counter()
    ran = run(subject, settings, stage, fold, now + 0.75 * (until - now))
    whole = settings.train.epochs * (ran.per_epoch * ran.pace.batch + ran.pace.epoch)
    if not settings.checkpoint.steps and whole < APART_SECONDS:
        return ran, 0
    wanted = ran.pace.first + (2 + settings.train.accumulate) * ran.pace.batch
    if time.perf_counter() + wanted > until:
        weights, trained = weights_bytes(ran.job.model)
        # The tensors of a state are copied once by the saver, and once more when the file is made.
        return ran, 2 * state_bytes(settings.train, weights, trained)
    let_go()
    often = settings.model_copy(update={"checkpoint": CheckpointConfig(steps=1, minutes=0)})
    again = run(subject, often, stage, fold, time.perf_counter(), least=2 + settings.train.accumulate)
    return replace(
        again, pace=ran.pace, seen=ran.seen, setup=ran.setup, worker_bytes=max(again.worker_bytes, ran.worker_bytes)
    ), 0


def _pace_of(subject: Subject, settings: Any, other: Stage, ran: Ran, stage: Stage, fold: int, until: float) -> Pace:
    """Return the pace of another stage: measured where there is time, otherwise scaled by the number of pixels."""
    if time.perf_counter() + ran.pace.first + 4 * ran.pace.batch < until:
        found = attempt(subject, settings, other, fold, time.perf_counter() + 6 * ran.pace.batch)
        let_go()
        if found is not None:
            return replace(found.pace, first=ran.pace.first)
    native = next(iter(ran.job.train)).image.shape[-2:]
    ratio = float(np.prod(other.size or native) / np.prod(stage.size or native))
    return replace(ran.pace, batch=ran.pace.batch * ratio)


def _validated(
    setup: TrainSetup, costs: CostModel, kept: SampledCache | None, job: TrainJob, trained: int, until: float
) -> list[Timed]:
    """Time validation on the held-out samples, with as much memory in use as in a real training."""
    samples = held_out(setup, setup.chosen[0])
    every = costs.batches(samples, setup.settings)
    if kept is not None:
        kept.hold([samples[position] for one in chosen(every, 5) for position in one.positions])
    # The probe has freed its optimiser. In a real training the moments are in memory during validation.
    moments = torch.ones(2 * trained // 4, device=job.fabric.device)
    found = time_validation(job, every, until)
    del moments
    return found


def _ahead(settings: Any, fabric: Fabric) -> float:
    """Return the share of the reading that workers do while the network runs.

    With a GPU it is 1. Without one it is less, because workers and network share the processors.
    """
    if not settings.loader.workers:
        return 0.0
    return 1.0 if fabric.device.type == "cuda" else 1 - 1 / max(2, torch.get_num_threads())
