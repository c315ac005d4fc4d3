"""`medalist plan`: measure for a minute, compute the cost of the training, compare options, write `plan.json`."""

from __future__ import annotations

import os
import shutil
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import psutil
import torch

from medalist.errors import MedalistError
from medalist.planning.arithmetic import (
    Pace,
    checkpoint_bytes,
    queue_seconds,
    share_of_batches,
    training_seconds,
    validations_of,
    whole_seconds,
)
from medalist.planning.cost_model import CostModel, predicted_batches
from medalist.planning.inference_cost import pixels_of
from medalist.planning.measure import Base, measure
from medalist.planning.options import Variant, variants
from medalist.planning.probe import attempt, let_go
from medalist.planning.shares import computed_options, encoder_share, shares
from medalist.reporter import Reporter
from medalist.runs.plans import Option, Plan, PlanRequest, in_bytes, sorted_options, write_plan
from medalist.runs.setup import TrainSetup

SHARES = {"reading": 0.2, "training": 0.45, "validation": 0.53, "oof": 0.68, "stages": 0.75, "options": 1.0}
"""When each part has to end, as shares of the time that is left after the config is checked."""

LAST_STEPS = 3
"""The seconds at the end in which no option is started."""


def make_plan(setup: TrainSetup, costs: CostModel, request: PlanRequest, started: float, reporter: Reporter) -> Plan:
    """Measure until `request.seconds` after `started` (a moment of `perf_counter`), and write the run's `plan.json`.

    Raises the same errors as the start of a training: DataError, ConfigError, TrainingError.
    """
    now = time.perf_counter()
    left = max(0.0, started + request.seconds - now)
    ends = {name: now + share * left for name, share in SHARES.items()}
    with tempfile.TemporaryDirectory() as folder, _threads(request.folds_at_once):
        base = measure(setup, costs, Path(folder), ends, reporter)
        made = _reckoned(setup, base, request)
        made = replace(made, shares=shares(setup, base, made, encoder_share(base.ran.job)))
        found = [*computed_options(setup, base, made), *_options(setup, base, made, request, ends["options"])]
        # The probe's networks are freed before the temporary folder is deleted.
        del base
    made = replace(made, options=tuple(sorted_options(found)), probe_seconds=time.perf_counter() - started)
    write_plan(setup.run, made)
    return made


