"""The protocol of a kind's cost model: the parts of the measurements that depend on the kind of contest."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from lightning_fabric import Fabric

from medalist.engine.job import TrainJob
from medalist.planning.arithmetic import Timed
from medalist.planning.inference_cost import InferenceBatch
from medalist.planning.sampled_cache import SampledCache
from medalist.records import Sample
from medalist.reporter import Reporter
from medalist.runs.setup import TrainSetup


@dataclass(frozen=True, eq=False)
class Source:
    """The data of a probed training.

    kept: the sampled cache, or None where a training decodes nothing. data: the value for the kind's `job`. reading:
    estimated seconds to read all images. each: seconds to compute the features of one image, 0 without features.
    """

    kept: SampledCache | None
    data: Any
    reading: float
    each: float = 0.0


class CostModel(Protocol):
    """The kind's part of the measurements; the module `cost` of the kind's package implements it."""

    def source(self, setup: TrainSetup, folder: Path, until: float, reporter: Reporter) -> Source:
        """Read as many images as there is time for until the moment `until` of `perf_counter`."""
        ...

    def job(
        self, setup: TrainSetup, settings: Any, fabric: Fabric, source: Source, fold: int, folder: Path
    ) -> TrainJob:
        """Return the training of a fold with these settings, whose files are in `folder`."""
        ...

    def passes(self, settings: Any, folds: int) -> int:
        """Return the number of forward passes that the test part needs for each view with `folds` folds."""
        ...

    def copies(self, settings: Any, folds: int) -> int:
        """Return how many predictions of the test part are kept on disk: one, or one for each fold."""
        ...

    def batches(self, samples: list[Sample], settings: Any) -> list[InferenceBatch]:
        """Return the batches in which these samples are predicted."""
        ...

    def predicted(self, setup: TrainSetup, fold: int | None) -> list[list[Sample]]:
        """Return the samples of a fold's OOF part, or of the test part for None; lists do not share batches."""
        ...

    def computed(self, setup: TrainSetup, fold: int | None) -> list[InferenceBatch]:
        """Return the batches of `predicted`, without those whose outputs the training has already kept."""
        ...

    def time_predictions(
        self, setup: TrainSetup, settings: Any, job: TrainJob, folder: Path, each: float, fold: int, until: float
    ) -> tuple[list[Timed], float]:
        """Return timed batches of the prediction of a fold's OOF part, and the bytes on disk for a predicted pixel."""
        ...

    def again(self, setup: TrainSetup, settings: Any, job: TrainJob, fold: int, before: Timed) -> float:
        """Predict a timed batch again with other settings, and return its time divided by the time `before`."""
        ...


def predicted_batches(costs: CostModel, setup: TrainSetup, settings: Any, fold: int | None) -> list[InferenceBatch]:
    """Return the batches in which a fold's OOF part is predicted, or the test part where `fold` is None."""
    return [one for part in costs.predicted(setup, fold) for one in costs.batches(part, settings)]
