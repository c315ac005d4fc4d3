from __future__ import annotations

import warnings
from typing import Any

import albumentations as A  # noqa: N812
import numpy as np
import pytest
from albumentations.core.composition import BaseCompose  # type: ignore[import-untyped]
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray

from medalist.data.preparing import normalise, stretch_contrast
from medalist.data.targets import MapTarget
from medalist.data.transforms import COMPOSITIONS, NOT_HERE, _public_transforms, augment, compose_augment, sample_seed
from medalist.errors import ConfigError

Pixels = NDArray[np.uint8]

NEEDED: dict[str, dict[str, Any]] = {  # arguments without which a transform cannot be made or does not fit 64x96
    "CenterCrop": {"height": 32, "width": 48},
    "Crop": {"x_max": 48, "y_max": 32},
    "CropAndPad": {"px": 8},
    "CropNonEmptyMaskIfExists": {"height": 32, "width": 48},
    "GridElasticDeform": {"num_grid_xy": [3, 3], "magnitude": 5},
    "LongestMaxSize": {"max_size": 48},
    "RandomCrop": {"height": 32, "width": 48},
    "RandomResizedCrop": {"size": [32, 48]},
    "RandomSizedCrop": {"min_max_height": [16, 32], "size": [32, 48]},
    "Resize": {"height": 32, "width": 48},
    "SmallestMaxSize": {"max_size": 48},
}
SPECIAL_CASES = {"FrequencyMasking", "PiecewiseAffine", "ShiftScaleRotate", "TimeMasking", "TimeReverse"}
"""albumentations warns that these are other transforms, or very slow; a warning is a refusal."""


def pair(height: int = 64, width: int = 96, channels: int = 2, seed: int = 0) -> tuple[Pixels, Pixels]:
    random = np.random.default_rng(seed)
    image = random.integers(0, 256, (height, width, 3), dtype=np.uint8)
    target = (random.random((height, width, channels)) < 0.3).astype(np.uint8)
    image.flags.writeable = target.flags.writeable = False  # as the cache hands them out
    return image, target


def augment_maps(
    pipeline: A.Compose, image: Pixels, maps: Pixels, seed: np.random.SeedSequence
) -> tuple[Pixels, Pixels]:
    out, target = augment(pipeline, image, MapTarget(maps), seed)
    assert isinstance(target, MapTarget)
    return out, target.maps


def refused(*entries: dict[str, dict[str, Any]]) -> str:
    with pytest.raises(ConfigError) as caught:
        compose_augment(entries)
    message = str(caught.value)
    assert "\n" not in message
    assert len(message) < 400
    return message


def drawn(entries: tuple[dict[str, dict[str, Any]], ...], epoch: int, index: int, **size: int) -> tuple[Pixels, Pixels]:
    return augment_maps(compose_augment(entries), *pair(**size), sample_seed(2018, epoch, index))


