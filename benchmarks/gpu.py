"""What one device does: our loop against a bare one by precision, what the loader costs, images predicted a second.

python benchmarks/gpu.py [--device cpu] [--seconds 85] [--workers N]

The network is a U-Net over ResNet-34, on batches of 32 drawn images of 256x256. On a processor network and images are
so small that only the script is tested.

1. Both loops of `step.py` take turns on the same batches, which are ready in pinned memory. Printed are the medians of
   steps a second, the median ratio, and the most memory that tensors took. Our AdamW is fused, except under float16;
   that of the bare loop is not.
2. Our loop with its loader, which crops, turns and normalises: steps a second, and the share of a step in which the
   loop waits for its batch.
3. Prediction: maps of whole images, without and with their files, and unit vectors.
4. On a GPU: the cost of cuDNN's deterministic kernels, and the kernels of a step that are not deterministic.

A part that would begin after --seconds is left out, and a line says so.
"""

from __future__ import annotations

import argparse
import logging
import os
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cache
from itertools import islice
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import torch
from lightning_fabric import Fabric
from step import Bench, Clock, now  # beside this script
from torch import nn

from medalist.codecs.images import read_image
from medalist.data.cache import Decoded, PixelCache
from medalist.data.dataset import InferenceDataset, Normalisation, TrainDataset
from medalist.data.fitted import FittedInferenceDataset
from medalist.data.loader import Batch, batches
from medalist.data.samplers import ShuffleBatchSampler, SizeBucketSampler
from medalist.data.targets import MapTarget
from medalist.engine.devices import open_fabric
from medalist.engine.job import TrainJob
from medalist.engine.settings import Precision, TrainConfig
from medalist.engine.train import fit
from medalist.records import Sample
from medalist.stores.maps import MapStore
from medalist.tasks.embed.inference import embed
from medalist.tasks.embed.model_settings import EmbedderConfig
from medalist.tasks.embed.network import build_embedder
from medalist.tasks.embed.settings import EmbedPredictConfig
from medalist.tasks.networks import placed
from medalist.tasks.segment.inference import predict
from medalist.tasks.segment.loss_settings import LossConfig
from medalist.tasks.segment.model_settings import SmpConfig
from medalist.tasks.segment.network import build_model
from medalist.tasks.segment.settings import PredictConfig
from medalist.tasks.segment.task import SegmentTask

CHANNELS = ("body", "border")
NORM = Normalisation((0.5,) * 3, (0.25,) * 3)
ROUNDS = 3


@dataclass(frozen=True)
class Scale:
    """How large all is: encoder, side of crops in pixels, samples of a batch, steps of a round, images predicted."""

    encoder: str
    side: int
    batch: int
    steps: int
    images: int


LARGE, SMALL = Scale("resnet34", 256, 32, 30, 256), Scale("test_resnet", 64, 4, 6, 16)


class Held:
    """A loader's first batches, made before and pinned where that is of use; else the loader itself."""

    def __init__(self, loader: Any, steps: int):
        self.loader, self.held = loader, list(islice(iter(loader), steps))

    def __len__(self) -> int:
        return len(self.held)

    def __iter__(self) -> Iterator[Batch]:
        return iter(self.held)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.loader, name)


class Watched:
    """A loader; `waited` are the seconds that its reader waited for batches, the first one left out."""

    def __init__(self, loader: Any):
        self.loader, self.waited = loader, 0.0

    def __len__(self) -> int:
        return len(self.loader)

    def __iter__(self) -> Iterator[Batch]:
        found, first = iter(self.loader), True
        while True:
            began = time.perf_counter()
            batch = next(found, None)
            if batch is None:
                return
            self.waited += 0.0 if first else time.perf_counter() - began
            first = False
            yield batch

    def __getattr__(self, name: str) -> Any:
        return getattr(self.loader, name)


