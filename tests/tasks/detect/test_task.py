"""The seeds that a loss gets: by seed, epoch and sample, also after resuming."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
import torch
from torch import Tensor

from medalist.data.loader import Batch
from medalist.data.targets import BoxTargets
from medalist.tasks.detect.decoding import Found, Limits
from medalist.tasks.detect.outputs import DenseOutputs
from medalist.tasks.detect.task import DetectTask


class Noting:
    """A criterion that keeps the seeds it gets."""

    draws = True

    def __init__(self) -> None:
        self.seeds: list[list[int]] = []

    def losses(
        self, outputs: Any, target: BoxTargets, size: tuple[int, int], normalise: Any, seeds: Sequence[int] = ()
    ) -> dict[str, Tensor]:
        self.seeds.append(list(seeds))
        return {"loss": torch.zeros(())}

    def found(self, outputs: Any, size: tuple[int, int], limits: Limits) -> list[Found]:
        return []


def batch(*indices: int) -> Batch:
    none = tuple(torch.zeros(0, 4) for _ in indices), tuple(torch.zeros(0, dtype=torch.int64) for _ in indices)
    return Batch(torch.zeros(len(indices), 3, 32, 32), BoxTargets(*none), indices, ())


def test_what_is_drawn_depends_on_seed_epoch_and_sample() -> None:
    outputs = DenseOutputs(torch.zeros(2, 1, 1), torch.zeros(2, 1, 4))

    def seeds(task: DetectTask, *indices: int) -> list[int]:
        task.loss(outputs, batch(*indices))
        found: list[int] = task.criterion.seeds[-1]  # type: ignore[attr-defined]
        return found

    task, other = (DetectTask(Noting(), Limits(0, 1, None), 1, seed) for seed in (7, 8))
    task.begin_epoch(3)
    first = seeds(task, 4, 9)
    assert seeds(task, 9, 4) == first[::-1] and len(set(first)) == 2 and all(0 <= seed < 2**63 for seed in first)
    other.begin_epoch(3)
    assert not set(seeds(other, 4, 9)) & set(first)
    resumed = DetectTask(Noting(), Limits(0, 1, None), 1, 7)
    resumed.remember({name: value.clone() for name, value in task.memory().items()})
    assert seeds(resumed, 4, 9) == first
    task.begin_epoch(4)
    assert not set(seeds(task, 4, 9)) & set(first)
    with pytest.raises(LookupError):
        resumed.remember({})
