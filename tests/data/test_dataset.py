from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image

from medalist.codecs.images import read_image
from medalist.competition import Competition
from medalist.data.cache import Decoded, PixelCache
from medalist.data.dataset import InferenceDataset, TrainDataset, decode
from medalist.data.items import Normalisation, reader
from medalist.data.loader import collate
from medalist.data.padding import Padding
from medalist.data.settings import ImageConfig
from medalist.data.targets import MapTarget, MapTargets, Target
from medalist.data.transforms import augment, compose_augment, sample_seed
from medalist.errors import ConfigError, DataError
from medalist.formats.rle import RleFormat
from medalist.records import Answer, Mask, Sample, Score, Split

NORM = Normalisation((0.0, 0.5, 0.25), (1.0, 0.5, 0.25))
Entries = tuple[dict[str, dict[str, Any]], ...]
CROP: Entries = ({"RandomCrop": {"height": 32, "width": 64, "pad_if_needed": True}},)


def made(sample: Sample) -> Decoded:
    random = np.random.default_rng(int(sample.id))
    image = random.integers(0, 256, (*sample.size, 3), np.uint8)
    return image, MapTarget((image[..., :2] > 127).astype(np.uint8))


def maps_of(target: Target | None) -> NDArray[np.uint8]:
    assert isinstance(target, MapTarget) and target.maps.dtype == np.uint8
    return target.maps


def cache_of(*sizes: tuple[int, int], keep: int = 10_000_000) -> PixelCache:
    samples = [Sample(str(number), (Path(f"{number}.png"),), size) for number, size in enumerate(sizes)]
    cache = PixelCache(made, samples)
    cache.fill(keep)
    return cache


def train_set(augment: Entries, *sizes: tuple[int, int]) -> TrainDataset:
    return TrainDataset(cache_of(*sizes), range(len(sizes)), augment, NORM, 7)


def test_an_item_is_the_augmented_sample_normalised() -> None:
    cache = cache_of((40, 50), (60, 70), (80, 90))
    chosen = TrainDataset(cache, [2, 0], CROP, NORM, 7)
    item = chosen[3, 0]
    image, target = augment(compose_augment(CROP), *cache[2], sample_seed(7, 3, 2))
    assert len(chosen) == 2
    assert item.index == 2
    assert item.padding == Padding(32, 64)
    assert item.image.dtype == torch.float32
    pixels = (image / 255 - np.array(NORM.mean)) / np.array(NORM.std)
    np.testing.assert_allclose(item.image.numpy(), pixels.transpose(2, 0, 1), atol=1e-5)
    np.testing.assert_array_equal(maps_of(item.target), maps_of(target))


def test_what_a_sample_becomes_does_not_depend_on_its_place_or_its_cache() -> None:
    sizes = ((40, 70), (60, 70), (80, 90))
    first = TrainDataset(cache_of(*sizes), [0, 1, 2], CROP, NORM, 7)[3, 2]
    other = TrainDataset(cache_of(*sizes, keep=0), [2, 1], CROP, NORM, 7)[3, 0]
    assert torch.equal(first.image, other.image)
    np.testing.assert_array_equal(maps_of(first.target), maps_of(other.target))


def test_targets_are_copies_of_what_the_cache_keeps() -> None:
    """Also where nothing is augmented or padded and the target of one channel needs no transposing."""
    sample = Sample("0", (Path("0.png"),), (32, 32))
    blank = MapTarget(np.zeros((32, 32, 1), np.uint8))
    cache = PixelCache(lambda _: (np.zeros((32, 32, 3), np.uint8), blank), [sample])
    cache.fill(10_000)
    for item in (TrainDataset(cache, [0], (), NORM, 0)[0, 0], InferenceDataset(cache, [0], 32, NORM, read_image)[0, 0]):
        batch = collate([item])
        assert isinstance(batch.target, MapTargets) and batch.target.maps.shape == (1, 1, 32, 32)
        batch.target.maps.add_(1)
        batch.image.add_(1)
        item.image.add_(1)
    assert cache[0][0].max() == maps_of(cache[0][1]).max() == 0


def test_a_sample_that_comes_again_in_an_epoch_is_augmented_anew() -> None:
    chosen = train_set(CROP, (64, 128))
    assert torch.equal(chosen[3, 0].image, chosen[3, 0, 0].image)
    assert not torch.equal(chosen[3, 0].image, chosen[3, 0, 1].image)


def test_samples_without_targets() -> None:
    sample = Sample("0", (Path("0.png"),), (40, 50))
    cache = PixelCache(lambda sample: (made(sample)[0], None), [sample])
    cache.fill(10_000_000)
    for item in (
        TrainDataset(cache, [0], CROP, NORM, 7)[3, 0],
        InferenceDataset(cache, [0], 32, NORM, read_image)[0, 0],
    ):
        assert item.target is None
    assert torch.equal(TrainDataset(cache, [0], CROP, NORM, 7)[3, 0].image, train_set(CROP, (40, 50))[3, 0].image)


def test_check_gives_the_size() -> None:
    assert train_set(CROP, (40, 50), (20, 100)).check(32) == (32, 64)
    assert train_set((), (64, 32), (64, 32)).check(32) == (64, 32)


