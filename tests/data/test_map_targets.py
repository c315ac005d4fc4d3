"""Maps and classes with void pixels, of one sample and of a batch."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import albumentations as A  # noqa: N812
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from medalist.data.cache import Decoded, PixelCache
from medalist.data.map_targets import VOID, ClassTarget, ClassTargets, MapTarget, MapTargets
from medalist.data.padding import Padding
from medalist.data.targets import Target, collate_targets, resize_maps
from medalist.data.transforms import _public_transforms, augment, compose_augment, sample_seed
from medalist.errors import ConfigError, DataError
from medalist.records import Sample

from .test_transforms import NEEDED, SPECIAL_CASES

CPU = torch.device("cpu")
Entry = dict[str, dict[str, Any]]


def classes(height: int = 6, width: int = 8, count: int = 4, seed: int = 0, void: float = 0.2) -> ClassTarget:
    random = np.random.default_rng(seed)
    values = random.integers(0, count, (height, width), np.uint8)
    values[random.random((height, width)) < void] = VOID
    return ClassTarget(values, count)


def maps(height: int = 6, width: int = 8, channels: int = 2, seed: int = 0, void: float = 0.2) -> MapTarget:
    random = np.random.default_rng(seed)
    where = random.random((height, width)) < void
    values = random.integers(0, 2, (height, width, channels), np.uint8)
    values[where] = 0
    return MapTarget(values, where if where.any() else None)


def image(height: int = 6, width: int = 8) -> NDArray[np.uint8]:
    return np.random.default_rng(1).integers(0, 256, (height, width, 3), np.uint8)


@pytest.mark.parametrize("target", [maps(), maps(void=0), classes()])
def test_arrays_make_the_target_again(target: Target) -> None:
    again = target.with_arrays([array.copy() for array in target.arrays])
    assert type(again) is type(target) and len(again.arrays) == len(target.arrays)
    for array, copy in zip(target.arrays, again.arrays, strict=True):
        np.testing.assert_array_equal(array, copy)
        assert array.dtype == copy.dtype


def test_classes_of_another_size_than_the_image_are_refused() -> None:
    classes(6, 8).check("a.png", (6, 8))
    with pytest.raises(DataError, match=r"^a\.png is 6x8, its truth 8x6$"):
        classes(6, 8).check("a.png", (8, 6))


def same(first: Decoded, second: Decoded) -> bool:
    one, other = first[1], second[1]
    assert one is not None and other is not None
    return type(one) is type(other) and all(
        np.array_equal(left, right) for left, right in zip(one.arrays, other.arrays, strict=True)
    )


@pytest.mark.parametrize("where", ["memory", "file", "pickled"])
def test_a_cache_keeps_void_and_counts_its_bytes(where: str, tmp_path: Path) -> None:
    targets: dict[str, Target] = {"a": maps(), "b": classes(), "c": maps(void=0)}
    samples = [Sample(name, (), (6, 8)) for name in targets]
    cache = PixelCache(lambda sample: (image(), targets[sample.id]), samples, tmp_path if where == "file" else None)
    cache.fill(10**6)
    assert cache.kept_bytes == 48 * (3 + 2 + 1) + 48 * (3 + 1) + 48 * (3 + 2)
    if where == "pickled":
        cache._decode = decode_nothing
        cache = pickle.loads(pickle.dumps(cache))
    for number, name in enumerate(targets):
        assert same(cache[number], (image(), targets[name]))


def decode_nothing(sample: Sample) -> Decoded:
    raise AssertionError


def test_what_is_turned_in_or_padded_is_void() -> None:
    """The slow twin is the image itself: of ones, and filled with 0."""
    for entry in ({"Affine": {"rotate": [20, 40], "p": 1.0}}, {"PadIfNeeded": {"min_height": 9, "min_width": 13}}):
        pipeline = compose_augment((entry, {"HorizontalFlip": {}}))
        ones = np.ones((6, 8, 3), np.uint8)
        for target in (maps(void=0), classes(void=0), maps(), classes()):
            known = maps_of(target).void
            seen = ones if known is None else ones * ~known[..., None]
            by_image, _ = augment(
                compose_augment((nearest(entry), {"HorizontalFlip": {}})), seen, None, sample_seed(0, 0, 3)
            )
            _, after = augment(pipeline, ones, target, sample_seed(0, 0, 3))
            assert isinstance(after, MapTarget | ClassTarget)
            void = maps_of(after).void
            assert void is not None
            np.testing.assert_array_equal(void, by_image[..., 0] == 0)
            assert not maps_of(after).maps[void].any()


def nearest(entry: Entry) -> Entry:
    return {name: arguments | ({"interpolation": 0} if name == "Affine" else {}) for name, arguments in entry.items()}


def maps_of(target: Target) -> MapTarget:
    if isinstance(target, MapTarget):
        return target
    assert isinstance(target, ClassTarget)
    void = target.classes == VOID
    planes = np.stack([target.classes == number for number in range(target.count)], axis=-1).astype(np.uint8)
    return MapTarget(planes, void if void.any() else None)


def test_a_mirrored_border_is_judged_as_what_it_mirrors() -> None:
    pad = compose_augment(
        ({"PadIfNeeded": {"min_height": 12, "min_width": 8, "border_mode": 4, "position": "top_left"}},)
    )
    _, after = augment(pad, image(), maps(void=0), sample_seed(0, 0, 0))
    assert isinstance(after, MapTarget) and after.void is None
    np.testing.assert_array_equal(after.maps[6:11], maps(void=0).maps[4::-1])
    _, after = augment(pad, image(), classes(), sample_seed(0, 0, 0))
    assert isinstance(after, ClassTarget)
    np.testing.assert_array_equal(after.classes[6:11], classes().classes[4::-1])


def test_without_void_and_filling_nothing_is_void() -> None:
    pipeline = compose_augment(({"D4": {"p": 1.0}}, {"RandomCrop": {"height": 4, "width": 4}}))
    _, after = augment(pipeline, image(), maps(void=0), sample_seed(0, 0, 0))
    assert isinstance(after, MapTarget) and after.void is None
    _, after = augment(pipeline, image(), classes(void=0), sample_seed(0, 0, 0))
    assert isinstance(after, ClassTarget) and after.classes.max() < 4


def test_every_transform_moves_classes_as_it_moves_the_map_of_each_class() -> None:
    """But those that the settings refuse under softmax, and the crop that looks at the mask."""
    target, picture = classes(64, 96, count=3, seed=2, void=0.05), image(64, 96)
    moving = {name for name, kind in _public_transforms().items() if issubclass(kind, A.DualTransform)}
    names = sorted(moving - SPECIAL_CASES - {"Morphological", "CropNonEmptyMaskIfExists"})
    assert len(names) > 25
    whole = maps_of(target)
    for name in names:
        pipeline = compose_augment(({name: {**NEEDED.get(name, {}), "p": 1.0}},))
        _, after = augment(pipeline, picture, target, sample_seed(1, 2, 3))
        assert isinstance(after, ClassTarget), name
        made = maps_of(after)
        for number in range(3):
            alone = MapTarget(whole.maps[..., number : number + 1], whole.void)
            _, one = augment(pipeline, picture, alone, sample_seed(1, 2, 3))
            assert isinstance(one, MapTarget)
            np.testing.assert_array_equal(made.maps[..., number], one.maps[..., 0], err_msg=name)
            assert (made.void is None) == (one.void is None), name
            if made.void is not None and one.void is not None:
                np.testing.assert_array_equal(made.void, one.void, err_msg=name)


def test_a_crop_on_objects_looks_for_classes_above_0_that_are_judged() -> None:
    values = np.zeros((64, 96), np.uint8)
    values[:10], values[50, 70] = VOID, 2
    crop = compose_augment(({"CropNonEmptyMaskIfExists": {"height": 16, "width": 16}},))
    for index in range(10):
        _, after = augment(crop, image(64, 96), ClassTarget(values, 3), sample_seed(0, 0, index))
        assert isinstance(after, ClassTarget) and (after.classes == 2).sum() == 1


@pytest.mark.parametrize("value", [1, [0, 1], 255, [0, 7]])
@pytest.mark.parametrize(("name", "key"), [("Affine", "fill_mask"), ("PixelDropout", "mask_drop_value")])
def test_masks_are_filled_with_void_alone(name: str, key: str, value: Any) -> None:
    for allowed in (0, 0.0, [0, 0]) if key == "fill_mask" else (0, None):
        compose_augment(({name: {key: allowed}},))
    with pytest.raises(ConfigError, match=rf"^augment\[0\]\.{name}: {key} = .* is void, which no loss counts: take 0"):
        compose_augment(({name: {key: value}},))


def test_dropped_pixels_are_void_where_the_config_says_so() -> None:
    drop: Entry = {
        "CoarseDropout": {
            "num_holes_range": [4, 4],
            "hole_height_range": [3, 5],
            "hole_width_range": [3, 5],
            "fill_mask": 0,
            "p": 1.0,
        }
    }
    _, after = augment(compose_augment((drop,)), image(32, 32), maps(32, 32, void=0), sample_seed(0, 0, 0))
    assert isinstance(after, MapTarget) and after.void is not None
    np.testing.assert_array_equal(after.maps[~after.void], maps(32, 32, void=0).maps[~after.void])
    del drop["CoarseDropout"]["fill_mask"]
    _, after = augment(compose_augment((drop,)), image(32, 32), maps(32, 32, void=0), sample_seed(0, 0, 0))
    assert isinstance(after, MapTarget) and after.void is None


@pytest.mark.parametrize("target", [maps(3, 5), classes(3, 5)])
def test_padding_to_the_stride_mirrors_void_too(target: Target) -> None:
    before, after = maps_of(target), maps_of(target.padded(4))
    assert before.void is not None and after.void is not None
    assert after.void.shape == (4, 8) == after.maps.shape[:2]
    np.testing.assert_array_equal(after.void[:3, :5], before.void)
    np.testing.assert_array_equal(after.void[3], after.void[2])
    np.testing.assert_array_equal(after.maps[:3, :5], before.maps)


def map_batch(*targets: MapTarget) -> MapTargets:
    batch = collate_targets(targets)
    assert isinstance(batch, MapTargets)
    return batch


def class_batch(*targets: ClassTarget) -> ClassTargets:
    batch = collate_targets(targets)
    assert isinstance(batch, ClassTargets)
    return batch


def test_a_batch_without_void_has_no_plane_of_judged_pixels() -> None:
    assert map_batch(maps(void=0), maps(void=0, seed=1)).judged is None
    assert not class_batch(classes(void=0)).has_void and class_batch(classes(void=0)).to(CPU).judged is None
    mixed = map_batch(maps(void=0), maps(seed=1))
    void = maps(seed=1).void
    assert (
        mixed.judged is not None and mixed.judged.shape == (2, 1, 6, 8) and mixed.judged[0].all() and void is not None
    )
    np.testing.assert_array_equal(mixed.judged[1, 0].numpy(), ~void)


def test_maps_on_a_device_are_0_at_void_pixels() -> None:
    where = maps().void
    assert where is not None
    batch = map_batch(MapTarget(np.ones((6, 8, 2), np.uint8), where)).to(CPU)
    assert batch.judged is not None and batch.judged.dtype == batch.maps.dtype == torch.float32
    assert torch.equal(batch.maps, batch.judged.expand(1, 2, 6, 8))
    assert torch.equal(batch.to(CPU).maps, batch.maps)  # and again


def test_classes_become_one_map_each_on_a_device() -> None:
    targets = [classes(seed=seed) for seed in range(3)]
    batch = class_batch(*targets)
    assert batch.classes.dtype == torch.uint8 and batch.classes.shape == (3, 6, 8)
    before = targets[0].classes.copy()
    on_device = batch.to(CPU)
    assert on_device.judged is not None and on_device.maps.dtype == torch.float32
    for number, target in enumerate(targets):
        twin = maps_of(target)
        np.testing.assert_array_equal(on_device.maps[number].numpy(), twin.maps.transpose(2, 0, 1))
        assert twin.void is not None
        np.testing.assert_array_equal(on_device.judged[number, 0].numpy(), ~twin.void)
    batch.classes.fill_(0)
    np.testing.assert_array_equal(targets[0].classes, before)


def test_pinning_reaches_every_tensor(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.Tensor, "pin_memory", lambda tensor: tensor + 1)
    pinned, before = map_batch(maps()).pin_memory(), map_batch(maps())
    assert torch.equal(pinned.maps, before.maps + 1)
    assert pinned.judged is not None and before.judged is not None
    assert torch.equal(pinned.judged, before.judged + 1)
    assert torch.equal(class_batch(classes()).pin_memory().classes, class_batch(classes()).classes + 1)
    assert map_batch(maps(void=0)).pin_memory().judged is None


def test_a_sample_of_a_batch_is_cut_to_its_native_size() -> None:
    batch = map_batch(maps(), maps(seed=1))
    single = batch.single(1, Padding(4, 7))
    assert single.judged is not None and batch.judged is not None
    assert torch.equal(single.judged, batch.judged[1:2, :, :4, :7])
    of_classes = class_batch(classes(), classes(seed=1))
    assert torch.equal(of_classes.single(1, Padding(4, 7)).maps, of_classes.to(CPU).maps[1:2, :, :4, :7])


@settings(max_examples=30)
@given(st.integers(2, 20), st.integers(1, 20), st.integers(0, 99))
def test_a_resized_pixel_is_judged_where_every_pixel_under_the_filter_is(side: int, size: int, seed: int) -> None:
    void = np.random.default_rng(seed).random((side, side)) < 0.1
    batch = MapTargets(torch.ones(1, 1, side, side), torch.from_numpy(~void).float()[None, None]).resized((size, size))
    assert batch.judged is not None and set(batch.judged.unique().tolist()) <= {0.0, 1.0}
    wide = max(1.0, side / size)
    for row, column in np.ndindex(size, size):
        under = [
            max(0.0, 1 - abs((place + 0.5) * side / size - (pixel + 0.5)) / wide) > 2e-3
            for place in (row, column)
            for pixel in range(side)
        ]
        rows, columns = np.array(under[:side]), np.array(under[side:])
        assert bool(batch.judged[0, 0, row, column]) == (not void[np.ix_(rows, columns)].any())


def test_resized_classes_are_shares_of_each_class() -> None:
    batch = class_batch(classes(8, 8, void=0), classes(8, 8, seed=1, void=0))
    small = batch.resized((4, 4))
    assert torch.equal(small.maps, resize_maps(batch.to(CPU).maps, (4, 4)).clamp(0, 1))
    assert torch.allclose(small.maps.sum(dim=1), torch.ones(2, 4, 4))


def test_a_mixed_pixel_is_judged_where_all_its_parts_are() -> None:
    batch = map_batch(maps(), maps(seed=1)).to(CPU)
    assert batch.judged is not None and not batch.is_mixed
    mixed = batch.mixed(lambda planes: 0.25 * planes + 0.75 * planes.roll(-1, 0), 1, 0.25)
    both = batch.judged[0] * batch.judged[1]
    assert mixed.judged is not None
    assert torch.equal(mixed.judged[0], both) and torch.equal(mixed.judged[1], both)
    quarters = batch.mixed(lambda planes: planes.roll(1, 0), None, 1.0).judged
    assert quarters is not None and torch.equal(quarters[0], batch.judged[1])
    assert map_batch(maps(void=0)).to(CPU).mixed(lambda planes: planes, 1, 0.5).judged is None
    of_classes = class_batch(classes(), classes(seed=1))
    assert not of_classes.is_mixed
    by_hand = of_classes.to(CPU).mixed(lambda planes: planes.roll(1, 0), None, 1.0)
    assert torch.equal(of_classes.mixed(lambda planes: planes.roll(1, 0), None, 1.0).maps, by_hand.maps)


def test_perfect_logits_choose_the_class() -> None:
    target = classes(void=0.3)
    logits = class_batch(target).perfect_logits(20.0)
    assert logits is not None
    judged = torch.from_numpy(target.classes != VOID)
    found = logits.softmax(dim=1).argmax(dim=1)[0]
    assert torch.equal(found[judged], torch.from_numpy(target.classes)[judged].long())


def test_tensors_are_named() -> None:
    batch = map_batch(maps())
    assert batch.judged is not None
    assert batch.tensors() == {"maps": batch.maps, "judged": batch.judged}
    of_classes = class_batch(classes())
    assert of_classes.tensors() == {"classes": of_classes.classes}


def test_numbers_and_nearness_are_in_0_to_1_on_a_device() -> None:
    values = np.array([[[1, 255], [0, 51]]], np.uint8)
    target = MapTarget(values, None, np.array([[255, 102]], np.uint8), None, (1,))
    batch = map_batch(target, target)
    assert batch.maps.dtype == torch.uint8 and batch.numbers == (1,) and batch.near is not None
    for moved in (batch.to(CPU), batch.to(CPU).to(CPU)):
        assert moved.maps[0].flatten().tolist() == pytest.approx([1, 0, 1, 0.2])
        assert moved.near is not None and moved.near[1].flatten().tolist() == pytest.approx([1, 0.4])
    single = batch.to(CPU).single(1, Padding(1, 1))
    assert single.near is not None and single.near.tolist() == [[[[1.0]]]]
    logits = batch.perfect_logits(9.0)
    assert logits is not None and logits[0, 1].sigmoid().flatten().tolist() == pytest.approx([1, 0.2], abs=1e-3)
    pair = map_batch(target, MapTarget(values, None, np.zeros((1, 2), np.uint8), None, (1,))).to(CPU)
    mixed = pair.mixed(lambda planes: (planes + planes.roll(-1, 0)) / 2, 1, 0.5)
    assert mixed.near is not None and mixed.near[0].flatten().tolist() == pytest.approx([0.5, 0.2])
    assert pair.resized((2, 4)).near is not None


def test_nearness_moves_with_the_image() -> None:
    near = np.arange(48, dtype=np.uint8).reshape(6, 8)
    target = MapTarget(maps(void=0).maps, None, near)
    _, after = augment(compose_augment(({"HorizontalFlip": {"p": 1.0}},)), image(), target, sample_seed(0, 0, 0))
    assert isinstance(after, MapTarget) and after.near is not None
    np.testing.assert_array_equal(after.near, near[:, ::-1])
    padded = target.padded(4)
    assert padded.near is not None and padded.near.shape == (8, 8)
    assert len(target.arrays) == 2 and target.with_arrays(target.arrays).near is near
