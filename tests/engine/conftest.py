"""A training that takes a fraction of a second: a few blobs, and a network of two convolutions."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from lightning_fabric import Fabric
from torch import Tensor, nn

from medalist.codecs.images import read_image
from medalist.data.cache import Decoded, PixelCache
from medalist.data.dataset import InferenceDataset, TrainDataset
from medalist.data.items import Normalisation
from medalist.data.loader import batches
from medalist.data.samplers import ShuffleBatchSampler, SizeBucketSampler
from medalist.data.settings import WeightedSampler
from medalist.data.targets import MapTarget
from medalist.data.weighted_sampler import WeightedBatchSampler
from medalist.engine.job import TrainJob
from medalist.engine.settings import CheckpointConfig, TrainConfig
from medalist.records import Sample
from medalist.reporter import Progress, TimedProgress
from medalist.tasks.segment.loss_settings import LossConfig
from medalist.tasks.segment.task import SegmentTask

STRIDE = 2
NORM = Normalisation((0.5,) * 3, (0.25,) * 3)
SIZES = [(16, 16), (17, 20), (15, 16), (20, 20), (16, 16), (20, 17), (16, 16), (16, 18), (16, 16), (15, 15), (9, 13)]
BOTH = {"bce": 1.0, "dice": 1.0}
HELD_OUT = (1, 4, 8, 9, 10)
AUGMENT: tuple[dict[str, dict[str, Any]], ...] = (
    {"RandomCrop": {"height": 16, "width": 16, "pad_if_needed": True}},
    {"D4": {}},
)


class Tiny(nn.Module):
    """float32[B, 3, h, w] -> logits float32[B, 2, h, w]; h and w are multiples of 2."""

    def __init__(self, norm: bool = True, dropout: float = 0.2):
        super().__init__()
        layers: list[nn.Module] = [nn.Conv2d(3, 6, 3, padding=1, stride=STRIDE)]
        self.encoder = nn.Sequential(*layers, nn.BatchNorm2d(6) if norm else nn.Identity(), nn.ReLU())
        self.decoder = nn.Sequential(
            nn.Dropout(dropout), nn.Upsample(scale_factor=STRIDE), nn.Conv2d(6, 2, 3, padding=1)
        )

    def forward(self, image: Tensor) -> Tensor:
        logits: Tensor = self.decoder(self.encoder(image))
        return logits


def blobs(sample: Sample) -> Decoded:
    """Return an image of a bright disc on noise, with its body and rim as targets."""
    random = np.random.default_rng(int(sample.id.removeprefix("s")))
    height, width = sample.size
    y, x = np.mgrid[:height, :width]
    distance = np.hypot(y - random.uniform(4, height - 4), x - random.uniform(4, width - 4))
    body = distance < random.uniform(2, 6)
    image = random.integers(0, 100, (height, width, 3)) + 120 * body[..., None]
    return image.astype(np.uint8), MapTarget(np.stack([body, body & (distance > 3)], axis=-1).astype(np.uint8))


@pytest.fixture
def network() -> type[Tiny]:
    """Return the class of the tiny network: network(norm=True, dropout=0.2)."""
    return Tiny


@pytest.fixture
def quiet() -> Progress:
    """Return a progress that prints nothing."""
    return TimedProgress(lambda _: None, "test", 1000, None)


def tiny_job(
    home: Path,
    name: str = "run",
    *,
    workers: int = 0,
    task: SegmentTask | None = None,
    loss: dict[str, float] | None = None,
    model: nn.Module | None = None,
    batch_held: int = 2,
    augment: Sequence[dict[str, dict[str, Any]]] = AUGMENT,
    checkpoint: CheckpointConfig | None = None,
    sampler: WeightedSampler | None = None,
    **settings: Any,
) -> TrainJob:
    """Return a training in the folder `home / name`; the seed and the initial weights are always the same.

    Six samples train, by default in three batches of two. Every other sample has the stratum `odd`.
    """
    config = TrainConfig(**{"epochs": 2, "batch": 2, "lr": 0.01, "encoder_lr": 0.5, **settings})
    samples = [Sample(f"s{number}", (Path("none"),), size) for number, size in enumerate(SIZES)]
    cache = PixelCache(blobs, samples)
    cache.fill(10_000_000)
    training = [number for number in range(len(SIZES)) if number not in HELD_OUT]
    train_set = TrainDataset(cache, training, tuple(augment), NORM, 5)
    held_set = InferenceDataset(cache, HELD_OUT, STRIDE, NORM, read_image)
    order: ShuffleBatchSampler | WeightedBatchSampler = ShuffleBatchSampler(len(train_set), config.batch, 5)
    if sampler:
        order = WeightedBatchSampler(["odd" if number % 2 else "even" for number in training], sampler, config.batch, 5)
    torch.manual_seed(11)
    return TrainJob(
        fabric=Fabric(accelerator="cpu", devices=1, precision=config.precision),
        task=task or SegmentTask(LossConfig(**(loss or BOTH)), ("body", "border")),
        model=model or Tiny(),
        train=batches(train_set, order, workers),
        held_out=batches(held_set, SizeBucketSampler([SIZES[number] for number in HELD_OUT], STRIDE, batch_held), 0),
        config=config,
        seed=5,
        fold=0,
        folder=home / name,
        names=[sample.id for sample in samples],
        checkpoint=checkpoint or CheckpointConfig(),
    )


@pytest.fixture
def make(tmp_path: Path) -> Callable[..., TrainJob]:
    """make(folder name, **train settings) -> TrainJob in the test's folder; see `tiny_job`."""
    return partial(tiny_job, tmp_path)


@pytest.fixture(scope="session")
def make_in() -> Callable[..., TrainJob]:
    """make_in(home, folder name, **train settings) -> TrainJob, for trainings that several tests share."""
    return tiny_job
