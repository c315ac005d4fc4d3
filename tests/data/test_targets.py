"""What networks are trained on, of one sample and of a batch."""

from __future__ import annotations

from typing import Any

import albumentations as A  # noqa: N812
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from medalist.data.padding import Padding
from medalist.data.targets import (
    BoxTarget,
    BoxTargets,
    LabelTarget,
    LabelTargets,
    MapTarget,
    MapTargets,
    Target,
    Targets,
    collate_targets,
    resize_maps,
)
from medalist.data.transforms import augment, compose_augment, sample_seed
from medalist.errors import ConfigError, DataError

CPU = torch.device("cpu")
NUMBER = LabelTarget(np.array(4, np.int64))
LEVELS = LabelTarget(np.array([1.0, 0.0, 0.5], np.float32))


def maps(height: int = 6, width: int = 8, channels: int = 2, seed: int = 0) -> MapTarget:
    return MapTarget(np.random.default_rng(seed).integers(0, 2, (height, width, channels), np.uint8))


def boxes(*xyxy: tuple[float, float, float, float]) -> BoxTarget:
    return BoxTarget(np.array(xyxy, np.float32).reshape(-1, 4), np.arange(len(xyxy), dtype=np.int64))


def image(height: int = 6, width: int = 8) -> NDArray[np.uint8]:
    return np.random.default_rng(1).integers(0, 256, (height, width, 3), np.uint8)


EACH: list[Target] = [maps(), boxes((0, 0, 2, 3), (1, 1, 8, 6)), boxes(), NUMBER, LEVELS]


@pytest.mark.parametrize("target", EACH)
def test_arrays_make_the_target_again(target: Target) -> None:
    copies = [array.copy() for array in target.arrays]
    again = target.with_arrays(copies)
    assert type(again) is type(target)
    assert all(array is copy for array, copy in zip(again.arrays, copies, strict=True))
    for array, copy in zip(target.arrays, copies, strict=True):
        np.testing.assert_array_equal(array, copy)


def test_maps_of_another_size_than_the_image_are_refused() -> None:
    maps(6, 8).check("a.png", (6, 8))
    with pytest.raises(DataError, match=r"^a\.png is 6x8, its truth 8x6$"):
        maps(6, 8).check("a.png", (8, 6))


@pytest.mark.parametrize(
    ("box", "said"),
    [
        ((0, 0, 9, 6), "0, 0, 9, 6"),
        ((0, 0, 8, 6.5), "0, 0, 8, 6.5"),
        ((-0.5, 0, 8, 6), "-0.5, 0, 8, 6"),
        ((0, -1, 8, 6), "0, -1, 8, 6"),
        ((3, 0, 2, 6), "3, 0, 2, 6"),
        ((0, 5, 8, 5), "0, 5, 8, 5"),
        ((float("nan"), 0, 8, 6), "nan, 0, 8, 6"),
        ((0, 0, float("inf"), 6), "0, 0, inf, 6"),
    ],
    ids=["wide", "high", "left", "above", "swapped", "flat", "nan", "infinite"],
)
def test_boxes_that_are_none_are_refused_by_their_number(box: tuple[float, float, float, float], said: str) -> None:
    good = (0, 0, 8, 6)  # the whole image
    boxes(good, good).check("a.png", (6, 8))
    with pytest.raises(DataError) as caught:
        boxes(good, box, box).check("a.png", (6, 8))
    assert str(caught.value) == f"a.png: box 1 ({said}) is not a valid box inside the image of 8x6 pixels"


def test_no_boxes_and_all_labels_fit_every_image() -> None:
    for target in (boxes(), NUMBER, LEVELS):
        target.check("a.png", (1, 1))


def test_maps_are_augmented_as_the_image_is() -> None:
    flip = compose_augment(({"HorizontalFlip": {"p": 1.0}},))
    for channels in (1, 2, 6):  # albumentations drops the axis of one channel
        out, target = augment(flip, image(), maps(channels=channels), sample_seed(0, 0, 0))
        assert isinstance(target, MapTarget)
        np.testing.assert_array_equal(out, image()[:, ::-1])
        np.testing.assert_array_equal(target.maps, maps(channels=channels).maps[:, ::-1])


