"""Make the training of one fold of a detector."""

from __future__ import annotations

from collections.abc import Sequence

from lightning_fabric import Fabric
from torch import Tensor

from medalist.data.cache import PixelCache
from medalist.data.placing import fitted
from medalist.data.samplers import SizeBucketSampler
from medalist.data.targets import BoxTarget
from medalist.engine.job import TrainJob
from medalist.errors import FoldError
from medalist.models.weights import Resolved
from medalist.records import Sample
from medalist.tasks.detect.anchors import fitted_shapes, sizes_seen
from medalist.tasks.detect.criterion import build_criterion
from medalist.tasks.detect.datasets import BoxHeldOutDataset, BoxTrainDataset
from medalist.tasks.detect.decoding import Limits
from medalist.tasks.detect.model_settings import AnchoredConfig, MaskRcnnConfig
from medalist.tasks.detect.network import build_network, build_normalisation
from medalist.tasks.detect.settings import DetectSettings
from medalist.tasks.detect.targets import counts_of
from medalist.tasks.detect.task import DetectTask
from medalist.tasks.jobs import FoldPlace, make_job, sample_sampler


def build_task(settings: DetectSettings, classes: int) -> DetectTask:
    """Return the task of a config. classes: the number of the contest's classes."""
    predict = settings.predict
    limits = Limits(predict.floor, predict.most, predict.doubles)
    return DetectTask(build_criterion(settings.model, settings.loss), limits, classes, settings.seed)


def build_job(
    settings: DetectSettings,
    fabric: Fabric,
    cache: PixelCache,
    targets: Sequence[BoxTarget],
    classes: Sequence[str],
    place: FoldPlace,
    weights: Resolved | None,
) -> TrainJob:
    """Return the training of one fold, ready to start; `targets` are those of the cache's samples.

    Raises ConfigError where augmentation changes the size of the frame, and FoldError where the fold's training part
    has no object of a class and the config does not allow this.
    """
    training, held_out = place.positions(cache.samples)
    refuse_absent(settings, classes, counts_of([targets[at] for at in training], len(classes)), place.fold)
    norm, channels, frame = build_normalisation(settings), settings.model.in_channels, settings.image
    train_set = BoxTrainDataset(
        cache,
        training,
        frame,
        settings.compose,
        settings.train.epochs,
        settings.augment,
        norm,
        settings.seed,
        channels,
        place.own,
        isinstance(settings.model, MaskRcnnConfig),
    )
    train_set.check()
    strata = [cache.samples[index].stratum for index in training]
    sampler = sample_sampler(settings.sampler, settings, strata, fabric)
    held_set = BoxHeldOutDataset(cache, held_out, frame, norm, channels)
    rank, world = fabric.global_rank, fabric.world_size
    held_sampler = SizeBucketSampler([frame.size] * len(held_out), 1, settings.predict.batch, rank, world)
    samples = [cache.samples[at] for at in training]
    shapes = shapes_of(settings, samples, [targets[at] for at in training])
    model = build_network(settings, weights, place.fold, len(classes), shapes)
    task, names = build_task(settings, len(classes)), [sample.id for sample in cache.samples]
    return make_job(settings, fabric, task, model, (train_set, sampler), (held_set, held_sampler), place, names)


def shapes_of(settings: DetectSettings, samples: Sequence[Sample], targets: Sequence[BoxTarget]) -> Tensor | None:
    """Return anchors that are fitted to the training part; None where the config does not ask for them."""
    if not isinstance(settings.model, AnchoredConfig) or settings.model.anchors == "listed":
        return None
    frame = settings.image
    scales = [fitted(sample.size, frame.size, frame.unit_factor(sample.size)).right for sample in samples]
    return fitted_shapes(settings.model, sizes_seen([target.xyxy for target in targets], scales), settings.seed)


def refuse_absent(settings: DetectSettings, classes: Sequence[str], counts: Sequence[int], fold: int) -> None:
    """Raise FoldError where a fold's training part has no object of a class and the config does not allow this."""
    absent = [name for name, count in zip(classes, counts, strict=True) if not count]
    if absent and settings.task.absent == "refuse":
        listed = ", ".join(f"'{name:.60}'" for name in absent[:5]) + (" and more" if len(absent) > 5 else "")
        raise FoldError(
            f"the training part of fold {fold} has no object of {len(absent)} of {len(classes)} classes ({listed}), so "
            "they would never be learned; make fewer folds, or set task.absent=allow"
        )
