"""Make the training of one fold of a segmentation network."""

from __future__ import annotations

from functools import partial
from pathlib import Path

from lightning_fabric import Fabric

from medalist.competition import Competition
from medalist.config import OwnConfig
from medalist.contest import Contest
from medalist.data.cache import PixelCache
from medalist.data.dataset import InferenceDataset, TrainDataset
from medalist.data.items import Read
from medalist.data.samplers import SizeBucketSampler
from medalist.data.targets import MapTarget
from medalist.engine.job import TrainJob
from medalist.models.weights import Resolved
from medalist.parts import NO_PARTS, OwnParts
from medalist.records import Sample
from medalist.tasks.jobs import FoldPlace, make_job, sample_sampler
from medalist.tasks.own import OwnLoss
from medalist.tasks.pixels import TargetOf
from medalist.tasks.segment.conditions import conditioned
from medalist.tasks.segment.network import build_network, build_normalisation
from medalist.tasks.segment.settings import SegmentSettings
from medalist.tasks.segment.targets import map_target
from medalist.tasks.segment.task import SegmentTask


def build_task(settings: SegmentSettings, own: OwnParts = NO_PARTS) -> SegmentTask:
    """Return the task of a config. own: the parts of the contest's folder, which only a training needs."""
    loss = OwnLoss(settings.loss, own, by_sample=False) if isinstance(settings.loss, OwnConfig) else settings.loss
    return SegmentTask(loss, settings.model.channels)


def target_maker(contest: Contest, settings: SegmentSettings) -> TargetOf:
    """Return the function that makes the target maps of a sample from its truth."""
    return partial(_target_of, contest.competition, contest.data, settings)


def _target_of(competition: Competition, data: Path, settings: SegmentSettings, sample: Sample) -> MapTarget:
    return map_target(competition.checked_truth(data, sample), settings.task, settings.model.channels)


def build_job(
    settings: SegmentSettings, fabric: Fabric, cache: PixelCache, place: FoldPlace, weights: Resolved | None, read: Read
) -> TrainJob:
    """Return the training of one fold, ready to start.

    Raises ConfigError where the augmented images do not fit the network.
    """
    places, held_out = place.positions(cache.samples)
    norm, stride = build_normalisation(settings), settings.model.stride
    train_set = TrainDataset(cache, places, settings.augment, norm, settings.seed, place.own)
    train_set.check(stride)
    strata = [cache.samples[index].stratum for index in places]
    sampler = sample_sampler(settings.sampler, settings, strata, fabric)
    held_set = InferenceDataset(cache, held_out, stride, norm, read)
    held_sampler = SizeBucketSampler(
        [cache.samples[index].size for index in held_out],
        stride,
        settings.predict.batch,
        fabric.global_rank,
        fabric.world_size,
    )
    model = build_network(settings, weights, place.fold, place.own)
    names = [sample.id for sample in cache.samples]
    task = build_task(settings, place.own)
    training = conditioned(train_set, settings.model, cache.samples), sampler
    held = conditioned(held_set, settings.model, cache.samples), held_sampler
    return make_job(settings, fabric, task, model, training, held, place, names)