def test_maps_without_the_axis_of_a_single_channel_get_it_back() -> None:
    flat = maps(channels=1).maps[..., 0]
    np.testing.assert_array_equal(maps().augmented({"mask": flat, "judged": np.ones_like(flat)}).maps, flat[..., None])


def test_boxes_are_augmented_as_the_image_is_and_those_cut_away_go() -> None:
    box_words = A.BboxParams(format="pascal_voc", label_fields=["labels"])
    crop = A.Compose([A.HorizontalFlip(p=1.0), A.Crop(0, 0, 5, 6)], bbox_params=box_words, seed=0)
    out, target = augment(crop, image(), boxes((0, 0, 2, 3), (1, 2, 8, 6)), sample_seed(0, 0, 0))
    assert isinstance(target, BoxTarget)
    np.testing.assert_array_equal(out, image()[:, ::-1][:, :5])
    assert target.xyxy.dtype == np.float32 and target.labels.dtype == np.int64
    np.testing.assert_allclose(target.xyxy, [[0, 2, 5, 6]], atol=1e-5)  # the first lies in columns 6..8 now
    assert target.labels.tolist() == [1]
    _, none = augment(crop, image(), boxes((0, 0, 2, 3)), sample_seed(0, 0, 0))
    assert isinstance(none, BoxTarget)
    assert none.xyxy.shape == (0, 4) and none.labels.shape == (0,)


@pytest.mark.parametrize("target", [NUMBER, LEVELS])
def test_labels_stay_what_they_are(target: LabelTarget) -> None:
    flip = compose_augment(({"HorizontalFlip": {"p": 1.0}},))
    out, after = augment(flip, image(), target, sample_seed(0, 0, 0))
    np.testing.assert_array_equal(out, image()[:, ::-1])
    assert after is target
    assert target.padded(32) is target


def test_padding_mirrors_maps_and_leaves_boxes() -> None:
    padded = maps(3, 5).padded(4).maps
    assert padded.shape == (4, 8, 2)
    np.testing.assert_array_equal(padded[:3, :5], maps(3, 5).maps)
    np.testing.assert_array_equal(padded[3], padded[2])
    np.testing.assert_array_equal(padded[:, 5:], padded[:, 2:5][:, ::-1])
    whole = boxes((0, 0, 5, 3))
    assert whole.padded(4) is whole


def map_batch(*seeds: int) -> MapTargets:
    batch = collate_targets([maps(seed=seed) for seed in seeds])
    assert isinstance(batch, MapTargets)
    return batch


def test_maps_of_a_batch_are_a_copy_with_channels_first() -> None:
    targets = [maps(channels=1, seed=seed) for seed in range(3)]
    batch = collate_targets(targets)
    assert isinstance(batch, MapTargets)
    assert batch.maps.shape == (3, 1, 6, 8) and batch.maps.dtype == torch.uint8
    for plane, target in zip(batch.maps, targets, strict=True):
        np.testing.assert_array_equal(plane.numpy(), target.maps.transpose(2, 0, 1))
    before = targets[0].maps.copy()
    batch.maps.add_(1)
    np.testing.assert_array_equal(targets[0].maps, before)


def test_boxes_of_a_batch_stay_apart_and_are_copies() -> None:
    targets = [boxes((0, 0, 1, 1), (1, 1, 2, 2)), boxes(), boxes((3, 3, 4, 4))]
    for target in targets:
        target.xyxy.flags.writeable = target.labels.flags.writeable = False  # as a cache hands them out
    batch = collate_targets(targets)
    assert isinstance(batch, BoxTargets)
    assert [tuple(tensor.shape) for tensor in batch.xyxy] == [(2, 4), (0, 4), (1, 4)]
    assert [tensor.tolist() for tensor in batch.labels] == [[0, 1], [], [0]]
    assert {tensor.dtype for tensor in batch.xyxy} == {torch.float32}
    assert {tensor.dtype for tensor in batch.labels} == {torch.int64}
    batch.xyxy[0].add_(1)
    batch.labels[0].add_(1)
    assert targets[0].xyxy[0, 0] == targets[0].labels[0] == 0


