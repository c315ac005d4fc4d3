"""What kinds with gradients share: a fold's training put together, and tried on before anything is read."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from lightning_fabric import Fabric
from torch import nn
from torch.utils.data import Dataset, Sampler

from medalist.contest import Contest
from medalist.data.dataset import Item, Key
from medalist.data.loader import batches
from medalist.data.samplers import ShuffleBatchSampler
from medalist.data.settings import SampleSamplerConfig, ShuffleSampler, WeightedSampler
from medalist.engine.devices import open_fabric
from medalist.engine.job import TrainJob
from medalist.engine.optimizer import freeze
from medalist.engine.settings import TrainConfig
from medalist.engine.task import Task
from medalist.errors import RunError
from medalist.experiment import Experiment
from medalist.files import sha256_file
from medalist.folds.folds import Folds
from medalist.records import Sample
from medalist.runs.runs import Run, manifest_hash
from medalist.runs.setup import TrainSetup

if TYPE_CHECKING:
    from medalist.data.weighted_sampler import WeightedBatchSampler


@dataclass(frozen=True)
class FoldPlace:
    """Which fold of which folds, and where its files go."""

    folds: Folds
    fold: int
    folder: Path

    @classmethod
    def of(cls, setup: TrainSetup, fold: int) -> FoldPlace:
        """A fold in its run."""
        return cls(setup.folds, fold, setup.run.fold_folder(fold))

    def positions(self, samples: Sequence[Sample]) -> tuple[list[int], list[int]]:
        """Positions among `samples` of those that are trained on, and of those that are held out."""
        position = {sample.id: index for index, sample in enumerate(samples)}
        training = [position[name] for name in self.folds.training(self.fold)]
        return training, [position[name] for name in self.folds.held_out(self.fold)]


def open_devices(settings: Experiment) -> Fabric:
    """Devices, precision, and the other processes of this command; waits until all have come."""
    return open_fabric(settings.train.precision)


def to_predict(model: nn.Module, fabric: Fabric, channels_last: bool) -> nn.Module:
    """Return the network on Fabric's device, with its weights in the layout of its batches.

    Weights in another layout would be converted in each forward on a GPU.
    """
    return fabric.to_device(model.to(memory_format=torch.channels_last) if channels_last else model)


def sample_sampler(
    sampler: SampleSamplerConfig, settings: Experiment, strata: Sequence[str | None], fabric: Fabric
) -> ShuffleBatchSampler | WeightedBatchSampler:
    """The batches of training samples with these strata; ConfigError where the sampler does not fit them."""
    batch, rank, world = settings.train.batch, fabric.global_rank, fabric.world_size
    match sampler:
        case ShuffleSampler():
            return ShuffleBatchSampler(len(strata), batch, settings.seed, rank, world)
        case WeightedSampler():
            from medalist.data.weighted_sampler import WeightedBatchSampler

            return WeightedBatchSampler(strata, sampler, batch, settings.seed, rank, world)


def make_job(
    settings: Experiment,
    fabric: Fabric,
    task: Task,
    model: nn.Module,
    training: tuple[Dataset[Item], Sampler[list[Key]]],
    held_out: tuple[Dataset[Item], Sampler[list[Key]]],
    place: FoldPlace,
    names: Sequence[str],
) -> TrainJob:
    """Put a fold's training together; `names` are the sample ids by index."""
    pin = fabric.device.type == "cuda"
    return TrainJob(
        fabric=fabric,
        task=task,
        model=model,
        train=batches(*training, settings.loader.workers, pin),
        held_out=batches(*held_out, 0, pin),
        config=settings.train,
        seed=settings.seed,
        fold=place.fold,
        folder=place.folder,
        names=names,
        checkpoint=settings.checkpoint,
    )


def rehearse_network(train: TrainConfig, network: nn.Module) -> None:
    """Try on a network that will not be trained what train.* asks of it: ConfigError where it cannot."""
    if train.grad_checkpointing:
        from medalist.models.recompute import recompute

        recompute(network)
    if train.freeze:
        freeze(network)


def trained_or_refuse(run: Run) -> list[int]:
    """The trained folds; RunError where there are none."""
    trained = run.trained_folds()
    if not trained:
        raise RunError(f"{run.folder} has no trained fold; run medalist train first")
    return trained


def predicted_part(run: Run, contest: Contest, fold: int | None) -> tuple[list[int], list[Sample], tuple[str, str]]:
    """Whose networks predict which samples, and the folder and part that keep them; of None the test part by all."""
    if fold is None:
        return trained_or_refuse(run), list(contest.split.test), ("test", "test")
    held_out = set(run.folds().held_out(fold))
    return [fold], [sample for sample in contest.split.train if sample.id in held_out], ("oof", f"fold{fold}")


def made_by(run: Run, settings: Experiment, contest: Contest, folds: Sequence[int]) -> dict[str, str]:
    """What decides a prediction: the hash of each fold's weights, the way of predicting as JSON, the data's hash."""
    made = {f"fold{fold}": sha256_file(run.checkpoint(fold, settings.train.keep)) for fold in folds}
    made["predict"] = json.dumps(settings.predict.model_dump(mode="json", exclude={"batch"}), sort_keys=True)
    made["data"] = manifest_hash(contest.split)
    return made
