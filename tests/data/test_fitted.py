from __future__ import annotations

from pathlib import Path
from typing import Literal

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image

from medalist.data.cache import PixelCache
from medalist.data.dataset import decode
from medalist.data.fitted import FittedInferenceDataset
from medalist.data.items import Normalisation, reader
from medalist.data.loader import Batch, batches
from medalist.data.padding import Padding
from medalist.data.samplers import SizeBucketSampler
from medalist.data.settings import FitConfig
from medalist.data.targets import LabelTarget, LabelTargets, Target
from medalist.errors import DataError
from medalist.records import Sample

Pixels = NDArray[np.uint8]


NORM = Normalisation((0.0, 0.5, 0.25), (1.0, 0.5, 0.25))


GRAY = Normalisation((0.5,), (0.25,))


def picture(number: int, size: tuple[int, int] = (32, 32)) -> Pixels:
    return np.random.default_rng(number).integers(0, 256, (*size, 3), dtype=np.uint8)


def cache_of(count: int, size: tuple[int, int] = (32, 32)) -> PixelCache:
    samples = [Sample(f"s{number}", (Path(f"{number}.png"),), (70, 90)) for number in range(count)]
    cache = PixelCache(lambda sample: (picture(int(sample.id[1:]), size), None), samples)
    cache.fill(10_000_000)
    return cache


def pixels_of(image: Pixels, norm: Normalisation = NORM) -> NDArray[np.float64]:
    """Normalised float[C, h, w], plainly."""
    return ((image / 255 - np.array(norm.mean)) / np.array(norm.std)).transpose(2, 0, 1)


def labels(*values: int) -> list[LabelTarget]:
    return [LabelTarget(np.array(value, np.int64)) for value in values]


def label_of(target: Target | None) -> int:
    assert isinstance(target, LabelTarget) and target.value.dtype == np.int64
    return int(target.value)


def labels_of(batch: Batch) -> list[int]:
    assert isinstance(batch.target, LabelTargets) and batch.target.values.dtype == torch.int64
    return batch.target.values.tolist()


def close(image: torch.Tensor, expected: NDArray[np.float64]) -> None:
    assert image.dtype == torch.float32
    np.testing.assert_allclose(image.numpy(), expected, atol=1e-5)


@pytest.fixture
def photos(tmp_path: Path) -> list[Sample]:
    """Three photos of several shapes."""
    sizes = [(50, 70), (90, 40), (24, 24)]
    samples = []
    for number, size in enumerate(sizes):
        Image.fromarray(picture(number, size)).save(tmp_path / f"{number}.png")
        samples.append(Sample(f"p{number}", (tmp_path / f"{number}.png",), size))
    return samples


@pytest.mark.parametrize("fit", ["squash", "pad", "crop"])
def test_whole_images_are_the_middle_of_what_is_kept(
    photos: list[Sample], fit: Literal["squash", "pad", "crop"]
) -> None:
    config = FitConfig(size=(32, 24), fit=fit, fill=9, margin=1.25)
    read = reader(65535, config)
    cache = PixelCache(lambda sample: decode(read, lambda _: None, sample), photos)
    cache.fill(10_000_000)
    assert cache.kept_bytes == 3 * 40 * 30 * 3
    kept = FittedInferenceDataset(cache, [2, 0, 1], (32, 24), NORM, read, labels(4, -1, 8))
    plain = FittedInferenceDataset(photos, [2, 0, 1], (32, 24), NORM, read)
    assert len(kept) == len(plain) == 3
    for position, (index, label) in enumerate(zip([2, 0, 1], [4, -1, 8], strict=True)):
        image = read(photos[index].images[0])
        assert image.shape == (40, 30, 3)
        for item in (kept[7, position], plain[0, position]):
            assert item.index == index and item.padding == Padding(32, 24)
            close(item.image, pixels_of(image[4:36, 3:27]))
        assert label_of(kept[0, position].target) == label and plain[0, position].target is None
    order = SizeBucketSampler([(32, 24)] * 3, 1, 2)
    loaded = list(batches(kept, order, 0))
    assert [labels_of(batch) for batch in loaded] == [[4, -1], [8]]
    assert all(batch.target is None for batch in batches(plain, order, 0))


def test_a_photo_that_fails_is_named_with_its_file(photos: list[Sample]) -> None:
    photos[1].images[0].write_bytes(photos[1].images[0].read_bytes()[:100])
    whole = FittedInferenceDataset(photos, range(3), (16, 16), NORM, reader(65535, FitConfig(size=(16, 16))))
    with pytest.raises(DataError, match=r"^sample p1: .*1\.png: "):
        list(batches(whole, SizeBucketSampler([(16, 16)] * 3, 1, 3), 0))


def test_gray_is_made_by_the_usual_weights() -> None:
    read = reader(65535, FitConfig(size=(32, 32)))
    item = FittedInferenceDataset(cache_of(1), [0], (32, 32), GRAY, read, channels=1)[0, 0]
    assert item.image.shape == (1, 32, 32)
    gray = np.rint(picture(0) @ np.array([0.299, 0.587, 0.114]))[..., None]
    np.testing.assert_allclose(item.image.numpy(), pixels_of(gray, GRAY), atol=4.001 / 255)  # rounded by one
