"""Make the target of a sample, on which the network is trained, from its boxes or objects."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from medalist.contest import Contest
from medalist.data.object_targets import renumbered
from medalist.data.targets import IGNORED, BoxTarget, InstanceTarget
from medalist.errors import DataError
from medalist.records import Answer, Boxes, Instances, Sample
from medalist.tasks.detect.frames import ObjectTarget

NAMED_AT_MOST = 10
"""Bad samples that an error names at most."""


def object_target(contest: Contest, sample: Sample) -> ObjectTarget:
    """Return the target of a sample: its boxes in native pixels, cut to the image, or the pixels of its objects.

    Boxes that the contest does not judge get the label IGNORED: places inside them learn nothing. A box of which
    nothing is left inside the image is left out; `medalist check` lists it.
    """
    return target_of(contest.truth(sample), sample)


def target_of(truth: Answer, sample: Sample) -> ObjectTarget:
    """Return the target of a truth. Raises DataError for corners that are not finite or swapped."""
    if isinstance(truth, Instances):
        return InstanceTarget(renumbered(truth.labels))
    assert isinstance(truth, Boxes), type(truth).__name__
    bad = ~np.isfinite(truth.xyxy).all(axis=1) | (truth.xyxy[:, 2:] < truth.xyxy[:, :2]).any(axis=1)
    if bad.any():
        box = ", ".join(f"{value:g}" for value in truth.xyxy[np.flatnonzero(bad)[0]])
        raise DataError(f"box {np.flatnonzero(bad)[0]} ({box}) has corners that are swapped or no numbers")
    height, width = sample.size
    inside = np.clip(truth.xyxy, 0, np.array([width, height, width, height], np.float32)).astype(np.float32)
    whole = (inside[:, 2:] > inside[:, :2]).all(axis=1)
    labels = truth.labels.astype(np.int64)
    if truth.ignored is not None:
        labels = np.where(truth.ignored, IGNORED, labels)
    return BoxTarget(inside[whole], labels[whole])


def all_boxes(contest: Contest, samples: Sequence[Sample]) -> list[BoxTarget]:
    """Return the boxes of all samples, also where the pixels of objects are known.

    Raises one DataError for all samples whose truth is bad.
    """
    found: list[BoxTarget] = []
    bad: list[str] = []
    for sample in samples:
        try:
            found.append(boxed(object_target(contest, sample)))
        except DataError as error:
            bad.append(f"sample {sample.id}: {error}")
    if bad:
        more = f"; and {len(bad) - NAMED_AT_MOST} more" if len(bad) > NAMED_AT_MOST else ""
        raise DataError(f"{len(bad)} samples with bad boxes: {'; '.join(bad[:NAMED_AT_MOST])}{more}")
    return found


def boxed(target: ObjectTarget) -> BoxTarget:
    """Return the boxes of a target; those around pixels are of class 0."""
    if isinstance(target, BoxTarget):
        return target
    xyxy, numbers = target.boxes()
    return BoxTarget(xyxy, np.zeros(len(numbers), np.int64))


def counts_of(targets: Sequence[BoxTarget], classes: int) -> list[int]:
    """Return the number of objects of each class."""
    labels = np.concatenate([target.labels for target in targets]) if targets else np.zeros(0, np.int64)
    return [int(count) for count in np.bincount(labels[labels != IGNORED], minlength=classes)]
