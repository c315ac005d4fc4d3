"""The one place where settings become objects."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import assert_never

import numpy as np
import torch
from lightning_fabric import Fabric
from numpy.typing import NDArray
from torch import nn
from torch.utils.data import DataLoader, Dataset

from medalist.competition import Competition
from medalist.data.cache import PixelCache
from medalist.data.class_sampler import ClassBatchSampler
from medalist.data.dataset import InferenceDataset, Item, Normalisation, Read, TrainDataset, decode, reader
from medalist.data.features import FeatureDataset
from medalist.data.loader import Batch, ShuffleBatchSampler, SizeBucketSampler, batches
from medalist.data.settings import ClassSampler, ShuffleSampler, WeightedSampler
from medalist.data.weighted_sampler import WeightedBatchSampler
from medalist.engine.devices import open_fabric
from medalist.engine.job import TrainJob
from medalist.engine.task import Task
from medalist.errors import ConfigError
from medalist.folds.folds import Folds
from medalist.models.weights import Resolved
from medalist.records import Answer, Sample, Split
from medalist.retrieval.splits import identity_of
from medalist.settings import EmbedSettings, SegmentSettings, Settings
from medalist.tasks.embed.composing import Composed, Composition, compose
from medalist.tasks.embed.datasets import FittedInferenceDataset, IdentityTrainDataset, views_of
from medalist.tasks.embed.losses.metric import MetricLoss, build_metric_loss
from medalist.tasks.embed.network import Embedder, Head, build_encoder, embedder_statistics
from medalist.tasks.embed.task import EmbedTask
from medalist.tasks.segment.network import build_model, normalisation
from medalist.tasks.segment.task import SegmentTask

Order = ShuffleBatchSampler | ClassBatchSampler | WeightedBatchSampler


def build_fabric(settings: Settings) -> Fabric:
    """Devices, precision, and the other processes of this command; waits until all have come."""
    return open_fabric(settings.train.precision)


def build_task(settings: SegmentSettings) -> SegmentTask:
    """The task of a config whose answers are made of pixels."""
    return SegmentTask(settings.task, settings.loss, settings.model.channels)


def build_network(settings: SegmentSettings, weights: Resolved | None, fold: int) -> nn.Module:
    """The network with its pretrained encoder; what is random in it depends on the seed and the fold alone."""
    torch.manual_seed(settings.seed * 1000 + fold)
    return build_model(settings.model, weights)


def build_normalisation(settings: Settings) -> Normalisation:
    """What the encoder was pretrained with."""
    match settings:
        case SegmentSettings():
            mean, std = normalisation(settings.model)
        case EmbedSettings():
            mean, std = embedder_statistics(settings.model)
        case _:
            assert_never(settings)
    return Normalisation(tuple(mean), tuple(std))


def build_cache(settings: Settings, competition: Competition, data: Path, split: Split, scratch: Path) -> PixelCache:
    """The cache of all training samples, not filled yet; `scratch` is where a memory-mapped one lies."""
    read = reader(competition.white, settings.image)

    def target_of(sample: Sample) -> NDArray[np.uint8] | None:
        if isinstance(settings, EmbedSettings):
            return None
        truth: Answer = competition.truth(data, sample)
        return build_task(settings).targets(truth)

    in_file = settings.loader.cache == "file"
    return PixelCache(partial(decode, read, target_of), split.train, scratch if in_file else None)


@dataclass(frozen=True)
class Share:
    """What one fold of a training consists of: its number, the folds, and where its files go."""

    folds: Folds
    fold: int
    folder: Path


def build_fit(
    settings: SegmentSettings, fabric: Fabric, cache: PixelCache, share: Share, weights: Resolved | None, read: Read
) -> TrainJob:
    """One fold's training, ready to go. ConfigError where the augmented images do not fit the network."""
    position = {sample.id: index for index, sample in enumerate(cache.samples)}
    training = [position[name] for name in share.folds.training(share.fold)]
    norm = build_normalisation(settings)
    train_set = TrainDataset(cache, training, settings.augment, norm, settings.seed)
    train_set.check(settings.model.stride)
    order = sample_order(settings, [cache.samples[index].stratum for index in training], fabric)
    held_out = [position[name] for name in share.folds.held_out(share.fold)]
    held_set = InferenceDataset(cache, held_out, settings.model.stride, norm, read)
    held_order = SizeBucketSampler(
        [cache.samples[index].size for index in held_out],
        settings.model.stride,
        settings.predict.batch,
        fabric.global_rank,
        fabric.world_size,
    )
    model = build_network(settings, weights, share.fold)
    return _fit(
        settings,
        fabric,
        build_task(settings),
        model,
        (train_set, order),
        (held_set, held_order),
        share,
        [sample.id for sample in cache.samples],
    )


