"""The expected cost of a training, and the error of that expectation afterwards. This module needs no torch.

runs/<competition>/<run>/plan.json    the result of `medalist plan`; the board and the end of a training read it
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
"""The parts of the time. Images are read once for all folds, and the test part is predicted with all folds at once."""

BY_FOLD = ("training", "validation", "oof")
"""The parts that each fold has of its own; `cost.json` holds the seconds that they took."""


@dataclass(frozen=True)
class PlanRequest:
    """The request for a plan.

    processes: processes for each fold. folds_at_once: folds that train at the same time. seconds: the time that the
    measurements may take.
    """

    processes: int = 1
    folds_at_once: int = 1
    seconds: float = 60.0


@dataclass(frozen=True)
class Option:
    """A change of the config, and its effect on the plan.

    change: the overrides to type. seconds: seconds of the whole plan with the change, or None where it could not be
    measured. changes: whether weights and predictions change. note: why there is no figure, or a warning.
    """

    change: str
    seconds: float | None
    changes: bool
    note: str = ""

    def gain(self, whole: float) -> float:
        """Return the share of the plan's time `whole` that the change saves; negative where it takes longer."""
        assert self.seconds is not None
        return 1 - self.seconds / whole if whole else 0.0


def sorted_options(options: Sequence[Option]) -> list[Option]:
    """Return the options sorted by seconds, the fastest first, and those without a figure last."""
    return sorted(options, key=lambda option: (option.seconds is None, option.seconds or 0.0, option.change))


@dataclass(frozen=True)
class Share:
    """What a part of the time is spent on, its seconds over all folds, and what to type to make it smaller."""

    what: str
    seconds: float
    change: str


@dataclass(frozen=True)
class Plan:
    """The expected cost of a training.

    seconds: seconds by part (PARTS), over all folds. by_fold: seconds by fold and part (BY_FOLD). wall: seconds until
    the queue's last fold is done and the test part is predicted. compute: seconds of processors or GPUs, summed over
    all processes. disk: bytes of `checkpoints` and `predictions`. measured: the figures of the measurements. notes:
    sentences about what was not measured. probe_seconds: the time that the measurements took. shares: what the time is
    spent on, the largest first.
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
    shares: tuple[Share, ...] = ()

    @property
    def whole(self) -> float:
        """Seconds of all parts, if they run one after the other."""
        return sum(self.seconds.values())


def write_plan(run: Run, plan: Plan) -> None:
    """Write `plan.json`, whole or not at all. Raises ValueError where a figure is not finite."""
    write_json(run.folder / "plan.json", asdict(plan))


def planned(run: Run, config: str) -> dict[int, float] | None:
    """Return the planned seconds of each fold (training, validation and OOF together) of a run.

    config: the config's hash. Returns None where there is no plan, or the plan is of another config. Raises RunError
    where the file is damaged.
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
    """Return the seconds that a fold took to train and to predict, or None before they were written.

    Raises RunError where `cost.json` is damaged.
    """
    cost = read_cost(run, fold)
    if cost is None:
        return None
    try:
        return _seconds(cost.train_seconds) + _seconds(cost.oof_seconds)
    except ValueError:
        path = run.fold_folder(fold) / "cost.json"
        raise RunError(f"{path} is damaged; delete it: it only records the cost of the fold") from None


def _named(parts: Mapping[str, Any], name: str) -> object:
    """Return a part of a fold's plan. Older plans have validation under the name `looks`."""
    return parts["looks"] if name == "validation" and name not in parts else parts[name]


def _seconds(value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < math.inf:
        raise ValueError(value)
    return float(value)


@dataclass(frozen=True)
class PlanError:
    """The planned seconds, and the seconds taken, summed over the folds that are done."""

    planned: float
    took: float

    @property
    def off(self) -> float:
        """The extra time as a share of the planned time; negative where the training was faster."""
        return self.took / self.planned - 1 if self.planned else 0.0

    @property
    def percent(self) -> str:
        """`off` as text, for instance +6 %."""
        return f"{100 * self.off:+.0f} %"

    def __str__(self) -> str:
        return f"planned {short_clock(self.planned)}, took {short_clock(self.took)} ({self.percent})"


def plan_error(run: Run) -> PlanError | None:
    """Return the error of a run's plan over the folds that were planned and are done; None where there are none.

    Raises RunError where `plan.json`, `lock.json` or a `cost.json` is damaged.
    """
    by_fold = planned(run, run.lock().config)
    if by_fold is None:
        return None
    taken = {fold: seconds for fold in by_fold if (seconds := took(run, fold)) is not None}
    return PlanError(sum(by_fold[fold] for fold in taken), sum(taken.values())) if taken else None


def clock(seconds: float) -> str:
    """Return seconds as h:mm:ss."""
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes // 60}:{minutes % 60:02}:{rest:02}"


def short_clock(seconds: float) -> str:
    """Return seconds as m:ss below an hour, and as h:mm:ss from an hour on."""
    return clock(seconds) if seconds >= 3599.5 else "{}:{:02}".format(*divmod(round(seconds), 60))


def in_bytes(count: float) -> str:
    """Return bytes as text: in MB below 1 GB (10^9 bytes), and in GB from there on."""
    return f"{count / 1e9:.2f} GB" if count >= 1e9 else f"{count / 1e6:.0f} MB"
