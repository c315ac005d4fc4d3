from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from medalist.errors import ConfigError
from medalist.models.backbone import build_encoder, encoder_statistics
from medalist.models.pooling import AttentionPool, GeM
from medalist.models.weights import encoder_weights
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


@given(st.floats(1, 10), st.lists(st.floats(0.01, 10), min_size=2, max_size=6))
def test_gem_is_the_generalised_mean(power: float, values: list[float]) -> None:
    maps = torch.tensor(values).view(1, 1, 1, -1)
    mean = sum(value**power for value in values) / len(values)
    assert GeM(power)(maps).item() == pytest.approx(mean ** (1 / power), rel=1e-3)


def test_the_power_of_gem_is_learned_and_zeros_do_not_break_it() -> None:
    pool = GeM(3.0)
    pool(torch.zeros(1, 2, 3, 3)).sum().backward()
    assert pool.power.grad is not None and torch.isfinite(pool.power.grad)


def test_attention_begins_as_the_average_and_then_chooses() -> None:
    pool, maps = AttentionPool(2), torch.randn(3, 2, 4, 5)
    assert torch.allclose(pool(maps), maps.mean(dim=(2, 3)), atol=1e-6)
    with torch.no_grad():
        pool.query.weight[0, 0] = 1000.0
    place = maps[0, 0].argmax()
    assert torch.allclose(pool(maps)[0], maps[0].flatten(1)[:, place], atol=1e-4)


def test_a_tokens_position_is_kept_and_class_tokens_are_left_out() -> None:
    encoder = build_encoder(config(encoder="test_vit"), (160, 160), None).eval()
    found = encoder(torch.randn(1, 3, 160, 160))
    tokens = encoder.body.forward_features(torch.zeros(1, 3, 160, 160))
    assert found.shape == (1, encoder.width, tokens.shape[1] - encoder.body.num_prefix_tokens, 1)
    assert encoder.cells == found.shape[2]


def test_transformers_take_the_size_of_the_config() -> None:
    encoder = build_encoder(config(encoder="test_vit"), (96, 64), None).eval()
    assert encoder(torch.zeros(1, 3, 96, 64)).shape[1] == encoder.width


def test_options_are_timms_and_one_channel_is_enough() -> None:
    small = {"layers": [1, 1, 1, 1], "channels": [8, 16, 24, 32]}
    network = build_embedder(config(encoder="resnet18", options=small, in_channels=1), SIZE, None)
    assert network.encoder.width == 32
    assert network(torch.randn(2, 1, *SIZE)).shape == (2, 8)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"encoder": "resnet33"}, "encoder 'resnet33' is not in timm"),
        ({"encoder": "resnet18", "options": {"layer": [1]}}, "with options {'layer': [1]} cannot look at images"),
    ],
)
def test_encoders_that_cannot_look_are_refused(changes: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigError) as caught:
        build_encoder(config(**changes), SIZE, None)
    assert words in str(caught.value) and "\n" not in str(caught.value)


def test_pretrained_weights_are_those_of_the_package() -> None:
    """The last features of lite0 are the same as timm's own network gives with these tensors."""
    chosen = config(encoder="tf_efficientnet_lite0", weights="imagenet", in_channels=3)
    weights = encoder_weights(chosen)
    assert weights is not None
    torch.manual_seed(0)
    one, other = build_encoder(chosen, SIZE, weights).eval(), build_encoder(chosen, SIZE, weights).eval()
    image = torch.randn(1, 3, *SIZE)
    assert torch.equal(one(image), other(image)), "nothing in it is random"
    random = build_encoder(config(encoder="tf_efficientnet_lite0"), SIZE, None).eval()
    assert not torch.allclose(one(image), random(image))


def test_statistics_are_those_of_the_weights_or_plain() -> None:
    assert encoder_statistics(config()) == ((0.5,) * 3, (0.5,) * 3)
    assert encoder_statistics(config(in_channels=1)) == ((0.5,), (0.5,))
    mean, _ = encoder_statistics(config(encoder="resnet18", weights="imagenet"))
    assert mean == pytest.approx((0.485, 0.456, 0.406))


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"dim": None}, "neck 'linear_bn' needs the number of components"),
        ({"neck": "bn"}, "leave out dim, or take neck: linear_bn"),
        ({"weights": "imagenet", "options": {"layers": [1]}}, "say weights: none"),
        ({"frozen": True}, "frozen keeps the encoder as it is, and weights: none leaves it random"),
    ],
)
def test_settings_that_do_not_fit_each_other_are_refused(changes: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        config(**changes)
