"""Where a training stands, how that becomes a state on disk, and how it goes on from there."""

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

Row = dict[str, float]

APART_SECONDS = 10.0
"""The end of an epoch writes a state only so long after the last one: short epochs would do little else."""


@dataclass(eq=False)
class LoopState:
    """Where a training stands.

    rows: the epochs that have ended. best: the lowest held-out loss. done: batches of the present epoch that are
    behind, where no gradient is pending; sums: of their losses; seconds: that they took.
    """

    rows: list[Row] = field(default_factory=list)
    best: float = math.inf
    done: int = 0
    sums: dict[str, Tensor] = field(default_factory=dict)
    seconds: float = 0.0

    @property
    def epoch(self) -> int:
        """The present epoch, from 0."""
        return len(self.rows)


@dataclass(frozen=True, eq=False)
class Parts:
    """What a training changes."""

    fabric: Fabric
    task: Task
    model: nn.Module
    average: ModelEmaV3 | None
    optimizer: Optimizer


def to_state(parts: Parts, loop: LoopState, batches: int) -> SavedState:
    """The state after so many batches since the start; its tensors are those in use, not copies."""
    tensors = {f"model/{name}": value for name, value in parts.model.state_dict().items()}
    if parts.average:
        tensors |= {f"average/{name}": value for name, value in parts.average.module.state_dict().items()}
    tensors |= {f"optimizer/{name}": value for name, value in optimizer_tensors(parts.model, parts.optimizer).items()}
    tensors |= {f"memory/{name}": value for name, value in parts.task.memory().items()}
    tensors |= {f"sums/{name}": value for name, value in loop.sums.items()}
    values = {
        "rows": loop.rows,
        # JSON has no word for infinity.
        "best": loop.best if math.isfinite(loop.best) else None,
        "parts": list(loop.sums),  # in their order, which tensors in a file do not keep
        "done": loop.done,
        "seconds": loop.seconds,
        "precision": parts.fabric.strategy.precision.state_dict(),
        "processes": parts.fabric.world_size,
    }
    return SavedState(batches, tensors, values)


def find_state(folder: Path, processes: int) -> tuple[SavedState | None, list[str]]:
    """The state to go on from, and a line for each damaged one; RunError where it was made by other processes."""
    state, damaged = load_state(folder)
    made_by = 1 if state is None else state.values.get("processes")
    if state is not None and made_by != processes:
        raise RunError(
            f"{states(folder)[len(damaged)]} was made by {made_by} processes, and these are {processes}; go on with "
            f"--devices {made_by}, or delete it to train this fold from its start"
        )
    return state, damaged


def restored_loop(state: SavedState, path: Path, fabric: Fabric, batches: int) -> LoopState:
    """Where the training stood, of `batches` an epoch; RunError where the state is of another training."""
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
    """Set weights, average, optimiser, scaler and the loss's memory; RunError where they are of another training."""
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
    return RunError(f"state {path} is of another training ({reason}); delete it to train this fold from its start")


@dataclass(eq=False)
class CheckpointPolicy:
    """When a state is due: after so many steps of the optimiser, or after so many minutes."""

    config: CheckpointConfig
    _steps: int = 0
    _saved: float = field(default_factory=time.monotonic)

    def step(self) -> bool:
        """Count a step; whether a state is due after it. One that is not written stays due."""
        self._steps += 1
        steps, minutes = self.config.steps, self.config.minutes
        late = minutes and time.monotonic() - self._saved >= 60 * minutes
        return bool((steps and self._steps >= steps) or late)

    def epoch(self) -> bool:
        """Whether the end of an epoch is worth a state."""
        return bool(self.config.steps) or time.monotonic() - self._saved >= APART_SECONDS

    def saved(self) -> None:
        """Begin to count anew."""
        self._steps, self._saved = 0, time.monotonic()


def save(saver: Saver, policy: CheckpointPolicy, parts: Parts, loop: LoopState, batches: int) -> None:
    """Begin to write the state; only the first process does."""
    if parts.fabric.is_global_zero:
        saver.save(to_state(parts, loop, batches))
    policy.saved()
