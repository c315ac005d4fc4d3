"""The one place where settings become objects."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import assert_never

import numpy as np
import torch
from lightning_fabric import Fabric
from numpy.typing import NDArray
from torch import nn

from medalist.competition import Competition
from medalist.data.cache import PixelCache
from medalist.data.dataset import Normalisation, Read, TrainSet, WholeSet, decode, reader
from medalist.data.loader import TrainOrder, WholeOrder, batches
from medalist.engine.task import Task
from medalist.engine.train import Fit
from medalist.folds import Folds
from medalist.models.segmentation import build_model, normalisation
from medalist.models.weights import Resolved
from medalist.records import Sample, Split
from medalist.settings import Settings
from medalist.tasks.segment import SegmentTask
from medalist.tasks.settings import SegmentConfig


def build_fabric(settings: Settings) -> Fabric:
    """Device and precision; on a GPU also torch's deterministic kernels, where it has them."""
    fabric = Fabric(accelerator="auto", devices=1, precision=settings.train.precision)
    if fabric.device.type == "cuda":
        torch.backends.cudnn.benchmark = False
        torch.backends.cudnn.deterministic = True
    return fabric


def build_task(settings: Settings) -> Task:
    """The task of the config."""
    match settings.task:
        case SegmentConfig():
            return SegmentTask(settings.task, settings.loss, settings.model.channels)
        case _:
            assert_never(settings.task)


def build_network(settings: Settings, weights: Resolved | None, fold: int) -> nn.Module:
    """The network with its pretrained encoder; what is random in it depends on the seed and the fold alone."""
    torch.manual_seed(settings.seed * 1000 + fold)
    return build_model(settings.model, weights)


def build_normalisation(settings: Settings) -> Normalisation:
    """What the encoder was pretrained with."""
    mean, std = normalisation(settings.model)
    return Normalisation(tuple(mean), tuple(std))


def build_cache(
    settings: Settings, competition: Competition, data: Path, split: Split, task: Task, scratch: Path
) -> PixelCache:
    """The cache of all training samples, not filled yet; `scratch` is where a memory-mapped one lies."""
    read = reader(competition.white, settings.image)

    def target_of(sample: Sample) -> NDArray[np.uint8]:
        return task.targets(competition.truth(data, sample))

    in_file = settings.loader.cache == "file"
    return PixelCache(partial(decode, read, target_of), split.train, scratch if in_file else None)


def build_fit(
    settings: Settings,
    fabric: Fabric,
    task: Task,
    cache: PixelCache,
    folds: Folds,
    fold: int,
    weights: Resolved | None,
    folder: Path,
    read: Read,
) -> Fit:
    """One fold's training, ready to go. ConfigError where the augmented images do not fit the network."""
    position = {sample.id: index for index, sample in enumerate(cache.samples)}
    training = [position[name] for name in folds.training(fold)]
    norm = build_normalisation(settings)
    train_set = TrainSet(cache, training, settings.augment, norm, settings.seed)
    train_set.check(settings.model.stride)
    order = TrainOrder(len(train_set), settings.train.batch, settings.seed, fabric.global_rank, fabric.world_size)
    held_out = [position[name] for name in folds.held_out(fold)]
    held_set = WholeSet(cache, held_out, settings.model.stride, norm, read)
    held_order = WholeOrder(
        [cache.samples[index].size for index in held_out],
        settings.model.stride,
        settings.predict.batch,
        fabric.global_rank,
        fabric.world_size,
    )
    pin = fabric.device.type == "cuda"
    return Fit(
        fabric=fabric,
        task=task,
        model=build_network(settings, weights, fold),
        train=batches(train_set, order, settings.loader.workers, pin),
        held_out=batches(held_set, held_order, 0, pin),
        config=settings.train,
        seed=settings.seed,
        folder=folder,
        names=[sample.id for sample in cache.samples],
        title=f"fold {fold}",
    )
