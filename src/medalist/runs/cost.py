"""The time and memory that the training of a fold took, stored beside its weights. This module needs no torch."""

from __future__ import annotations

import json
from contextlib import suppress
from dataclasses import asdict, dataclass, fields
from pathlib import Path

from medalist.errors import RunError
from medalist.files import read_json, write_json
from medalist.runs.runs import Run
from medalist.system import peak_memory


@dataclass(frozen=True)
class Cost:
    """The time and memory that one fold took.

    train_seconds: seconds of training, also those before an interruption. oof_seconds: seconds to predict the held-out
    samples. host_bytes, device_bytes: peak memory of the first process and of its GPU (0 without a GPU). processes:
    the number of processes that trained the fold.
    """

    train_seconds: float
    oof_seconds: float
    host_bytes: int
    device_bytes: int
    processes: int


def write_cost(run: Run, fold: int, oof_seconds: float, device_bytes: int, processes: int) -> None:
    """Write `cost.json` of a fold that this process has just trained and predicted."""
    lines = (run.fold_folder(fold) / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
    train_seconds = sum(float(json.loads(line)["seconds"]) for line in lines)
    cost = Cost(round(train_seconds, 3), round(oof_seconds, 3), peak_memory(), device_bytes, processes)
    write_json(run.fold_folder(fold) / "cost.json", asdict(cost))


def forget_peak() -> int:
    """Reset `peak_memory` where the system can do it (Linux), and return the bytes in use now."""
    with suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")
    import psutil  # imported here, because the board does not need it

    return int(psutil.Process().memory_info().rss)


def read_cost(run: Run, fold: int) -> Cost | None:
    """Return the cost of a fold, or None before it was written. Raises RunError where the file is damaged."""
    path = run.fold_folder(fold) / "cost.json"
    if not path.exists():
        return None
    try:
        value = read_json(path)
        return Cost(**{one.name: value[one.name] for one in fields(Cost)})
    except (TypeError, KeyError):
        raise RunError(f"{path} is damaged; delete it: it only records the cost of the fold") from None
