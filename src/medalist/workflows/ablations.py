"""Each run of a contest beside the run that it is an idea on, and what the idea gained."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from medalist.config import differences
from medalist.report.charts import finite_values
from medalist.workflows.board import WORDLESS, Entry, parent_of


@dataclass(frozen=True)
class Ablation:
    """A run of the contest beside the run that it is compared with.

    gain: its OOF score minus that of `against`; None where one has no score or their folds differ. error: the larger of
    their standard errors over samples, None where unknown. They share folds and samples, so the error of the gain
    itself is usually smaller.
    """

    entry: Entry
    against: str
    changes: tuple[str, ...]
    gain: float | None
    error: float | None

    @property
    def verdict(self) -> str:
        """What the gain says, in words."""
        if self.gain is None:
            return "not compared"
        if self.error is not None and abs(self.gain) < self.error:
            return "within the error"
        return "better" if self.gain > 0 else "worse" if self.gain < 0 else "the same"


def ablations(entries: Sequence[Entry]) -> list[Ablation]:
    """Return each run beside the one that the board compares it with, the best score first."""
    made = []
    for entry in entries:
        parent = parent_of(entry, entries)
        if parent is None:
            made.append(Ablation(entry, "", (), None, None))
            continue
        found = [one for one in differences(entry.settings, parent.settings) if one[0] not in WORDLESS]
        value, before = entry.oof.get("value"), parent.oof.get("value")
        same = entry.lock.folds == parent.lock.folds and set(_folds(entry)) == set(_folds(parent))
        errors = finite_values(one.oof.get("standard_error_samples") for one in (entry, parent))
        gain = value - before if same and value is not None and before is not None else None
        changes = tuple(f"{key}: {old} → {new}" for key, new, old in found)
        made.append(Ablation(entry, parent.run.name, changes, gain, max(errors, default=None)))
    return sorted(made, key=lambda one: (-one.entry.oof.get("value", float("-inf")), one.entry.run.name))


def _folds(entry: Entry) -> Sequence[str]:
    return tuple(entry.oof.get("folds", ()))
