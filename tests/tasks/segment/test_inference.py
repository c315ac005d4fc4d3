from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from lightning_fabric import Fabric
from PIL import Image
from torch import Tensor, nn
from torch.nn.functional import interpolate
from torch.utils.data import DataLoader

from medalist.codecs.images import read_image
from medalist.data.dataset import InferenceDataset
from medalist.data.items import Normalisation
from medalist.data.loader import Batch, batches
from medalist.data.samplers import SizeBucketSampler
from medalist.engine.view_settings import VIEWS, View
from medalist.engine.views import apply_view, invert_view
from medalist.errors import DataError
from medalist.records import MapPrediction, Sample
from medalist.tasks.segment.inference import average_views, predict
from medalist.tasks.segment.loss_settings import LossConfig
from medalist.tasks.segment.settings import PredictConfig
from medalist.tasks.segment.task import SegmentTask

STRIDE = 4
TASK = SegmentTask(LossConfig(bce=1.0), ("body", "border"))
NORM = Normalisation((0.5,) * 3, (0.25,) * 3)
D4 = VIEWS["d4"]


class PerPixel(nn.Module):
    """Two maps of each pixel's own colour: what it says of a turned image is what it says of the image, turned."""

    def __init__(self, scale: float = 1.0):
        super().__init__()
        self.scale = scale
        self.sizes: list[tuple[int, ...]] = []

    def forward(self, image: Tensor) -> Tensor:
        self.sizes.append(tuple(image.shape[-2:]))
        return torch.stack([image[:, 0] - image[:, 1], self.scale * image[:, 2]], dim=1)