@dataclass(frozen=True)
class Classes:
    """The identities that a fold is trained on: their names, how many samples each has, what is composed of them."""

    names: tuple[str, ...]
    sizes: tuple[int, ...]
    composed: tuple[Composition, ...] = ()

    @property
    def number(self) -> dict[str, int]:
        """The class of each identity."""
        return {name: number for number, name in enumerate(self.names)}


def classes_of(settings: EmbedSettings, training: Sequence[Sample], new: str | None) -> Classes:
    """The identities among training samples, without `new` and without rare ones; ConfigError for fewer than two.

    With task.composed, ConfigError too where fewer than two have two samples.
    """
    count = Counter(identity_of(sample) for sample in training)
    kept = sorted(name for name in count if name != new and count[name] >= settings.task.rare)
    if len(kept) < 2:
        raise ConfigError(
            f"{len(kept)} of {len(count)} identities of a fold's training part are known and have task.rare = "
            f"{settings.task.rare} samples or more; at least two are needed: make fewer folds, or lower task.rare"
        )
    sizes = tuple(count[name] for name in kept)
    group = {identity_of(sample): sample.group for sample in training}
    composed = compose(settings.seed, settings.task.composed, sizes, [group[name] for name in kept])
    return Classes(tuple(kept), sizes, composed)


def build_criterion(settings: EmbedSettings, dim: int, classes: Classes) -> MetricLoss:
    """The loss over a fold's classes, turned ones too, then composed ones, on vectors of `dim` components."""
    views = views_of(settings.task.turns, settings.task.mirrored)
    sizes = [size for size in classes.sizes for _ in views] + [made.samples for made in classes.composed]
    return build_metric_loss(settings.loss, dim, sizes)


def build_embed_network(settings: EmbedSettings, weights: Resolved | None, fold: int, classes: Classes) -> Embedder:
    """The network with its loss; what is random in it depends on the seed and the fold alone."""
    torch.manual_seed(settings.seed * 1000 + fold)
    encoder = build_encoder(settings.model, settings.image.size, weights)
    head = Head(settings.model, encoder)
    head.criterion = build_criterion(settings, head.dim, classes)
    return Embedder(encoder, head)


