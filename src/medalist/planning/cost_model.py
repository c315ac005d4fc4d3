"""What a kind with gradients says of its costs: the parts of a probe that depend on it."""

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
    """What a probed training reads from.

    kept: the sampled cache, None where nothing is decoded in a training. data: what the kind's `job` takes. reading:
    seconds of reading all. each: seconds of the features of one image, 0 where there are none.
    """

    kept: SampledCache | None
    data: Any
    reading: float
    each: float = 0.0


class CostModel(Protocol):
    """The kind's side of a probe; a module `cost` of the kind's package."""

    def source(self, setup: TrainSetup, folder: Path, until: float, reporter: Reporter) -> Source:
        """Read as much as there is time for until that moment of `perf_counter`."""
        ...

    def job(
        self, setup: TrainSetup, settings: Any, fabric: Fabric, source: Source, fold: int, folder: Path
    ) -> TrainJob:
        """The training of a fold under these settings, with its files in a folder of its own."""
        ...

    def passes(self, settings: Any, folds: int) -> int:
        """Forward passes that the test part needs for each view."""
        ...

    def copies(self, settings: Any, folds: int) -> int:
        """How many folds' predictions of the test part lie side by side on disk."""
        ...

    def batches(self, samples: list[Sample], settings: Any) -> list[InferenceBatch]:
        """The batches in which these samples are predicted."""
        ...

    def predicted(self, setup: TrainSetup, fold: int | None) -> list[list[Sample]]:
        """The samples of a fold's OOF part, or of the test part where that is None, each list in batches of its own."""
        ...

    def computed(self, setup: TrainSetup, fold: int | None) -> list[InferenceBatch]:
        """The batches of `predicted`, without those whose outputs are kept from the training."""
        ...

    def time_predictions(
        self, setup: TrainSetup, settings: Any, job: TrainJob, folder: Path, each: float, fold: int, until: float
    ) -> tuple[list[Timed], float]:
        """Time prediction of batches of a fold's OOF part; and bytes on disk of a pixel that is predicted."""
        ...

    def again(self, setup: TrainSetup, settings: Any, job: TrainJob, fold: int, before: Timed) -> float:
        """What prediction takes under other settings, as a share of what it took before; on a batch that was timed."""
        ...


def predicted_batches(costs: CostModel, setup: TrainSetup, settings: Any, fold: int | None) -> list[InferenceBatch]:
    """The batches in which a fold's OOF part is predicted, or the test part where that is None."""
    return [one for part in costs.predicted(setup, fold) for one in costs.batches(part, settings)]