@pytest.mark.parametrize(
    ("entry", "said"),
    [
        ({"RandomCropp": {}}, r"augment\[1\]: albumentations has no transform 'RandomCropp'.*mean 'RandomCrop'\?"),
        ({"RandomCrop": {"heigth": 8}}, r"augment\[1\].RandomCrop: unknown argument 'heigth'.*mean 'height'\?"),
        ({"RandomCrop": {"height": 8}}, r"augment\[1\].RandomCrop: width: Field required"),
        ({"RandomCrop": {"height": "x", "width": 8}}, r"RandomCrop: height: Input should be a valid integer"),
        ({"D4": {"p": 2}}, r"D4: p: Input should be less than or equal to 1"),
        ({"D4": {"p": None}}, r"D4: p: Input should be a valid number"),
        ({"Blur": {"blur_limit": 4}}, r"Blur: blur_limit: .*must be odd"),
        ({"RandomScale": {"scale_limit": {"a": 1}}}, r"scale_limit: Input should be a valid tuple or: .*number"),
        ({"Affine": {"fill_mask": 255}}, r"Affine: fill_mask = 255, but what a transform fills is void"),
        ({"CoarseDropout": {"fill_mask": [0, 7]}}, r"fill_mask = \[0, 7\], but what a transform fills is void"),
        ({"ShiftScaleRotate": {}}, r"use Affine"),
        (
            {"D4": {}, "ToGray": {}},
            r"augment\[1\]: each entry needs exactly one transform, such as 'D4: {}'; this entry has: D4, ToGray",
        ),
        ({}, r"each entry needs exactly one transform.*this entry has: none"),
    ],
)
def test_a_wrong_entry_is_refused_on_one_line(entry: dict[str, dict[str, Any]], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        compose_augment(({"D4": {}}, entry))
    refused({"D4": {}}, entry)


@pytest.mark.parametrize(
    "name",
    [
        "Transform3D",
        "CoarseDropout3D",
        "os.system",
        "core.composition.Compose",
        "cv2",
        "self",
        "__class__",
        "",
    ],
)
def test_nothing_but_transforms_of_images_can_be_named(name: str) -> None:
    assert f"no transform '{name}'" in refused({name: {}})


@pytest.mark.parametrize("name", sorted(COMPOSITIONS))
def test_what_holds_other_transforms_is_refused_with_what_to_write(name: str) -> None:
    """albumentations has all of them, so "no such transform" would be wrong."""
    assert hasattr(A, name)
    told = refused({name: {}})
    assert told.startswith(f"augment[0]: '{name}' cannot be used: ") and "no transform" not in told


def test_every_composition_of_albumentations_is_told() -> None:
    kinds = [getattr(A, name) for name in dir(A)]
    found = {kind.__name__ for kind in kinds if isinstance(kind, type) and issubclass(kind, BaseCompose)}
    assert found - {"BaseCompose"} <= set(COMPOSITIONS)


@pytest.mark.parametrize("name", sorted(NOT_HERE))
def test_transforms_that_need_more_than_an_image_and_its_mask_are_refused(name: str) -> None:
    assert hasattr(A, name)
    assert refused({name: {"font_path": "x"} if name == "TextImage" else {}}).startswith(
        f"augment[0]: '{name}' cannot be used: "
    )


def test_every_transform_that_may_be_named_works_on_an_image_and_its_target() -> None:
    """The list of those that may not is right for this albumentations: nothing is left to crash in the loop."""
    image, targets = pair(channels=6)
    before = image.copy(), targets.copy()
    names = sorted(set(_public_transforms()) - SPECIAL_CASES)
    assert len(names) > 80
    for name in names:
        pipeline = compose_augment(({name: {**NEEDED.get(name, {}), "p": 1.0}},))
        for channels in (1, 2, 6):  # warpAffine and friends take up to 4 channels, and drop the axis of one
            with warnings.catch_warnings():
                if name == "ToRGB":
                    warnings.simplefilter("ignore")  # it says that the image has three channels already
                out, mask = augment_maps(pipeline, image, targets[..., :channels], sample_seed(1, 2, 3))
            assert out.dtype == mask.dtype == np.uint8, name
            assert out.shape[2:] == (3,) and mask.shape == (*out.shape[:2], channels), name
            assert mask.max() <= 1, name
    np.testing.assert_array_equal(image, before[0])
    np.testing.assert_array_equal(targets, before[1])


RICH: tuple[dict[str, dict[str, Any]], ...] = (
    {"RandomScale": {"scale_limit": [-0.3, 0.6], "p": 0.7}},
    {"RandomCrop": {"height": 64, "width": 64, "pad_if_needed": True, "border_mode": 4}},
    {"D4": {}},
    {"ElasticTransform": {"p": 0.5}},
    {"GaussNoise": {"p": 0.5}},
    {"RandomBrightnessContrast": {"p": 0.5}},
    {"CoarseDropout": {"p": 0.5}},
)


def test_randomness_is_counted() -> None:
    image, target = pair()
    pipeline = compose_augment(RICH)
    alone = augment_maps(compose_augment(RICH), image, target, sample_seed(2018, 3, 5))
    for index in range(4):  # what came before does not matter
        augment_maps(pipeline, image, target, sample_seed(2018, 3, index))
    again = augment_maps(pipeline, image, target, sample_seed(2018, 3, 5))
    np.testing.assert_array_equal(alone[0], again[0])
    np.testing.assert_array_equal(alone[1], again[1])
    for other in (sample_seed(2018, 4, 5), sample_seed(2018, 3, 6), sample_seed(2019, 3, 5)):
        assert not np.array_equal(augment_maps(pipeline, image, target, other)[0], alone[0])


def test_transforms_of_one_sample_are_independent() -> None:
    """Each fires by its own draw: given one seed for all, both would fire in the same samples."""
    image = np.zeros((4, 4, 3), np.uint8)
    image[0, 0] = 255
    pipeline = compose_augment(({"HorizontalFlip": {"p": 0.5}}, {"VerticalFlip": {"p": 0.5}}))
    seen = []
    for index in range(100):
        out, mask = augment_maps(pipeline, image, image[..., :1] // 255, sample_seed(2018, 0, index))
        ((row, column),) = np.argwhere(out[..., 0])
        assert np.array_equal(out[..., 0] // 255, mask[..., 0])
        seen.append((int(row), int(column)))
    counts = {place: seen.count(place) for place in ((0, 0), (0, 3), (3, 0), (3, 3))}
    assert sum(counts.values()) == 100
    assert min(counts.values()) >= 10  # 25 expected of each, with a deviation of 4.3


@pytest.mark.parametrize("channels", [1, 2, 6])
def test_the_target_moves_with_the_image(channels: int) -> None:
    """The target is drawn into the image: after moving, both still agree, and it is still of 0 and 1."""
    moves: tuple[dict[str, dict[str, Any]], ...] = (
        {"Affine": {"rotate": [-45, 45], "translate_percent": [-0.1, 0.1], "interpolation": 0, "p": 1.0}},
        {"RandomCrop": {"height": 48, "width": 48}},
        {"D4": {"p": 1.0}},
    )
    for index in range(8):
        _, target = pair(64, 64, channels, seed=index)
        image = np.repeat(target[..., :1] * 255, 3, axis=2)
        out, mask = augment_maps(compose_augment(moves), image, target, sample_seed(0, 0, index))
        assert mask.shape == (48, 48, channels)
        assert set(np.unique(mask)) == {0, 1}
        assert (out[..., 0] != mask[..., 0] * 255).mean() < 0.002  # OpenCV breaks ties by the number of channels


def test_an_image_alone_is_augmented_as_with_a_target() -> None:
    image, target = pair()
    for index in range(4):
        seed = (2018, 1, index)
        alone, nothing = augment(compose_augment(RICH), image, None, sample_seed(*seed))
        np.testing.assert_array_equal(alone, augment_maps(compose_augment(RICH), image, target, sample_seed(*seed))[0])
        assert nothing is None


def test_a_transform_that_looks_at_masks_is_refused_where_there_are_none() -> None:
    crop = compose_augment(({"CropNonEmptyMaskIfExists": {"height": 32, "width": 48}},))
    with pytest.raises(ConfigError, match=r"^augment: .*[mM]ask") as caught:
        augment(crop, pair()[0], None, sample_seed(0, 0, 0))
    assert "\n" not in str(caught.value)


def test_no_augmentation_changes_nothing() -> None:
    image, target = pair(channels=1)
    out, mask = augment_maps(compose_augment(()), image, target, sample_seed(0, 0, 0))
    np.testing.assert_array_equal(out, image)
    np.testing.assert_array_equal(mask, target)


def test_a_crop_larger_than_the_image_is_a_mistake_of_the_config() -> None:
    with pytest.raises(ConfigError, match=r"^augment: .*Crop size .*\(128, 128\) vs \(64, 96\)") as caught:
        drawn(({"RandomCrop": {"height": 128, "width": 128}},), 0, 0)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("view", ["whole", "turned", "one channel"])
def test_normalise_equals_a_plain_loop(view: str) -> None:
    image, _ = pair(5, 7)
    mean, std = [0.485, 0.456, 0.406], [0.229, 0.224, 0.225]
    if view == "turned":  # not contiguous
        image = image.transpose(1, 0, 2)[::-1]
    if view == "one channel":
        image, mean, std = image[..., :1], mean[:1], std[:1]
    out = normalise(image, mean, std)
    assert out.dtype == np.float32 and out.flags.c_contiguous
    assert out.shape == (image.shape[2], *image.shape[:2])
    for channel, row, column in np.ndindex(*out.shape):
        expected = (int(image[row, column, channel]) / 255 - mean[channel]) / std[channel]
        assert out[channel, row, column] == pytest.approx(expected, abs=2e-6)


@given(arrays(np.uint8, st.tuples(st.integers(1, 40), st.integers(1, 40), st.just(3)), elements=st.integers(0, 255)))
def test_stretching_equals_sorting(image: Pixels) -> None:
    """The slow twin: the values at a thousandth from either end become 0 and 255, all between on a line."""
    values = np.sort(image, axis=None)
    low, high = int(values[len(values) // 1000]), int(values[-(len(values) // 1000) - 1])
    out = stretch_contrast(image)
    assert out.dtype == np.uint8 and out.shape == image.shape
    if low == high:
        np.testing.assert_array_equal(out, image)
    else:
        expected = np.clip((image.astype(np.float64) - low) * 255 / (high - low), 0, 255)
        assert np.abs(out - expected).max() <= 0.5 + 1e-9


def test_stretching_ignores_a_few_hot_pixels_and_keeps_hues() -> None:
    image = np.zeros((100, 100, 3), np.uint8)
    image[:50] = (10, 20, 30)
    image[99, :9, 0] = 255  # 9 of 30000 values
    out = stretch_contrast(image)
    assert out[0, 0].tolist() == [85, 170, 255]
    assert out[99, 0, 0] == 255


@pytest.mark.parametrize("entry", ["RandomScale", "Resize", "RandomSizedCrop"])
def test_a_resized_mask_lies_where_its_image_does(entry: str) -> None:
    arguments: dict[str, Any] = {
        "RandomScale": {"scale_limit": [0.37, 0.37], "p": 1.0},
        "Resize": {"height": 149, "width": 149},
        "RandomSizedCrop": {"min_max_height": [96, 96], "size": [149, 149]},
    }[entry]
    rows, columns = np.mgrid[:96, :96]
    disc = ((rows - 40) ** 2 + (columns - 52) ** 2 < 400).astype(np.uint8)
    image = np.repeat(disc[..., None] * np.uint8(255), 3, axis=2)

    def apart(**more: Any) -> float:
        pipeline = compose_augment(({entry: arguments | more},))
        big, mask = augment_maps(pipeline, image, disc[..., None], sample_seed(0, 0, 0))
        at = [
            np.array([(part * axis).sum() / part.sum() for axis in np.mgrid[: big.shape[0], : big.shape[1]]])
            for part in (big[..., 0].astype(float), mask[..., 0].astype(float))
        ]
        return float(np.abs(at[0] - at[1]).max())

    by_rounding_down = apart(mask_interpolation=0)  # as OpenCV's INTER_NEAREST does
    assert by_rounding_down > 0.15
    assert apart() < 0.7 * by_rounding_down
