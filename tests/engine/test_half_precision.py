"""Half precision on processors is measured, and a training is warned where it is slower than float32."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from medalist.engine import half_precision
from medalist.engine.half_precision import depthwise_in_float32, half_precision_ratio, slow_precision
from medalist.engine.settings import Precision


def test_the_ratio_of_float32_is_one_and_that_of_bfloat16_is_measured() -> None:
    assert half_precision_ratio("32-true") == 1
    assert half_precision_ratio("bf16-mixed") > 0


@pytest.mark.parametrize("device", ["cpu", "cuda"])
@pytest.mark.parametrize(("ratio", "warned"), [(0.6, False), (13.25, True)])
def test_only_slow_processors_are_warned_of(
    monkeypatch: pytest.MonkeyPatch, device: str, ratio: float, warned: bool
) -> None:
    seconds = {torch.bfloat16: ratio, torch.float32: 1.0}
    monkeypatch.setattr(half_precision, "find_device", lambda name: torch.device(device))
    monkeypatch.setattr(half_precision, "_seconds", seconds.__getitem__)
    line = slow_precision("bf16-mixed")
    assert (line is not None) == (warned and device == "cpu")
    assert line is None or line.startswith("warning: train.precision=bf16-mixed takes 13.2 times as long as 32-true")


def a_network() -> nn.Sequential:
    torch.manual_seed(1)
    return nn.Sequential(nn.Conv2d(3, 8, 1), nn.Conv2d(8, 8, 3, padding=1, groups=8), nn.Conv2d(8, 8, 3, groups=4))


def test_depthwise_convolutions_train_in_float32_and_predict_in_bfloat16() -> None:
    network, plain = a_network(), a_network()
    assert depthwise_in_float32(network, "cpu", "bf16-mixed") == 1
    image, seen = torch.randn(2, 3, 9, 9), []
    network[1].register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0].dtype))
    with torch.autocast("cpu", torch.bfloat16):
        between = network[:2](image)
        assert torch.is_autocast_enabled("cpu") and between.dtype == torch.bfloat16
        with torch.autocast("cpu", enabled=False):
            expected = plain[1](network[0](image))
        network(image).float().sum().backward()
        with torch.no_grad():
            assert torch.equal(network(image), plain(image))
    assert seen == [torch.float32, torch.float32, torch.bfloat16]
    assert torch.allclose(between.float(), expected, atol=0.02)
    assert network[1].weight.grad is not None and network[1].weight.grad.dtype == torch.float32


@pytest.mark.parametrize(("device", "precision"), [("cuda", "bf16-mixed"), ("cpu", "32-true")])
def test_other_devices_and_float32_change_nothing(device: str, precision: Precision) -> None:
    network = a_network()
    assert depthwise_in_float32(network, device, precision) == 0
    assert not any(module._forward_pre_hooks for module in network)


def test_a_forward_that_fails_leaves_autocast_as_it_was() -> None:
    network = a_network()
    depthwise_in_float32(network, "cpu", "bf16-mixed")
    with torch.autocast("cpu", torch.bfloat16):
        with pytest.raises(RuntimeError, match="channels"):
            network[1](torch.randn(1, 5, 9, 9))
        assert torch.is_autocast_enabled("cpu")
        network(torch.randn(1, 3, 9, 9)).float().sum().backward()
