"""Compare our loader with a hand-written torch DataLoader on the real nuclei images, and measure the cache.

python benchmarks/loader.py [--data DIR] [--samples 498] [--rounds 5] [--config configs/dsb2018/unet_lite0.yaml]

Both loaders decode the same images and truths with the same functions, augment with the same transforms of
albumentations, normalise, and give batches of the same size. The hand-written loader draws random numbers from a
stream; ours computes them from (seed, epoch, index). They are compared first without a cache, because the hand-written
loader has none, and then with all images decoded before, so that only augmentation and batching are compared. Rounds
are interleaved (ours, theirs, ours, ...) after one round of warm-up. A line has the medians of images per second and
the median ratio ours / theirs.

Then the cache is measured: the first epoch, with the decoding that fills the cache as in a training, against an epoch
that reads from the cache.
"""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")
import albumentations as A  # noqa: N812
import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from medalist.competition import load_competition
from medalist.contest import Contest
from medalist.data.cache import Decoded, PixelCache
from medalist.data.dataset import TrainDataset, decode
from medalist.data.items import Normalisation
from medalist.data.loader import batches
from medalist.data.samplers import ShuffleBatchSampler
from medalist.data.settings import Augmentations
from medalist.data.targets import MapTarget
from medalist.kinds import load_settings
from medalist.records import Sample
from medalist.tasks.pixels import read_of
from medalist.tasks.segment.jobs import target_maker
from medalist.tasks.segment.network import build_normalisation
from medalist.tasks.segment.settings import SegmentSettings

PROJECT = Path(__file__).parent.parent
FILL_THREADS = 2


class PlainSet(Dataset[tuple[Tensor, Tensor]]):
    """The usual hand-written dataset: decode, augment and normalise with albumentations, convert to tensors."""

    def __init__(self, decoding: Callable[[Sample], Decoded], samples: Sequence[Sample], augment: A.Compose):
        self.decoding, self.samples, self.augment = decoding, samples, augment

    def __len__(self) -> int:
        return len(self.samples)

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        image, target = self.decoding(self.samples[index])
        assert isinstance(target, MapTarget)
        made = self.augment(image=image, mask=target.maps)
        return channels_first(made["image"]), channels_first(made["mask"])


def channels_first(array: NDArray[Any]) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(array.transpose(2, 0, 1)))


def plain_loader(
    decoding: Callable[[Sample], Decoded],
    samples: Sequence[Sample],
    augment: Augmentations,
    norm: Normalisation,
    batch: int,
    workers: int,
) -> DataLoader[tuple[Tensor, Tensor]]:
    transforms = [getattr(A, name)(**arguments) for entry in augment for name, arguments in entry.items()]
    pipeline = A.Compose([*transforms, A.Normalize(norm.mean, norm.std)])
    return DataLoader(
        PlainSet(decoding, samples, pipeline),
        batch_size=batch,
        shuffle=True,
        drop_last=True,
        num_workers=workers,
        persistent_workers=workers > 0,
        worker_init_fn=lambda _: cv2.setNumThreads(0),
    )


def seconds(loader: Iterable[object]) -> float:
    start = time.perf_counter()
    for _ in loader:
        pass
    return time.perf_counter() - start


def against_torch(
    what: str, decoding: Callable[[Sample], Decoded], samples: Sequence[Sample], settings: SegmentSettings, rounds: int
) -> None:
    batch = settings.train.batch
    images = len(samples) // batch * batch
    norm = build_normalisation(settings)
    train_set = TrainDataset(PixelCache(decoding, samples), range(len(samples)), settings.augment, norm, settings.seed)
    print(f"{what}: {images} images in batches of {batch}, {rounds} rounds, medians of images/s: ours / theirs")
    for workers in (0, 2):
        ours = batches(train_set, ShuffleBatchSampler(len(samples), batch, settings.seed), workers)
        theirs = plain_loader(decoding, samples, settings.augment, norm, batch, workers)
        seconds(ours), seconds(theirs)
        times = [(seconds(ours), seconds(theirs)) for _ in range(rounds)]
        a, b = (images / median(column) for column in zip(*times, strict=True))
        ratio = median(plain / own for own, plain in times)
        print(f"  {workers} workers {a:7.1f} / {b:7.1f} = {ratio:5.2f}   (wanted: at least 0.95)")


def cached_epochs(
    decoding: Callable[[Sample], Decoded],
    samples: Sequence[Sample],
    settings: SegmentSettings,
    rounds: int,
    scratch: Path,
) -> None:
    norm, batch = build_normalisation(settings), settings.train.batch
    print(f"first epoch with filling the cache / second epoch from it, {len(samples)} images, medians of s")
    for form, workers in (("memory", 0), ("memory", 2), ("file", 0)):
        times: list[tuple[float, float]] = []
        for _ in range(rounds):
            start = time.perf_counter()
            cache = PixelCache(decoding, samples, scratch if form == "file" else None)
            cache.fill(settings.loader.cache_mb * 1_000_000, FILL_THREADS)
            train_set = TrainDataset(cache, range(len(samples)), settings.augment, norm, settings.seed)
            loader = batches(train_set, ShuffleBatchSampler(len(samples), batch, settings.seed), workers)
            seconds(loader)
            first = time.perf_counter() - start
            times.append((first, seconds(loader)))
        a, b = (median(column) for column in zip(*times, strict=True))
        ratio = median(first / second for first, second in times)
        print(f"  {form}, {workers} workers {a:6.2f} / {b:6.2f} = {ratio:5.2f}   (wanted: at least 1.5)")


def main() -> None:
    root = Path(os.environ.get("MEDALIST_DATA", PROJECT.parent / "shared" / "data"))
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=root / "dsb2018", help="folder of the nuclei contest")
    parser.add_argument("--config", type=Path, default=PROJECT / "configs" / "dsb2018" / "unet_lite0.yaml")
    parser.add_argument("--samples", type=int, default=0, help="images to use; default: all")
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    settings = load_settings(options.config)
    assert isinstance(settings, SegmentSettings)
    competition = load_competition(settings.competition, PROJECT / "competitions")
    contest = Contest(competition, options.data, competition.read(options.data))
    samples = contest.split.train
    samples = samples[: options.samples or len(samples)]
    decoding = partial(decode, read_of(contest, settings), target_maker(contest, settings))
    against_torch("decoding each time", decoding, samples, settings, options.rounds)
    held = {sample.id: decoding(sample) for sample in samples}
    against_torch("all decoded before", lambda sample: held[sample.id], samples, settings, options.rounds)
    cached_epochs(decoding, samples, settings, options.rounds, PROJECT / "runs")


if __name__ == "__main__":
    main()
