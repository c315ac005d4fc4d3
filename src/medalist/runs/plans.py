"""What a training is expected to cost; and how far off that was in the end. Torch-free.

runs/<competition>/<run>/plan.json    what `medalist plan` found; the board and the end of a training read it
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from medalist.errors import RunError
from medalist.files import read_json, write_json
from medalist.runs.cost import read_cost
from medalist.runs.runs import Run

PARTS = ("reading", "training", "validation", "oof", "test")
"""What time goes to: images are read once for all folds, the test part is predicted by all of them at once."""

BY_FOLD = ("training", "validation", "oof")
"""Parts that each fold has for itself; `cost.json` holds what they took."""


@dataclass(frozen=True)
class PlanRequest:
    """What a plan is asked for: so many processes to a fold, so many folds at a time, and the seconds it may take."""

    processes: int = 1
    folds_at_once: int = 1
    seconds: float = 60.0


@dataclass(frozen=True)
class Option:
    """Another way to train: seconds of the whole plan with it, None where it could not be measured.

    changes: whether weights and predictions become others. note: why there is no figure, or what to mind.
    """

    change: str
    seconds: float | None
    changes: bool
    note: str = ""

    def gain(self, whole: float) -> float:
        """Share of the plan's time that it saves; below 0 where it takes longer."""
        assert self.seconds is not None
        return 1 - self.seconds / whole if whole else 0.0


def sorted_options(options: Sequence[Option]) -> list[Option]:
    """The fastest first, those without a figure last."""
    return sorted(options, key=lambda option: (option.seconds is None, option.seconds or 0.0, option.change))


@dataclass(frozen=True)
class Plan:
    """What a training is expected to cost.

    seconds: by part, over all folds. by_fold: of each fold, by the parts it has for itself. compute: seconds of
    processors or GPUs over all processes; wall: until the queue's last fold is done and the test part is predicted.
    disk: bytes of `checkpoints` and `predictions`. measured: the probe's figures. notes: what was not measured, in
    words.
    """

    config: str
    date: str
    machine: Mapping[str, Any]
    folds: tuple[int, ...]
    processes: int
    folds_at_once: int
    seconds: Mapping[str, float]
    by_fold: Mapping[str, Mapping[str, float]]
    wall: float
    compute: float
    host_bytes: int
    device_bytes: int
    disk: Mapping[str, int]
    options: tuple[Option, ...]
    measured: Mapping[str, Any]
    notes: tuple[str, ...]
    probe_seconds: float

    @property
    def whole(self) -> float:
        """Seconds of all parts, one after the other."""
        return sum(self.seconds.values())


def write_plan(run: Run, plan: Plan) -> None:
    """Write `plan.json`, whole or not at all; figures that are not finite raise ValueError."""
    write_json(run.folder / "plan.json", asdict(plan))


def planned(run: Run, config: str) -> dict[int, float] | None:
    """Seconds planned for each fold (training, validation, OOF) of a run of the config with this hash.

    None where there is no plan, or one of another config. RunError where the file is damaged.
    """
    path = run.folder / "plan.json"
    if not path.exists():
        return None
    try:
        value = read_json(path)
        if not isinstance(value["config"], str):
            raise TypeError(value["config"])
        found = {
            int(fold): sum(_seconds(_named(parts, name)) for name in BY_FOLD)
            for fold, parts in value["by_fold"].items()
        }
    except (LookupError, TypeError, ValueError, AttributeError):
        raise RunError(f"{path} is damaged; delete it, or run medalist plan again") from None
    return found if value["config"] == config else None


def took(run: Run, fold: int) -> float | None:
    """Seconds that a fold took to train and to predict; None before that was written. RunError where it is damaged."""
    cost = read_cost(run, fold)
    if cost is None:
        return None
    try:
        return _seconds(cost.train_seconds) + _seconds(cost.oof_seconds)
    except ValueError:
        path = run.fold_folder(fold) / "cost.json"
        raise RunError(f"{path} is damaged; delete it, it only says what the fold has cost") from None


def _named(parts: Mapping[str, Any], name: str) -> object:
    """A part of a fold's plan; older plans call validation `looks`."""
    return parts["looks"] if name == "validation" and name not in parts else parts[name]


def _seconds(value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < math.inf:
        raise ValueError(value)
    return float(value)


@dataclass(frozen=True)
class PlanError:
    """Seconds planned, and taken, over the folds that are done."""

    planned: float
    took: float

    @property
    def off(self) -> float:
        """How much longer it took, as a share of what was planned; below 0 where it was faster."""
        return self.took / self.planned - 1 if self.planned else 0.0

    @property
    def percent(self) -> str:
        """`off` in words: +6 %."""
        return f"{100 * self.off:+.0f} %"

    def __str__(self) -> str:
        return f"planned {short_clock(self.planned)}, took {short_clock(self.took)} ({self.percent})"


def plan_error(run: Run) -> PlanError | None:
    """How far a run's plan was off, over its folds that were planned and are done; None where there are none.

    RunError where `plan.json`, `lock.json` or a `cost.json` is damaged.
    """
    by_fold = planned(run, run.lock().config)
    if by_fold is None:
        return None
    taken = {fold: seconds for fold in by_fold if (seconds := took(run, fold)) is not None}
    return PlanError(sum(by_fold[fold] for fold in taken), sum(taken.values())) if taken else None


def clock(seconds: float) -> str:
    """h:mm:ss."""
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes // 60}:{minutes % 60:02}:{rest:02}"


def short_clock(seconds: float) -> str:
    """m:ss below an hour, else h:mm:ss."""
    return clock(seconds) if seconds >= 3599.5 else "{}:{:02}".format(*divmod(round(seconds), 60))


def in_bytes(count: float) -> str:
    """Megabytes, or gigabytes from one on."""
    return f"{count / 1e9:.2f} GB" if count >= 1e9 else f"{count / 1e6:.0f} MB"
