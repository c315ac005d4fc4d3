"""Loader workers where processes are not forked, as on macOS and Windows: started by spawn here too."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from multiprocessing.reduction import ForkingPickler
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.lib.format import open_memmap

from medalist.data.cache import Decoded, PixelCache
from medalist.data.dataset import Normalisation, TrainDataset
from medalist.data.features import FeatureDataset
from medalist.data.loader import Batch, batches
from medalist.data.samplers import ShuffleBatchSampler
from medalist.data.targets import BoxTarget, LabelTarget, MapTarget, MapTargets, Target
from medalist.errors import ConfigError
from medalist.files import sha256_file
from medalist.records import Sample
from medalist.reporter import SilentReporter
from medalist.tasks.pixels import blank_cache, filled_cache, no_target, pixel_cache
from medalist.tasks.segment.jobs import target_maker
from medalist.tasks.segment.settings import SegmentSettings

NORM = Normalisation((0.5,) * 3, (0.25,) * 3)


@pytest.fixture(autouse=True)
def spawning(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("medalist.data.loader.FORKS", False)


def settings_of(**loader: Any) -> SegmentSettings:
    return SegmentSettings.model_validate(
        {
            "competition": "toy_nuclei",
            "model": {"kind": "unet", "encoder": "test_resnet", "weights": "none", "channels": ["body", "border"]},
            "loss": {"bce": 1.0},
            "decide": {"kind": "watershed"},
            "loader": loader,
        }
    )


def images_of(epoch: list[Batch]) -> torch.Tensor:
    return torch.cat([batch.image for batch in epoch])


def maps_of(epoch: list[Batch]) -> torch.Tensor:
    return torch.cat([batch.target.maps for batch in epoch if isinstance(batch.target, MapTargets)])


@pytest.mark.slow
def test_workers_share_the_cache_and_decode_what_it_has_no_room_for(untrained: Any) -> None:
    """The truth is that of a contest, which each worker has to find by itself."""
    contest, settings = untrained.contest(), settings_of(cache_mb=0, workers=2)
    cache = pixel_cache(contest, settings, target_maker(contest, settings), Path("unused"))
    cache.fill(sum(3 * sample.size[0] * sample.size[1] for sample in cache.samples))  # of most of them, with their maps
    assert 0 < len(cache._kept) < len(cache)
    augment = ({"RandomCrop": {"height": 32, "width": 32, "pad_if_needed": True}},)
    chosen = TrainDataset(cache, range(len(cache)), augment, NORM, 7)
    order = ShuffleBatchSampler(len(cache), 4, 7)
    alone = list(batches(chosen, order, 0))
    loader = batches(chosen, order, 2)
    together = list(loader)
    assert torch.equal(images_of(together), images_of(alone)) and torch.equal(maps_of(together), maps_of(alone))
    assert cache._block is not None and cache._block.is_shared()
    cache._block.fill_(255)
    white = images_of(list(loader)).eq(2.0).all(dim=3).all(dim=2).all(dim=1)  # by the same workers
    assert len(cache._kept) - 2 <= white.sum() <= len(cache._kept)  # an epoch leaves two samples out


@pytest.mark.parametrize("kind", ["maps", "boxes", "labels", "none"])
def test_a_cache_is_sent_without_its_pixels(kind: str) -> None:
    random = np.random.default_rng(0)
    made: dict[str, Target | None] = {
        "maps": MapTarget(random.integers(0, 2, (40, 50, 2), np.uint8)),
        "boxes": BoxTarget(np.array([[0, 1, 2, 3], [4, 5, 6.5, 7]], np.float32), np.array([3, 4])),
        "labels": LabelTarget(np.array(7)),
        "none": None,
    }
    images = [random.integers(0, 256, (40, 50, 3), np.uint8) for _ in range(20)]
    samples = [Sample(str(number), (Path("x"),), (40, 50)) for number in range(20)]

    def decode(sample: Sample) -> Decoded:
        return images[int(sample.id)], made[kind]

    cache = PixelCache(decode, samples)
    cache.fill(10**9)
    cache._decode = no_target  # type: ignore[assignment]  # a function that can be sent
    sent = bytes(ForkingPickler.dumps(cache))
    assert len(sent) < cache.kept_bytes / 5
    found = pickle.loads(sent)
    for one in (cache, found):
        for number in range(20):
            image, target = one[number]
            np.testing.assert_array_equal(image, images[number])
            assert not image.flags.writeable
            own = made[kind]
            assert (target is None) == (own is None)
            if target is not None and own is not None:
                for array, known in zip(target.arrays, own.arrays, strict=True):
                    np.testing.assert_array_equal(array, known)
                    assert array.dtype == known.dtype and not array.flags.writeable


def test_an_empty_cache_is_sent(untrained: Any) -> None:
    """A rehearsal makes its loaders, too."""
    cache = blank_cache(untrained.contest(), (16, 16), no_target)
    found = pickle.loads(bytes(ForkingPickler.dumps(cache)))
    assert found[0][0].shape == (16, 16, 3) and found.samples == cache.samples


def test_a_cache_in_a_file_is_refused(untrained: Any, tmp_path: Path) -> None:
    contest, settings = untrained.contest(), settings_of(cache="file", workers=2)
    cache = filled_cache(contest, settings, no_target, tmp_path, SilentReporter())
    chosen = TrainDataset(cache, range(4), (), NORM, 0)
    order = ShuffleBatchSampler(4, 2, 0)
    with pytest.raises(ConfigError, match=r"say loader\.cache=memory, or loader\.workers=0$"):
        batches(chosen, order, 2)
    assert list(batches(chosen, order, 0))


def test_what_cannot_be_sent_is_refused_before_a_process_is_started() -> None:
    cache = PixelCache(lambda sample: (np.zeros((8, 8, 3), np.uint8), None), [Sample("a", (Path("x"),), (8, 8))])
    with pytest.raises(ConfigError) as caught:
        batches(TrainDataset(cache, [0], (), NORM, 0), ShuffleBatchSampler(1, 1, 0), 2)
    assert str(caught.value).startswith("loader.workers=2: this system does not fork processes, and the samples cannot")
    assert str(caught.value).endswith("; set loader.workers=0") and "\n" not in str(caught.value)


def test_kept_features_are_sent_by_the_name_of_their_file(tmp_path: Path) -> None:
    made = open_memmap(tmp_path / "kept.npy", mode="w+", dtype=np.float16, shape=(500, 64))
    made[:] = np.random.default_rng(0).normal(size=made.shape)
    made.flush()
    kept = np.load(tmp_path / "kept.npy", mmap_mode="r")
    sent = pickle.dumps(FeatureDataset(kept, range(500)))
    assert len(sent) < kept.nbytes / 10
    found = pickle.loads(sent)
    assert isinstance(found.features, np.memmap) and found.features.dtype == np.float16
    np.testing.assert_array_equal(found.features, kept)
    assert not found.features.flags.writeable
    in_memory = pickle.loads(pickle.dumps(FeatureDataset(np.array(kept), range(500))))
    np.testing.assert_array_equal(in_memory.features, kept)


@pytest.mark.slow
def test_a_training_ends_with_the_same_weights(trained: Any, untrained: Any, medalist: Callable[..., Any]) -> None:
    words = ("--runs", untrained.runs, "train", untrained.config, "--data", untrained.data, "--fold", "0")
    ended = medalist(*words, "loader.workers=2", "--name", "tiny")
    assert ended.code == 0, ended.err
    own, other = (toy.run.fold_folder(0) / "last.safetensors" for toy in (trained, untrained))
    assert sha256_file(own) == sha256_file(other)
