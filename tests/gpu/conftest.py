"""A tiny training on the device that a test is about: drawn discs, a small network, batches as the commands make them.

Nothing here needs the conftest files above, Hypothesis or the compiled core: `make test-gpu` runs this folder alone.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.torch
import torch
from lightning_fabric import Fabric
from lightning_fabric.plugins import MixedPrecision
from torch import Tensor, nn

from medalist.codecs.images import read_image
from medalist.data.cache import Decoded, PixelCache
from medalist.data.dataset import InferenceDataset, Normalisation, TrainDataset
from medalist.data.loader import batches
from medalist.data.samplers import ShuffleBatchSampler, SizeBucketSampler
from medalist.data.targets import MapTarget
from medalist.engine.devices import open_fabric
from medalist.engine.job import TrainJob
from medalist.engine.settings import CheckpointConfig, TrainConfig
from medalist.engine.train import fit
from medalist.records import Sample
from medalist.reporter import TimedProgress

NORM = Normalisation((0.5,) * 3, (0.25,) * 3)
SEED = 5


class Plain(nn.Module):
    """float32[B, 3, h, w] -> logits float32[B, 2, h, w]; all its CUDA kernels should be deterministic."""

    def __init__(self, width: int = 8, dropout: float = 0.2):
        super().__init__()
        self.encoder = nn.Sequential(nn.Conv2d(3, width, 3, padding=1), nn.BatchNorm2d(width), nn.ReLU())
        self.decoder = nn.Sequential(nn.Dropout(dropout), nn.Conv2d(width, 2, 3, padding=1))

    def forward(self, image: Tensor) -> Tensor:
        logits: Tensor = self.decoder(self.encoder(image))
        return logits


def unet() -> nn.Module:
    """A U-Net over timm's smallest encoder; skips the test where smp is not installed."""
    pytest.importorskip("segmentation_models_pytorch")
    from medalist.tasks.segment.model_settings import SmpConfig
    from medalist.tasks.segment.network import build_model

    widths = (16, 16, 8, 8, 8)
    channels = ("body", "border")
    return build_model(
        SmpConfig(kind="unet", encoder="test_resnet", weights="none", channels=channels, decoder_channels=widths)
    )


def disc(sample: Sample) -> Decoded:
    """A bright disc on noise, and its body and rim."""
    random = np.random.default_rng(int(sample.id.removeprefix("s")))
    height, width = sample.size
    y, x = np.mgrid[:height, :width]
    distance = np.hypot(y - height * random.uniform(0.3, 0.7), x - width * random.uniform(0.3, 0.7))
    body = distance < min(height, width) * random.uniform(0.2, 0.3)
    image = random.integers(0, 100, (height, width, 3)) + 120 * body[..., None]
    rim = body & (distance > min(height, width) * 0.15)
    return image.astype(np.uint8), MapTarget(np.stack([body, rim], axis=-1).astype(np.uint8))


def drawn(sizes: list[tuple[int, int]]) -> PixelCache:
    """Discs on images of these sizes, all in memory."""
    cache = PixelCache(disc, [Sample(f"s{number}", (Path("none"),), size) for number, size in enumerate(sizes)])
    cache.fill(1_000_000_000)
    return cache


def quiet() -> TimedProgress:
    return TimedProgress(lambda _: None, "test", 1000, None)


@pytest.fixture(params=["cpu", pytest.param("cuda", marks=pytest.mark.gpu)])
def device(request: pytest.FixtureRequest) -> str:
    """The device that the test is about."""
    found: str = request.param
    if found == "cuda" and not torch.cuda.is_available():
        pytest.skip("no GPU")
    return found


@pytest.fixture
def gpu() -> str:
    """For tests that have nothing to say of processors."""
    if not torch.cuda.is_available():
        pytest.skip("no GPU")
    return "cuda"


@pytest.fixture
def exact() -> Iterator[None]:
    """float32 as the processor has it: by default torch lets cuDNN round the inputs of convolutions to TF32."""
    before = torch.backends.cudnn.allow_tf32
    torch.backends.cudnn.allow_tf32 = False
    yield
    torch.backends.cudnn.allow_tf32 = before


@pytest.fixture
def fabric_on() -> Callable[..., Fabric]:
    """fabric_on(device, precision); on a GPU it is the one of the commands."""

    def made(device: str, precision: Any = "32-true") -> Fabric:
        if device == "cuda":
            return open_fabric(precision)
        if precision == "16-mixed":  # Fabric would take bfloat16 on a processor, and no scaler
            scaler = torch.amp.GradScaler("cpu")
            return Fabric(accelerator="cpu", devices=1, plugins=[MixedPrecision("16-mixed", "cpu", scaler)])
        return Fabric(accelerator="cpu", devices=1, precision=precision)

    return made


@pytest.fixture
def make(tmp_path: Path, fabric_on: Callable[..., Fabric]) -> Callable[..., TrainJob]:
    """make(device, folder name, **train settings) -> TrainJob; seed and initial weights are always the same.

    `count` images of `side` pixels train, in batches of four where nothing else is said, and two are held out.
    `network` is the name of one (`plain`, `dropout`, `unet`) or a network.
    """

    def made(
        device: str,
        name: str = "run",
        *,
        network: str | nn.Module = "unet",
        side: int = 64,
        count: int = 16,
        workers: int = 0,
        checkpoint: CheckpointConfig | None = None,
        fabric: Fabric | None = None,
        **settings: Any,
    ) -> TrainJob:
        pytest.importorskip("segmentation_models_pytorch")  # the loss of segmentation is smp's
        from medalist.tasks.segment.loss_settings import LossConfig
        from medalist.tasks.segment.task import SegmentTask

        usual = {"epochs": 2, "batch": 4, "lr": 0.01, "schedule": "constant", "warmup": 0.0, "evaluate_every": 0}
        config = TrainConfig(**{**usual, **settings})
        cache = drawn([(side, side)] * (count + 2))
        augment: tuple[dict[str, dict[str, Any]], ...] = ({"D4": {}},)
        train_set = TrainDataset(cache, range(count), augment, NORM, SEED)
        held_set = InferenceDataset(cache, (count, count + 1), 32, NORM, read_image)
        torch.manual_seed(11)
        networks = {"plain": partial(Plain, dropout=0.0), "dropout": Plain, "unet": unet}
        pin = device == "cuda"
        return TrainJob(
            fabric=fabric or fabric_on(device, config.precision),
            task=SegmentTask(LossConfig(bce=1.0, dice=1.0), ("body", "border")),
            model=networks[network]() if isinstance(network, str) else network,
            train=batches(train_set, ShuffleBatchSampler(len(train_set), config.batch, SEED), workers, pin),
            held_out=batches(held_set, SizeBucketSampler([(side, side)] * 2, 32, 2), 0, pin),
            config=config,
            seed=SEED,
            fold=0,
            folder=tmp_path / name,
            names=[sample.id for sample in cache.samples],
            checkpoint=checkpoint or CheckpointConfig(),
        )

    return made


@pytest.fixture
def trained() -> Callable[[TrainJob], tuple[list[float], dict[str, Tensor]]]:
    """trained(job) -> the mean loss of each epoch, and the weights that were written."""

    def run(job: TrainJob) -> tuple[list[float], dict[str, Tensor]]:
        rows: list[Any] = []
        fit(job, rows.append, quiet())
        return [row["loss"] for row in rows], safetensors.torch.load_file(job.folder / "last.safetensors")

    return run