def build_embed_fit(
    settings: EmbedSettings,
    fabric: Fabric,
    source: PixelCache | NDArray[np.float32],
    samples: Sequence[Sample],
    share: Share,
    weights: Resolved | None,
    read: Read,
    new: str | None,
) -> TrainJob:
    """One fold's training of an embedder: the whole network on pixels, or its head on features [N, ...] kept before.

    `samples` are those of the source, in its order. Raises ConfigError where augmented images do not have the size
    that the config says, or there are too few identities.
    """
    position = {sample.id: index for index, sample in enumerate(samples)}
    training = [position[name] for name in share.folds.training(share.fold)]
    held_out = [position[name] for name in share.folds.held_out(share.fold)]
    classes = classes_of(settings, [samples[index] for index in training], new)
    number = classes.number
    training = [index for index in training if identity_of(samples[index]) in number]
    labels = [number[identity_of(samples[index])] for index in training]
    everyone = {name: code for code, name in enumerate(sorted({identity_of(sample) for sample in samples}))}
    held_labels = [everyone[identity_of(samples[index])] for index in held_out]
    network = build_embed_network(settings, weights, share.fold, classes)
    train_set: Dataset[Item]
    held_set: Dataset[Item]
    if isinstance(source, PixelCache):
        norm, channels = build_normalisation(settings), settings.model.in_channels
        train_set = IdentityTrainDataset(
            source,
            training,
            labels,
            settings.augment,
            norm,
            settings.seed,
            turns=settings.task.turns,
            mirrored=settings.task.mirrored,
            channels=channels,
            composed=Composed(source, training, labels, classes.composed, settings.image, settings.seed),
        )
        train_set.check(settings.image.seen_in_training)
        size = settings.image.size
        held_set = FittedInferenceDataset(source, held_out, size, norm, read, labels=held_labels, channels=channels)
        at: Sequence[int] = train_set.labels
        # A turned alphabet is an alphabet of its own.
        spread = train_set.spread([samples[index].group for index in training])
        groups = [_turned(group, place % len(train_set.views)) for place, group in enumerate(spread)]
        model: nn.Module = network
    else:
        train_set, held_set = FeatureDataset(source, training, labels), FeatureDataset(source, held_out, held_labels)
        at, groups = labels, [samples[index].group for index in training]
        model = network.head
    order = _train_order(settings, at, groups, fabric)
    ones = [settings.image.size] * len(held_out)
    held_order = SizeBucketSampler(ones, 1, settings.predict.batch, fabric.global_rank, fabric.world_size)
    criterion = network.head.criterion
    assert isinstance(criterion, MetricLoss)
    names = [sample.id for sample in samples]
    task = EmbedTask(criterion)
    return _fit(settings, fabric, task, model, (train_set, order), (held_set, held_order), share, names)


def _turned(group: str | None, view: int) -> str | None:
    return None if group is None else f"{group} {view}"


def sample_order(settings: SegmentSettings, strata: Sequence[str | None], fabric: Fabric) -> Order:
    """The order of training samples with these strata; ConfigError where the sampler does not fit them."""
    batch, rank, world = settings.train.batch, fabric.global_rank, fabric.world_size
    match settings.sampler:
        case ShuffleSampler():
            return ShuffleBatchSampler(len(strata), batch, settings.seed, rank, world)
        case WeightedSampler():
            return WeightedBatchSampler(strata, settings.sampler, batch, settings.seed, rank, world)
        case _:
            assert_never(settings.sampler)


def _train_order(settings: EmbedSettings, labels: Sequence[int], groups: Sequence[str | None], fabric: Fabric) -> Order:
    match settings.sampler:
        case ShuffleSampler():
            batch = settings.train.batch
            return ShuffleBatchSampler(len(labels), batch, settings.seed, fabric.global_rank, fabric.world_size)
        case ClassSampler():
            rank, world = fabric.global_rank, fabric.world_size
            return ClassBatchSampler(labels, settings.sampler, settings.seed, groups, rank, world)
        case _:
            assert_never(settings.sampler)


def _fit(
    settings: Settings,
    fabric: Fabric,
    task: Task,
    model: nn.Module,
    training: tuple[Dataset[Item], Order],
    held_out: tuple[Dataset[Item], SizeBucketSampler],
    share: Share,
    names: Sequence[str],
) -> TrainJob:
    pin = fabric.device.type == "cuda"

    def loader(part: tuple[Dataset[Item], Order | SizeBucketSampler], workers: int) -> DataLoader[Batch]:
        return batches(part[0], part[1], workers, pin)

    return TrainJob(
        fabric=fabric,
        task=task,
        model=model,
        train=loader(training, settings.loader.workers),
        held_out=loader(held_out, 0),
        config=settings.train,
        seed=settings.seed,
        folder=share.folder,
        names=names,
        title=f"fold {share.fold}",
        checkpoint=settings.checkpoint,
    )
