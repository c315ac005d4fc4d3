"""Send the training curves to a tracker besides metrics.jsonl: to wandb, or to event files for tensorboard.

Both trackers log the same, and wandb logs the same offline and online: the config, each row of metrics, the use of
processors and memory when the row was logged, and how the training ended. Only process 0 opens a tracker.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, assert_never

import psutil
import torch

from medalist.reading import JSON_BYTES, read_text
from medalist.tracking.mark import Mark, read_mark, write_mark
from medalist.tracking.settings import Tracking

Log = Callable[[Mapping[str, float]], None]
"""A function that logs one row of figures; the `step` of the row is the x axis."""


@contextmanager
def tracking(
    kind: Tracking, folder: Path, competition: str, run: str, fold: int, config: Mapping[str, Any]
) -> Iterator[Log]:
    """Open the tracker of one fold, yield its `log` function, and close the tracker in every case.

    wandb: project = competition, group = run, and one wandb run for each fold; a resumed fold continues its wandb run.
    wandb is offline (files under `folder`; `wandb sync` uploads them) unless there is an API key and the server answers
    in time. tensorboard: event files in `folder/tensorboard`.

    Rows that are in metrics.jsonl but not yet in the tracker are logged first: the training was killed before they were
    logged, or the tracker was chosen later. No row is logged twice. `log` does not wait for the network. Raises
    RunError where wandb does not start at all, for example with a key that the server refuses.
    """
    if kind == "none":
        yield lambda row: None
        return
    mark = read_mark(folder, kind)
    with _opened(kind, folder, competition, run, fold, config, mark) as write:

        def keep(row: Mapping[str, float], used: Mapping[str, float]) -> None:
            nonlocal mark
            if int(row["step"]) > mark.step:
                write({**row, **used})
                mark = replace(mark, step=int(row["step"]))
                write_mark(folder, mark)

        for row in _rows_before(folder):
            keep(row, {})
        psutil.cpu_percent()  # starts the measurement, because each call gives the load since the call before
        yield lambda row: keep(row, system_use())


def _opened(
    kind: Tracking, folder: Path, competition: str, run: str, fold: int, config: Mapping[str, Any], mark: Mark
) -> AbstractContextManager[Log]:
    match kind:
        case "wandb":
            from medalist.tracking.wandb import wandb_rows  # here, so that a tracker that is not used is not imported

            return wandb_rows(
                folder, project=competition, group=run, name=f"{run}-fold{fold}", id=mark.id, config=dict(config)
            )
        case "tensorboard":
            from medalist.tracking.tensorboard import board_rows

            return board_rows(folder, config, purge_step=mark.step + 1)
        case "none":
            raise AssertionError("there is nothing to open")
        case _:
            assert_never(kind)


def system_use() -> dict[str, float]:
    """Return how much of the machine is used, by name.

    `system/processors_percent`: load of all processors since the last call, 0 to 100. `system/resident_mb`: resident
    memory of this process and its workers, in MB. `system/gpu<number>_mb`: the most memory that this process has
    reserved on each GPU so far, in MB; GPUs without any are left out.
    """
    resident = 0
    this = psutil.Process()
    for process in (this, *this.children(recursive=True)):
        try:
            resident += process.memory_info().rss
        except psutil.Error:  # the worker has just ended
            continue
    used = {"system/processors_percent": psutil.cpu_percent(), "system/resident_mb": resident / 1e6}
    for number in range(torch.cuda.device_count()):
        if most := torch.cuda.max_memory_reserved(number):
            used[f"system/gpu{number}_mb"] = most / 1e6
    return used


def _rows_before(folder: Path) -> list[dict[str, float]]:
    """Return the rows of metrics.jsonl before the first damaged row; no rows where the file does not exist."""
    rows: list[dict[str, float]] = []
    try:
        for line in read_text(folder / "metrics.jsonl", JSON_BYTES).splitlines():
            row = {str(name): float(value) for name, value in json.loads(line).items()}
            if not math.isfinite(row["step"]):
                break
            rows.append(row)
    except (OSError, ValueError, TypeError, LookupError, AttributeError):
        pass
    return rows
