"""Where curves go besides metrics.jsonl: wandb, or event files for tensorboard.

What is logged is the same for both, and for wandb offline and online: the config, each row of metrics, what the process
used of the machine when the row came, and how the training ended. Process 0 alone opens a tracker.
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

from medalist.tracking.mark import Mark, read_mark, write_mark
from medalist.tracking.settings import Tracking

Log = Callable[[Mapping[str, float]], None]
"""Takes one row of figures; its `step` is the x axis."""


@contextmanager
def tracking(
    kind: Tracking, folder: Path, competition: str, run: str, fold: int, config: Mapping[str, Any]
) -> Iterator[Log]:
    """Open the tracker of one fold, give its `log`, and close it whatever happens.

    wandb: project = competition, group = run, one wandb run a fold, in which a resumed fold goes on; offline (files
    under `folder`, `wandb sync` uploads them) unless an API key is at hand and the server answers in time. tensorboard:
    event files in `folder/tensorboard`. Rows that metrics.jsonl has and the tracker has not (it was killed before, or
    chosen later) are logged first; a row that it has is not logged again. `log` waits for no network. RunError where
    wandb does not start at all, as with a key that the server refuses.
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
        psutil.cpu_percent()  # the load is that since the last call
        yield lambda row: keep(row, system_use())


def _opened(
    kind: Tracking, folder: Path, competition: str, run: str, fold: int, config: Mapping[str, Any], mark: Mark
) -> AbstractContextManager[Log]:
    match kind:
        case "wandb":
            from medalist.tracking.wandb import wandb_rows  # what is not asked for is not imported

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
    """What the machine is used for: the load of its processors since the last call, in percent of all of them; the
    resident memory of this process and its workers, and the most that each GPU of it ever held, in MB.
    """
    resident = 0
    this = psutil.Process()
    for process in (this, *this.children(recursive=True)):
        try:
            resident += process.memory_info().rss
        except psutil.Error:  # a worker that has just ended
            continue
    used = {"system/processors_percent": psutil.cpu_percent(), "system/resident_mb": resident / 1e6}
    for number in range(torch.cuda.device_count()):
        if most := torch.cuda.max_memory_reserved(number):
            used[f"system/gpu{number}_mb"] = most / 1e6
    return used


def _rows_before(folder: Path) -> list[dict[str, float]]:
    """The rows of metrics.jsonl up to the first that is damaged; none where it is not there."""
    rows: list[dict[str, float]] = []
    try:
        for line in (folder / "metrics.jsonl").read_text(encoding="utf-8").splitlines():
            row = {str(name): float(value) for name, value in json.loads(line).items()}
            if not math.isfinite(row["step"]):
                break
            rows.append(row)
    except (OSError, ValueError, TypeError, LookupError, AttributeError):
        pass
    return rows
