"""A training that was checked and may start."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from medalist.contest import Contest
from medalist.folds.folds import Folds
from medalist.runs.runs import Lock, Run

if TYPE_CHECKING:
    from medalist.models.weights import Resolved


@dataclass(frozen=True)
class TrainSetup:
    """What was checked; only images that cannot be read may still stop the training.

    settings: the config, of the type of its kind. chosen: the folds to train. weights: pretrained ones, None where the
    config asks for none.
    """

    settings: Any
    contest: Contest
    folds: Folds
    chosen: tuple[int, ...]
    weights: Resolved | None
    run: Run
    lock: Lock

    def under(self, settings: Any) -> TrainSetup:
        """The same with other settings, as a probe tries them."""
        return replace(self, settings=settings)
