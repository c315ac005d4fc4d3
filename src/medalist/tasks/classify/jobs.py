"""Make the training of one fold of a classifier."""

from __future__ import annotations

from collections.abc import Sequence

from lightning_fabric import Fabric

from medalist.data.cache import PixelCache
from medalist.data.fitted import FittedInferenceDataset
from medalist.data.items import Read
from medalist.data.samplers import SizeBucketSampler
from medalist.data.targets import LabelTarget
from medalist.engine.job import TrainJob
from medalist.errors import FoldError
from medalist.models.weights import Resolved
from medalist.parts import NO_PARTS, OwnParts
from medalist.tasks.classify.datasets import LabelTrainDataset
from medalist.tasks.classify.losses import LabelLoss, class_totals
from medalist.tasks.classify.network import build_network, build_normalisation
from medalist.tasks.classify.settings import ClassifySettings
from medalist.tasks.classify.task import ClassifyTask
from medalist.tasks.jobs import FoldPlace, make_job, sample_sampler


def build_task(
    settings: ClassifySettings, classes: Sequence[str], counts: Sequence[int], own: OwnParts = NO_PARTS
) -> ClassifyTask:
    """Return the task of a config.

    counts: number of training samples of each class. own: the parts of the contest's folder, which only a training
    needs.
    """
    return ClassifyTask(LabelLoss(settings.loss, classes, counts, own), settings.task.mode, len(classes))


def build_job(
    settings: ClassifySettings,
    fabric: Fabric,
    cache: PixelCache,
    targets: Sequence[LabelTarget],
    classes: Sequence[str],
    place: FoldPlace,
    weights: Resolved | None,
    read: Read,
) -> TrainJob:
    """Return the training of one fold, ready to start; `targets` are those of the cache's samples.

    Raises ConfigError where augmented images do not have the config's size, and FoldError where the fold's training
    part has no sample of a class and the config does not allow this.
    """
    training, held_out = place.positions(cache.samples)
    counts = class_totals([targets[index].value for index in training], len(classes))
    refuse_absent(settings, classes, counts, place.fold)
    norm, channels, size = build_normalisation(settings), settings.model.in_channels, settings.image.size
    train_set = LabelTrainDataset(
        cache,
        training,
        [targets[index] for index in training],
        settings.augment,
        norm,
        settings.seed,
        settings.image.seen_in_training,
        channels,
        place.own,
    )
    train_set.check()
    strata = [stratum_of(targets[index], classes) for index in training]
    sampler = sample_sampler(settings.sampler, settings, strata, fabric)
    held_targets = [targets[index] for index in held_out]
    held_set = FittedInferenceDataset(cache, held_out, size, norm, read, targets=held_targets, channels=channels)
    rank, world = fabric.global_rank, fabric.world_size
    held_sampler = SizeBucketSampler([size] * len(held_out), 1, settings.predict.batch, rank, world)
    model = build_network(settings, weights, place.fold, len(classes), place.own)
    task, names = build_task(settings, classes, counts, place.own), [sample.id for sample in cache.samples]
    return make_job(settings, fabric, task, model, (train_set, sampler), (held_set, held_sampler), place, names)


def stratum_of(target: LabelTarget, classes: Sequence[str]) -> str:
    """Return the stratum of a sample for weighted sampling: its class, or its set of labels joined by spaces."""
    if target.value.dtype.kind == "f":
        return " ".join(name for name, has in zip(classes, target.value.tolist(), strict=True) if has) or "no label"
    return classes[int(target.value)]


def refuse_absent(settings: ClassifySettings, classes: Sequence[str], counts: Sequence[int], fold: int) -> None:
    """Raise FoldError where a fold's training part has no sample of a class and the config does not allow this."""
    absent = [name for name, count in zip(classes, counts, strict=True) if not count]
    if absent and settings.task.absent == "refuse":
        listed = ", ".join(f"'{name:.60}'" for name in absent[:5]) + (" and more" if len(absent) > 5 else "")
        raise FoldError(
            f"the training part of fold {fold} has no sample of {len(absent)} of {len(classes)} classes ({listed}), so "
            "they would never be learned; make fewer folds, or set task.absent=allow"
        )
