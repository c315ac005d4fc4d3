"""`medalist plan`: a minute of the real training and prediction, measured, and what all of it will cost."""

from __future__ import annotations

import gc
import time
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
from medalist.runs.setup import TrainSetup

LONG = 100_000
"""Epochs of a probed training: it is left when enough was seen, and never ends by itself."""

LEAST, MOST = 4, 60
"""Batches that are looked at: at least, whatever they take, and at most."""

KEPT_AT_MOST = 1_500_000_000
"""Bytes of decoded samples that a probe keeps; further ones stand in."""


class Enough(Exception):  # noqa: N818  # no error: the probe has seen what it wanted
    """Leaves a training."""


class Clock:
    """Notes when each batch ends, and leaves the training when enough were seen or the time is up."""

    def __init__(self, until: float, last: float, least: int, most: int):
        """`until`: left then, if `least` batches were seen; `last`: then in any case, as soon as one has ended."""
        self.started, self.until, self.last, self.least, self.most = time.perf_counter(), until, last, least, most
        self.ends: list[float] = []
        self.worker_bytes = 0

    def advance(self, steps: int = 1) -> None:
        """Note the time; raises Enough."""
        now = time.perf_counter()
        self.ends += [now] * steps
        seen = len(self.ends)
        if seen >= self.most or (now > self.until and seen >= self.least) or now > self.last:
            self.worker_bytes = _bytes_of_children()
            raise Enough

    def skip(self, steps: int) -> None:
        """Nothing is counted here but what is done."""

    def say(self, text: str) -> None:
        """Nothing: nobody reads it."""


@dataclass(frozen=True, eq=False)
class Subject:
    """What is probed: a checked training, its samples (or random features in the place of those of a frozen encoder),
    and a folder for what the training writes. last: the moment of `perf_counter` at which all has to end.
    """

    setup: TrainSetup
    costs: CostModel
    source: Source
    folder: Path
    last: float
    _number: count[int] = field(default_factory=count)

    def job(self, settings: Any, fabric: Fabric, fold: int) -> TrainJob:
        """The training of a fold, in a folder of its own."""
        folder = self.folder / f"fit{next(self._number)}"
        folder.mkdir()
        return self.costs.job(self.setup, settings, fabric, self.source, fold, folder)


def settings_of(settings: Any, stage: Stage) -> Any:
    """The config of a training that is always in this stage, and never validates, averages or compiles."""
    sizes = (SizeStage(epochs=LONG, size=stage.size),) if stage.size else ()
    changes = {"epochs": LONG, "evaluate_every": 0, "average": None, "keep": "last", "compile": False, "sizes": sizes}
    changes["freeze"] = LONG - 1 if stage.frozen else 0
    return settings.model_copy(update={"train": settings.train.model_copy(update=changes)})


@dataclass(frozen=True, eq=False)
class Ran:
    """A training that was left: its job, seconds that its parts took to be made, its pace, batches an epoch, batches
    seen, and the bytes of its loader's workers.
    """

    job: TrainJob
    setup: float
    pace: Pace
    per_epoch: int
    seen: int
    worker_bytes: int


def run(subject: Subject, settings: Any, stage: Stage, fold: int, until: float, least: int = LEAST) -> Ran:
    """Train a fold by `engine.train.fit` until that moment of `perf_counter`, in the stage that is given."""
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
    """`run`, or None where it does not fit into memory."""
    try:
        return run(subject, settings, stage, fold, until)
    except (RuntimeError, MemoryError) as error:
        if not is_out_of_memory(error):
            raise
    let_go()
    return None


def let_go() -> None:
    """Give back what a training has held."""
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()


def device_peak(fabric: Fabric) -> int:
    """The most bytes of tensors on the GPU; 0 without one."""
    return torch.cuda.max_memory_allocated(fabric.device) if fabric.device.type == "cuda" else 0


def _bytes_of_children() -> int:
    """Bytes that only the loader's workers hold: pages that they share with this process do not count."""
    total = 0
    for child in psutil.Process().children(recursive=True):
        with suppress(psutil.Error):
            total += child.memory_full_info().uss
    return total


def weights_bytes(model: nn.Module) -> tuple[int, int]:
    """Bytes of a network's weights and statistics, and of the parameters that are trained."""
    state = sum(value.numel() * value.element_size() for value in model.state_dict().values())
    return state, sum(p.numel() * p.element_size() for p in model.parameters() if p.requires_grad)