@pytest.mark.parametrize(("target", "shape", "kind"), [(NUMBER, (2,), torch.int64), (LEVELS, (2, 3), torch.float32)])
def test_labels_of_a_batch(target: LabelTarget, shape: tuple[int, ...], kind: torch.dtype) -> None:
    other = target.with_arrays([target.value + target.value])
    batch = collate_targets([target, other])
    assert isinstance(batch, LabelTargets) and batch.partners is None
    assert batch.values.shape == shape and batch.values.dtype == kind
    np.testing.assert_array_equal(batch.values[1].numpy(), 2 * target.value)


def test_only_maps_become_floats_on_their_way_to_a_device() -> None:
    moved = map_batch(0, 1).to(CPU)
    assert moved.maps.dtype == torch.float32
    assert torch.equal(moved.maps, map_batch(0, 1).maps.float())
    numbers = LabelTargets(torch.tensor([3, 4])).to(CPU)
    assert numbers.values.dtype == torch.int64 and numbers.values.tolist() == [3, 4]
    levels = LabelTargets(torch.tensor([[0.5, 1.0]])).to(CPU)
    assert levels.values.dtype == torch.float32 and levels.values.tolist() == [[0.5, 1.0]]
    box = collate_targets([boxes((0, 0, 1, 2)), boxes()]).to(CPU)
    assert isinstance(box, BoxTargets)
    assert [tensor.tolist() for tensor in box.xyxy] == [[[0, 0, 1, 2]], []]
    assert [tensor.dtype for tensor in box.labels] == [torch.int64] * 2


BATCHES: list[Targets] = [map_batch(0, 1), collate_targets([boxes((0, 0, 1, 2)), boxes()])]
BATCHES += [collate_targets([NUMBER] * 2), collate_targets([LEVELS] * 2)]


def every_tensor(batch: Targets) -> list[torch.Tensor]:
    if isinstance(batch, BoxTargets):
        return [*batch.xyxy, *batch.labels]
    return [batch.maps if isinstance(batch, MapTargets) else batch.values]


@pytest.mark.parametrize("batch", BATCHES)
def test_pinning_reaches_every_tensor(batch: Targets, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.Tensor, "pin_memory", lambda tensor: tensor + 1)
    for before, after in zip(every_tensor(batch), every_tensor(batch.pin_memory()), strict=True):
        assert torch.equal(after, before + 1)


def test_a_sample_of_a_batch_is_cut_to_its_native_size() -> None:
    batch = map_batch(0, 1)
    single = batch.single(1, Padding(4, 7))
    assert torch.equal(single.maps, batch.maps[1:2, :, :4, :7])
    box = collate_targets([boxes((0, 0, 1, 2)), boxes(), boxes((3, 3, 4, 4), (1, 1, 4, 4))])
    one = box.single(2, Padding(4, 4))
    assert isinstance(one, BoxTargets) and len(one.xyxy) == len(one.labels) == 1
    assert one.xyxy[0].tolist() == [[3, 3, 4, 4], [1, 1, 4, 4]] and one.labels[0].tolist() == [0, 1]
    assert LabelTargets(torch.tensor([3, 4, 5])).single(1, Padding(4, 4)).values.tolist() == [4]


def test_resizing_filters_maps_keeps_labels_and_refuses_boxes() -> None:
    batch = map_batch(0, 1).to(CPU)
    small = batch.resized((3, 4)).maps
    assert small.shape == (2, 2, 3, 4)
    assert torch.equal(small, resize_maps(batch.maps, (3, 4)).clamp(0, 1))
    labels = LabelTargets(torch.tensor([3, 4]))
    assert labels.resized((3, 4)) is labels
    with pytest.raises(ConfigError, match=r"^train\.sizes: batches with boxes keep their size; resize in augment$"):
        collate_targets([boxes()]).resized((3, 4))


