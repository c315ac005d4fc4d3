from __future__ import annotations

import copy
from typing import Any

import pytest
import timm
import torch
from torch import Tensor, nn

from medalist.errors import ConfigError
from medalist.models.recompute import recompute
from medalist.tasks.embed.model_settings import EmbedderConfig
from medalist.tasks.embed.network import build_embedder
from medalist.tasks.segment.model_settings import SmpConfig, TernausConfig
from medalist.tasks.segment.network import build_model

SIZE = (32, 32)


def unet(encoder: str) -> nn.Module:
    return build_model(SmpConfig(kind="unet", encoder=encoder, weights="none", channels=("a",)))


def embedder(encoder: str, **options: Any) -> nn.Module:
    config = EmbedderConfig(encoder=encoder, weights="none", dim=8, dropout=0.3, options=options)
    return build_embedder(config, SIZE, None)


def ternaus(kind: Any) -> nn.Module:
    return build_model(TernausConfig(kind=kind, weights="none", channels=("a",), filters=1))


NETWORKS = {
    "unet test_resnet": (lambda: unet("test_resnet"), 4),
    "unet lite0": (lambda: unet("tf_efficientnet_lite0"), 16),
    "unet convnext": (lambda: unet("test_convnext"), 9),
    "ternausnet16": (lambda: ternaus("ternausnet16"), 5),
    "embedder test_resnet": (lambda: embedder("test_resnet"), 4),
    "embedder test_vit": (lambda: embedder("test_vit", drop_path_rate=0.5, proj_drop_rate=0.2), 6),
    "embedder lite0": (lambda: embedder("tf_efficientnet_lite0", drop_path_rate=0.4), 16),
    "embedder regnet": (lambda: embedder("regnetx_002"), 5),
}


class Kept:
    """How much autograd keeps for the backward pass, in numbers."""

    def __init__(self) -> None:
        self.count = 0

    def pack(self, value: Tensor) -> Tensor:
        self.count += value.numel()
        return value


def run(model: nn.Module, steps: int = 2) -> tuple[list[Tensor], int]:
    """Two batches forward and backward without a step: the outputs, and what was kept in the last."""
    outputs, kept = [], Kept()
    for number in range(steps):
        torch.manual_seed(number)
        image = torch.randn(2, 3, *SIZE)
        kept = Kept()
        with torch.autograd.graph.saved_tensors_hooks(kept.pack, lambda value: value):
            outputs.append(model(image))
        (outputs[-1] * torch.randn_like(outputs[-1])).sum().backward()
    return outputs, kept.count


@pytest.mark.parametrize("name", NETWORKS)
def test_all_is_as_without(name: str) -> None:
    make, count = NETWORKS[name]
    torch.manual_seed(7)
    plain = make()
    model = copy.deepcopy(plain)
    assert recompute(model) == count
    assert model.state_dict().keys() == plain.state_dict().keys()
    expected, much = run(plain)
    found, little = run(model)
    assert little < much
    for one, other in zip(expected, found, strict=True):
        assert torch.equal(one, other)
    for (key, one), other in zip(plain.named_parameters(), model.parameters(), strict=True):
        assert (one.grad is None) == (other.grad is None)
        if one.grad is not None and other.grad is not None:
            assert torch.equal(one.grad, other.grad), key
    for key, value in plain.state_dict().items():
        assert torch.equal(value, model.state_dict()[key]), f"{key}: statistics are moved once a batch"
    assert not any(torch.equal(value, torch.tensor(0)) for key, value in model.state_dict().items() if "num_b" in key)


def test_timms_own_moves_statistics_twice() -> None:
    """The trap: were it mended there, timm's own could be used."""
    torch.manual_seed(0)
    model: Any = timm.create_model("test_resnet", pretrained=False)
    model.set_grad_checkpointing(True)
    model(torch.randn(2, 3, *SIZE)).sum().backward()
    counts = {key: int(value) for key, value in model.state_dict().items() if key.endswith("num_batches_tracked")}
    assert set(counts.values()) == {1, 2}


