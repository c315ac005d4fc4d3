"""What a GPU predicts is what a processor predicts, within a tolerance that is said here."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np
import pytest
import torch
from lightning_fabric import Fabric
from numpy.typing import NDArray
from torch import nn

from medalist.codecs.images import read_image
from medalist.data.cache import PixelCache
from medalist.data.dataset import InferenceDataset, Normalisation
from medalist.data.fitted import FittedInferenceDataset
from medalist.data.loader import Batch, batches
from medalist.data.samplers import SizeBucketSampler
from medalist.data.targets import MapTarget
from medalist.models.backbone import build_encoder
from medalist.records import Sample

FabricOn = Callable[..., Fabric]

NORM = Normalisation((0.5,) * 3, (0.25,) * 3)
SIZES = [(64, 64), (70, 90), (64, 64), (33, 128), (96, 96)]
FITTED = (48, 64)

MOST = {"32-true": 2e-3, "bf16-mixed": 2e-2}
"""Largest difference of a probability or of a component of a unit vector. torch lets cuDNN round the inputs of float32
convolutions to TF32 (10 bits); bfloat16 has 7 bits."""

STEPS = {"32-true": (1, 0.001), "bf16-mixed": (4, 0.01)}
"""Steps of 1/255 by which 8-bit maps may differ, and the share of pixels that may differ by more."""


def noise(sample: Sample) -> tuple[NDArray[np.uint8], MapTarget]:
    """Smooth spots of all colours."""
    random = np.random.default_rng(int(sample.id.removeprefix("s")))
    height, width = sample.size
    coarse = random.integers(0, 256, (height // 8 + 1, width // 8 + 1, 3), np.uint8)
    image = np.kron(coarse, np.ones((8, 8, 1), np.uint8))[:height, :width]
    return np.ascontiguousarray(image), MapTarget(np.zeros((height, width, 2), np.uint8))


def images(sizes: list[tuple[int, int]]) -> PixelCache:
    cache = PixelCache(noise, [Sample(f"s{number}", (Path("none"),), size) for number, size in enumerate(sizes)])
    cache.fill(100_000_000)
    return cache


def loader(device: str, fitted: bool, batch: int) -> Iterable[Batch]:
    sizes = [FITTED] * len(SIZES) if fitted else SIZES
    cache, indices = images(sizes), range(len(SIZES))
    if fitted:
        return batches(
            FittedInferenceDataset(cache, indices, FITTED, NORM, read_image),
            SizeBucketSampler(sizes, 1, batch),
            0,
            device == "cuda",
        )
    whole = InferenceDataset(cache, indices, 32, NORM, read_image)
    return batches(whole, SizeBucketSampler(sizes, 32, batch), 0, device == "cuda")


def settled(model: nn.Module, size: tuple[int, int] = (64, 64)) -> nn.Module:
    """The network with statistics of some images, as a trained one has, so that its values are of a usual size."""
    torch.manual_seed(2)
    model.train()
    with torch.no_grad():
        for _ in range(20):
            model(torch.randn(4, 3, *size))
    return model.eval()


@pytest.fixture(params=["32-true", "bf16-mixed"])
def precision(request: pytest.FixtureRequest) -> str:
    found: str = request.param
    return found


def test_maps(fabric_on: FabricOn, device: str, precision: str) -> None:
    pytest.importorskip("segmentation_models_pytorch")
    from medalist.tasks.segment.inference import predict
    from medalist.tasks.segment.loss_settings import LossConfig
    from medalist.tasks.segment.model_settings import SmpConfig
    from medalist.tasks.segment.network import build_model
    from medalist.tasks.segment.settings import PredictConfig
    from medalist.tasks.segment.task import SegmentTask

    channels = ("body", "border")
    torch.manual_seed(1)
    config = SmpConfig(kind="unet", encoder="test_resnet", weights="none", channels=channels)
    model = settled(build_model(config))
    task = SegmentTask(LossConfig(bce=1.0), channels)
    way = PredictConfig(tta="flips", scales=(1.0, 1.5))

    def found(device: str, precision: str, batch: int) -> dict[int, NDArray[np.uint8]]:
        fabric = fabric_on(device, precision)
        networks = [fabric.to_device(model)]
        read = loader(device, False, batch)
        return {index: made.maps for index, made in predict(fabric, task, networks, read, way, 32, batch > 1)}

    expected, maps = found("cpu", "32-true", 1), found(device, precision, 2)
    assert [maps[index].shape[1:] for index in range(len(SIZES))] == SIZES
    assert min(np.ptp(one) for one in expected.values()) > 20, "even maps compare nothing"
    difference = np.concatenate(
        [np.abs(maps[index].astype(int) - expected[index].astype(int)).ravel() for index in expected]
    )
    steps, share = STEPS[precision]
    assert (difference > steps).mean() <= share and difference.max() <= 4 * steps, np.bincount(difference)


def test_embeddings(fabric_on: FabricOn, device: str, precision: str) -> None:
    from medalist.tasks.embed.inference import embed
    from medalist.tasks.embed.model_settings import EmbedderConfig
    from medalist.tasks.embed.network import build_embedder
    from medalist.tasks.embed.settings import EmbedPredictConfig

    torch.manual_seed(1)
    model = settled(build_embedder(EmbedderConfig(encoder="test_resnet", weights="none", dim=16), FITTED, None), FITTED)

    def found(device: str, precision: str, batch: int) -> NDArray[np.float32]:
        fabric, rows = fabric_on(device, precision), np.zeros((len(SIZES), 16), np.float32)
        way, read = EmbedPredictConfig(tta="mirror"), loader(device, True, batch)
        for indices, vectors in embed(fabric, [fabric.to_device(model)], read, way, batch > 1):
            rows[list(indices)] = vectors
        return rows

    expected, vectors = found("cpu", "32-true", 1), found(device, precision, 2)
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-5)
    assert np.abs(expected - expected.mean(axis=0)).max() > 10 * MOST["32-true"], "equal vectors compare nothing"
    np.testing.assert_allclose(vectors, expected, atol=MOST[precision], rtol=0)


def test_probabilities(fabric_on: FabricOn, device: str, precision: str) -> None:
    from medalist.tasks.classify.inference import predict
    from medalist.tasks.classify.loss_settings import CrossEntropyConfig
    from medalist.tasks.classify.losses import LabelLoss
    from medalist.tasks.classify.network import Classifier, ClassifierHead
    from medalist.tasks.classify.settings import ClassifierConfig, ClassifyPredictConfig
    from medalist.tasks.classify.task import ClassifyTask

    torch.manual_seed(1)
    config = ClassifierConfig(encoder="test_resnet", weights="none")
    encoder = build_encoder(config, FITTED, None)
    model = settled(Classifier(encoder, ClassifierHead(config, encoder, None, 3)), FITTED)
    task = ClassifyTask(LabelLoss(CrossEntropyConfig(kind="cross_entropy"), ["a", "b", "c"], [1, 1, 1]), "single", 3)

    def found(device: str, precision: str, batch: int) -> NDArray[np.float32]:
        fabric, rows = fabric_on(device, precision), np.zeros((len(SIZES), 3), np.float32)
        way, read = ClassifyPredictConfig(tta="mirror"), loader(device, True, batch)
        for indices, values in predict(fabric, task, [fabric.to_device(model)], read, way, batch > 1):
            rows[list(indices)] = values
        return rows

    expected, values = found("cpu", "32-true", 1), found(device, precision, 2)
    np.testing.assert_allclose(values.sum(axis=1), 1, atol=1e-3)
    assert np.ptp(expected, axis=0).max() > 10 * MOST["32-true"], "equal images compare nothing"
    np.testing.assert_allclose(values, expected, atol=MOST[precision], rtol=0)
