from __future__ import annotations

from typing import Any

import pytest
import torch

from medalist.tasks.embed.model_settings import EmbedderConfig
from medalist.tasks.embed.network import build_embedder

SIZE = (64, 96)


def config(**changes: Any) -> EmbedderConfig:
    return EmbedderConfig.model_validate({"encoder": "test_resnet", "weights": "none", "dim": 8, **changes})


@pytest.mark.parametrize("pooling", ["gem", "avg", "max", "attention", "flat"])
@pytest.mark.parametrize("neck", ["none", "linear", "bn", "linear_bn"])
@pytest.mark.parametrize("encoder", ["test_resnet", "test_vit", "test_efficientnet"])
def test_an_image_becomes_a_unit_vector(encoder: str, neck: str, pooling: str) -> None:
    torch.manual_seed(0)
    dim = 8 if neck.startswith("linear") else None
    size = (160, 160) if encoder == "test_vit" else SIZE
    network = build_embedder(config(encoder=encoder, neck=neck, pooling=pooling, dim=dim), size, None)
    assert network.training
    vectors = network.eval()(torch.randn(2, 3, *size))
    cells = network.encoder.cells if pooling == "flat" else 1
    assert vectors.shape == (2, dim or network.encoder.width * cells) == (2, network.head.dim)
    assert vectors.norm(dim=1).tolist() == pytest.approx([1, 1], abs=1e-5)
    assert not torch.equal(vectors[0], vectors[1])


@pytest.mark.parametrize("pooling", ["gem", "avg", "max", "attention"])
def test_a_blank_image_has_a_direction_too(pooling: str) -> None:
    network = build_embedder(config(pooling=pooling, neck="linear_bn"), SIZE, None).eval()
    for part in network.modules():
        if isinstance(part, torch.nn.BatchNorm1d):
            torch.nn.init.zeros_(part.weight)
    assert network(torch.zeros(1, 3, *SIZE)).norm(dim=1).item() == pytest.approx(1)


def test_options_are_timms_and_one_channel_is_enough() -> None:
    small = {"layers": [1, 1, 1, 1], "channels": [8, 16, 24, 32]}
    network = build_embedder(config(encoder="resnet18", options=small, in_channels=1), SIZE, None)
    assert network.encoder.width == 32
    assert network(torch.randn(2, 1, *SIZE)).shape == (2, 8)