def small() -> nn.Module:
    """Two blocks under an encoder that says its name, and a head."""
    model = nn.Sequential()
    model.add_module(
        "encoder", nn.Sequential(*(nn.Sequential(nn.Conv2d(3, 3, 1), nn.BatchNorm2d(3)) for _ in range(2)))
    )
    model.add_module("head", nn.Conv2d(3, 1, 1))
    return model


def test_compiled_networks_too() -> None:
    plain = small()
    model = copy.deepcopy(plain)
    assert recompute(model) == 2
    image = torch.randn(4, 3, 5, 5)
    for called in (plain, torch.compile(model, backend="aot_eager")):
        called(image).square().sum().backward()
    for (key, one), other in zip(plain.named_parameters(), model.parameters(), strict=True):
        torch.testing.assert_close(one.grad, other.grad, msg=key)
    for key, value in plain.state_dict().items():
        torch.testing.assert_close(value, model.state_dict()[key], msg=key)


def test_a_block_is_computed_twice() -> None:
    model = unet("test_resnet")
    recompute(model)
    calls: list[int] = []
    convolution = model.get_submodule("encoder.model.layer2.0.conv1")
    convolution.register_forward_hook(lambda *_: calls.append(1))
    out = model(torch.randn(2, 3, *SIZE))
    assert len(calls) == 1
    out.sum().backward()
    assert len(calls) == 2
    model.eval()
    model(torch.randn(2, 3, *SIZE)).sum().backward()
    assert len(calls) == 3, "prediction mode keeps what it computes"


def test_a_copy_is_of_its_own() -> None:
    """The averaged weights are a copy of the network; it must not compute with the blocks of the first."""
    model = unet("test_resnet")
    assert recompute(model) == recompute(model) == 4, "twice is as once"
    twin = copy.deepcopy(model)
    with torch.no_grad():
        for parameter in twin.parameters():
            parameter.zero_()
    image = torch.randn(2, 3, *SIZE)
    assert not twin(image).any()
    assert model(image).any()


def test_frozen_encoders_and_mixed_precision() -> None:
    torch.manual_seed(0)
    plain = unet("test_resnet")
    model = copy.deepcopy(plain)
    recompute(model)
    grads = []
    for network in (plain, model):
        network.get_submodule("encoder").requires_grad_(False).eval()
        with torch.autocast("cpu", dtype=torch.bfloat16):
            network(torch.ones(2, 3, *SIZE)).float().sum().backward()
        network.get_submodule("encoder").requires_grad_(True).train()
        with torch.autocast("cpu", dtype=torch.bfloat16):
            network(torch.ones(2, 3, *SIZE)).float().sum().backward()
        grads.append([parameter.grad for parameter in network.parameters()])
    for one, other in zip(*grads, strict=True):
        assert one is not None and other is not None and torch.equal(one, other)


def flat() -> nn.Module:
    """An encoder whose every layer stands by itself."""
    model = nn.Sequential()
    model.add_module("encoder", nn.Sequential(nn.Conv2d(3, 3, 1), nn.Conv2d(3, 3, 1)))
    setattr(model.get_submodule("encoder"), "name", "resnet0")  # noqa: B010  # as smp's encoders say it
    return model


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: ternaus("ternausnet11"), "TernausNet with encoder Sequential has no blocks"),
        (flat, "Sequential with encoder 'resnet0' has no blocks"),
        (lambda: nn.Linear(2, 2), "Linear with encoder NoneType has no blocks"),
    ],
    ids=["ternausnet11", "flat", "linear"],
)
def test_networks_without_blocks_are_refused(make: Any, words: str) -> None:
    with pytest.raises(ConfigError, match=words) as caught:
        recompute(make())
    assert "set train.grad_checkpointing=false" in str(caught.value) and "\n" not in str(caught.value)
