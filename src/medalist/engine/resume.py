"""How far a training is, how a state of it is written to disk, and how the training resumes from the state."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lightning_fabric import Fabric
from timm.utils.model_ema import ModelEmaV3
from torch import Tensor, nn
from torch.optim import Optimizer

from medalist.engine.checkpoint import SavedState, Saver, load_optimizer, load_state, optimizer_tensors, states
from medalist.engine.settings import CheckpointConfig
from medalist.engine.task import Task
from medalist.errors import RunError
from medalist.reporter import Progress

Row = dict[str, float]

APART_SECONDS = 10.0
"""At the end of an epoch a state is written only if the last state is at least this old, because writing would
otherwise take most of the time of short epochs."""


@dataclass(eq=False)
class LoopState:
    """How far a training is.

    rows: one row of figures for each epoch that has ended. best: the lowest held-out loss so far. The other three
    belong to the present epoch, up to a batch after which no gradient was pending. done: the number of batches. sums:
    the sums of their losses, by name. seconds: the time that they took.
    """

    rows: list[Row] = field(default_factory=list)
    best: float = math.inf
    done: int = 0
    sums: dict[str, Tensor] = field(default_factory=dict)
    seconds: float = 0.0

    @property
    def epoch(self) -> int:
        """The number of the present epoch, from 0."""
        return len(self.rows)

    def skip_done(self, title: str, batches: int, progress: Progress) -> None:
        """Take the steps before this state off the progress, and say where a resumed training begins again.

        batches: the batches of an epoch.
        """
        done = self.epoch * batches + self.done
        progress.skip(done)
        if done:
            progress.say(f"{title}: resumes at step {done}, in epoch {self.epoch + 1}")


@dataclass(frozen=True, eq=False)
class Parts:
    """The objects that a training changes, and Fabric."""

    fabric: Fabric
    task: Task
    model: nn.Module
    average: ModelEmaV3 | None
    optimizer: Optimizer


def to_state(parts: Parts, loop: LoopState, batches: int) -> SavedState:
    """Return the state after `batches` batches since the start; its tensors are those in use, not copies."""
    tensors = {f"model/{name}": value for name, value in parts.model.state_dict().items()}
    if parts.average:
        tensors |= {f"average/{name}": value for name, value in parts.average.module.state_dict().items()}
    tensors |= {f"optimizer/{name}": value for name, value in optimizer_tensors(parts.model, parts.optimizer).items()}
    tensors |= {f"memory/{name}": value for name, value in parts.task.memory().items()}
    tensors |= {f"sums/{name}": value for name, value in loop.sums.items()}
    values = {
        "rows": loop.rows,
        # JSON cannot hold infinity.
        "best": loop.best if math.isfinite(loop.best) else None,
        "parts": list(loop.sums),  # keeps the order of the sums, because a safetensors file does not
        "done": loop.done,
        "seconds": loop.seconds,
        "precision": parts.fabric.strategy.precision.state_dict(),
        "processes": parts.fabric.world_size,
    }
    return SavedState(batches, tensors, values)


def find_state(folder: Path, processes: int) -> tuple[SavedState | None, list[str]]:
    """Return the state to resume from (None: start), and a line for each damaged state.

    Raises RunError where the state was made by another number of processes than `processes`.
    """
    state, damaged = load_state(folder)
    made_by = 1 if state is None else state.values.get("processes")
    if state is not None and made_by != processes:
        raise RunError(
            f"{states(folder)[len(damaged)]} was written by {made_by} processes, but this training has {processes}; "
            f"resume with --devices {made_by}, or delete the file to train this fold from the beginning"
        )
    return state, damaged


def restored_loop(state: SavedState, path: Path, fabric: Fabric, batches: int) -> LoopState:
    """Return how far the training was. `batches` is the number of batches of an epoch.

    Raises RunError where the state belongs to another training.
    """
    try:
        values = state.values
        rows = [{str(name): float(value) for name, value in row.items()} for row in values["rows"]]
        best = math.inf if values["best"] is None else float(values["best"])
        kept = state.part("sums")
        sums = {name: kept[name].to(fabric.device) for name in values["parts"]}
        done = int(values["done"])
        if not 0 <= done < batches:
            raise ValueError(f"{done} of {batches} batches")
        return LoopState(rows, best, done, sums, float(values["seconds"]))
    except (LookupError, ValueError, TypeError, AttributeError, OverflowError) as error:
        raise _other_training(path, error) from None


def restore(state: SavedState, path: Path, parts: Parts) -> None:
    """Set weights, average, optimiser, gradient scaler and the memory of the loss from a state.

    Raises RunError where the state belongs to another training.
    """
    try:
        parts.model.load_state_dict(state.part("model"))
        load_optimizer(parts.model, parts.optimizer, state.part("optimizer"))
        if parts.average:
            parts.average.module.load_state_dict(state.part("average"))
        parts.fabric.strategy.precision.load_state_dict(_mapping(state.values["precision"]))
        parts.task.remember(state.part("memory"))
    except (RuntimeError, LookupError, ValueError, TypeError, AttributeError) as error:
        raise _other_training(path, error) from None


def _mapping(value: Any) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise TypeError("the scaler's state is no mapping")
    return value


def _other_training(path: Path, error: Exception) -> RunError:
    reason = " ".join(str(error).split())[:120]
    return RunError(f"state {path} belongs to another training ({reason}); delete it to train this fold again")


@dataclass(eq=False)
class CheckpointPolicy:
    """Decides when a state is due: after a number of steps of the optimiser, or after a number of minutes."""

    config: CheckpointConfig
    _steps: int = 0
    _saved: float = field(default_factory=time.monotonic)

    def step(self) -> bool:
        """Count a step, and return whether a state is due. The state stays due until `saved` is called."""
        self._steps += 1
        steps, minutes = self.config.steps, self.config.minutes
        late = minutes and time.monotonic() - self._saved >= 60 * minutes
        return bool((steps and self._steps >= steps) or late)

    def epoch(self) -> bool:
        """Whether a state is written at the end of an epoch."""
        return bool(self.config.steps) or time.monotonic() - self._saved >= APART_SECONDS

    def saved(self) -> None:
        """Start to count again, because a state is written."""
        self._steps, self._saved = 0, time.monotonic()


def save(saver: Saver, policy: CheckpointPolicy, parts: Parts, loop: LoopState, batches: int) -> None:
    """Begin to write the state in the first process; the other processes write nothing."""
    if parts.fabric.is_global_zero:
        saver.save(to_state(parts, loop, batches))
    policy.saved()
