"""All inputs of one training, as one value."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import cast

from lightning_fabric import Fabric
from torch import nn
from torch.utils.data import DataLoader

from medalist.data.loader import Batch
from medalist.data.samplers import TrainBatchSampler
from medalist.engine.mining import fed
from medalist.engine.settings import CheckpointConfig, TrainConfig
from medalist.engine.task import Task


@dataclass(frozen=True, eq=False)
class TrainJob:
    """All inputs of one training.

    names: the sample ids by index, for error messages. note: texts that are written into the files of weights, such as
    the fold, so that a file says whose weights it holds. epoch: the epoch, counted from 0, whose loss is inspected; a
    training runs through all epochs.
    """

    fabric: Fabric
    task: Task
    model: nn.Module
    train: DataLoader[Batch]
    held_out: DataLoader[Batch]
    config: TrainConfig
    seed: int
    fold: int
    folder: Path
    names: Sequence[str]
    checkpoint: CheckpointConfig = field(default_factory=CheckpointConfig)
    note: Mapping[str, str] = field(default_factory=dict)
    epoch: int = 0

    @property
    def title(self) -> str:
        """The name of the job in messages."""
        return f"fold {self.fold}"

    @property
    def batches(self) -> int:
        """The number of batches of one epoch on this process, repeated hard batches included."""
        return fed(len(self.train), self.config.hard)

    @property
    def steps(self) -> int:
        """The number of batches of the whole training on this process."""
        return self.config.epochs * self.batches

    @property
    def sampler(self) -> TrainBatchSampler:
        """The batch sampler of the training part. Its `epoch` must be set before it is iterated."""
        return cast("TrainBatchSampler", self.train.batch_sampler)
