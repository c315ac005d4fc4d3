from __future__ import annotations

import errno
import io
import resource
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from medalist.data.cache import Decoded, PixelCache
from medalist.data.dataset import TrainDataset
from medalist.data.items import Normalisation
from medalist.data.loader import batches
from medalist.data.samplers import ShuffleBatchSampler
from medalist.data.targets import BoxTarget, LabelTarget, MapTarget, Target
from medalist.errors import ConfigError, DataError, MedalistError
from medalist.records import Sample

IMAGE_BYTES = 8 * 8 * 3
ITEM_BYTES = IMAGE_BYTES + 8 * 8 * 2


def samples(count: int) -> list[Sample]:
    return [Sample(f"s{number}", (Path(f"{number}.png"),), (8, 8)) for number in range(count)]


class Decoder:
    """Makes up pixels, counts how often each sample was asked for, and fails where it is told to."""

    def __init__(self, bad: Sequence[str] = ()):
        self.asked: Counter[str] = Counter()
        self.bad = frozenset(bad)

    def __call__(self, sample: Sample) -> Decoded:
        self.asked[sample.id] += 1
        if sample.id in self.bad:
            raise DataError(f"{sample.images[0]}: cut off")
        random = np.random.default_rng(int(sample.id[1:]))
        image = random.integers(0, 256, (8, 8, 3), np.uint8)
        return image, MapTarget(random.integers(0, 2, (8, 8, 2), np.uint8))


def maps_of(target: Target | None) -> NDArray[np.uint8]:
    assert isinstance(target, MapTarget)
    return target.maps


def assert_right(cache: PixelCache) -> None:
    for index, sample in enumerate(cache.samples):
        image, target = Decoder()(sample)
        np.testing.assert_array_equal(cache[index][0], image)
        np.testing.assert_array_equal(maps_of(cache[index][1]), maps_of(target))


@pytest.mark.parametrize("form", ["memory", "file"])
@pytest.mark.parametrize("kept", [0, 1, 3, 7])
def test_keeps_what_fits_and_decodes_the_rest_again(form: str, kept: int, tmp_path: Path) -> None:
    decoder = Decoder()
    cache = PixelCache(decoder, samples(7), tmp_path / "new" if form == "file" else None)
    steps: list[None] = []
    cache.fill(kept * ITEM_BYTES + ITEM_BYTES - 1, progress=lambda: steps.append(None))
    assert cache.kept_bytes == kept * ITEM_BYTES
    assert len(cache) == len(steps) == 7
    assert set(decoder.asked.values()) == {1}
    assert_right(cache)
    assert_right(cache)
    assert all(decoder.asked[f"s{number}"] == (1 if number < kept else 5) for number in range(7))


def test_a_later_sample_that_fits_is_kept() -> None:
    sizes = {"s0": (8, 8), "s1": (80, 80), "s2": (8, 8)}

    def decode(sample: Sample) -> Decoded:
        blank = np.zeros((*sizes[sample.id], 3), np.uint8)
        return blank, MapTarget(blank)

    cache = PixelCache(decode, samples(3))
    cache.fill(4 * IMAGE_BYTES)
    assert cache.kept_bytes == 4 * IMAGE_BYTES
    assert cache[1][0].shape == (80, 80, 3)


@pytest.mark.parametrize("form", ["memory", "file", "decoded again"])
def test_what_is_handed_out_is_read_only(form: str, tmp_path: Path) -> None:
    """Else a transform that writes in place would change later epochs, and those of other workers not."""
    cache = PixelCache(Decoder(), samples(1), tmp_path if form == "file" else None)
    cache.fill(0 if form == "decoded again" else 10_000)
    image, target = cache[0]
    for array in (image, maps_of(target)):
        with pytest.raises(ValueError, match="read-only"):
            array[:] = 0


def test_the_file_leaves_nothing_on_disk(tmp_path: Path) -> None:
    cache = PixelCache(Decoder(), samples(3), tmp_path)
    cache.fill(10_000)
    assert list(tmp_path.iterdir()) == []
    assert_right(cache)


