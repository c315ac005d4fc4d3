"""What the training of a fold has cost, kept beside its weights; torch-free."""

from __future__ import annotations

import json
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path

from medalist.errors import RunError
from medalist.files import read_json, write_json
from medalist.runs.runs import Run
from medalist.system import peak_memory


@dataclass(frozen=True)
class Cost:
    """What one fold has cost.

    Seconds of training (with those before an interruption) and of predicting what was held out; bytes at the peak of
    the first process and of its device (0 where that is the processor); processes that worked on it.
    """

    train_seconds: float
    oof_seconds: float
    host_bytes: int
    device_bytes: int
    processes: int


def write_cost(run: Run, fold: int, oof_seconds: float, device_bytes: int, processes: int) -> None:
    """Write `cost.json` of a fold whose training has just ended in this process."""
    lines = (run.fold_folder(fold) / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
    train_seconds = sum(float(json.loads(line)["seconds"]) for line in lines)
    cost = Cost(round(train_seconds, 3), round(oof_seconds, 3), peak_memory(), device_bytes, processes)
    write_json(run.fold_folder(fold) / "cost.json", asdict(cost))


def forget_peak() -> int:
    """Let `peak_memory` begin anew, where the system can (Linux); returns the bytes in use now."""
    with suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")
    import psutil  # the board does without

    return int(psutil.Process().memory_info().rss)


def read_cost(run: Run, fold: int) -> Cost | None:
    """What a fold has cost, None where that was not written; RunError where the file is damaged."""
    path = run.fold_folder(fold) / "cost.json"
    if not path.exists():
        return None
    try:
        return Cost(**read_json(path))
    except TypeError:
        raise RunError(f"{path} is damaged; delete it, it only says what the fold has cost") from None
