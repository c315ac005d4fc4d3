"""Make the training of one fold of a segmentation network."""

from __future__ import annotations

from collections.abc import Sequence
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
from medalist.data.targets import ClassTarget, MapTarget
from medalist.engine.job import TrainJob
from medalist.models.weights import Resolved
from medalist.parts import NO_PARTS, OwnParts
from medalist.records import Sample
from medalist.tasks.jobs import FoldPlace, make_job, sample_sampler
from medalist.tasks.own import OwnLoss
from medalist.tasks.segment.class_weights import CountedTargets, PixelCounts, weighted
from medalist.tasks.segment.network import build_network, build_normalisation
from medalist.tasks.segment.settings import SegmentSettings
from medalist.tasks.segment.targets import map_target
from medalist.tasks.segment.task import SegmentTask


def build_task(settings: SegmentSettings, own: OwnParts = NO_PARTS, counts: Sequence[PixelCounts] = ()) -> SegmentTask:
    """Return the task of a config.

    own, counts: the parts of the contest's folder, and the pixels of the training samples; only a training needs them.
    """
    channels, activation = settings.model.channels, settings.task.activation
    if isinstance(settings.loss, OwnConfig):
        return SegmentTask(OwnLoss(settings.loss, own, by_sample=False), channels, activation)
    return SegmentTask(weighted(settings.loss, channels, counts) if counts else settings.loss, channels, activation)


def target_maker(contest: Contest, settings: SegmentSettings) -> CountedTargets:
    """Return the function that makes the target of a sample from its truth."""
    return CountedTargets(partial(_target_of, contest.competition, contest.data, settings))


def _target_of(
    competition: Competition, data: Path, settings: SegmentSettings, sample: Sample
) -> MapTarget | ClassTarget:
    classes: tuple[str, ...] = getattr(competition, "classes", ())
    return map_target(competition.checked_truth(data, sample), settings.task, settings.model.channels, classes)


def build_job(
    settings: SegmentSettings,
    fabric: Fabric,
    cache: PixelCache,
    place: FoldPlace,
    weights: Resolved | None,
    read: Read,
    counts: Sequence[PixelCounts] = (),
) -> TrainJob:
    """Return the training of one fold, ready to start.

    counts: the pixels of its training samples; without them, no class weights are computed. Raises ConfigError where
    the augmented images do not fit the network."""
    training, held_out = place.positions(cache.samples)
    norm, stride = build_normalisation(settings), settings.model.stride
    train_set = TrainDataset(cache, training, settings.augment, norm, settings.seed, place.own)
    train_set.check(stride)
    strata = [cache.samples[index].stratum for index in training]
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
    held, task = (held_set, held_sampler), build_task(settings, place.own, counts)
    return make_job(settings, fabric, task, model, (train_set, sampler), held, place, names)
