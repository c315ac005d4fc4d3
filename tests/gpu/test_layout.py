"""What stands between loader, network and loss keeps values, device and channels-last, and waits for no copy."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from lightning_fabric import Fabric
from torch import Tensor, nn

from medalist.data.loader import Batch
from medalist.data.padding import Padding
from medalist.data.targets import MapTargets
from medalist.engine.devices import seed_generators
from medalist.engine.mixing import mixed, resized
from medalist.engine.settings import CutmixConfig, MixConfig, MixupConfig, MosaicConfig
from medalist.engine.views import VIEWS, apply_view, invert_view
from medalist.tasks.classify.loss_settings import BceConfig, CrossEntropyConfig
from medalist.tasks.classify.losses import LabelLoss
from medalist.tasks.networks import placed

LAST = torch.channels_last


def batch_on(device: str) -> Batch:
    torch.manual_seed(3)
    image, maps = torch.randn(4, 3, 16, 24), torch.rand(4, 2, 16, 24)
    target = MapTargets(maps.to(device))
    return Batch(image.to(device, memory_format=LAST), target, tuple(range(4)), (Padding(16, 24),) * 4)


def alike(found: Batch, expected: Batch, device: str) -> None:
    assert found.image.device.type == device and found.image.is_contiguous(memory_format=LAST)
    torch.testing.assert_close(found.image.cpu(), expected.image, rtol=1e-5, atol=1e-5)
    assert isinstance(found.target, MapTargets) and isinstance(expected.target, MapTargets)
    torch.testing.assert_close(found.target.maps.cpu(), expected.target.maps, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("mix", [MixupConfig(kind="mixup"), CutmixConfig(kind="cutmix"), MosaicConfig(kind="mosaic")])
def test_mixes(device: str, mix: MixConfig) -> None:
    alike(mixed(batch_on(device), [mix], 1, 2, 0), mixed(batch_on("cpu"), [mix], 1, 2, 0), device)


@pytest.mark.parametrize("size", [(8, 12), (32, 48), (9, 40)])
def test_sizes(device: str, size: tuple[int, int]) -> None:
    alike(resized(batch_on(device), size), resized(batch_on("cpu"), size), device)


def test_views(device: str) -> None:
    image, plain = batch_on(device).image, batch_on("cpu").image
    for view in VIEWS["d4"]:
        assert torch.equal(apply_view(image, view).cpu(), apply_view(plain, view))
        assert torch.equal(invert_view(apply_view(image, view), view), image)
    assert apply_view(image, VIEWS["none"][0]).is_contiguous(memory_format=LAST)


@pytest.mark.parametrize("channels_last", [False, True])
def test_a_network_that_predicts_has_the_layout_of_its_batches(
    fabric_on: Callable[..., Fabric], device: str, channels_last: bool
) -> None:
    model = placed(nn.Sequential(nn.Conv2d(3, 4, 3)), fabric_on(device), channels_last)
    weight = model.get_parameter("0.weight")
    assert weight.device.type == device and weight.is_contiguous(memory_format=LAST) == channels_last


def test_seeds_are_those_of_torch(device: str) -> None:
    def draws() -> tuple[Tensor, Tensor]:
        return torch.rand(3), torch.rand(3, device=device)

    torch.manual_seed(7 << 33)
    expected = draws()
    torch.manual_seed(1)
    seed_generators(7 << 33, torch.device(device))
    assert all(map(torch.equal, draws(), expected))


@pytest.mark.parametrize("kind", ["cross_entropy", "bce"])
def test_class_weights_move_once_and_can_be_trained_with_after_a_look(device: str, kind: str) -> None:
    weights = {"a": 3.0}
    classes = ["a", "b"]
    config = (
        CrossEntropyConfig(kind="cross_entropy", class_weights=weights)
        if kind == "cross_entropy"
        else BceConfig(kind="bce", class_weights=weights)
    )
    loss, plain = LabelLoss(config, classes, [4, 4]), LabelLoss(config, classes, [4, 4])
    outputs = torch.randn(5, 2, device=device, requires_grad=True)
    values = torch.tensor([0, 1, 0, 1, 1], device=device)
    if kind == "bce":
        values = nn.functional.one_hot(values, 2).float()
    with torch.inference_mode():
        loss(outputs, values)
    moved = loss.weights
    found = loss(outputs, values)
    found.sum().backward()
    assert moved.device.type == device and loss.weights is moved
    torch.testing.assert_close(found.detach().cpu(), plain(outputs.detach().cpu(), values.cpu()))