def drawn(sample: Sample) -> Decoded:
    """Noise with a bright square, and the square."""
    random = np.random.default_rng(int(sample.id))
    height, width = sample.size
    body = np.zeros((height, width), bool)
    body[height // 4 : height // 2, width // 4 : width // 2] = True
    image = random.integers(0, 100, (height, width, 3)) + 120 * body[..., None]
    return image.astype(np.uint8), MapTarget(np.stack([body, body], axis=-1).astype(np.uint8))


@cache
def images(count: int, side: int) -> PixelCache:
    made = PixelCache(drawn, [Sample(f"{number}", (Path("none"),), (side, side)) for number in range(count)])
    made.fill(4_000_000_000)
    return made


def fabric_on(device: str, precision: Precision) -> Fabric:
    if device == "cuda":
        return open_fabric(precision)
    return Fabric(accelerator="cpu", devices=1, precision=precision)


def network(scale: Scale) -> nn.Module:
    torch.manual_seed(1)
    return build_model(SmpConfig(kind="unet", encoder=scale.encoder, weights="none", channels=CHANNELS))


def job_of(scale: Scale, fabric: Fabric, precision: Precision, workers: int, folder: Path) -> TrainJob:
    """One epoch of random crops and turns, from images that are half as large again."""
    count, whole = scale.batch * scale.steps, scale.side * 3 // 2
    source = images(min(count, 256), whole)
    chosen = [number % len(source.samples) for number in range(count)]
    augment = ({"RandomCrop": {"height": scale.side, "width": scale.side}}, {"D4": {}})
    train_set = TrainDataset(source, chosen, augment, NORM, 1)  # type: ignore[arg-type]
    held_set = InferenceDataset(source, [0], 32, NORM, read_image)
    pin = fabric.device.type == "cuda"
    return TrainJob(
        fabric=fabric,
        task=SegmentTask(LossConfig(bce=1.0, dice=1.0), CHANNELS),
        model=network(scale),
        train=batches(train_set, ShuffleBatchSampler(count, scale.batch, 1), workers, pin),
        held_out=batches(held_set, SizeBucketSampler([(whole, whole)], 32, 1), 0, pin),
        config=TrainConfig(epochs=1, batch=scale.batch, lr=1e-3, precision=precision, evaluate_every=0),
        seed=1,
        fold=0,
        folder=folder,
        names=[sample.id for sample in source.samples],
    )


def loops(scale: Scale, device: str, precision: Precision, folder: Path) -> float:
    """Print a line on both loops; returns our steps a second on batches that are ready."""
    fabric = fabric_on(device, precision)
    job = job_of(scale, fabric, precision, 0, folder)
    bench = Bench(replace(job, train=Held(job.train, scale.steps)))  # type: ignore[arg-type]
    if device == "cuda":
        torch.cuda.reset_peak_memory_stats()
    rates = [(bench.ours(folder / f"{precision}-{number}"), bench.bare()) for number in range(ROUNDS + 1)][1:]
    ours, bare = (median(column) for column in zip(*rates, strict=True))
    ratio = median(own / plain for own, plain in rates)
    peak = f", {torch.cuda.max_memory_allocated() / 1e9:.1f} GB" if device == "cuda" else ""
    print(f"  {precision:11} {ours:8.2f} / {bare:8.2f} = {ratio:.3f}{peak}")
    return ours


def with_loader(scale: Scale, device: str, workers: int, ready: float, folder: Path) -> None:
    """Print a line on a training that waits for its loader; `ready`: steps a second without."""
    job = job_of(scale, fabric_on(device, "bf16-mixed"), "bf16-mixed", workers, folder)
    watched, clock = Watched(job.train), Clock(job.steps)
    own = replace(job, train=watched, folder=folder / f"workers{workers}")  # type: ignore[arg-type]
    fit(own, lambda row: None, clock)
    waits = watched.waited / (clock.last - clock.first)
    print(
        f"  {workers:2} workers {clock.rate:8.2f} steps/s, {clock.rate * scale.batch:7.0f} images/s; {waits:4.0%} of a "
        f"step waits for its batch; {clock.rate / ready:.2f} of the pace with batches that are ready"
    )


def fixed_kernels(scale: Scale, ready: float, folder: Path) -> None:
    """Print what kernels that are the same in every run cost, and which kernels of a step have no such form."""
    fabric = open_fabric("bf16-mixed")
    job = job_of(scale, fabric, "bf16-mixed", 0, folder)
    bench = Bench(replace(job, train=Held(job.train, scale.steps)))  # type: ignore[arg-type]
    torch.backends.cudnn.benchmark, torch.backends.cudnn.deterministic = True, False
    free = median([bench.ours(folder / f"free{number}") for number in range(3)][1:])
    open_fabric("bf16-mixed")  # as it was
    print(f"  with cudnn.benchmark {free:.2f} steps/s: {ready / free:.3f} of it is left with fixed kernels")
    torch.use_deterministic_algorithms(True, warn_only=True)
    short = Bench(replace(job, train=Held(job.train, 2)))  # type: ignore[arg-type]
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        short.ours(folder / "fixed")
    torch.use_deterministic_algorithms(False)
    found = sorted({str(one.message).split(" does not have")[0] for one in told if "determinis" in str(one.message)})
    print(f"  kernels of a step that may differ in the last bits: {', '.join(found) or 'none'}")


def per_second(count: int, work: Callable[[], object]) -> float:
    """Images a second, after one round that warms up."""
    work()
    began = now()
    work()
    return count / (now() - began)


def maps(scale: Scale, device: str, precision: Precision, workers: int, folder: Path) -> None:
    fabric = fabric_on(device, precision)
    model = placed(network(scale), fabric, channels_last=True)
    source, task, store = images(scale.images, scale.side), SegmentTask(LossConfig(bce=1.0), CHANNELS), MapStore(folder)
    whole = InferenceDataset(source, range(scale.images), 32, NORM, read_image)
    order = SizeBucketSampler([(scale.side,) * 2] * scale.images, 32, 16)
    loader = batches(whole, order, workers, fabric.device.type == "cuda")

    def alone() -> int:
        return sum(1 for _ in predict(fabric, task, [model], loader, PredictConfig(tta="none"), 32, True))

    def written() -> None:
        for index, found in predict(fabric, task, [model], loader, PredictConfig(tta="none"), 32, True):
            store.write(f"{index}", found)

    print(
        f"  maps, {precision:11} {per_second(scale.images, alone):8.0f} images/s, with their files written "
        f"{per_second(scale.images, written):.0f}"
    )


def vectors(scale: Scale, device: str, precision: Precision, workers: int) -> None:
    fabric, size = fabric_on(device, precision), (scale.side,) * 2
    torch.manual_seed(1)
    config = EmbedderConfig(encoder=scale.encoder, weights="none", dim=128)
    model = placed(build_embedder(config, size, None), fabric, channels_last=True)
    whole = FittedInferenceDataset(images(scale.images, scale.side), range(scale.images), size, NORM, read_image)
    order = SizeBucketSampler([size] * scale.images, 1, 32)
    loader = batches(whole, order, workers, fabric.device.type == "cuda")

    def alone() -> int:
        return sum(1 for _ in embed(fabric, [model], loader, EmbedPredictConfig(), True))

    print(f"  vectors, {precision:11} {per_second(scale.images, alone):5.0f} images/s")


def parts(device: str, scale: Scale, workers: int, folder: Path) -> Iterator[Callable[[], None]]:
    """All that is measured, the first things first."""
    ready: dict[str, float] = {}
    loop: Sequence[Precision] = ("bf16-mixed", "32-true", "16-mixed")

    def timed(precision: Precision) -> None:
        ready[precision] = loops(scale, device, precision, folder)

    yield lambda: print("the loop, ours / bare, medians of steps/s:")
    yield from (lambda precision=one: timed(precision) for one in (loop if device == "cuda" else loop[:2]))  # type: ignore[misc]
    yield lambda: print("the loop with its loader, bf16-mixed:")
    for count in dict.fromkeys((0, workers)):
        yield lambda count=count: with_loader(scale, device, count, ready["bf16-mixed"], folder)  # type: ignore[misc]
    yield lambda: print(f"prediction, {workers} workers:")
    yield lambda: maps(scale, device, "bf16-mixed", workers, folder / "maps")
    yield lambda: vectors(scale, device, "bf16-mixed", workers)
    yield lambda: maps(scale, device, "32-true", workers, folder / "maps")
    yield lambda: vectors(scale, device, "32-true", workers)
    if device == "cuda":
        yield lambda: print("kernels:")
        yield lambda: fixed_kernels(scale, ready["bf16-mixed"], folder)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", choices=("cuda", "cpu"), default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--seconds", type=float, default=85, help="no part begins later")
    parser.add_argument("--workers", type=int, default=min(8, max(2, (os.cpu_count() or 2) - 1)))
    options = parser.parse_args()
    if options.device == "cuda" and not torch.cuda.is_available():
        print("benchmarks/gpu.py: no GPU here; --device cpu tries the script on a processor")
        return 2
    logging.getLogger("lightning_fabric").setLevel(logging.WARNING)
    scale = LARGE if options.device == "cuda" else SMALL
    name = torch.cuda.get_device_name() if options.device == "cuda" else f"{torch.get_num_threads()} threads"
    print(f"{name}, torch {torch.__version__}, {scale.encoder}, batches of {scale.batch} x {scale.side}x{scale.side}")
    began = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        for part in parts(options.device, scale, options.workers, Path(folder)):
            if time.perf_counter() - began > options.seconds:
                print(f"what is left is left out: {options.seconds:g} s have gone")
                break
            part()
    print(f"{time.perf_counter() - began:.0f} s")
    return 0


if __name__ == "__main__":
    sys.exit(main())
