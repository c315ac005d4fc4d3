"""The networks against the known answers of the published ones."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from medalist.models.vgg import VGG11, vgg_features
from medalist.tasks.segment.ternausnet import TernausNet11, TernausNet16

NETWORKS = {"ternausnet11": (TernausNet11, 22_927_393), "ternausnet16": (TernausNet16, 29_306_465)}


def fill_by_formula(network: nn.Module) -> None:
    """The README's sines, written in the order of the state dict: of two shared names the later stands."""
    with torch.no_grad():
        for k, (name, tensor) in enumerate(network.state_dict().items()):
            wave = np.sin(0.37 * np.arange(tensor.numel(), dtype=np.float64) + k).reshape(tuple(tensor.shape))
            if tensor.ndim >= 2:
                wave = 2 * wave / np.sqrt(np.prod(tensor.shape[1:]))
            elif name.endswith("weight"):
                wave = 1 + 0.1 * wave
            else:
                wave = 0.1 * wave
            tensor.copy_(torch.from_numpy(wave.astype(np.float32)))


@pytest.mark.data
@pytest.mark.parametrize("kind", NETWORKS)
def test_names_shapes_and_outputs_of_the_published_network(kind: str, contest_data: Callable[[str], Path]) -> None:
    folder = contest_data("ternausnet")
    make, parameters = NETWORKS[kind]
    network = make()
    state = [[name, list(tensor.shape)] for name, tensor in network.state_dict().items()]
    assert state == json.loads((folder / f"{kind}_state.json").read_text())
    assert sum(p.numel() for p in network.parameters()) == parameters

    fill_by_formula(network)
    image = np.sin(0.11 * np.arange(12288)).reshape(1, 3, 64, 64).astype(np.float32)
    # In float64, so that only the reference's own rounding is left. These weights amplify it in the
    # network of 11 layers: half a float32 ulp on each weight moves its output by up to 2.6e-5 in norm.
    with torch.inference_mode():
        output = network.double().eval()(torch.from_numpy(image).double()).numpy()
    expected = np.load(folder / f"{kind}.npz")["output"]
    assert output.shape == expected.shape == (1, 1, 64, 64)
    assert np.linalg.norm(output - expected) <= 1e-4 * np.linalg.norm(expected)
    assert np.quantile(np.abs(output - expected), 0.9) <= 1e-4 * np.abs(expected).max()


@pytest.mark.parametrize("make", [TernausNet11, TernausNet16])
def test_stage_names_share_the_encoders_storage(make: type[nn.Module]) -> None:
    state = make(filters=1).state_dict()
    first = "conv1.weight" if "conv1.weight" in state else "conv1.0.weight"
    assert state["encoder.0.weight"].data_ptr() == state[first].data_ptr()


@pytest.mark.parametrize("make", [TernausNet11, TernausNet16])
def test_any_channels_in_and_out(make: type[TernausNet11 | TernausNet16]) -> None:
    network = make(classes=4, in_channels=5, filters=2).eval()
    with torch.inference_mode():
        output = network(torch.zeros(2, 5, 32, 64))
    assert output.shape == (2, 4, 32, 64)


def test_features_are_numbered_as_torchvisions() -> None:
    from torchvision.models import vgg11

    with torch.device("meta"):
        theirs = vgg11(weights=None).features
        ours = vgg_features(VGG11, in_channels=3)
    assert [type(layer) for layer in ours] == [type(layer) for layer in theirs]
    assert {n: t.shape for n, t in ours.state_dict().items()} == {n: t.shape for n, t in theirs.state_dict().items()}
