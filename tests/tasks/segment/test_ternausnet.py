"""The networks against the known answers of the published ones."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from pydantic import TypeAdapter
from torch import Tensor, nn

from medalist.models.checkpoints import load_whole
from medalist.models.vgg import VGG11, vgg_features
from medalist.tasks.segment.model_settings import LinkNetConfig, ModelConfig, TernausConfig, TernausV2Config
from medalist.tasks.segment.network import build_model

ADAPTER: TypeAdapter[Any] = TypeAdapter(ModelConfig)
PUBLISHED = {
    "ternausnet11": ("ternausnet11", 22_927_393),
    "ternausnet16": ("ternausnet16", 29_306_465),
    "unet11": ("robot_unet11", 25_364_513),
    "unet16": ("robot_unet16", 32_202_337),
    "albunet34": ("robot_albunet", 35_117_897 - 513_000),  # published with its classifier of 1000 classes
    "linknet34": ("robot_linknet34", 21_794_721),
}


def config_of(kind: str, **options: Any) -> TernausConfig | LinkNetConfig | TernausV2Config:
    found = ADAPTER.validate_python({"kind": kind, "weights": "none", "channels": ["a"], **options})
    assert isinstance(found, TernausConfig | LinkNetConfig | TernausV2Config)
    return found


def by_formula(names: list[tuple[str, list[int]]]) -> dict[str, Tensor]:
    """The README's sines for tensors of these names and shapes, in their order."""
    state = {}
    for k, (name, shape) in enumerate(names):
        if name.endswith("num_batches_tracked"):
            continue
        wave = np.sin(0.37 * np.arange(int(np.prod(shape)), dtype=np.float64) + k).reshape(shape)
        if name.endswith("running_var"):
            wave = 1 + 0.5 * wave
        elif len(shape) >= 2:
            wave = 2 * wave / np.sqrt(np.prod(shape[1:]))
        elif name.endswith("weight"):
            wave = 1 + 0.1 * wave
        else:
            wave = 0.1 * wave
        state[name] = torch.from_numpy(wave.astype(np.float32))
    return state


def later_stands(state: dict[str, Tensor], network: nn.Module) -> dict[str, Tensor]:
    """Where two names of the file are one tensor of the network, give both the value of the later one."""
    own = network.state_dict()
    last = {own[name].data_ptr(): name for name in state if name in own}
    return {name: state[last[own[name].data_ptr()]] if name in own else state[name] for name in state}


def published_names(folder: Path, stem: str) -> list[tuple[str, list[int]]]:
    return [(name, shape) for name, shape in json.loads((folder / f"{stem}_state.json").read_text())]


@pytest.mark.data
@pytest.mark.parametrize("kind", PUBLISHED)
def test_names_and_shapes_of_the_published_network(kind: str, contest_data: Callable[[str], Path]) -> None:
    stem, parameters = PUBLISHED[kind]
    network = build_model(config_of(kind))
    own = {name: list(tensor.shape) for name, tensor in network.state_dict().items()}
    theirs = dict(published_names(contest_data("ternausnet"), stem))
    if kind.startswith("ternausnet"):
        assert list(own.items()) == list(theirs.items())
    dead = {name for name in theirs if name.startswith("encoder.fc.")}
    assert len(dead) == (2 if kind == "albunet34" else 0)
    assert {name: shape for name, shape in theirs.items() if name not in dead}.items() <= own.items()
    assert all(name.startswith("encoder.") for name in own.keys() - theirs.keys())
    assert sum(p.numel() for p in network.parameters()) == parameters


@pytest.mark.data
@pytest.mark.parametrize("kind", PUBLISHED)
def test_the_published_state_dict_loads_by_name_and_gives_the_published_output(
    kind: str, contest_data: Callable[[str], Path]
) -> None:
    folder, stem = contest_data("ternausnet"), PUBLISHED[kind][0]
    network = build_model(config_of(kind))
    state = later_stands(by_formula(published_names(folder, stem)), network)
    load_whole(network, state, ignored=("encoder.fc.",) if kind == "albunet34" else ())
    image = np.sin(0.11 * np.arange(12288)).reshape(1, 3, 64, 64).astype(np.float32)
    # In float64, so that only the reference's own rounding is left. These weights amplify it in the
    # network of 11 layers: half a float32 ulp on each weight moves its output by up to 2.6e-5 in norm.
    with torch.inference_mode():
        output = network.double().eval()(torch.from_numpy(image).double()).numpy()
    expected = np.load(folder / f"{stem}.npz")["output"]
    assert output.shape == expected.shape == (1, 1, 64, 64)
    assert np.linalg.norm(output - expected) <= 1e-4 * np.linalg.norm(expected)
    assert np.quantile(np.abs(output - expected), 0.9) <= 1e-4 * np.abs(expected).max()


