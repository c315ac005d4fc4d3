"""Make the training of one fold of a segmentation network."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from lightning_fabric import Fabric
from torch.utils.data import Dataset

from medalist.competition import Competition
from medalist.config import OwnConfig
from medalist.contest import Contest
from medalist.data.cache import PixelCache
from medalist.data.crops import Crops, TileDataset, WindowCache
from medalist.data.dataset import InferenceDataset, TrainDataset
from medalist.data.items import Item, Read
from medalist.data.samplers import ShuffleBatchSampler, SizeBucketSampler, TileBatchSampler
from medalist.data.settings import TileSampler
from medalist.data.targets import ClassTarget, MapTarget
from medalist.engine.job import TrainJob
from medalist.models.weights import Resolved
from medalist.parts import NO_PARTS, OwnParts
from medalist.records import Sample
from medalist.tasks.jobs import FoldPlace, make_job, sample_sampler
from medalist.tasks.own import OwnLoss
from medalist.tasks.segment.class_weights import CountedTargets, PixelCounts, weighted
from medalist.tasks.segment.conditions import conditioned
from medalist.tasks.segment.crops import Contents
from medalist.tasks.segment.network import build_network, build_normalisation
from medalist.tasks.segment.settings import SegmentSettings
from medalist.tasks.segment.targets import map_target
from medalist.tasks.segment.task import SegmentTask

if TYPE_CHECKING:
    from medalist.data.weighted_sampler import WeightedBatchSampler


def build_task(settings: SegmentSettings, own: OwnParts = NO_PARTS, counts: Sequence[PixelCounts] = ()) -> SegmentTask:
    """Return the task of a config.

    own, counts: the parts of the contest's folder, and the pixels of the training samples; only a training needs them.
    """
    channels, activation, outputs = settings.model.channels, settings.task.activation, settings.model.outputs
    if isinstance(settings.loss, OwnConfig):
        return SegmentTask(OwnLoss(settings.loss, own, by_sample=False), channels, activation, outputs)
    loss = weighted(settings.loss, channels, counts) if counts else settings.loss
    return SegmentTask(loss, channels, activation, outputs)


def target_maker(contest: Contest, settings: SegmentSettings) -> CountedTargets:
    """Return the function that makes the target of a sample from its truth."""
    return CountedTargets(partial(_target_of, contest.competition, contest.data, settings))


def _target_of(
    competition: Competition, data: Path, settings: SegmentSettings, sample: Sample
) -> MapTarget | ClassTarget:
    truth = competition.checked_truth(data, sample)
    return map_target(truth, settings.task, settings.model.channels, competition.classes)


def batch_sampler(
    settings: SegmentSettings, samples: Sequence[Sample], fabric: Fabric
) -> ShuffleBatchSampler | WeightedBatchSampler:
    """Return the batch sampler of a config for training samples. Raises ConfigError where it does not fit them."""
    config = settings.sampler
    if isinstance(config, TileSampler):
        counts = [config.crops_of(sample.size) for sample in samples]
        return TileBatchSampler(counts, settings.train.batch, settings.seed, fabric.global_rank, fabric.world_size)
    return sample_sampler(config, settings, [sample.stratum for sample in samples], fabric)


def build_job(
    settings: SegmentSettings,
    fabric: Fabric,
    cache: PixelCache | WindowCache,
    place: FoldPlace,
    weights: Resolved | None,
    read: Read,
    contents: Contents | None = None,
    counts: Sequence[PixelCounts] = (),
) -> TrainJob:
    """Return the training of one fold, ready to start.

    contents: where the samples of the cache have content, for `sampler.kind = tiles`; crops lie anywhere in samples
    that are not named. counts: the pixels of the training samples; without them, no class weights are computed. Raises
    ConfigError where the augmented images do not fit the network.
    """
    training, held_out = place.positions(cache.samples)
    norm, stride = build_normalisation(settings), settings.model.stride
    tiles = settings.sampler if isinstance(settings.sampler, TileSampler) else None
    crops = None if tiles is None else Crops(tiles, settings.seed, contents or {})
    train_set = TrainDataset(cache, training, settings.augment, norm, settings.seed, place.own, crops)
    train_set.check(stride)
    sampler = batch_sampler(settings, [cache.samples[index] for index in training], fabric)
    held_set: Dataset[Item]
    if tiles is None:
        assert isinstance(cache, PixelCache)
        held_set, sizes = (
            InferenceDataset(cache, held_out, stride, norm, read),
            [cache.samples[k].size for k in held_out],
        )
    else:
        held_set = TileDataset(cache, held_out, tiles.size, stride, norm)
        sizes = held_set.sizes
    held_sampler = SizeBucketSampler(sizes, stride, settings.predict.batch, fabric.global_rank, fabric.world_size)
    model = build_network(settings, weights, place.fold, place.own)
    names = [sample.id for sample in cache.samples]
    parts = (conditioned(train_set, settings.model, cache.samples), sampler)
    held = (conditioned(held_set, settings.model, cache.samples), held_sampler)
    return make_job(settings, fabric, build_task(settings, place.own, counts), model, parts, held, place, names)
