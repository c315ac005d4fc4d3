"""The value that describes a training whose checks have passed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from medalist.contest import Contest
from medalist.folds.folds import Folds
from medalist.runs.runs import Lock, Run

if TYPE_CHECKING:
    from medalist.models.weights import Resolved


@dataclass(frozen=True)
class TrainSetup:
    """A training whose checks have passed. Only images that cannot be read can still stop it.

    settings: the config, of its kind's own type. folds: all folds. chosen: the numbers of the folds to train. weights:
    the pretrained weights, or None where the config asks for none. run: the run's folder. lock: its provenance. files:
    the hashes of the contest's files (see `runs.contest_files`).
    """

    settings: Any
    contest: Contest
    folds: Folds
    chosen: tuple[int, ...]
    weights: Resolved | None
    run: Run
    lock: Lock
    files: Mapping[str, str] = field(default_factory=dict)

    def under(self, settings: Any) -> TrainSetup:
        """Return the same setup with other settings; probes use it to try options."""
        return replace(self, settings=settings)
