from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from medalist.data.cache import Decoded
from medalist.data.crops import Crops, TileDataset, WindowCache, block_side, content_blocks
from medalist.data.dataset import TrainDataset
from medalist.data.items import Normalisation
from medalist.data.loader import batches
from medalist.data.samplers import TileBatchSampler
from medalist.data.settings import TileSampler
from medalist.data.targets import MapTarget
from medalist.errors import DataError
from medalist.records import Instances, Mask, Sample

NORM = Normalisation((0.5,) * 3, (0.25,) * 3)


@given(st.tuples(st.integers(1, 60), st.integers(1, 60)), st.integers(1, 20))
def test_blocks_with_content_as_in_plain_loops(size: tuple[int, int], side: int) -> None:
    classes = (np.random.default_rng(size).random(size) < 0.01).astype(np.uint8) * 3
    expected = [
        [row, column]
        for row in range(-(-size[0] // side))
        for column in range(-(-size[1] // side))
        if classes[row * side : (row + 1) * side, column * side : (column + 1) * side].any()
    ]
    assert content_blocks(Mask(classes), side).tolist() == expected
    assert content_blocks(Instances(classes.astype(np.int32)), side).tolist() == expected


SIZES = st.tuples(st.integers(1, 300), st.integers(1, 300))


@given(SIZES, st.integers(0, 3), st.integers(0, 20), st.floats(0, 1))
def test_crops_lie_in_the_image_and_depend_only_on_the_numbers(
    size: tuple[int, int], epoch: int, draw: int, content: float
) -> None:
    config = TileSampler(size=64, content=content)
    mask = np.zeros(size, np.uint8)
    mask[-1, -1] = 1
    contents = {4: content_blocks(Mask(mask), block_side(config))}
    crops = Crops(config, 7, contents)
    place = crops.place(4, size, epoch, draw)
    assert place == Crops(config, 7, contents).place(4, size, epoch, draw)
    for part, length in zip(place, size, strict=True):
        assert 0 <= part.start < part.stop <= length and part.stop - part.start == min(64, length)


@pytest.mark.parametrize("content", [0.0, 0.5, 1.0])
def test_a_share_of_crops_lies_around_content(content: float) -> None:
    config = TileSampler(size=64, content=content)
    mask = np.zeros((1000, 1500), np.uint8)
    mask[333, 777] = 1
    crops = Crops(config, 1, {0: content_blocks(Mask(mask), block_side(config))})
    places = [crops.place(0, mask.shape, epoch, draw) for epoch in range(20) for draw in range(20)]
    share = np.mean([mask[place].any() for place in places])
    assert content - 0.08 <= share <= content + 0.08
    if content:  # not always at the same place
        assert len({place[0].start for place in places if mask[place].any()}) > 20
    empty = Crops(config, 1, {0: np.empty((0, 2), np.int64)}).place(0, (1000, 1500), 0, 0)
    assert empty[0].stop - empty[0].start == 64


def test_each_crop_of_an_epoch_has_its_own_key() -> None:
    order = TileBatchSampler([3, 1, 5], 2, seed=1)
    seen = []
    for epoch in (0, 1):
        order.epoch = epoch
        keys = [key for batch in order for key in batch]
        assert len(order) == 4 and len(keys) == len(set(keys)) == 8 and {key[0] for key in keys} == {epoch}
        assert all(0 <= (key[2] if len(key) == 3 else 0) < [3, 1, 5][key[1]] for key in keys)
        seen.append([key[1:] for key in keys])
    assert seen[0] != seen[1]
    order.first = 2
    assert [key[1:] for batch in order for key in batch] == seen[1][4:]


def test_crops_are_shared_among_processes() -> None:
    alone = TileBatchSampler([3, 4, 5], 4, seed=1)
    both = [TileBatchSampler([3, 4, 5], 2, seed=1, rank=rank, world=2) for rank in (0, 1)]
    for one, first, second in zip(alone, *both, strict=True):
        assert sorted(one) == sorted([*first, *second])


def test_the_number_of_crops() -> None:
    assert TileSampler(size=100).crops_of((1000, 500)) == 50
    assert TileSampler(size=100).crops_of((10, 10)) == 1
    assert TileSampler(size=100, per_image=3).crops_of((1000, 500)) == 3


def pixels_of(sample: Sample) -> NDArray[np.uint8]:
    return np.random.default_rng(int(sample.id)).integers(0, 256, (*sample.size, 3)).astype(np.uint8)


def decoded(sample: Sample) -> Decoded:
    image = pixels_of(sample)
    return image, MapTarget((image[..., :2] > 128).astype(np.uint8))


SAMPLES = [Sample(str(number), (), size) for number, size in enumerate([(100, 80), (40, 200), (30, 20), (90, 90)])]


def cache_of(budget: int, opened: list[str] | None = None) -> WindowCache:
    def open_large(sample: Sample):  # type: ignore[no-untyped-def]
        (opened if opened is not None else []).append(sample.id)
        image, target = decoded(sample)
        assert isinstance(target, MapTarget)
        return lambda rows, columns: (image[rows, columns], MapTarget(target.maps[rows, columns]))

    cache = WindowCache(decoded, open_large, SAMPLES, 5, budget)
    cache.fill()
    return cache


def dataset_of(cache: WindowCache, indices: Sequence[int] = (0, 1, 2, 3)) -> TrainDataset:
    crops = Crops(TileSampler(size=64), 3, {0: np.array([[2, 3]])})
    augment = ({"RandomCrop": {"height": 32, "width": 32, "pad_if_needed": True}}, {"D4": {}})
    return TrainDataset(cache, indices, augment, NORM, 3, crops=crops)


def test_crops_do_not_depend_on_what_is_kept() -> None:
    """Samples that are kept whole, and samples that are read by windows, give the same crops."""
    opened: list[str] = []
    caches = [cache_of(10**9), cache_of(60_000, opened), cache_of(0)]
    assert [cache.small for cache in caches] == [(0, 1, 2, 3), (0, 2), ()]
    assert opened == ["1", "3"]
    keys = [(epoch, position, draw) for epoch in (0, 5) for position in range(4) for draw in (0, 1)]
    datasets = [dataset_of(cache) for cache in caches]
    for key in keys:
        first, *others = (dataset[key] for dataset in datasets)
        assert isinstance(first.target, MapTarget)
        for other in others:
            assert isinstance(other.target, MapTarget)
            assert first.image.equal(other.image)
            np.testing.assert_array_equal(first.target.maps, other.target.maps)


def test_any_number_of_workers_gives_the_same_crops() -> None:
    made = []
    for workers in (0, 2):
        order = TileBatchSampler([2, 3, 1, 4], 2, seed=3)
        order.epoch = 1
        made.append([batch.image for batch in batches(dataset_of(cache_of(60_000)), order, workers)])
    assert all(one.equal(other) for one, other in zip(*made, strict=True))


def test_validation_sees_every_pixel_once() -> None:
    cache = cache_of(60_000)
    tiles = TileDataset(cache, [0, 3], 64, 32, NORM)
    assert len(tiles) == len(tiles.sizes) == 8
    counts = {0: np.zeros((100, 80), int), 3: np.zeros((90, 90), int)}
    for position, (index, rows, columns) in enumerate(tiles.tiles):
        counts[index][rows, columns] += 1
        item = tiles[9, position]
        assert item.index == index and item.image.shape[1] % 32 == item.image.shape[2] % 32 == 0
        native = item.padding.undo(item.image)
        assert native.shape[1:] == tiles.sizes[position]
    assert all((count == 1).all() for count in counts.values())


def test_a_sample_that_cannot_be_read_is_named() -> None:
    def broken(sample: Sample):  # type: ignore[no-untyped-def]
        raise DataError("x.tif: damaged")

    cache = WindowCache(decoded, broken, SAMPLES, 5, 0, Path("x"))
    with pytest.raises(DataError, match=r"^sample 0: x\.tif: damaged$"):
        cache.fill()