@contextmanager
def _threads(folds_at_once: int) -> Iterator[None]:
    """Without GPUs, limit torch to the share of threads that a fold has while other folds are trained."""
    before = torch.get_num_threads()
    if folds_at_once > 1 and not torch.cuda.is_available():
        torch.set_num_threads(max(1, before // folds_at_once))
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _reckoned(setup: TrainSetup, base: Base, request: PlanRequest) -> Plan:
    """Return the plan without options."""
    settings, processes, folds_at_once = setup.settings, request.processes, request.folds_at_once
    by_fold = {
        str(fold): {
            "training": _training(setup, base, fold, base.paces, base.ran.per_epoch, processes),
            "validation": _validation(setup, base, fold) / processes,
            # The network of each fold is made again before it predicts.
            "oof": base.ran.setup
            + whole_seconds(base.oof, pixels_of(base.costs.computed(setup, fold)), 1, base.ahead) / processes,
        }
        for fold in setup.chosen
    }
    test = (
        whole_seconds(base.oof, pixels_of(base.costs.computed(setup, None)), base.passes(len(setup.chosen)), base.ahead)
        / processes
    )
    seconds = {name: sum(parts[name] for parts in by_fold.values()) for name in ("training", "validation", "oof")}
    times_read = len(setup.chosen) if folds_at_once > 1 else 1
    seconds = {"reading": base.reading * times_read, **seconds, "test": test}
    each = [sum(parts.values()) + (base.reading if folds_at_once > 1 else 0.0) for parts in by_fold.values()]
    wall = queue_seconds(each, folds_at_once) + test + (base.reading if folds_at_once == 1 else 0.0)
    disk = {
        "checkpoints": checkpoint_bytes(settings.train, base.weights, base.trained, len(setup.chosen)),
        "predictions": _prediction_bytes(setup, base),
    }
    return Plan(
        config=setup.lock.config,
        date=datetime.now(UTC).isoformat(timespec="seconds"),
        machine=machine(),
        folds=setup.chosen,
        processes=processes,
        folds_at_once=folds_at_once,
        seconds=seconds,
        by_fold=by_fold,
        wall=wall,
        compute=sum(seconds.values()) * processes,
        host_bytes=base.host_bytes,
        device_bytes=base.device_bytes,
        disk=disk,
        options=(),
        measured=base.figures(),
        notes=(*base.notes, *_warnings(setup, base, disk, request)),
        probe_seconds=0.0,
    )


Kind = tuple[tuple[int, int] | None, bool]


def _training(
    setup: TrainSetup, base: Base, fold: int, paces: Mapping[Kind, Pace], per_epoch: int, processes: int
) -> float:
    """Return the seconds of a fold's training; `per_epoch` is the number of batches per epoch of the probed fold."""
    counts = {number: len(setup.folds.training(number)) for number in (fold, base.fold)}
    count = share_of_batches(per_epoch, counts[fold], counts[base.fold], processes)
    train = setup.settings.train
    seconds = training_seconds(train, paces, count)
    if train.average:
        # The mean network only makes forward passes, which take about a third of a training batch's time.
        seconds += min(count, train.average.recalibrate) * base.ran.pace.batch / 3
    return seconds


def _validation(setup: TrainSetup, base: Base, fold: int) -> float:
    train = setup.settings.train
    times = validations_of(train) + (1 if train.average else 0)
    return times * whole_seconds(base.validation, pixels_of(base.held_out(setup, fold)), 1, 0.0)


def _prediction_bytes(setup: TrainSetup, base: Base) -> int:
    """Return the bytes of OOF and test predictions on disk."""

    def pixels(fold: int | None) -> int:
        return sum(pixels_of(predicted_batches(base.costs, setup, setup.settings, fold)))

    test = pixels(None) * base.costs.copies(setup.settings, len(setup.chosen))
    return round(base.bytes_a_pixel * (sum(pixels(fold) for fold in setup.chosen) + test))


def _options(setup: TrainSetup, base: Base, made: Plan, request: PlanRequest, until: float) -> list[Option]:
    """Measure each variant for an equal share of the time that is left."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    tried = variants(setup.settings, cores, torch.cuda.is_available(), base.all_megabytes)
    found = []
    for number, variant in enumerate(tried):
        now = time.perf_counter()
        share = (until - now) / (len(tried) - number)
        # The first batches take longer, and at least four batches are needed.
        wanted = base.ran.setup + base.ran.pace.first + 4 * base.ran.pace.batch * _times(variant, base)
        if until - now < wanted + 1:
            found.append(Option(variant.change, None, variant.changes, "not measured: no time left"))
            continue
        try:
            found.append(_tried(setup, base, made, request, variant, now + share))
        except MedalistError as error:
            found.append(Option(variant.change, None, variant.changes, " ".join(str(error).split())[:120]))
        let_go()
    if not setup.settings.train.compile:
        found.append(Option("train.compile=true", None, True, "not measured: compiling takes minutes"))
    return found


def _times(variant: Variant, base: Base) -> float:
    """Return the batch size of the variant divided by the batch size of the config."""
    known = base.settings.train.batch
    return variant.settings.train.batch / known if known else 1.0


def _tried(setup: TrainSetup, base: Base, made: Plan, request: PlanRequest, variant: Variant, until: float) -> Option:
    subject = base.subject(variant.keeps)
    ran = attempt(subject, variant.settings, base.stage, base.fold, until)
    if ran is None:
        return Option(variant.change, None, variant.changes, "does not fit into memory")
    ratio = ran.pace.batch / base.ran.pace.batch
    paces = {kind: replace(pace, batch=pace.batch * ratio) for kind, pace in base.paces.items()}
    seconds = dict(made.seconds)
    seconds["training"] = sum(
        _training(setup, base, fold, paces, ran.per_epoch, request.processes) for fold in setup.chosen
    )
    if variant.predicts:
        ratio = base.costs.again(setup, variant.settings, ran.job, base.fold, base.oof[0])
        seconds = {**seconds, **{name: seconds[name] * ratio for name in ("validation", "oof", "test")}}
    note = "changes the result" if variant.changes else ""
    return Option(variant.change, sum(seconds.values()), variant.changes, note)


def _warnings(setup: TrainSetup, base: Base, disk: Mapping[str, int], request: PlanRequest) -> list[str]:
    """Return notes about things that would stop the planned training, or that the plan leaves out."""
    found = []
    place = next(folder for folder in setup.run.folder.resolve().parents if folder.exists())
    free, room = shutil.disk_usage(place).free, psutil.virtual_memory().total
    if sum(disk.values()) > free:
        found.append(
            f"the disk at {place} has {in_bytes(free)} free, less than the {in_bytes(sum(disk.values()))} wanted"
        )
    wanted = base.host_bytes * request.processes * request.folds_at_once
    if wanted > room:
        found.append(f"this machine has {in_bytes(room)} of memory, less than the {in_bytes(wanted)} wanted")
    if request.processes > 1:
        found.append(
            f"measured on one process and divided by {request.processes}; communication between processes is not "
            "included"
        )
    return found


def machine() -> dict[str, Any]:
    """Return the machine of the measurements: cores, threads of torch, names of GPUs."""
    return {
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "threads": torch.get_num_threads(),
        "gpus": [torch.cuda.get_device_name(number) for number in range(torch.cuda.device_count())],
    }
