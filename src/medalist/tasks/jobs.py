"""Functions that the kinds with gradients share: make the training of a fold, rehearse it, and find what to predict."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from lightning_fabric import Fabric
from torch import nn
from torch.utils.data import Dataset, Sampler

from medalist.contest import Contest
from medalist.data.items import Item, Key
from medalist.data.loader import batches
from medalist.data.samplers import ShuffleBatchSampler, TrainBatchSampler
from medalist.data.settings import SampleSamplerConfig, ShuffleSampler, WeightedSampler
from medalist.engine.devices import open_fabric
from medalist.engine.job import TrainJob
from medalist.engine.lone_batch import refuse_lone, smallest_batch
from medalist.engine.optimizer import freeze
from medalist.engine.settings import TrainConfig
from medalist.engine.task import Task
from medalist.errors import RunError
from medalist.experiment import Experiment
from medalist.folds.folds import Folds
from medalist.parts import NO_PARTS, OwnParts, parts_of
from medalist.records import Sample
from medalist.runs.fold_weights import note_of, weights_hash
from medalist.runs.runs import Run, manifest_hash, said_section
from medalist.runs.setup import TrainSetup

if TYPE_CHECKING:
    from medalist.data.weighted_sampler import WeightedBatchSampler


@dataclass(frozen=True)
class FoldPlace:
    """One fold of a run.

    folds: all folds. fold: the number of the fold. folder: the folder for the fold's files. note: what its weights say
    of themselves. own: the parts of the contest's folder.
    """

    folds: Folds
    fold: int
    folder: Path
    note: Mapping[str, str] = field(default_factory=dict)
    own: OwnParts = NO_PARTS

    @classmethod
    def of(cls, setup: TrainSetup, fold: int) -> FoldPlace:
        """Return the place of a fold in the run of `setup`."""
        own = parts_of(setup.contest.competition)
        return cls(setup.folds, fold, setup.run.fold_folder(fold), note_of(fold, setup.lock), own)

    def positions(self, samples: Sequence[Sample]) -> tuple[list[int], list[int]]:
        """Return the positions in `samples` of the fold's training samples and of its held-out samples."""
        position = {sample.id: index for index, sample in enumerate(samples)}
        training = [position[name] for name in self.folds.training(self.fold)]
        return training, [position[name] for name in self.folds.held_out(self.fold)]


def open_devices(settings: Experiment) -> Fabric:
    """Open this process's device with the config's precision; wait until all processes of the command have joined."""
    return open_fabric(settings.train.precision)


def sample_sampler(
    sampler: SampleSamplerConfig, settings: Experiment, strata: Sequence[str | None], fabric: Fabric
) -> ShuffleBatchSampler | WeightedBatchSampler:
    """Return the batch sampler of a config. strata: of the training samples, in the order of the dataset.

    Raises ConfigError where the sampler does not fit the samples.
    """
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
    """Make the training of a fold.

    training, held_out: each a dataset and its batch sampler. names: the sample ids by index.
    """
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
        note=place.note,
    )


def rehearse_network(
    train: TrainConfig,
    network: nn.Module,
    samplers: Sequence[TrainBatchSampler] = (),
    world: int = 1,
    shape: Sequence[int] = (),
) -> None:
    """Apply grad_checkpointing and freeze of the config to a network that will not be trained, and try small batches.

    samplers: of the folds. world: the number of processes. shape: of one sample, [C, h, w] or [C], as the network gets
    it. Raises ConfigError where the network does not support the config, or cannot be trained on a batch of one sample
    and would get one.
    """
    smallest = min(samplers, key=smallest_batch, default=None)
    if smallest is not None:
        refuse_lone(train, network, smallest_batch(smallest), world, shape, smallest.setting)
    if train.grad_checkpointing:
        from medalist.models.recompute import recompute

        recompute(network)
    if train.freeze:
        freeze(network)


def trained_or_refuse(run: Run) -> list[int]:
    """Return the trained folds. Raises RunError where there are none."""
    trained = run.trained_folds()
    if not trained:
        raise RunError(f"{run.folder} has no trained fold; run medalist train first")
    return trained


def predicted_part(run: Run, contest: Contest, fold: int | None) -> tuple[list[int], list[Sample], tuple[str, str]]:
    """Return the folds whose networks predict, the samples that they predict, and the store's (folder, part).

    A fold predicts its held-out samples. Where `fold` is None, all trained folds predict the test part.
    """
    if fold is None:
        return trained_or_refuse(run), list(contest.split.test), ("test", "test")
    held_out = set(run.folds().held_out(fold))
    return [fold], [sample for sample in contest.split.train if sample.id in held_out], ("oof", f"fold{fold}")


def made_by(run: Run, settings: Experiment, contest: Contest, folds: Sequence[int]) -> dict[str, str]:
    """Return everything that a prediction depends on, by name.

    `fold0`, `fold1`, ...: the hash of each fold's weights. `predict`: the settings of prediction as JSON. `data`: the
    hash of the contest's files, without their pixels.
    """
    made = {f"fold{fold}": weights_hash(run, fold, settings.train.keep) for fold in folds}
    made["predict"] = json.dumps(said_section(run, settings, "predict"), sort_keys=True)
    made["data"] = manifest_hash(contest.split)
    return made
