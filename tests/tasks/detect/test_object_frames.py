"""Objects with all their pixels on their way into a frame: they lie where the image has them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from medalist.data.cache import PixelCache
from medalist.data.items import Item, Normalisation
from medalist.data.placing import fitted
from medalist.data.targets import BoxTarget, InstanceTarget
from medalist.records import Boxes, Instances, Sample
from medalist.tasks.detect.composing import COVERS, pasted_objects
from medalist.tasks.detect.datasets import BoxHeldOutDataset, BoxTrainDataset
from medalist.tasks.detect.frames import joined, seen
from medalist.tasks.detect.settings import ComposeConfig, FrameConfig
from medalist.tasks.detect.targets import boxed, target_of

PLAIN = Normalisation((0.0,) * 3, (1.0,) * 3)
FRAME = FrameConfig(size=(64, 96), scale=(0.7, 1.5), fill=0)
SAMPLES = tuple(Sample(str(number), (Path(f"{number}.png"),), (40 + number, 60)) for number in range(5))
WHOLE = (slice(0, 64), slice(0, 96))


def discs(seed: int, size: tuple[int, int] = (40, 60), count: int = 4) -> NDArray[np.uint16]:
    random, labels = np.random.default_rng(seed), np.zeros(size, np.uint16)
    rows, columns = np.indices(size)
    for number in range(1, count + 1):
        y, x, radius = random.uniform(0, size[0]), random.uniform(0, size[1]), random.uniform(3, 8)
        labels[(rows - y) ** 2 + (columns - x) ** 2 < radius**2] = 2 * number  # numbers with gaps
    return labels


def decoded(sample: Sample) -> tuple[NDArray[np.uint8], InstanceTarget]:
    """A black image with white discs, which are its objects."""
    objects = discs(int(sample.id), sample.size)
    return np.repeat((objects > 0)[..., None] * np.uint8(255), 3, axis=2), InstanceTarget(objects)


CACHE = PixelCache(decoded, SAMPLES)


def dataset(compose: ComposeConfig, *augment: dict[str, dict[str, object]], visible: float = 0.0) -> BoxTrainDataset:
    frame = FRAME.model_copy(update={"visible": visible})
    return BoxTrainDataset(CACHE, range(5), frame, compose, 10, augment, PLAIN, 7, outlined=True)


def objects_of(item: Item) -> NDArray[np.uint16]:
    assert isinstance(item.target, InstanceTarget)
    return item.target.objects


@pytest.mark.parametrize("compose", [ComposeConfig(), ComposeConfig(mosaic=1.0), ComposeConfig(paste=1.0, mosaic=0.5)])
def test_objects_are_where_the_image_is_white_however_it_is_composed(compose: ComposeConfig) -> None:
    made = dataset(compose, {"HorizontalFlip": {"p": 0.5}}, {"Affine": {"rotate": [-20, 20], "p": 0.5}})
    for epoch in range(4):
        item = made[epoch, epoch]
        objects, white = objects_of(item), item.image[0].numpy() > 0.5
        assert objects.shape == (64, 96) and objects.dtype == np.uint16
        assert ((objects > 0) == white).mean() > 0.97
        assert np.array_equal(objects, objects_of(made[epoch, epoch]))


def test_a_mosaic_has_objects_of_four_samples_with_numbers_of_their_own() -> None:
    most = max(len(InstanceTarget(objects_of(dataset(ComposeConfig(mosaic=1.0))[0, at])).boxes()[1]) for at in range(5))
    assert most > 4


def test_objects_that_are_hardly_seen_are_dropped() -> None:
    labels = np.zeros((64, 96), np.uint16)
    labels[10:20, 0:10], labels[30:40, 50:60] = 1, 2
    moved = fitted((64, 96), (64, 96), 1.0, 0, -7)
    for visible, numbers in ((0.0, [1, 2]), (0.29, [1, 2]), (0.31, [2])):
        found = seen(InstanceTarget(labels), moved, (64, 96), WHOLE, visible)
        assert isinstance(found, InstanceTarget) and found.boxes()[1].tolist() == numbers
    half = fitted((64, 96), (64, 96), 0.5)  # smaller is not less of it
    found = seen(InstanceTarget(labels), half, (64, 96), WHOLE, 0.9)
    assert isinstance(found, InstanceTarget) and found.boxes()[0].tolist() == [[0, 5, 5, 10], [25, 15, 30, 20]]


@given(st.integers(0, 999), st.floats(0.4, 2.5), st.integers(-20, 40), st.integers(-20, 40))
def test_boxes_of_objects_are_moved_as_boxes_alone_are(seed: int, factor: float, top: int, left: int) -> None:
    target, placed = InstanceTarget(discs(seed, count=1)), fitted((40, 60), (64, 96), factor, top, left)
    objects, alone = (seen(one, placed, (64, 96), WHOLE, 0.0) for one in (target, boxed(target)))
    assert isinstance(objects, InstanceTarget) and isinstance(alone, BoxTarget)
    # An object that is cut has pixels in a part of its box only, so those that lie inside are compared.
    inside = [box for box in alone.xyxy.tolist() if box[0] > 1 and box[1] > 1 and box[2] < 95 and box[3] < 63]
    found = objects.boxes()[0]
    for box in inside:
        if min(box[2] - box[0], box[3] - box[1]) > 2:
            assert (
                np.abs(found - np.array(box, np.float32)).max(axis=1).min() <= 2.1
            )  # the nearest pixels may miss a thin tip


def test_objects_of_several_targets_keep_apart() -> None:
    one, other = np.zeros((4, 6), np.uint16), np.zeros((4, 6), np.uint16)
    one[:2, :2], one[3, 5], other[:, 1:3] = 7, 9, 7
    both = joined([InstanceTarget(one), InstanceTarget(other)])
    assert isinstance(both, InstanceTarget)
    assert both.objects.tolist() == [[1, 3, 3, 0, 0, 0]] * 2 + [[0, 3, 3, 0, 0, 0], [0, 3, 3, 0, 0, 2]]


@given(st.integers(0, 2**32 - 1))
def test_pasted_objects_hide_no_other_one_too_much(seed: int) -> None:
    random = np.random.default_rng(seed)
    target, other = InstanceTarget(discs(seed % 997)), InstanceTarget(discs(seed % 991 + 1))
    image = np.zeros((40, 60, 3), np.uint8)
    source = np.repeat((other.objects > 0)[..., None] * np.uint8(255), 3, axis=2)
    canvas, pasted = pasted_objects(image, target, (source, other), random)
    before = len(target.boxes()[1])
    new = pasted.objects > before
    assert (canvas[new] == 255).all() and not canvas[~new].any()
    areas, after = (
        np.bincount(one.ravel(), minlength=before + 1)[1 : before + 1] for one in (_dense(target), pasted.objects)
    )
    assert (after >= (1 - COVERS) * areas).all()


def _dense(target: InstanceTarget) -> NDArray[np.int64]:
    return np.unique(target.objects, return_inverse=True)[1].reshape(target.objects.shape)


def test_held_out_objects_lie_as_prediction_sees_them() -> None:
    item = BoxHeldOutDataset(CACHE, [4, 1], FRAME, PLAIN)[0, 1]
    objects, white = objects_of(item), item.image[0].numpy() > 0.5
    assert item.index == 1 and ((objects > 0) == white).mean() > 0.98
    assert torch.is_tensor(item.image)


def test_truths_become_targets() -> None:
    sample = Sample("a", (Path("a"),), (4, 6))
    labels = np.zeros((4, 6), np.int32)
    labels[1:3, 2:5] = 1
    target = target_of(Instances(labels), sample)
    assert isinstance(target, InstanceTarget) and target.objects.tolist() == labels.tolist()
    assert boxed(target).xyxy.tolist() == [[2, 1, 5, 3]] and boxed(target).labels.tolist() == [0]
    alone = target_of(
        Boxes(np.array([[2, 1, 5, 3]], np.float32), np.zeros(1, np.int32), np.ones(1, np.float32)), sample
    )
    assert isinstance(alone, BoxTarget) and boxed(alone) is alone