@pytest.mark.parametrize("kind", ["ternausnet11", "ternausnet16"])
def test_stage_names_share_the_encoders_storage(kind: str) -> None:
    state = build_model(config_of(kind, filters=1)).state_dict()
    first = "conv1.weight" if "conv1.weight" in state else "conv1.0.weight"
    assert state["encoder.0.weight"].data_ptr() == state[first].data_ptr()


@pytest.mark.parametrize("kind", ["ternausnet11", "ternausnet16", "unet11", "unet16", "albunet34", "linknet34"])
def test_any_channels_in_and_out(kind: str) -> None:
    config = config_of(kind, channels=list("abcd"), in_channels=5, **({} if kind == "linknet34" else {"filters": 2}))
    network = build_model(config).eval()
    with torch.inference_mode():
        output = network(torch.zeros(2, 5, config.stride, 2 * config.stride))
    assert output.shape == (2, 4, config.stride, 2 * config.stride)


def test_albunet_needs_multiples_of_64() -> None:
    config = config_of("albunet34", filters=1)
    assert config.stride == 64
    with pytest.raises(RuntimeError, match="size"):
        build_model(config)(torch.zeros(2, 3, 96, 96))


def test_ternausnetv2_has_the_published_widths() -> None:
    """The counts are worked out by hand from the publication's code."""
    config = config_of("ternausnetv2", channels=["body", "border"])
    network = build_model(config)
    shapes = {name: tuple(tensor.shape) for name, tensor in network.state_dict().items()}
    assert shapes["conv1.conv1.weight"] == (64, 11, 3, 3)
    assert shapes["conv2.block1.convs.conv1.weight"] == (128, 64, 3, 3)
    assert shapes["conv4.block6.convs.conv2.weight"] == (512, 512, 3, 3)
    assert shapes["conv5.block1.proj_conv.weight"] == (1024, 512, 1, 1)
    assert shapes["conv5.block3.convs.conv1.weight"] == (512, 1024, 3, 3)
    assert shapes["center.block.1.conv.weight"] == (256, 1024, 3, 3)
    assert shapes["dec5.block.1.conv.weight"] == (256, 1024 + 256, 3, 3)
    assert shapes["dec1.conv.weight"] == (32, 64 + 32, 3, 3)
    assert shapes["final.weight"] == (2, 32, 1, 1)

    def block(inputs: int, middle: int, out: int) -> int:
        project = inputs * out if inputs != out else 0
        return 2 * inputs + 9 * inputs * middle + 2 * middle + 9 * middle * out + project

    def convs(*pairs: tuple[int, int]) -> int:
        return sum(9 * inputs * out + out for inputs, out in pairs)

    encoder = 9 * 11 * 64
    for inputs, middle, out, count in ((64, 128, 128, 3), (128, 256, 256, 3), (256, 512, 512, 6), (512, 512, 1024, 3)):
        encoder += block(inputs, middle, out) + (count - 1) * block(out, middle, out)
    decoder = convs((1024, 256), (256, 256), (1280, 256), (256, 256), (768, 256), (256, 256), (512, 64), (64, 64))
    decoder += convs((192, 64), (64, 32), (96, 32)) + 2 * 32 + 2
    assert sum(p.numel() for p in network.parameters()) == encoder + decoder


def test_ternausnetv2_trains_on_eleven_bands() -> None:
    network = build_model(config_of("ternausnetv2", channels=["body", "border"], filters=1))
    output = network(torch.randn(2, 11, 32, 64))
    assert output.shape == (2, 2, 32, 64)
    output.mean().backward()
    assert all(p.grad is not None for p in network.parameters())


def test_features_are_numbered_as_torchvisions() -> None:
    from torchvision.models import vgg11

    with torch.device("meta"):
        theirs = vgg11(weights=None).features
        ours = vgg_features(VGG11, in_channels=3)
    assert [type(layer) for layer in ours] == [type(layer) for layer in theirs]
    assert {n: t.shape for n, t in ours.state_dict().items()} == {n: t.shape for n, t in theirs.state_dict().items()}