@pytest.mark.parametrize(
    ("augment", "sizes"),
    [
        ((), [(32, 32)] * 6 + [(64, 32)] + [(32, 32)] * 6),
        ((), [(32, 96), (64, 64), (96, 32)]),
        (({"RandomScale": {"p": 0.5}},), [(64, 64)] * 4),
        ((*CROP, {"D4": {"p": 1.0}}), [(64, 64)] * 4),
        (({"Resize": {"height": 64, "width": 64, "p": 0.5}},), [(32, 32)]),
    ],
)
def test_several_sizes_are_a_mistake_of_the_config(augment: Entries, sizes: list[tuple[int, int]]) -> None:
    with pytest.raises(ConfigError, match=r"several sizes \(.* for \d+, .*; end it with a fixed size, as 'RandomCrop"):
        train_set(augment, *sizes).check(32)


def test_a_size_that_the_network_cannot_take_names_the_next_larger_one() -> None:
    crop: Entries = ({"RandomCrop": {"height": 50, "width": 70, "pad_if_needed": True}},)
    with pytest.raises(ConfigError, match=r"^augment gives 70x50, but .* multiples of 32; take 96x64$"):
        train_set(crop, (80, 80)).check(32)
    assert train_set(crop, (80, 80)).check(10) == (50, 70)


def test_a_rare_other_size_that_check_could_not_see_is_refused_when_it_comes() -> None:
    rare: Entries = ({"Resize": {"height": 64, "width": 64, "p": 0.02}},)
    chosen = train_set(rare, (32, 32))
    assert chosen.check(32) == (32, 32)
    with pytest.raises(ConfigError, match=r"several sizes \(32x32 for others, 64x64 for 0\)"):
        for epoch in range(1000):
            assert chosen[epoch, 0].image.shape == (3, 32, 32)


def test_a_crop_that_does_not_fit_names_the_sample() -> None:
    crop: Entries = ({"RandomCrop": {"height": 32, "width": 32}},)
    sizes = [(64, 64), (200, 200), (31, 300), (64, 64)]  # the lowest is not the smallest
    with pytest.raises(ConfigError, match=r"^augment: Crop size .* vs \(31, 300\); on sample 2, 300x31$"):
        train_set(crop, *sizes).check(32)


def test_whole_images_are_padded_and_keep_their_truth() -> None:
    item = InferenceDataset(cache_of((40, 50), (33, 64)), [1, 0], 32, NORM, read_image)[5, 0]
    image, target = made(Sample("1", (), (33, 64)))
    assert item.index == 1
    assert item.padding == Padding(33, 64)
    assert item.image.shape == (3, 64, 64)
    maps = maps_of(item.target)
    assert maps.shape == (64, 64, 2)
    np.testing.assert_array_equal(maps[:33], maps_of(target))
    np.testing.assert_array_equal(maps[33:36][::-1], maps[30:33])
    pixels = (image / 255 - np.array(NORM.mean)) / np.array(NORM.std)
    np.testing.assert_allclose(item.padding.undo(item.image), pixels.transpose(2, 0, 1), atol=1e-5)


def test_whole_images_from_files_have_no_target(tmp_path: Path) -> None:
    deep = np.full((20, 30), 100, np.uint16)
    Image.fromarray(deep).save(tmp_path / "deep.png")
    sample = Sample("a", (tmp_path / "deep.png",), (20, 30))
    plain = Normalisation((0.0,) * 3, (1.0,) * 3)
    item = InferenceDataset([sample], [0], 32, plain, reader(200, ImageConfig()))[0, 0]
    assert item.target is None
    assert item.image.shape == (3, 32, 32)
    assert item.image.unique().tolist() == pytest.approx([128 / 255])  # 100 of 200, in 8 bits
    (tmp_path / "deep.png").write_bytes(b"\x89PNG")
    with pytest.raises(DataError, match=r"^sample a: .*deep.png"):
        InferenceDataset([sample], [0], 32, plain, reader(200, ImageConfig()))[0, 0]


def contest(truth: Mask) -> Competition:
    def score(truths: Any, answers: Any) -> Score:
        raise AssertionError

    return Competition("toy", lambda _: Split((), ()), lambda *_: truth, score, RleFormat())


def foreground(answer: Answer) -> MapTarget:
    assert isinstance(answer, Mask)
    return MapTarget((answer.classes[..., None] > 0).astype(np.uint8))


def test_decode_reads_image_and_truth_and_holds_their_sizes_together(tmp_path: Path) -> None:
    Image.fromarray(np.full((4, 6, 3), 9, np.uint8)).save(tmp_path / "a.png")
    sample = Sample("a", (tmp_path / "a.png",), (4, 6))
    image, target = decode(read_image, lambda _: foreground(Mask(np.ones((4, 6), np.uint8))), sample)
    assert image.shape == (4, 6, 3) and image.max() == image.min() == 9
    assert maps_of(target).shape == (4, 6, 1) and maps_of(target).min() == 1
    with pytest.raises(DataError, match=r"a.png is 6x4, its truth 4x6$"):
        decode(read_image, lambda _: foreground(Mask(np.ones((6, 4), np.uint8))), sample)
    assert decode(read_image, lambda _: None, sample)[1] is None


def test_images_of_a_contest_are_read_in_its_orientation(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[274] = 6
    pixels = np.arange(24, dtype=np.uint8).reshape(4, 6)
    path = tmp_path / "x.png"
    Image.fromarray(pixels).save(path, exif=exif)
    for orientation, values in (("stored", pixels), ("shown", np.rot90(pixels, -1))):
        assert np.array_equal(reader(65535, ImageConfig(), orientation)(path)[..., 0], values)  # type: ignore[arg-type]
        competition = Competition(
            "x", lambda _: Split((), ()), lambda _, __: Mask(pixels), lambda *_: Score(0, {}, {}), RleFormat(),
            orientation=orientation,  # type: ignore[arg-type]
        )  # fmt: skip
        assert np.array_equal(competition.image(path)[..., 0], values)
