"""`medalist board`: every run with its score, its spread, its cost, and what it changed. Derived from files alone."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from medalist.config import differences
from medalist.runs import Run, all_runs
from medalist.stages.report import metrics_rows

COLUMNS = ("run", "OOF", "± folds", "± samples", "folds", "seconds", "against", "changed")


def board_rows(root: Path, competition: str | None = None) -> list[list[Any]]:
    """A row for each run under `root`, best score first within its contest, runs without a score last."""
    runs = [run for run in all_runs(root) if competition is None or run.competition == competition]
    scores = {run.folder: (run.scores() or {}).get("oof", {}) for run in runs}
    runs.sort(key=lambda run: (run.competition, -scores[run.folder].get("value", float("-inf")), run.name))
    return [_row(run, scores[run.folder], parent_of(run, runs)) for run in runs]


def parent_of(run: Run, runs: list[Run]) -> Run | None:
    """The run that this one is an idea on: same config file with fewer changes on the command line.

    Failing that, the contest's other run whose config differs in the fewest keys and that is older.
    """
    lock = run.lock()
    older = [
        other
        for other in runs
        if other.competition == run.competition and other.folder != run.folder and _born(other) <= _born(run)
    ]
    same = [other for other in older if other.lock().config_file == lock.config_file]
    fewer = [other for other in same if set(other.lock().overrides) < set(lock.overrides)]
    candidates = fewer or older
    return min(candidates, key=lambda other: (len(_changes(run, other)), other.name), default=None)


def _row(run: Run, oof: dict[str, Any], parent: Run | None) -> list[Any]:
    trained = run.trained_folds()
    seconds = sum(row["seconds"] for fold in trained for row in metrics_rows(run, fold))
    changes = _changes(run, parent) if parent else []
    return [
        f"{run.competition}/{run.name}",
        _figure(oof.get("value")),
        _figure(oof.get("standard_error")),
        _figure(oof.get("standard_error_samples")),
        f"{len(trained)}/{oof['folds_of']}" if oof else len(trained),
        f"{seconds:.0f}",
        parent.name if parent else "",
        ", ".join(f"{key} {old} → {new}" for key, new, old in changes),
    ]


def _changes(run: Run, parent: Run) -> list[tuple[str, Any, Any]]:
    found = differences(run.settings(), parent.settings())
    return [change for change in found if change[0] not in ("data", "tracking")]


def _born(run: Run) -> float:
    return (run.folder / "config.yaml").stat().st_mtime


def _figure(value: float | None) -> str:
    return "" if value is None else f"{value:.4f}"