class UpperLeft(nn.Module):
    """Sees only its upper left quarter: the views differ."""

    def forward(self, image: Tensor) -> Tensor:
        out = torch.full_like(image[:, :2], -20.0)
        out[..., : image.shape[-2] // 2, : image.shape[-1] // 2] = 20.0
        return out


@pytest.mark.parametrize("tta", ["none", "flips", "d4"])
def test_views_of_an_equivariant_network_change_nothing(tta: str) -> None:
    torch.manual_seed(0)
    image = torch.randn(2, 3, 8, 12)
    config = PredictConfig.model_validate({"tta": tta})
    network = PerPixel()
    made = average_views(TASK, [network], image, config, STRIDE)
    torch.testing.assert_close(made, PerPixel()(image).sigmoid(), rtol=0, atol=1e-6)
    assert len(network.sizes) == len(VIEWS[tta])
    assert set(network.sizes) == ({(8, 12), (12, 8)} if tta == "d4" else {(8, 12)})


def test_views_are_averaged_where_they_belong() -> None:
    """Each view of `flips` lights another quarter, so that together each pixel is lit once of four times."""
    image = torch.zeros(1, 3, 8, 12)
    for tta in ("flips", "d4"):
        made = average_views(TASK, [UpperLeft()], image, PredictConfig.model_validate({"tta": tta}), STRIDE)
        torch.testing.assert_close(made, torch.full_like(made, 0.25))
    plain = average_views(TASK, [UpperLeft()], image, PredictConfig(tta="none"), STRIDE)
    assert plain[0, 0, :4, :6].min() > 0.99 and plain[0, 0].mean() == pytest.approx(0.25)


def test_networks_and_scales_count_equally() -> None:
    torch.manual_seed(1)
    image = torch.randn(1, 3, 8, 16)
    first, second = PerPixel(1.0), PerPixel(-3.0)
    made = average_views(TASK, [first, second], image, PredictConfig(tta="none", scales=(1.0, 1.5, 0.4)), STRIDE)
    assert first.sizes == second.sizes == [(8, 16), (12, 24), (4, 8)]  # multiples of the stride, at least one
    total = torch.zeros(1, 2, 8, 16)
    for size in first.sizes:
        seen = interpolate(image, size=size, mode="bilinear", antialias=size[0] < 8)
        for scale in (1.0, -3.0):
            total += interpolate(PerPixel(scale)(seen).sigmoid(), size=(8, 16), mode="bilinear", antialias=size[0] > 8)
    torch.testing.assert_close(made, total / 6, rtol=0, atol=1e-6)


def test_a_tiny_scale_still_shows_one_stride() -> None:
    network = PerPixel()
    average_views(TASK, [network], torch.zeros(1, 3, 8, 8), PredictConfig(tta="none", scales=(0.1,)), STRIDE)
    assert network.sizes == [(4, 4)]


@pytest.mark.parametrize("tta", ["none", "flips", "d4"])
def test_the_old_words_mean_the_same_to_the_last_bit(tta: str) -> None:
    """Against the sum as it was written before there were lists: scales outside, views inside."""
    torch.manual_seed(5)
    image, network = torch.randn(2, 3, 12, 20), convolutions().eval()
    config = PredictConfig.model_validate({"tta": tta, "scales": [1.0, 1.5, 0.6]})
    total = torch.zeros(())
    with torch.inference_mode():
        made = average_views(TASK, [network], image, config, STRIDE)
        for scale in config.scales:
            size = tuple(max(STRIDE, round(side * scale / STRIDE) * STRIDE) for side in image.shape[-2:])
            scaled = image
            if scale != 1:
                scaled = interpolate(image, size=size, mode="bilinear", antialias=scale < 1)
            for turns in (0, 1, 2, 3) if tta == "d4" else (0, 2) if tta == "flips" else (0,):
                for mirror in (False, True) if tta != "none" else (False,):
                    seen = torch.rot90(scaled, turns, dims=(-2, -1))
                    maps = network(seen.flip(-1) if mirror else seen).float().sigmoid()
                    maps = torch.rot90(maps.flip(-1) if mirror else maps, -turns, dims=(-2, -1))
                    if maps.shape[-2:] != image.shape[-2:]:
                        maps = interpolate(maps, size=(12, 20), mode="bilinear", antialias=scale > 1)
                    total = total + maps
    assert torch.equal(made, total / (len(VIEWS[tta]) * 3))


def test_a_list_of_views_is_their_mean_with_the_image_itself() -> None:
    torch.manual_seed(6)
    image, network = torch.randn(1, 3, 12, 20), convolutions().eval()
    config = PredictConfig.model_validate({"tta": ["rot90", {"scale": 1.5}, {"shift": 3, "turn": "hflip"}]})
    views = (View(), View(1), View(scale=1.5), View(0, True, shift=3))
    with torch.inference_mode():
        made = average_views(TASK, [network], image, config, STRIDE)
        each = [network(apply_view(image, view, STRIDE)).sigmoid() for view in views]
        back = [invert_view(maps, view, (12, 20), STRIDE) for maps, view in zip(each, views, strict=True)]
    torch.testing.assert_close(made, torch.stack(back).mean(0), rtol=0, atol=1e-6)
    assert len({maps.sum().item() for maps in back}) == 4


def test_clahe_changes_what_the_network_sees(samples: list[Sample]) -> None:
    plain, equalised = (
        predictions(samples, PerPixel(), tta="none"),
        predictions(samples, PerPixel(), tta=[{"clahe": 4}]),
    )
    assert any((plain[index].maps != equalised[index].maps).any() for index in plain)


@pytest.fixture(scope="module")
def samples(tmp_path_factory: pytest.TempPathFactory) -> list[Sample]:
    """Images of many sizes, smaller than the stride too."""
    folder = tmp_path_factory.mktemp("images")
    random = np.random.default_rng(3)
    made = []
    for number, (height, width) in enumerate([(8, 8), (9, 13), (8, 8), (1, 1), (30, 2), (7, 8), (12, 9), (8, 8)]):
        path = folder / f"{number}.png"
        Image.fromarray(random.integers(0, 256, (height, width, 3), np.uint8)).save(path)
        made.append(Sample(f"s{number}", (path,), (height, width)))
    return made


def loader_of(samples: Sequence[Sample], batch: int) -> DataLoader[Batch]:
    order = SizeBucketSampler([sample.size for sample in samples], STRIDE, batch)
    return batches(InferenceDataset(samples, range(len(samples)), STRIDE, NORM, read_image), order, 0)


def predictions(
    samples: Sequence[Sample], model: nn.Module, batch: int = 3, precision: str = "32-true", **config: object
) -> dict[int, MapPrediction]:
    fabric = Fabric(accelerator="cpu", devices=1, precision=precision)  # type: ignore[arg-type]
    chosen = PredictConfig.model_validate(config)
    made = list(predict(fabric, TASK, [model], loader_of(samples, batch), chosen, STRIDE, True, NORM))
    assert sorted(index for index, _ in made) == list(range(len(samples)))
    return dict(made)


@pytest.mark.parametrize("config", [{"tta": "none"}, {"tta": "d4"}, {"tta": "flips", "scales": [0.5, 1.0, 2.0]}])
def test_every_image_comes_back_at_its_own_size(samples: list[Sample], config: dict[str, object]) -> None:
    made = predictions(samples, PerPixel(), **config)
    for index, sample in enumerate(samples):
        assert made[index].maps.shape == (2, *sample.size)
        assert made[index].maps.dtype == np.uint8
        assert made[index].channels == ("body", "border")


@pytest.mark.parametrize("tta", ["none", "d4"])
def test_maps_are_those_of_the_image(samples: list[Sample], tta: str) -> None:
    """Pixel by pixel, for the network that looks at each pixel alone."""
    made = predictions(samples, PerPixel(), tta=tta)
    for index, sample in enumerate(samples):
        pixels = (np.asarray(Image.open(sample.images[0]), np.float64) / 255 - 0.5) / 0.25
        logits = np.stack([pixels[..., 0] - pixels[..., 1], pixels[..., 2]])
        expected = 255 / (1 + np.exp(-logits))
        assert np.abs(made[index].maps - expected).max() <= 0.5 + 1e-3


def convolutions() -> nn.Module:
    torch.manual_seed(4)
    layers = [
        nn.Conv2d(3, 8, 3, padding=1),
        nn.BatchNorm2d(8),
        nn.ReLU(),
        nn.Dropout(0.5),
        nn.Conv2d(8, 2, 3, padding=1),
    ]
    return nn.Sequential(*layers)


def test_batching_changes_nothing_but_the_order(samples: list[Sample]) -> None:
    """The network is put into evaluation: a batch norm in training would mix the images of a batch."""
    model = convolutions()
    model.train()
    made = [predictions(samples, model, batch, tta="flips") for batch in (1, 2, 100)]
    for other in made[1:]:
        for index, prediction in made[0].items():
            apart = prediction.maps.astype(int) - other[index].maps.astype(int)
            assert np.abs(apart).max() <= 1  # sums in another order may round to the next step
            assert (apart != 0).mean() < 0.05


def test_mixed_precision_runs_and_is_near(samples: list[Sample]) -> None:
    model = convolutions()
    exact, near = predictions(samples, model, tta="d4"), predictions(samples, model, tta="d4", precision="bf16-mixed")
    for index, prediction in exact.items():
        assert near[index].maps.shape == prediction.maps.shape
        assert np.abs(prediction.maps.astype(int) - near[index].maps.astype(int)).max() <= 4


def test_predictions_come_batch_by_batch(samples: list[Sample]) -> None:
    """Nothing waits for the last image, and nothing is remembered for a gradient."""
    network = PerPixel()
    fabric = Fabric(accelerator="cpu", devices=1)
    stream = predict(fabric, TASK, [network], loader_of(samples, 1), PredictConfig(tta="none"), STRIDE, False)
    next(stream)
    assert len(network.sizes) == 1
    assert not torch.is_inference_mode_enabled()
    stream.close()  # type: ignore[attr-defined]


def test_a_bad_image_is_named(samples: list[Sample], tmp_path: Path) -> None:
    (tmp_path / "bad.png").write_bytes(b"\x89PNG\r\n")
    bad = Sample("worst", (tmp_path / "bad.png",), (8, 8))
    with pytest.raises(DataError, match=r"^sample worst: .*bad\.png"):
        predictions([*samples, bad], PerPixel())