def by_hand(plane: NDArray[Any], size: int) -> NDArray[np.float64]:
    """Rows and then columns weighted by a triangle as wide as a new pixel, but at least as an old one."""
    side = plane.shape[0]
    wide = max(1.0, side / size)
    weights = np.zeros((size, side))
    for place in range(size):
        for pixel in range(side):
            weights[place, pixel] = max(0.0, 1 - abs((place + 0.5) * side / size - (pixel + 0.5)) / wide)
    weights /= weights.sum(axis=1, keepdims=True)
    return np.asarray(weights @ plane @ weights.T)


@settings(max_examples=20)
@given(st.integers(2, 24), st.integers(1, 24), st.sampled_from([torch.float16, torch.float32, torch.float64]))
def test_resized_maps_leave_no_pixel_out(side: int, size: int, kind: torch.dtype) -> None:
    plane = np.random.default_rng(side).integers(0, 2, (side, side)).astype(np.float64)
    out = resize_maps(torch.from_numpy(plane)[None, None].to(kind), (size, size))
    assert out.dtype == kind
    near = 2e-3 if kind == torch.float16 else 1e-5
    np.testing.assert_allclose(out[0, 0].double().numpy(), by_hand(plane, size), atol=near)


def test_rounding_of_a_resize_stays_within_0_and_1() -> None:
    ones = MapTargets(torch.ones(1, 1, 37, 53))
    for size in ((5, 7), (36, 50), (111, 101)):
        out = ones.resized(size).maps
        assert out.max() <= 1 and out.min() > 0.999


def test_mixing_does_to_maps_what_it_does_to_the_image() -> None:
    batch = map_batch(0, 1).to(CPU)
    assert not batch.is_mixed
    mixed = batch.mixed(lambda planes: 0.25 * planes + 0.75 * planes.roll(-1, 0), 1, 0.25)
    assert torch.equal(mixed.maps[0], 0.25 * batch.maps[0] + 0.75 * batch.maps[1])
    assert not mixed.is_mixed  # maps can be mixed again
    assert batch.mixed(lambda planes: planes * 0, None, 1.0).maps.max() == 0  # a mosaic


@pytest.mark.parametrize("values", [torch.tensor([3, 4, 5]), torch.tensor([[0.0, 1.0], [0.5, 0.5], [1.0, 0.0]])])
def test_mixed_labels_keep_their_partners_and_share(values: torch.Tensor) -> None:
    batch = LabelTargets(values)
    assert not batch.is_mixed
    mixed = batch.mixed(lambda planes: planes, 1, 0.7)
    assert mixed.is_mixed and torch.equal(mixed.values, values) and mixed.partners is not None
    partners, share = mixed.partners
    assert torch.equal(partners, values[[1, 2, 0]]) and share == 0.7


def test_boxes_are_not_mixed() -> None:
    batch = collate_targets([boxes()])
    assert not batch.is_mixed
    with pytest.raises(ConfigError, match=r"^train\.mix: batches with boxes are not mixed; leave it out$"):
        batch.mixed(lambda planes: planes, 1, 0.5)


def test_perfect_logits_are_those_of_the_maps() -> None:
    logits = MapTargets(torch.tensor([[[[0.0, 1.0, 0.5, 0.75]]]])).perfect_logits(9.0)
    assert logits is not None
    assert logits.flatten().tolist() == pytest.approx([-9, 9, 0, np.log(3)])
    whole = map_batch(0).perfect_logits(20.0)  # bytes, as they come from the loader
    assert whole is not None and torch.equal(whole > 0, map_batch(0).maps > 0)
    assert LabelTargets(torch.tensor([3])).perfect_logits(9.0) is None
    assert collate_targets([boxes()]).perfect_logits(9.0) is None


def test_tensors_are_named() -> None:
    batch = map_batch(0)
    assert batch.tensors() == {"maps": batch.maps}
    labels = LabelTargets(torch.tensor([3]))
    assert labels.tensors() == {"labels": labels.values}
    found = collate_targets([boxes((0, 0, 1, 2)), boxes(), boxes((3, 3, 4, 4))]).tensors()
    assert list(found) == ["boxes"]
    assert found["boxes"].tolist() == [[0, 0, 1, 2], [3, 3, 4, 4]]
    assert BoxTargets((), ()).tensors() == {}
