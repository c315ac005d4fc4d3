"""Probes of `medalist plan`: the real training runs in a temporary folder, and is stopped after some timed batches."""

from __future__ import annotations

import gc
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import Any

import psutil
import torch
from lightning_fabric import Fabric
from torch import nn

from medalist.engine.devices import open_fabric
from medalist.engine.job import TrainJob
from medalist.engine.memory import is_out_of_memory
from medalist.engine.settings import SizeStage
from medalist.engine.train import fit
from medalist.planning.arithmetic import Pace, Stage, pace
from medalist.planning.cost_model import CostModel, Source
from medalist.reporter import Result
from medalist.runs.setup import TrainSetup

LONG = 100_000
"""The epochs of a probed training. They never end, because the training is stopped when enough batches are timed."""

LEAST, MOST = 4, 60
"""The smallest number of batches that are timed, however long they take, and the largest."""

KEPT_AT_MOST = 1_500_000_000
"""How many bytes of decoded samples a probe keeps. For other samples, kept ones of a similar size are used."""


class Enough(Exception):  # noqa: N818  # it is no error, because the probe has all it needs
    """Stops a probed training."""


class Clock:
    """Records when each batch ends, and stops the training when enough batches are timed or the time is over."""

    def __init__(self, until: float, last: float, least: int, most: int):
        """The training is stopped by one of three conditions, each of which is checked when a batch has ended.

        It is stopped after `most` batches, or after the moment `until` if `least` batches have ended, or after the
        moment `last`. Both are moments of `perf_counter`.
        """
        self.started, self.until, self.last, self.least, self.most = time.perf_counter(), until, last, least, most
        self.ends: list[float] = []
        self.worker_bytes = 0

    def advance(self, steps: int = 1) -> None:
        """Record the time. Raises Enough where the training is to be stopped."""
        now = time.perf_counter()
        self.ends += [now] * steps
        seen = len(self.ends)
        if seen >= self.most or (now > self.until and seen >= self.least) or now > self.last:
            self.worker_bytes = _bytes_of_children()
            raise Enough

    def skip(self, steps: int) -> None:
        """Do nothing, because only finished batches are counted."""

    def aside(self, work: Callable[[], Result]) -> Result:
        """Do the work."""
        return work()

    def say(self, text: str) -> None:
        """Do nothing, because nobody reads the lines of a probe."""


@dataclass(frozen=True, eq=False)
class Subject:
    """A training to probe: its setup, its data, and a folder for its files.

    source: the samples, or random features that replace those of a frozen encoder. last: the moment of `perf_counter`
    at which all probes have to end.
    """

    setup: TrainSetup
    costs: CostModel
    source: Source
    folder: Path
    last: float
    _number: count[int] = field(default_factory=count)

    def job(self, settings: Any, fabric: Fabric, fold: int) -> TrainJob:
        """Return the training of a fold, in a new folder."""
        folder = self.folder / f"fit{next(self._number)}"
        folder.mkdir()
        return self.costs.job(self.setup, settings, fabric, self.source, fold, folder)


def settings_of(settings: Any, stage: Stage) -> Any:
    """Return the config with all epochs in this stage, and without validation, averages and torch.compile."""
    sizes = (SizeStage(epochs=LONG, size=stage.size),) if stage.size else ()
    changes = {"epochs": LONG, "evaluate_every": 0, "average": None, "keep": "last", "compile": False, "sizes": sizes}
    changes["freeze"] = LONG - 1 if stage.frozen else 0
    return settings.model_copy(update={"train": settings.train.model_copy(update=changes)})


@dataclass(frozen=True, eq=False)
class Ran:
    """The result of a probed training.

    setup: seconds to make its parts. per_epoch: batches per epoch. seen: timed batches. worker_bytes: memory of the
    loader's workers.
    """

    job: TrainJob
    setup: float
    pace: Pace
    per_epoch: int
    seen: int
    worker_bytes: int


def run(subject: Subject, settings: Any, stage: Stage, fold: int, until: float, least: int = LEAST) -> Ran:
    """Train a fold with `engine.train.fit` in the given stage until the moment `until` of `perf_counter`."""
    began = time.perf_counter()
    changed = settings_of(settings, stage)
    job = subject.job(changed, open_fabric(changed.train.precision), fold)
    group = settings.train.accumulate
    clock = Clock(until, subject.last, max(least, 2 + group if group <= 4 else least), max(MOST, 4 * group))
    with suppress(Enough):
        fit(job, lambda row: None, clock)
    per_epoch = job.steps // LONG
    found = pace(clock.started, clock.ends, group, per_epoch)
    return Ran(job, clock.started - began, found, per_epoch, len(clock.ends), clock.worker_bytes)


def attempt(subject: Subject, settings: Any, stage: Stage, fold: int, until: float) -> Ran | None:
    """Call `run`, and return None where the training does not fit into memory."""
    try:
        return run(subject, settings, stage, fold, until)
    except (RuntimeError, MemoryError) as error:
        if not is_out_of_memory(error):
            raise
    let_go()
    return None


def let_go() -> None:
    """Free the memory of a training that has ended."""
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()


def device_peak(fabric: Fabric) -> int:
    """Return the peak bytes of tensors on the GPU; 0 without a GPU."""
    return torch.cuda.max_memory_allocated(fabric.device) if fabric.device.type == "cuda" else 0


def _bytes_of_children() -> int:
    """Return the bytes that only the loader's workers hold; pages that they share with this process do not count."""
    total = 0
    for child in psutil.Process().children(recursive=True):
        with suppress(psutil.Error):
            total += child.memory_full_info().uss
    return total


def weights_bytes(model: nn.Module) -> tuple[int, int]:
    """Return the bytes of a network's weights and statistics, and the bytes of the parameters that are trained."""
    state = sum(value.numel() * value.element_size() for value in model.state_dict().values())
    return state, sum(p.numel() * p.element_size() for p in model.parameters() if p.requires_grad)
