from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from medalist.data.object_targets import InstanceTarget, renumbered
from medalist.data.padding import Padding
from medalist.data.targets import BoxTargets, collate_targets
from medalist.data.transforms import augment, compose_augment, sample_seed
from medalist.errors import DataError
from medalist.postprocess.box_masks import boxes_around
from medalist.records import Instances

IMAGE = np.random.default_rng(1).integers(0, 256, (12, 16, 3), np.uint8)


def scattered(seed: int, count: int = 5, size: tuple[int, int] = (12, 16)) -> NDArray[np.uint16]:
    random = np.random.default_rng(seed)
    labels = np.zeros(size, np.uint16)
    for number in range(1, count + 1):
        top, left = (int(random.integers(side)) for side in size)
        labels[top : top + 4, left : left + 5] = number
    return labels


@given(st.integers(0, 2**32 - 1), st.integers(0, 9))
def test_boxes_are_those_around_the_pixels_of_each_number(seed: int, count: int) -> None:
    target = InstanceTarget(scattered(seed, count))
    xyxy, numbers = target.boxes()
    assert numbers.tolist() == [number for number in range(1, count + 1) if (target.objects == number).any()]
    for box, number in zip(xyxy.tolist(), numbers.tolist(), strict=True):
        rows, columns = np.nonzero(target.objects == number)
        assert box == [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]
    whole = renumbered(target.objects)
    assert (boxes_around(Instances(whole.astype(np.int32))).xyxy == xyxy).all()


def test_numbers_lose_their_gaps_and_their_order_stays() -> None:
    labels = np.array([[7, 0, 3], [3, 90000, 0]], np.int32)
    assert renumbered(labels).tolist() == [[2, 0, 1], [1, 3, 0]] and renumbered(labels).dtype == np.uint16
    assert renumbered(labels, 5).tolist() == [[7, 0, 6], [6, 8, 0]]
    with pytest.raises(DataError, match="negative number -1"):
        renumbered(np.array([[-1]], np.int32))
    with pytest.raises(DataError, match="at most 65,535"):
        renumbered(labels, 65533)


@given(st.integers(0, 2**32 - 1))
def test_objects_turn_with_the_image(seed: int) -> None:
    objects = scattered(seed)
    image = np.repeat(objects[..., None], 3, axis=2).astype(np.uint8)
    pipeline = compose_augment([{"D4": {}}, {"RandomCrop": {"height": 10, "width": 10}}])
    turned, target = augment(pipeline, image, InstanceTarget(objects), sample_seed(seed % 1000, 0, 0))
    assert isinstance(target, InstanceTarget) and target.objects.dtype == np.uint16
    assert (target.objects == turned[..., 0]).all()


def test_a_batch_has_boxes_and_label_maps() -> None:
    targets = [
        InstanceTarget(scattered(1)),
        InstanceTarget(np.zeros((12, 16), np.uint16)),
        InstanceTarget(scattered(2)),
    ]
    batch = collate_targets(targets)
    assert isinstance(batch, BoxTargets) and batch.objects is not None
    assert batch.objects.dtype == torch.int32 and batch.objects.shape == (3, 12, 16)
    for at, target in enumerate(targets):
        xyxy, numbers = target.boxes()
        one = batch.single(at, Padding(12, 16))
        assert one.objects is not None and (one.objects[0].numpy() == target.objects).all()
        assert (one.xyxy[0].numpy() == xyxy).all() and (one.numbers[0].numpy() == numbers).all()
        assert one.labels[0].tolist() == [0] * len(numbers)
    moved = batch.to(torch.device("cpu"))
    assert moved.objects is not None and len(moved.numbers) == 3


def test_objects_are_kept_checked_padded_and_left_out() -> None:
    target = InstanceTarget(scattered(3))
    again = target.with_arrays([array.copy() for array in target.arrays])
    assert (again.objects == target.objects).all()
    target.check("a.png", (12, 16))
    with pytest.raises(DataError, match=r"a\.png is 16x11, its truth 16x12"):
        target.check("a.png", (11, 16))
    padded = target.padded(8)
    assert padded.objects.shape == (16, 16) and not padded.objects[12:].any()
    assert (padded.boxes()[0] == target.boxes()[0]).all()
    kept = target.areas() > 0
    kept[2] = False
    assert (target.only(kept).objects == np.where(target.objects == 2, 0, target.objects)).all()