def test_the_file_costs_one_descriptor_not_one_for_each_array(tmp_path: Path) -> None:
    """A mapping for each array would meet the usual limit of 1024 open files with 512 images."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    held = len(list(Path("/proc/self/fd").iterdir()))
    cache = PixelCache(Decoder(), samples(300), tmp_path)
    resource.setrlimit(resource.RLIMIT_NOFILE, (held + 20, hard))
    try:
        cache.fill(10_000_000)
        assert len(list(Path("/proc/self/fd").iterdir())) <= held + 2
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert_right(cache)


@pytest.mark.parametrize("form", ["memory", "file"])
def test_all_bad_samples_are_named_at_once(form: str, tmp_path: Path) -> None:
    bad = [f"s{number}" for number in range(1, 27, 2)]
    cache = PixelCache(Decoder(bad), samples(30), tmp_path if form == "file" else None)
    with pytest.raises(DataError) as caught:
        cache.fill(10_000_000)
    message = str(caught.value)
    assert message.startswith("13 bad samples: sample s1: 1.png: cut off; sample s3: 3.png: cut off; ")
    assert message.endswith("; sample s19: 19.png: cut off; and 3 more")
    assert "\n" not in message
    assert list(tmp_path.iterdir()) == []


def test_exactly_ten_bad_samples_are_all_shown() -> None:
    cache = PixelCache(Decoder([f"s{number}" for number in range(10)]), samples(10))
    with pytest.raises(DataError, match=r"^10 bad samples: .*sample s9: 9.png: cut off$"):
        cache.fill(0)


def test_a_sample_that_goes_bad_later_is_named(tmp_path: Path) -> None:
    decoder = Decoder()
    cache = PixelCache(decoder, samples(2))
    cache.fill(0)
    decoder.bad = frozenset(["s1"])
    with pytest.raises(DataError, match=r"^sample s1: 1\.png: cut off$"):
        cache[1]


@pytest.mark.parametrize("error", [ConfigError("model.channels: no"), KeyboardInterrupt()])
def test_other_errors_end_it_without_decoding_the_rest(error: BaseException) -> None:
    decoder = Decoder()

    def decode(sample: Sample) -> Decoded:
        if sample.id == "s0":
            raise error
        return decoder(sample)

    with pytest.raises(type(error)):
        PixelCache(decode, samples(500)).fill(0)
    assert len(decoder.asked) < 100


def test_threads_do_not_run_far_ahead() -> None:
    """Decoded pixels that nobody has taken yet are outside the budget."""
    decoder = Decoder()
    taken, ahead = [0], [0]

    def progress() -> None:
        taken[0] += 1
        ahead[0] = max(ahead[0], len(decoder.asked) - taken[0])

    PixelCache(decoder, samples(300)).fill(0, threads=2, progress=progress)
    assert taken == [300]
    assert 0 < ahead[0] <= 10


def test_a_full_disk_is_one_clear_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Full(io.BytesIO):
        def write(self, data: object) -> int:
            raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("tempfile.TemporaryFile", lambda **_: Full())
    cache = PixelCache(Decoder(), samples(3), tmp_path)
    with pytest.raises(MedalistError, match=r"^cannot keep decoded images in .*No space left.*loader.cache=memory$"):
        cache.fill(10_000)


def test_a_folder_that_cannot_be_made_is_one_clear_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(MedalistError, match=r"^cannot keep decoded images in .*file/inside: "):
        PixelCache(Decoder(), samples(1), tmp_path / "file" / "inside").fill(10_000)


@pytest.mark.parametrize("form", ["memory", "file"])
def test_forked_workers_read_it(form: str, tmp_path: Path) -> None:
    decoder = Decoder()
    cache = PixelCache(decoder, samples(6), tmp_path if form == "file" else None)
    cache.fill(10_000)
    decoder.bad = frozenset(sample.id for sample in cache.samples)  # a worker that decodes again fails
    whole = TrainDataset(cache, range(6), (), Normalisation((0.0,) * 3, (1 / 255,) * 3), 0)
    seen = [batch for _ in range(2) for batch in batches(whole, ShuffleBatchSampler(6, 3, 0), workers=2)]
    assert sorted(index for batch in seen for index in batch.indices) == sorted([*range(6), *range(6)])
    for batch in seen:
        for number, index in enumerate(batch.indices):
            image, _ = Decoder()(cache.samples[index])
            np.testing.assert_allclose(batch.image[number].numpy(), image.transpose(2, 0, 1), atol=1e-3)


def boxes(count: int) -> BoxTarget:
    random = np.random.default_rng(count)
    corners = random.uniform(0, 4, (count, 2, 2)).astype(np.float32)
    xyxy = np.concatenate([corners[:, 0], corners[:, 0] + corners[:, 1]], axis=1)
    return BoxTarget(xyxy, random.integers(0, 80, count))


MIXED: list[Target | None] = [
    boxes(3),
    LabelTarget(np.array(7, np.int64)),
    boxes(0),
    None,
    LabelTarget(np.array([0.25, np.nan, -1e30], np.float32)),
    boxes(1),
    MapTarget(np.eye(3, dtype=np.uint8)[..., None]),
]
"""Of odd numbers of bytes, so that what follows does not begin at a multiple of its item size."""


def mixed(sample: Sample) -> Decoded:
    number = int(sample.id[1:])
    target = MIXED[number]
    image = np.full((3, 2 * number + 1, 3), number, np.uint8)
    return image, None if target is None else target.with_arrays([array.copy() for array in target.arrays])


@pytest.mark.parametrize("form", ["memory", "file", "decoded again"])
def test_targets_of_every_type_are_kept(form: str, tmp_path: Path) -> None:
    asked: Counter[str] = Counter()

    def decode(sample: Sample) -> Decoded:
        asked[sample.id] += 1
        return mixed(sample)

    cache = PixelCache(decode, samples(len(MIXED)), tmp_path if form == "file" else None)
    cache.fill(0 if form == "decoded again" else 100_000)
    bytes_of_boxes, bytes_of_labels = 4 * (16 + 8), 8 + 12
    pixels = sum(3 * (2 * number + 1) * 3 for number in range(len(MIXED)))
    assert cache.kept_bytes == (0 if form == "decoded again" else pixels + bytes_of_boxes + bytes_of_labels + 9)
    for index, expected in enumerate(MIXED):
        image, target = cache[index]
        np.testing.assert_array_equal(image, np.full((3, 2 * index + 1, 3), index))
        assert type(target) is type(expected)
        if target is None or expected is None:
            continue
        for array, wanted in zip(target.arrays, expected.arrays, strict=True):
            assert (array.dtype, array.shape) == (wanted.dtype, wanted.shape)
            np.testing.assert_array_equal(array, wanted)
            assert not array.flags.writeable
            assert isinstance(array.base, np.memmap) or form != "file" or not array.size
    assert set(asked.values()) == {2 if form == "decoded again" else 1}


def test_boxes_and_labels_count_for_the_budget() -> None:
    one = 3 * 3 + 3 * (16 + 8)
    cache = PixelCache(mixed, samples(2))
    cache.fill(one - 1)
    assert cache.kept_bytes == 3 * 3 * 3 + 8  # the boxes did not fit, the label of the next sample did
    exact = PixelCache(mixed, samples(1))
    exact.fill(one)
    assert exact.kept_bytes == one


def test_a_cache_without_targets_may_lie_in_a_file(tmp_path: Path) -> None:
    cache = PixelCache(lambda sample: (Decoder()(sample)[0], None), samples(4), tmp_path)
    cache.fill(3 * IMAGE_BYTES)
    assert cache.kept_bytes == 3 * IMAGE_BYTES
    for index, sample in enumerate(cache.samples):
        image, target = cache[index]
        assert target is None and not image.flags.writeable
        np.testing.assert_array_equal(image, Decoder()(sample)[0])
