"""Make the training of one fold of an embedder."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import assert_never

import numpy as np
import torch
from lightning_fabric import Fabric
from numpy.typing import NDArray
from torch import nn
from torch.utils.data import Dataset

from medalist.data.cache import PixelCache
from medalist.data.class_sampler import ClassBatchSampler
from medalist.data.features import FeatureDataset
from medalist.data.fitted import FittedInferenceDataset
from medalist.data.items import Item, Read
from medalist.data.samplers import ShuffleBatchSampler, SizeBucketSampler
from medalist.data.settings import ClassSampler, ShuffleSampler
from medalist.engine.job import TrainJob
from medalist.errors import ConfigError
from medalist.models.backbone import build_encoder
from medalist.models.weights import Resolved
from medalist.records import Sample
from medalist.retrieval.splits import identity_of
from medalist.tasks.embed.composing import Composed, Composition, compose
from medalist.tasks.embed.datasets import IdentityTrainDataset, label_target, views_of
from medalist.tasks.embed.losses.metric import MetricLoss, build_metric_loss
from medalist.tasks.embed.network import Embedder, Head, build_normalisation
from medalist.tasks.embed.settings import EmbedSettings
from medalist.tasks.embed.task import EmbedTask
from medalist.tasks.jobs import FoldPlace, make_job


@dataclass(frozen=True)
class Classes:
    """The identities that a fold is trained on.

    names: of the identities. sizes: the number of samples of each. composed: compositions made from them.
    """

    names: tuple[str, ...]
    sizes: tuple[int, ...]
    composed: tuple[Composition, ...] = ()

    @property
    def number(self) -> dict[str, int]:
        """The number of each identity's class, by name."""
        return {name: number for number, name in enumerate(self.names)}


def classes_of(settings: EmbedSettings, training: Sequence[Sample], new: str | None) -> Classes:
    """Return the identities of the training samples, without `new` and without rare ones.

    Raises ConfigError for fewer than two identities and, with task.composed, where fewer than two identities have two
    samples.
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
    """Return the loss on vectors of `dim` components. Its classes: all views of the identities, then compositions."""
    views = views_of(settings.task.turns, settings.task.mirrored)
    sizes = [size for size in classes.sizes for _ in views] + [made.samples for made in classes.composed]
    return build_metric_loss(settings.loss, dim, sizes)


def build_network(settings: EmbedSettings, weights: Resolved | None, fold: int, classes: Classes) -> Embedder:
    """Return the network with its loss; its random weights depend only on the seed and the fold."""
    torch.manual_seed(settings.seed * 1000 + fold)
    encoder = build_encoder(settings.model, settings.image.size, weights)
    head = Head(settings.model, encoder)
    head.criterion = build_criterion(settings, head.dim, classes)
    return Embedder(encoder, head)


def build_job(
    settings: EmbedSettings,
    fabric: Fabric,
    source: PixelCache | NDArray[np.float32],
    samples: Sequence[Sample],
    place: FoldPlace,
    weights: Resolved | None,
    read: Read,
    new: str | None,
) -> TrainJob:
    """Return the training of one fold: of the whole network on pixels, or of its head on stored features [N, ...].

    `samples` are those of the source, in its order. Raises ConfigError where augmented images do not have the config's
    size, or where there are too few identities.
    """
    training, held_out = place.positions(samples)
    classes = classes_of(settings, [samples[index] for index in training], new)
    number = classes.number
    training = [index for index in training if identity_of(samples[index]) in number]
    labels = [number[identity_of(samples[index])] for index in training]
    everyone = {name: code for code, name in enumerate(sorted({identity_of(sample) for sample in samples}))}
    held_targets = [label_target(everyone[identity_of(samples[index])]) for index in held_out]
    network = build_network(settings, weights, place.fold, classes)
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
            own=place.own,
        )
        train_set.check(settings.image.seen_in_training)
        size = settings.image.size
        held_set = FittedInferenceDataset(source, held_out, size, norm, read, targets=held_targets, channels=channels)
        at: Sequence[int] = train_set.labels
        # Each view of a group (for example of an alphabet) is its own group.
        spread = train_set.spread([samples[index].group for index in training])
        groups = [_turned(group, place % len(train_set.views)) for place, group in enumerate(spread)]
        model: nn.Module = network
    else:
        train_set, held_set = (
            FeatureDataset(source, training, [label_target(label) for label in labels]),
            FeatureDataset(source, held_out, held_targets),
        )
        at, groups = labels, [samples[index].group for index in training]
        model = network.head
    sampler = _batch_sampler(settings, at, groups, fabric)
    ones = [settings.image.size] * len(held_out)
    held_sampler = SizeBucketSampler(ones, 1, settings.predict.batch, fabric.global_rank, fabric.world_size)
    criterion = network.head.criterion
    assert isinstance(criterion, MetricLoss)
    names = [sample.id for sample in samples]
    task = EmbedTask(criterion)
    return make_job(settings, fabric, task, model, (train_set, sampler), (held_set, held_sampler), place, names)


def _turned(group: str | None, view: int) -> str | None:
    return None if group is None else f"{group} {view}"


def _batch_sampler(
    settings: EmbedSettings, labels: Sequence[int], groups: Sequence[str | None], fabric: Fabric
) -> ShuffleBatchSampler | ClassBatchSampler:
    match settings.sampler:
        case ShuffleSampler():
            batch = settings.train.batch
            return ShuffleBatchSampler(len(labels), batch, settings.seed, fabric.global_rank, fabric.world_size)
        case ClassSampler():
            rank, world = fabric.global_rank, fabric.world_size
            return ClassBatchSampler(labels, settings.sampler, settings.seed, groups, rank, world)
        case _:
            assert_never(settings.sampler)
